"""One transaction of the log: dedup, versions, digests, and the rows about to be written.

What the writer knows of the log (newest position, digest, versions of streams, numbers of names) is
changed as a transaction goes and every change is journalled, so that a request that fails, or a
group whose commit fails, is undone without a trace.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple, cast

import apsw
import orjson

from daemon.eventlog import chain
from daemon.eventlog.known import Given, Head, Known, Mark, Place, Recorded, Removed, Row, Stream
from daemon.eventlog.redactions import is_redacted
from daemon.eventlog.refusals import conflict_of, misplaced
from daemon.eventlog.requests import KEPT_BYTES_MAX, Append, Appended, DeadLetter, Follow
from daemon.eventlog.statements import SQL
from domain.epochs import RESTORED, complete_to, stream_of
from domain.errors import VersionConflict
from domain.events import Receipt
from domain.historic import HistoricEvent
from domain.prepared import Prepared, prepare_all

NAME_LENGTH_MAX: Final = 512
"""Longer names are not remembered: a source may be as long as an event."""

_WRITE_ORDER: Final = (
    "insert_type",
    "insert_source",
    "insert_stream",
    "insert_dead_letter",
    "set_offset",
    "drop_offset",
    "insert_run",
)
"""What is written beside events."""

_EXPECTED: Final = 7
"""Where a prepared event says which version it expects."""

_new: Final = tuple.__new__
"""Makes a receipt in half the time that its own class takes."""


class Stored(NamedTuple):
    """An event of an `eventsourcing` application."""

    originator_id: str
    originator_version: int
    topic: str
    state: bytes


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

    def version_of(self, stream: str) -> int:
        """Return the version of one of the daemon's own streams, 0 where there is none."""
        known = self._known.streams.get(("", stream))
        if known is None:
            known = self.connection.execute(SQL["find_stream"], ("", stream)).fetchone()
        return known[1] if known else 0

    def stream_id(self, stream: str) -> int:
        """Return the number of one of the daemon's own streams; a new one gets one."""
        place = ("", stream)
        return (self._known.streams.get(place) or self._stream(place))[0]

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
        removed = self._known.removed
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
            # One that came behind a purge may be older than it, and is its own repeat all the same.
            if earlier is None and (self.careful or stream_id in removed):
                earlier = self._recorded(stream_id, key)
            if earlier is None and stream_id in removed:
                earlier = self._removed(stream_id, key, time, payload_hash, name)
            if earlier is not None:
                differs = earlier[2:] != (payload_hash, type_id) and (
                    earlier[3] != type_id or not is_redacted(self.connection, *earlier[::2])
                )
                receipts.append(Receipt(id_, earlier[0], stream, earlier[1], True, differs))
                continue
            if expected is not None and expected != version:
                raise conflict_of(index, stream, version, expected)
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

    def append_history(self, events: Sequence[HistoricEvent], log_id: str | None = None) -> None:
        """Append events to the places that they had; what fails half-way is the caller's to undo.

        With ``log_id`` they are the log's own: epochs leave positions empty, and so do removals,
        of which versions are missing too. Who does that looks at the structure afterwards.

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
            class_version, key, payload_hash, tail, stated, removed,
        ) in enumerate(events):  # fmt: skip
            place = ("", stream)
            known = streams.get(place) or self._stream(place)
            stream_id = known[0]
            if log_id and removed and removed[0] == before + 1 <= removed[1] < position:
                before, digest = removed[1:]
                self._others.append(("insert_run", removed))
            head = chain.row_head(position, version, class_version, time, f" {recordedtime} ")
            digest = sha256(digest + sha256(head + tail).digest()).digest()
            if position != before + 1 and not (
                name == RESTORED and log_id and stream == stream_of(log_id)
                and complete_to(data) == before < position
            ):  # fmt: skip
                raise misplaced(index, "position", f"is {position}, and should be {before + 1}")
            if version != known[1] + 1 and not (log_id and version > known[1]):
                raise misplaced(index, "version", f"is {version}, and should be {known[1] + 1}")
            if recordedtime < recorded:
                raise misplaced(index, "recordedtime", "is before that of the event before it")
            if stated is not None and stated != digest:
                raise misplaced(index, "logdigest", f"should be {digest.hex()}")
            if (stream_id, key) in keys or (self.careful and self._recorded(stream_id, key)):
                raise misplaced(index, "id", "is that of an earlier event of the stream")
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
            rows: Any = self.connection.execute(SQL["find_streams"], (names,)).fetchall()
            for name, stream_id, version, floor in rows:
                self._learn(streams, ("", name), name, (stream_id, version))
                self._learn_removed(stream_id, floor)
                unknown.remove(name)
            self._absent = unknown

    def _stream(self, place: tuple[str, str]) -> Stream:
        """Return a stream that is not remembered."""
        found: Stream | None = None
        if place[0] or place[1] not in self._absent:
            row: Any = self.connection.execute(SQL["find_stream"], place).fetchone()
            if row is not None:
                found = row[:2]
                self._learn_removed(row[0], row[2])
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

    # -- streams from which events were removed ---------------------------------------------------

    def _learn_removed(self, stream_id: int, floor: int) -> None:
        """Remember which purge a stream had last whose events were removed."""
        if not floor or stream_id in self._known.removed:
            return
        purge: Any = self.connection.execute(SQL["find_purge"], (stream_id,)).fetchone()
        self._set(self._known.removed, stream_id, Removed(*(purge or (0, floor, None))))

    def note_removed(self, stream_id: int, version: int) -> int:
        """Say that events of a stream go, up to a version; all of them are written.

        Returns the version of the purge that stands for some of them, 0 where none does.
        """
        before = self._known.removed.pop(stream_id, None)
        self._changes.append((self._known.removed, stream_id, before))
        self._learn_removed(stream_id, version)
        found = self._known.removed.get(stream_id)
        return 0 if found is None or found.until is None else found.version

    def forget_stream(self, stream: str) -> None:
        """Say that a stream may be gone: it is looked up again."""
        place = ("", stream)
        self._changes.append((self._known.streams, place, self._known.streams.pop(place, None)))

    def _removed(
        self, stream_id: int, key: bytes, time: int | None, payload_hash: bytes, type_name: str
    ) -> Recorded | None:
        """Return the place of an event that was removed, or of the purge that it is older than.

        What it said is not known any more: it counts as the same.
        """
        purge = self._known.removed[stream_id]
        found: Any = self.connection.execute(SQL["find_removed_key"], (stream_id, key)).fetchone()
        if found is None and purge.until is not None and time is not None:
            found = purge[:2] if time <= purge.until else None
        if found is None:
            return None
        return (*found, payload_hash, self._known.types.get(("", type_name)) or 0)

    # -- dead letters and offsets -----------------------------------------------------------------

    def _dead_letter(self, letter: DeadLetter) -> None:
        kept = letter.raw if letter.kept is None else letter.kept
        unique = sha256(letter.format.encode() + b"\0" + letter.raw).digest()
        self._others.append(("insert_dead_letter", (
            unique, letter.format, letter.origin, letter.reason, letter.detail,
            kept[:KEPT_BYTES_MAX], len(letter.raw), sha256(letter.raw).digest(), self.now, self.now,
        )))  # fmt: skip

    def follow_offset(self, name: str) -> int:
        """Return how far something was followed, this transaction's own part counted."""
        offset = self._offsets.get(name)
        if offset is None:
            offset = self.connection.execute(SQL["find_offset"], (name,)).get or 0
        return offset

    def holds(self, stream: str, type_: str) -> bool:
        """Return whether a stream has an event of a type, this transaction's own counted."""
        place, key = ("", stream), ("", type_)
        known = self._known.streams.get(place)
        if known is None:
            known = self.connection.execute(SQL["find_stream"], place).fetchone()
        type_id = self._known.types.get(key) or self.connection.execute(SQL["find_type"], key).get
        if known is None or type_id is None:
            return False
        if any(row[1] == known[0] and row[3] == type_id for row in self._events):
            return True
        return bool(self.connection.execute(SQL["holds_type"], (known[0], type_id)).get)

    def _follow(self, follow: Follow) -> bool:
        """Note the offset; return whether this stretch was recorded before."""
        if follow.end <= self.follow_offset(follow.name):
            return True
        self._set(self._offsets, follow.name, follow.end)
        self._others.append(("set_offset", (follow.name, follow.end, self.now)))
        if follow.replaces is not None and follow.replaces != follow.name:
            self.forget_follows([follow.replaces])
        return False

    def forget_follows(self, names: Iterable[str]) -> None:
        """Forget how far the files of these names were read."""
        for name in names:
            self._set(self._offsets, name, 0)
            self._others.append(("drop_offset", (name,)))
