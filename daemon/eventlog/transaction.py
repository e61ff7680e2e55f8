"""One transaction of the log: dedup, versions, digests, and the rows about to be written.

What the writer knows of the log (newest position, digest, versions of streams, numbers of names) is
changed as a transaction goes and every change is journalled, so that a request that fails, or a
group whose commit fails, is undone without a trace.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, NamedTuple, cast

import apsw
import orjson

from daemon.eventlog import chain
from daemon.eventlog.requests import KEPT_BYTES_MAX, Append, Appended, DeadLetter, Follow
from daemon.eventlog.statements import SQL
from domain.errors import Fault, Invalid, VersionConflict
from domain.events import Receipt
from domain.historic import HistoricEvent
from domain.prepared import Prepared, prepare_all

NAMES_MAX: Final = 100_000
"""How many streams, types and sources are remembered, each; others are looked up again."""
NAME_LENGTH_MAX: Final = 512
"""Longer names are not remembered: a source may be as long as an event."""

_WRITE_ORDER: Final = (
    "insert_type",
    "insert_source",
    "insert_stream",
    "insert_dead_letter",
    "set_offset",
)
"""What is written beside events."""

_EXPECTED: Final = 7
"""Where a prepared event says which version it expects."""

_new: Final = tuple.__new__
"""Makes a receipt in half the time that its own class takes."""

Row = tuple[object, ...]


Stream = tuple[int, int]
"""A stream's number and the version of its newest event."""
Recorded = tuple[int, int, bytes, int]
"""Where the event with a key stands (position, version), its payload's hash and its type."""
Names = dict[tuple[str, str], int]


class Stored(NamedTuple):
    """An event of an `eventsourcing` application."""

    originator_id: str
    originator_version: int
    topic: str
    state: bytes


class Head(NamedTuple):
    """The newest row of the chain, and the greatest number given to a name of each kind."""

    position: int
    digest: bytes
    recordedtime: int
    given: Given


class Given(NamedTuple):
    """The greatest number given to a name of each kind."""

    stream_id: int
    type_id: int
    source_id: int


@dataclass(slots=True)
class Known:
    """What the writer knows of the log; bounded."""

    head: Head
    streams: dict[tuple[str, str], Stream] = field(default_factory=dict)
    types: Names = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, connection: apsw.Connection, log_id: str) -> Known:
        """Read the head from the file."""
        newest = connection.execute(SQL["newest_event"]).fetchone()
        position, digest, recordedtime = newest or (0, chain.genesis(log_id), 0)
        used = connection.execute(SQL["last_used_position"]).get or 0
        numbers = [
            connection.execute(f"SELECT coalesce(max({column}), 0) FROM {table}").get
            for column, table in (
                ("stream_id", "streams"),
                ("type_id", "types"),
                ("source_id", "sources"),
            )
        ]
        return cls(Head(max(position, used), digest, recordedtime, Given(*numbers)))

    def forget(self) -> None:
        """Drop the oldest half of the names where there are too many."""
        every: tuple[dict[Any, Any], ...] = (self.streams, self.types, self.sources)
        for names in every:
            if len(names) > NAMES_MAX:
                for name in list(names)[: len(names) - NAMES_MAX // 2]:
                    del names[name]


Place = tuple[int, bytes, int]
"""The newest row of the chain: its position, digest and recordedtime."""


class Mark(NamedTuple):
    """A place to go back to."""

    changes: int
    keys: int
    events: int
    others: int
    place: Place
    given: Given


class Transaction:
    """Collects the rows of one group of requests, and changes what is known as it goes.

    Unless it is ``careful`` it takes an event that nobody sent before in this transaction for a
    new one, without looking. Where that was wrong, the unique index over the keys refuses the rows
    (`apsw.ConstraintError` from `flush`): then everything has to be undone, and done again with
    care. It becomes careful by itself where more hangs on it than the rows.
    """

    def __init__(
        self, connection: apsw.Connection, known: Known, now: int, *, careful: bool
    ) -> None:
        self.connection = connection
        self.now = max(now, known.head.recordedtime)
        self.careful = careful
        self.found_repeats = False
        self._known = known
        self._place: Place = known.head[:3]
        self._given = known.head.given
        self._keys: dict[tuple[int, bytes], Recorded] = {}
        self._offsets: dict[str, int] = {}
        self._born: set[int] = set()
        self._absent: set[str] = set()
        self._changes: list[tuple[dict[Any, Any], Hashable, Any]] = []
        self._passing: list[tuple[dict[Any, Any], Hashable]] = []
        self._events: list[Row] = []
        self._others: list[tuple[str, Row]] = []
        self._start = self.mark()

    @property
    def position(self) -> int:
        """The newest position, this transaction's own events counted."""
        return self._place[0]

    def mark(self) -> Mark:
        """Remember this moment."""
        return Mark(
            len(self._changes), len(self._keys), len(self._events), len(self._others),
            self._place, self._given,
        )  # fmt: skip

    def undo(self, mark: Mark | None = None) -> None:
        """Forget everything since a mark, or everything."""
        changes, keys, events, others, self._place, self._given = mark or self._start
        while len(self._changes) > changes:
            names, key, before = self._changes.pop()
            if before is None:
                names.pop(key, None)
            else:
                names[key] = before
        while len(self._keys) > keys:
            self._keys.popitem()
        del self._events[events:]
        del self._others[others:]

    def flush(self) -> None:
        """Write the collected rows.

        Raises:
            apsw.ConstraintError: an event was there before; never in a careful transaction.

        """
        if self._others:
            for name in _WRITE_ORDER:
                if rows := [row for other, row in self._others if other == name]:
                    self.connection.executemany(SQL[name], rows)
            self._others.clear()
        if self._events:
            self.connection.executemany(SQL["insert_event"], self._events)
            self._events.clear()

    def committed(self) -> None:
        """Keep what was learnt; call only after the commit."""
        self._known.head = Head(*self._place, self._given)
        for names, key in self._passing:
            names.pop(key, None)
        self._known.forget()

    def _set(self, names: dict[Any, Any], key: Hashable, value: object) -> None:
        self._changes.append((names, key, names.get(key)))
        names[key] = value

    def _learn(self, names: dict[Any, Any], key: Hashable, name: str, value: object) -> None:
        """Remember a name; a long one for this transaction only."""
        if len(name) > NAME_LENGTH_MAX:
            self._passing.append((names, key))
        self._set(names, key, value)

    # -- the daemon's own events ---------------------------------------------------------------

    def append(self, request: Append) -> Appended:
        """Append a request's events, all or none.

        Raises:
            VersionConflict: a stream is not at the version an event expects.

        """
        mark = self.mark()
        try:
            repeated = request.follow is not None and self._follow(request.follow)
            receipts = self._append_events(prepare_all(request.events))
            letters = () if repeated else request.dead_letters
            for letter in letters:
                self._dead_letter(letter)
        except BaseException as error:
            self.undo(mark)
            if self.careful or not isinstance(error, VersionConflict):
                raise
        else:
            return Appended(receipts, self._place[0], len(letters))
        # It is a conflict only if neither this event nor one before it in its stream is a repeat.
        self.careful = True
        return self.append(request)

    def append_together(self, requests: Sequence[Append]) -> list[Appended] | None:
        """Append the events of requests that cannot fail alone; None where one of them could.

        That is: no event expects a version, and there is nothing beside the events.
        """
        parts = [prepare_all(request.events) for request in requests]
        events = [event for part in parts for event in part]
        for request in requests:
            if request.follow is not None or request.dead_letters:
                return None
        for event in events:
            if event[_EXPECTED] is not None:
                return None
        head, at = self.position, 0
        receipts = self._append_events(events)
        outcomes = []
        for part in parts:
            own = receipts[at : at + len(part)]
            at += len(part)
            for receipt in own:
                if not receipt.duplicate:
                    head = receipt.position
            outcomes.append(Appended(own, head))
        return outcomes

    def _append_events(self, events: Sequence[Prepared]) -> list[Receipt]:
        streams, types, sources = self._known.streams, self._known.types, self._known.sources
        keys, rows, changes, now = self._keys, self._events, self._changes, self.now
        position, digest, before = self._place
        first = position
        recorded = f" {now} "
        receipts = []
        self._find_streams(events)
        for index, (
            stream, name, source, id_, data, time, extensions, expected, class_version, key,
            payload_hash, tail,
        ) in enumerate(events):  # fmt: skip
            place = ("", stream)
            known = streams.get(place) or self._stream(place)
            stream_id, version = known
            type_id = types.get(("", name)) or self._type("", name)
            earlier = keys.get((stream_id, key))
            if earlier is None and self.careful:
                earlier = self._recorded(stream_id, key)
            if earlier is not None:
                differs = earlier[2:] != (payload_hash, type_id)
                receipts.append(Receipt(id_, earlier[0], stream, earlier[1], True, differs))
                continue
            if expected is not None and expected != version:
                raise _conflict(index, stream, version, expected)
            version += 1
            position += 1
            if time is None:
                time = now
            head = chain.row_head(position, version, class_version, time, recorded)
            digest = sha256(digest + sha256(head + tail).digest()).digest()
            rows.append((
                position, stream_id, version, type_id, class_version, time, now,
                sources.get(source) or self._source(source), id_, key, extensions, data,
                payload_hash, digest,
            ))  # fmt: skip
            changes.append((streams, place, known))
            streams[place] = (stream_id, version)
            keys[stream_id, key] = (position, version, payload_hash, type_id)
            receipts.append(_new(Receipt, (id_, position, stream, version, False, False)))
        self._place = (position, digest, now if position > first else before)
        self._absent.clear()
        return receipts

    def append_history(self, events: Sequence[HistoricEvent]) -> None:
        """Append events to the places that they had; what fails half-way is the caller's to undo.

        Raises:
            Invalid: an event does not follow from the one before it, or from its stream; the fault
                has its index.

        """
        streams, types, sources = self._known.streams, self._known.types, self._known.sources
        keys, rows, changes = self._keys, self._events, self._changes
        before, digest, recorded = self._place
        self._find_streams(events)
        for index, (
            stream, name, source, id_, data, time, extensions, position, version, recordedtime,
            class_version, key, payload_hash, tail, stated,
        ) in enumerate(events):  # fmt: skip
            place = ("", stream)
            known = streams.get(place) or self._stream(place)
            stream_id = known[0]
            head = chain.row_head(position, version, class_version, time, f" {recordedtime} ")
            digest = sha256(digest + sha256(head + tail).digest()).digest()
            if position != before + 1:
                raise _misplaced(index, "position", f"is {position}, and should be {before + 1}")
            if version != known[1] + 1:
                raise _misplaced(index, "version", f"is {version}, and should be {known[1] + 1}")
            if recordedtime < recorded:
                raise _misplaced(index, "recordedtime", "is before that of the event before it")
            if stated is not None and stated != digest:
                raise _misplaced(index, "logdigest", f"should be {digest.hex()}")
            if (stream_id, key) in keys or (self.careful and self._recorded(stream_id, key)):
                raise _misplaced(index, "id", "is that of an earlier event of the stream")
            type_id = types.get(("", name)) or self._type("", name)
            rows.append((
                position, stream_id, version, type_id, class_version, time, recordedtime,
                sources.get(source) or self._source(source), id_, key, extensions, data,
                payload_hash, digest,
            ))  # fmt: skip
            changes.append((streams, place, known))
            streams[place] = (stream_id, version)
            keys[stream_id, key] = (position, version, payload_hash, type_id)
            before, recorded = position, recordedtime
        self._place = (before, digest, recorded)
        self._absent.clear()

    # -- the events of `eventsourcing` applications -----------------------------------------------

    def insert_stored(self, application: str, events: Sequence[Stored]) -> list[int]:
        """Insert a library application's events, and return their positions.

        First versions and gaps are the application's own business. That a version is taken shows
        when the rows are flushed: SQLite's own constraint is the judge.
        """
        positions = []
        position, digest, before = self._place
        first = position
        for name, version, topic, state in events:
            place = (application, name)
            stream_id, newest = self._known.streams.get(place) or self._stream(place)
            payload_hash = sha256(state).digest()
            position += 1
            digest = chain.chained(digest, chain.row_hash(
                position, application, name, version, topic, 1, self.now, self.now, None, None,
                None, payload_hash,
            ))  # fmt: skip
            self._events.append((
                position, stream_id, version, self._type(application, topic), 1, self.now,
                self.now, None, None, None, None, state, payload_hash, digest,
            ))  # fmt: skip
            self._set(self._known.streams, place, (stream_id, max(newest, version)))
            positions.append(position)
        self._place = (position, digest, self.now if position > first else before)
        return positions

    # -- numbers of names, and keys ---------------------------------------------------------------

    def _find_streams(self, events: Sequence[Prepared | HistoricEvent]) -> None:
        """Look up all streams that are not remembered at once; most of them are new."""
        streams = self._known.streams
        unknown = {event[0] for event in events if ("", event[0]) not in streams}
        if len(unknown) > 1:
            names = orjson.dumps(list(unknown)).decode()
            for name, *found in self.connection.execute(SQL["find_streams"], (names,)):
                self._learn(streams, ("", name), name, tuple(found))
                unknown.remove(name)
            self._absent = unknown

    def _stream(self, place: tuple[str, str]) -> Stream:
        """Return a stream that is not remembered."""
        found: Stream | None = None
        if place[0] or place[1] not in self._absent:
            found = self.connection.execute(SQL["find_stream"], place).fetchone()
        if found is None:
            stream_id, type_id, source_id = self._given
            self._given = Given(stream_id + 1, type_id, source_id)
            found = (self._given.stream_id, 0)
            self._born.add(found[0])
            self._others.append(("insert_stream", (found[0], *place)))
        self._learn(self._known.streams, place, place[1], found)
        return found

    def _type(self, application: str, name: str) -> int:
        key = (application, name)
        found = self._known.types.get(key)
        if found is None:
            found = self.connection.execute(SQL["find_type"], key).get
            if found is None:
                self._given = self._given._replace(type_id=self._given.type_id + 1)
                found = self._given.type_id
                self._others.append(("insert_type", (found, *key)))
            self._learn(self._known.types, key, name, found)
        return found

    def _source(self, name: str) -> int:
        found = self._known.sources.get(name)
        if found is None:
            found = self.connection.execute(SQL["find_source"], (name,)).get
            if found is None:
                self._given = self._given._replace(source_id=self._given.source_id + 1)
                found = self._given.source_id
                self._others.append(("insert_source", (found, name)))
            self._learn(self._known.sources, name, name, found)
        return found

    def _recorded(self, stream_id: int, key: bytes) -> Recorded | None:
        """Look a key up in the file."""
        if stream_id in self._born:
            return None
        found: Any = self.connection.execute(SQL["find_key"], (stream_id, key)).fetchone()
        self.found_repeats = self.found_repeats or found is not None
        return cast("Recorded | None", found)

    # -- dead letters and offsets -----------------------------------------------------------------

    def _dead_letter(self, letter: DeadLetter) -> None:
        kept = letter.raw if letter.kept is None else letter.kept
        unique = sha256(letter.format.encode() + b"\0" + letter.raw).digest()
        self._others.append(("insert_dead_letter", (
            unique, letter.format, letter.origin, letter.reason, letter.detail,
            kept[:KEPT_BYTES_MAX], len(letter.raw), sha256(letter.raw).digest(), self.now, self.now,
        )))  # fmt: skip

    def _follow(self, follow: Follow) -> bool:
        """Note the offset; return whether this stretch was recorded before."""
        stored = self._offsets.get(follow.name)
        if stored is None:
            stored = self.connection.execute(SQL["find_offset"], (follow.name,)).get or 0
        if follow.end <= stored:
            return True
        self._set(self._offsets, follow.name, follow.end)
        self._others.append(("set_offset", (follow.name, follow.end, self.now)))
        return False


def _conflict(index: int, stream: str, version: int, expected: int) -> VersionConflict:
    detail = f"{stream} is at version {version}, not {expected}"
    fault = Fault(detail, "/expectedversion", index, VersionConflict.code)
    return VersionConflict(detail, errors=[fault])


def _misplaced(index: int, name: str, detail: str) -> Invalid:
    """Return the error of a historic event that does not follow from what is before it."""
    detail = f"{name} {detail}"
    return Invalid(detail, errors=[Fault(detail, f"/{name}", index)])
