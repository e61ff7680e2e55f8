"""One redaction in the log: the value is replaced, and an event says so, in one transaction."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from daemon.eventlog.epochs import SOURCE
from daemon.eventlog.requests import Append
from daemon.eventlog.statements import SQL as LOG_SQL
from daemon.eventlog.statements import named_statements
from daemon.eventlog.transaction import Transaction
from domain.catalog import find_type, validate_payload
from domain.epochs import stream_of
from domain.errors import Conflict, Invalid, NotFound
from domain.events import NewEvent
from domain.lives import MARKERS, PURGED, replaced_versions
from domain.redaction import MASK, REDACTED, redacted, texts_in, value_at
from domain.suggest import shorten

if TYPE_CHECKING:
    from daemon.eventlog.log import EventLog

SQL: Final = named_statements(Path(__file__).with_name("redaction.sql"))
PENDING: Final = "redacted"
"""The name under which a log remembers up to which redaction something is left to be cleansed."""
LETTERS_MAX: Final = 100
"""So many dead letters are named."""
_TEXT_MIN: Final = 8
"""Shorter texts stand in so much that nothing follows from it."""
_TEXTS_MAX: Final = 20
_STRETCH: Final = 50_000
"""So many positions are looked through in one read."""


class AlreadyRemovedError(Conflict):
    """The event is not in the log any more, or soon will not be."""

    code = "already_removed"
    title = "The event was archived or purged"
    hint = "What the archive holds of a job goes with its purge: chronicled retention plan."


class Redacted(NamedTuple):
    """Which event it was, and the position of that which says so; None where it was done before."""

    position: int
    event: int | None


@dataclass(frozen=True)
class Redaction:
    """What is to be taken out of which event, why, and who asks for it."""

    position: int
    pointer: str
    why: str
    by: str | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def run(self, transaction: Transaction) -> Redacted:
        """Replace the value, and append the event; do nothing where it is replaced already.

        Raises:
            NotFound, AlreadyRemovedError, Conflict, Invalid: it cannot be done; nothing is.

        """
        db = transaction.connection
        row: Any = db.execute(SQL["find_event"], (self.position,)).fetchone()
        if row is None or row[1] or row[7] is None:
            raise _no_event(transaction, self.position)
        stream_id, _, stream, version, type_, class_version, data, _ = row
        _require_client(type_)
        _require_there(transaction, stream_id, stream, version)
        if self._was_removed(transaction):
            return Redacted(self.position, None)
        replaced = redacted(type_, class_version, data, self.pointer)
        if replaced is None:
            return Redacted(self.position, None)
        db.execute(SQL["replace_data"], (replaced, self.position))
        told = {
            "position": self.position,
            "pointer": self.pointer,
            "why": self.why,
            "payload_hash": sha256(replaced).hexdigest(),
        }
        payload = validate_payload(REDACTED, told)
        actor = {} if self.by is None else {"actor": self.by}
        event = NewEvent(REDACTED, _log_id(transaction), SOURCE, self.id, payload, None, actor)
        (receipt,) = transaction.append(Append([event])).receipts
        db.execute(LOG_SQL["set_meta"], (PENDING, receipt.position))
        return Redacted(self.position, receipt.position)

    def _was_removed(self, transaction: Transaction) -> bool:
        """Return whether an earlier redaction left nothing where the pointer leads."""
        rows = transaction.connection.execute(
            LOG_SQL["redacted_events"], (stream_of(_log_id(transaction)),)
        )
        said = (orjson.loads(data) for (data,) in rows)
        return any((each["position"], each["pointer"]) == (self.position, self.pointer)
                   for each in said)  # fmt: skip


def find_position(log: EventLog, source: str, event_id: str) -> int:
    """Return the position of the event with a source and an id; all of the log is looked through.

    Raises:
        NotFound: there is none.
        Conflict: several streams have one.

    """
    found: list[int] = []
    after = 0
    # A stretch begins with an event: an epoch leaves a thousand million positions empty.
    while (first := log.position_after(after)) is not None:
        after = first - 1 + _STRETCH
        asked = (first - 1, after, event_id, source)
        with log.reading().connection() as db:
            found += [position for (position,) in db.execute(SQL["find_positions"], asked)]
    if not found:
        raise NotFound(f"No event of {shorten(source)} has the id {shorten(event_id)}.")
    if len(found) > 1:
        told = ", ".join(map(str, found[:10]))
        raise Conflict(f"Several events have this source and id, at {told}: give a position.")
    return found[0]


def find_letters(log: EventLog, position: int, pointer: str) -> list[int]:
    """Return ids of dead letters that hold a text of what is about to be taken out."""
    with log.reading().connection() as db:
        row: Any = db.execute(SQL["find_event"], (position,)).fetchone()
        if row is None:
            return []
        texts = {text for text in texts_in(value_at(row[6], pointer)) if len(text) >= _TEXT_MIN}
        found = set[int]()
        for text in sorted(texts - {MASK})[:_TEXTS_MAX]:
            letters = db.execute(SQL["letters_with"], (text, LETTERS_MAX))
            found.update(letter for (letter,) in letters)
    return sorted(found, reverse=True)[:LETTERS_MAX]


def _log_id(transaction: Transaction) -> str:
    return str(transaction.connection.execute(LOG_SQL["find_meta"], ("log_id",)).get)


def _no_event(transaction: Transaction, position: int) -> NotFound | Conflict:
    if position > transaction.position or position < 1:
        return NotFound(f"There is no event at position {position}: the log ends at "
                        f"{transaction.position}.")  # fmt: skip
    return AlreadyRemovedError(f"There is no event at position {position} any more.")


def _require_client(type_: str) -> None:
    """Raise where an event is one of the daemon's own: it decides by them, and so they stay."""
    entry = find_type(type_)
    if entry is not None and not entry.client:
        raise Invalid(f"{type_} is an event of the daemon itself, which cannot be redacted")


def _require_there(transaction: Transaction, stream_id: int, stream: str, version: int) -> None:
    """Raise where a later event of the stream stands for this one, which is about to go."""
    names = orjson.dumps(sorted(MARKERS)).decode()
    rows = transaction.connection.execute(SQL["markers_after"], (stream_id, version, names))
    for type_, data in rows:
        if replaced_versions(type_, orjson.loads(data)) >= version:
            done = "purged" if type_ in PURGED else "archived"
            raise AlreadyRemovedError(f"{stream} was {done}, and this event with it.")
