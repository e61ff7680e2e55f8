"""What the writer is asked for decoded input, by whatever way it came in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from daemon.eventlog.requests import Append, Appended, Follow, Work
from daemon.eventlog.statements import SQL
from daemon.eventlog.transaction import Transaction
from daemon.intake.formats import Decoded, Format, decode_lines, make_dead_letter
from daemon.intake.pubsub_push import forgettable
from domain.errors import TooLarge, VersionConflict
from domain.events import NewEvent
from domain.limits import Limits


def body_request(
    chosen: Format, events: Sequence[NewEvent], stretch: Follow | None = None, size: int = 0
) -> Append | Work:
    """Return the request that records the events of a strict body, all or none."""
    if chosen.settle is None:
        return Append(events, follow=stretch)
    return Work(partial(_append_settled, chosen, events, stretch), events=len(events), size=size)


def read_lines(
    chosen: Format, body: bytes, limits: Limits, origin: str, source: str | None = None
) -> list[Decoded]:
    """Decode lenient lines, as many as one request may have.

    Raises:
        TooLarge: there are more lines, or more events, than a batch may have.
        Invalid: the ``source`` is none.

    """
    if not chosen.whole and body.count(b"\n") > limits.batch_events:
        raise TooLarge(f"The body has more than {limits.batch_events} lines.")
    lines = decode_lines(chosen, body, limits, origin, source)
    if sum(len(line.events) for line in lines) > limits.batch_events:
        raise TooLarge(f"The body has more than {limits.batch_events} events.")
    return lines


def line_request(
    chosen: Format, lines: Sequence[Decoded], origin: str, stretch: Follow | None, size: int
) -> Append | Work:
    """Return the request that records lenient lines: each its events, or a dead letter."""
    letters = [line.dead_letter for line in lines if line.dead_letter is not None]
    events = [event for line in lines for event in line.events]
    keyed = any(line.key for line in lines)
    alone = chosen.settle is None and all(event.expected_version is None for event in events)
    if alone and not keyed:
        return Append(events, letters, stretch)
    run = partial(_append_lines, chosen, lines, origin, stretch)
    return Work(run, events=len(events), size=size)


def _append_settled(
    chosen: Format, events: Sequence[NewEvent], stretch: Follow | None, transaction: Transaction
) -> Appended:
    return transaction.append(Append(settled(chosen, events, transaction), follow=stretch))


def _append_lines(
    chosen: Format,
    lines: Sequence[Decoded],
    origin: str,
    stretch: Follow | None,
    transaction: Transaction,
) -> Appended:
    """Append each line by itself, all in one transaction; a conflict makes it a dead letter."""
    receipts = []
    letters = [line.dead_letter for line in lines if line.dead_letter is not None]
    for line in lines:
        # What became a dead letter may be sent again, or retried, once it can be read.
        key = Follow(line.key, 0, 1) if line.key and line.events else None
        if key is not None and transaction.follow_offset(key.name) == key.end:
            continue
        mark = transaction.mark()
        try:
            events = settled(chosen, line.events, transaction)
            receipts += transaction.append(Append(events, follow=key)).receipts
        except VersionConflict as error:
            transaction.undo(mark)
            letters.append(make_dead_letter(chosen, line.raw, error, origin))
    if any(line.key for line in lines):
        transaction.connection.execute(SQL["forget_follows"], forgettable(transaction.now))
    last = transaction.append(Append((), letters, stretch))
    return Appended(receipts, last.head, last.dead_letters)


def settled(
    chosen: Format, events: Sequence[NewEvent], transaction: Transaction
) -> Sequence[NewEvent]:
    """Return what is to be recorded of decoded events beside what the log has."""
    return events if chosen.settle is None else chosen.settle(transaction, events)
