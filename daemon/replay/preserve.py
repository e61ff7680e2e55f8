"""History that comes over HTTP into an empty log, and keeps its places and times.

A log takes it for as long as it holds nothing else. It remembers up to which position it was given
its history; the first event of its own goes beyond that, and ends the phase for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

from daemon.eventlog.requests import Appended
from daemon.eventlog.statements import SQL
from daemon.eventlog.transaction import Transaction
from domain.errors import HistoryConflict, Invalid
from domain.events import Receipt
from domain.historic import HistoricEvent

PRESERVED: Final = "preserved"
"""The name under which a log remembers up to where its history is another log's."""


def append_preserved(events: Sequence[HistoricEvent], transaction: Transaction) -> Appended:
    """Append events to the places that they had in another log, all or none.

    What is there already is a duplicate.

    Raises:
        HistoryConflict: the log has events of its own, or other ones at these positions, or they
            do not continue what it has.
        Invalid: they do not follow from one another, or lie in the future.

    """
    preserved = transaction.connection.execute(SQL["find_meta"], (PRESERVED,)).get or 0
    there = [event for event in events if event.position <= preserved]
    for event in there:
        _compare(transaction, event)
    new = events[len(there) :]
    if new:
        _check(transaction, preserved, new)
        transaction.append_history(new)
        transaction.flush()
        parameters = (PRESERVED, transaction.position)
        transaction.connection.execute(SQL["set_meta"], parameters)
    receipts = [
        Receipt(event.id, event.position, event.stream, event.version, index < len(there))
        for index, event in enumerate(events)
    ]
    return Appended(receipts, transaction.position)


def _check(transaction: Transaction, preserved: int, new: Sequence[HistoricEvent]) -> None:
    head = transaction.position
    if head != preserved:
        raise HistoryConflict(f"The log has events of its own, from position {preserved + 1} on.")
    if new[0].position != head + 1:
        raise HistoryConflict(
            f"The history goes on with position {head + 1}, not with {new[0].position}."
        )
    for event in new:
        if sha256(event.data).digest() != event.payload_hash:
            detail = f"Something was redacted of the event at position {event.position}"
            raise Invalid(f"{detail}: only `chronicled import` takes it.")
    if new[-1].recordedtime > transaction.now:
        raise Invalid("The last event was recorded in the future.")


def _compare(transaction: Transaction, event: HistoricEvent) -> None:
    """Refuse an event that is not the one at its position."""
    row: Any = transaction.connection.execute(
        SQL["named_rows_after"], (event.position - 1, 1)
    ).fetchone()
    told = (
        event.position, "", event.stream, event.version, event.type, event.class_version,
        event.time, event.recordedtime, event.source, event.id, event.extensions, event.data,
    )  # fmt: skip
    if row is None or row[: len(told)] != told:
        raise HistoryConflict(f"The log has another event at position {event.position}.")
