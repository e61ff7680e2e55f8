"""One transaction of the log: dedup, versions, digests, and the rows about to be written.

What the writer knows of the log (newest position, digest, versions of streams, numbers of names) is
changed as a transaction goes and every change is journalled, so that a request that fails, or a
group whose commit fails, is undone without a trace.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, NamedTuple

import apsw
import orjson

from daemon.eventlog import chain
from daemon.eventlog.requests import KEPT_BYTES_MAX, Append, Appended, DeadLetter, Follow
from daemon.eventlog.statements import SQL
from domain.errors import Fault, VersionConflict
from domain.events import NewEvent, Receipt
from domain.timestamps import is_missing

NAMES_MAX: Final = 100_000
"""How many streams, types and sources are remembered, each; others are looked up again."""
NAME_LENGTH_MAX: Final = 512
"""Longer names are not remembered: a source may be as long as an event."""

_WRITE_ORDER: Final = (
    "insert_type",
    "insert_source",
    "insert_stream",
    "insert_event",
    "insert_dead_letter",
    "set_offset",
)

Row = tuple[object, ...]


class Stream(NamedTuple):
    """A stream's number and the version of its newest event."""

    stream_id: int
    version: int


class Recorded(NamedTuple):
    """Where the event with a key stands, and what it holds."""

    position: int
    version: int
    payload_hash: bytes
    type_id: int


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
    stream_id: int
    type_id: int
    source_id: int


@dataclass(slots=True)
class Known:
    """What the writer knows of the log; bounded."""

    head: Head
    streams: dict[tuple[str, str], Stream] = field(default_factory=dict)
    types: dict[tuple[str, str], int] = field(default_factory=dict)
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
        return cls(Head(max(position, used), digest, recordedtime, *numbers))

    def forget(self) -> None:
        """Drop the oldest half of the names where there are too many."""
        every: tuple[dict[Any, Any], ...] = (self.streams, self.types, self.sources)
        for names in every:
            if len(names) > NAMES_MAX:
                for name in list(names)[: len(names) - NAMES_MAX // 2]:
                    del names[name]


class Mark(NamedTuple):
    """A place to go back to."""

    changes: int
    head: Head
    rows: tuple[int, ...]


class Transaction:
    """Collects the rows of one group of requests, and changes what is known as it goes."""

    def __init__(self, connection: apsw.Connection, known: Known, now: int) -> None:
        self.connection = connection
        self.now = max(now, known.head.recordedtime)
        self._known = known
        self._head = known.head
        self._keys: dict[tuple[int, bytes], Recorded] = {}
        self._offsets: dict[str, int] = {}
        self._born: set[int] = set()
        self._changes: list[tuple[dict[Any, Any], Hashable, Any]] = []
        self._passing: list[tuple[dict[Any, Any], Hashable]] = []
        self._rows: dict[str, list[Row]] = {name: [] for name in _WRITE_ORDER}

    @property
    def position(self) -> int:
        """The newest position, this transaction's own events counted."""
        return self._head.position

    def mark(self) -> Mark:
        """Remember this moment."""
        return Mark(
            len(self._changes), self._head, tuple(len(rows) for rows in self._rows.values())
        )

    def undo(self, mark: Mark) -> None:
        """Forget everything since a mark."""
        while len(self._changes) > mark.changes:
            names, key, before = self._changes.pop()
            if before is None:
                names.pop(key, None)
            else:
                names[key] = before
        self._head = mark.head
        for rows, count in zip(self._rows.values(), mark.rows, strict=True):
            del rows[count:]

    def flush(self) -> None:
        """Write the collected rows."""
        for name, rows in self._rows.items():
            if rows:
                self.connection.executemany(SQL[name], rows)
                rows.clear()

    def committed(self) -> None:
        """Keep what was learnt; call only after the commit."""
        self._known.head = self._head
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
        """Append a request's events, all or none (the caller undoes a failure).

        Raises:
            VersionConflict: a stream is not at the version an event expects.

        """
        repeated = request.follow is not None and self._follow(request.follow)
        receipts = [self._append_event(index, event) for index, event in enumerate(request.events)]
        letters = () if repeated else request.dead_letters
        for letter in letters:
            self._dead_letter(letter)
        return Appended(receipts, self._head.position, len(letters))

    def _append_event(self, index: int, event: NewEvent) -> Receipt:
        name = event.stream
        stream = self._stream("", name)
        type_id = self._type("", event.type)
        key = chain.event_key(event.source, event.id)
        payload_hash = sha256(event.data).digest()
        earlier = self._recorded(stream.stream_id, key)
        if earlier is not None:
            differs = earlier.payload_hash != payload_hash or earlier.type_id != type_id
            return Receipt(event.id, earlier.position, name, earlier.version, True, differs)
        if event.expected_version is not None and event.expected_version != stream.version:
            detail = f"{name} is at version {stream.version}, not {event.expected_version}"
            fault = Fault(detail, "/expectedversion", index, VersionConflict.code)
            raise VersionConflict(detail, errors=[fault])
        extensions = None
        if event.extensions:
            extensions = orjson.dumps(event.extensions, option=orjson.OPT_SORT_KEYS).decode()
        version, time = stream.version + 1, event.time
        position = self._head.position + 1
        time = self.now if time is None or is_missing(time) else time
        row_hash = chain.row_hash(
            position, "", name, version, event.type, event.class_version, time, self.now,
            event.source, event.id, extensions, payload_hash,
        )  # fmt: skip
        self._add_row(row_hash, (
            position, stream.stream_id, version, type_id, event.class_version, time, self.now,
            self._source(event.source), event.id, key, extensions, event.data, payload_hash,
        ))  # fmt: skip
        self._set(self._known.streams, ("", name), Stream(stream.stream_id, version))
        recorded = Recorded(position, version, payload_hash, type_id)
        self._set(self._keys, (stream.stream_id, key), recorded)
        return Receipt(event.id, position, name, version)

    def _add_row(self, row_hash: bytes, row: Row) -> None:
        digest = chain.chained(self._head.digest, row_hash)
        self._head = self._head._replace(
            position=self._head.position + 1, digest=digest, recordedtime=self.now
        )
        self._rows["insert_event"].append((*row, digest))

    # -- the events of `eventsourcing` applications -----------------------------------------------

    def insert_stored(self, application: str, events: Sequence[Stored]) -> list[int]:
        """Insert a library application's events, and return their positions.

        First versions and gaps are the application's own business. That a version is taken shows
        when the rows are flushed: SQLite's own constraint is the judge.
        """
        positions = []
        for event in events:
            name, version, topic, state = event
            stream = self._stream(application, name)
            payload_hash = sha256(state).digest()
            position = self._head.position + 1
            row_hash = chain.row_hash(
                position, application, name, version, topic, 1, self.now, self.now, None, None,
                None, payload_hash,
            )  # fmt: skip
            self._add_row(row_hash, (
                position, stream.stream_id, version, self._type(application, topic), 1, self.now,
                self.now, None, None, None, None, state, payload_hash,
            ))  # fmt: skip
            newest = Stream(stream.stream_id, max(stream.version, version))
            self._set(self._known.streams, (application, name), newest)
            positions.append(position)
        return positions

    # -- numbers of names, and keys ---------------------------------------------------------------

    def _stream(self, application: str, name: str) -> Stream:
        key = (application, name)
        found = self._known.streams.get(key)
        if found is None:
            row = self.connection.execute(SQL["find_stream"], key).fetchone()
            if row is not None:
                found = Stream(*row)
            else:
                self._head = self._head._replace(stream_id=self._head.stream_id + 1)
                found = Stream(self._head.stream_id, 0)
                self._born.add(found.stream_id)
                self._rows["insert_stream"].append((found.stream_id, *key))
            self._learn(self._known.streams, key, name, found)
        return found

    def _type(self, application: str, name: str) -> int:
        key = (application, name)
        found = self._known.types.get(key)
        if found is None:
            found = self.connection.execute(SQL["find_type"], key).get
            if found is None:
                self._head = self._head._replace(type_id=self._head.type_id + 1)
                found = self._head.type_id
                self._rows["insert_type"].append((found, *key))
            self._learn(self._known.types, key, name, found)
        return found

    def _source(self, name: str) -> int:
        found = self._known.sources.get(name)
        if found is None:
            found = self.connection.execute(SQL["find_source"], (name,)).get
            if found is None:
                self._head = self._head._replace(source_id=self._head.source_id + 1)
                found = self._head.source_id
                self._rows["insert_source"].append((found, name))
            self._learn(self._known.sources, name, name, found)
        return found

    def _recorded(self, stream_id: int, key: bytes) -> Recorded | None:
        found = self._keys.get((stream_id, key))
        if found is None and stream_id not in self._born:
            row = self.connection.execute(SQL["find_key"], (stream_id, key)).fetchone()
            found = None if row is None else Recorded(*row)
        return found

    # -- dead letters and offsets -----------------------------------------------------------------

    def _dead_letter(self, letter: DeadLetter) -> None:
        kept = letter.raw if letter.kept is None else letter.kept
        unique = sha256(letter.format.encode() + b"\0" + letter.raw).digest()
        self._rows["insert_dead_letter"].append((
            unique, letter.format, letter.origin, letter.reason, letter.detail,
            kept[:KEPT_BYTES_MAX], len(letter.raw), sha256(letter.raw).digest(), self.now, self.now,
        ))  # fmt: skip

    def _follow(self, follow: Follow) -> bool:
        """Note the offset; return whether this stretch was recorded before."""
        stored = self._offsets.get(follow.name)
        if stored is None:
            stored = self.connection.execute(SQL["find_offset"], (follow.name,)).get or 0
        if follow.end <= stored:
            return True
        self._set(self._offsets, follow.name, follow.end)
        self._rows["set_offset"].append((follow.name, follow.end, self.now))
        return False
