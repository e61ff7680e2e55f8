"""Reading the log: pages by position, one stream, filtered listings, dead letters, offsets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from typing import Any, Final

import apsw
import orjson

from daemon.eventlog.connection import ReadPool
from daemon.eventlog.deadletters import (
    EVERY_LETTER,
    KeptLetter,
    LetterFilter,
    find_letter,
    letters_after,
)
from daemon.eventlog.epochs import lost_stretches
from daemon.eventlog.requests import EventPage, EventQuery, Followed
from daemon.eventlog.statements import SQL
from daemon.eventlog.transaction import NAME_LENGTH_MAX
from daemon.release import PROGRAM_VERSION, release_order
from domain.catalog import event_types, upcast
from domain.epochs import LostStretch, stream_of
from domain.errors import NewerEvent, UnreadableEvent
from domain.events import ExtensionValue, RecordedEvent
from domain.suggest import shorten

SCAN_POSITIONS: Final = 20_000
"""How many positions one filtered page looks at, at the most: some milliseconds of them."""
NAMES_MAX: Final = 100_000
"""How many types and sources are remembered, each."""
PAGE_BYTES: Final = 8 * 1024 * 1024
"""A page ends early once its payloads have this many bytes; decoded they take many times that."""
PAGE_EVENTS: Final = 20_000
"""How many events a page of whole streams has, at the most."""
EXTENSIONS_MAX: Final = 10_000
"""How many decoded extensions are remembered."""
EXTENSIONS_LENGTH_MAX: Final = 256
"""Longer ones are decoded each time."""

# Where these stand in a row of an event.
_POSITION, _VERSION, _TYPE, _CLASS_VERSION = 0, 2, 3, 10
_loads: Final = orjson.loads
_tuple: Final = tuple.__new__


class Reader:
    """Answers from the committed log; any number of threads may ask at once.

    `read` and `read_stream` give events in the form that this program knows. An event that has
    none ends a page, and one that begins with it is an error; listings show it as it is stored.
    With ``skip_unknown`` the events of newer releases are left out.
    """

    def __init__(self, pool: ReadPool, *, skip_unknown: bool = False) -> None:
        self._pool = pool
        self._skip_unknown = skip_unknown
        self._class_versions = {each.name: each.class_version for each in event_types()}
        self._types: dict[int, str] = {}
        self._sources: dict[int, str] = {}
        self._extensions: dict[str | None, Mapping[str, ExtensionValue]] = {None: {}}
        self._lost: tuple[int | None, tuple[LostStretch, ...]] = (None, ())

    def head(self) -> int:
        """Return the newest position in the file, 0 when it holds none."""
        with self._pool.connection() as db:
            newest = db.execute(SQL["newest_event"]).fetchone()
            return newest[0] if newest else 0

    def read(self, after: int, limit: int) -> list[RecordedEvent]:
        """Return up to `limit` of the daemon's own events after a position, oldest first.

        Large events make fewer of them (`PAGE_BYTES`); none means that there are no more.

        Raises:
            NewerEvent: the next event is one of a newer release.
            UnreadableEvent: the next event cannot be lifted to its present class version.

        """
        with self._pool.connection() as db:

            def page(at: int) -> Iterable[Any]:
                return db.execute(SQL["events_after"], (at, limit))

            return self._page(db, page, after, _POSITION, limit)

    def read_stream(
        self, stream: str, *, after_version: int = 0, upto: int | None = None, limit: int = 1000
    ) -> list[RecordedEvent]:
        """Return events of one stream after a version, up to and with position `upto`.

        Large events make fewer than `limit` of them; none means that there are no more.

        Raises:
            NewerEvent, UnreadableEvent: the next event, as for `read`.

        """
        upto = 2**62 if upto is None else upto
        with self._pool.connection() as db:

            def page(at: int) -> Iterable[Any]:
                return db.execute(SQL["events_of_stream"], (stream, at, upto, limit))

            return self._page(db, page, after_version, _VERSION, limit)

    def streams_met(
        self, category: str, after: int, upto: int, since: int, limit: int
    ) -> list[tuple[int, str]]:
        """Return streams of a category by their first event after position ``since``.

        Only events after ``after`` and up to ``upto`` are looked at: (position, stream), in order.
        """
        with self._pool.connection() as db:
            asked = (after, upto, since, f"{category}/", limit)
            return list(db.execute(SQL["streams_met"], asked))

    def streams_of(self, category: str) -> list[str]:
        """Return every stream of a category, by name; for categories that have few."""
        with self._pool.connection() as db:
            rows = db.execute(SQL["streams_of"], (f"{category}/", f"{category}0"))
            return [name for (name,) in rows]

    def find_ids(
        self, ids: Iterable[str], after: int, before: int, limit: int
    ) -> list[tuple[int, str, str]]:
        """Return (position, stream, id) of the events with these ids, the newest first.

        It looks at every position between the two bounds, which are exclusive.
        """
        asked = (after, before, orjson.dumps(list(ids)).decode(), limit)
        with self._pool.connection() as db:
            return list(db.execute(SQL["find_ids"], asked))

    @property
    def streams(self) -> Reader:
        """The log as whole streams."""
        return self

    def last_stream(self) -> int:
        """Return the greatest number of a stream, 0 when there is none."""
        with self._pool.connection() as db:
            return db.execute(SQL["last_stream"]).get or 0

    def read_streams(self, after: int, last: int, upto: int) -> Iterator[list[RecordedEvent]]:
        """Yield the events of the streams after one up to another, stream by stream, in pages.

        What is read is one snapshot, which is held until the last page is taken.
        """
        with self._pool.connection() as db:
            rows = db.execute(SQL["events_of_streams"], (after, last, upto))
            try:
                while events := self._events(db, islice(rows, PAGE_EVENTS))[0]:
                    yield events
            finally:
                rows.close()

    def select(self, query: EventQuery, limit: int, bytes_max: int = PAGE_BYTES) -> EventPage:
        """Return one page of the events that match a query; large ones make a shorter page.

        A page looks at `SCAN_POSITIONS` positions at the most; what it did not reach is reached
        from ``next_after``. A query by stream goes by the stream's index instead.
        """
        with self._pool.snapshot() as db:
            newest = db.execute(SQL["newest_event"]).fetchone()
            head = newest[0] if newest else 0
            low = query.after or 0
            high = head + 1 if query.before is None else min(query.before, head + 1)
            following = None
            if query.stream is None:
                low, high, following = _stretch(db, low, high, descending=query.descending)
            found = db.execute(*_listing(query, low, high, limit + 1))
            with closing(found):
                events, whole = self._events(db, found, bytes_max, as_stored=True)
        if len(events) > limit or not whole:
            events = events[:limit]
            following = events[-1].position
        return EventPage(events, following, head)

    def lost_stretches(self) -> tuple[LostStretch, ...]:
        """Return the stretches of positions that epochs left empty, the oldest first."""
        with self._pool.connection() as db:
            return self._lost_stretches(db)

    def _lost_stretches(self, db: apsw.Connection) -> tuple[LostStretch, ...]:
        """Return them as they were read when the log's own stream last grew."""
        log_id = db.execute(SQL["find_meta"], ("log_id",)).get
        found: Any = db.execute(SQL["find_stream"], ("", stream_of(log_id))).fetchone()
        version = found[1] if found else 0
        if self._lost[0] != version:
            self._lost = (version, lost_stretches(db, log_id))
        return self._lost[1]

    def epoch_at(self, position: int) -> int:
        """Return the epoch that the log was in at a position."""
        with self._pool.connection() as db:
            begun = self._lost_stretches(db)
            present: int = db.execute(SQL["find_meta"], ("epoch",)).get
        epochs = [each.epoch for each in begun if each.resumed <= position]
        if epochs or not begun:
            return epochs[-1] if epochs else present
        return max(begun[0].epoch - 1, 1)

    def removed_upto(self, stream: str) -> int:
        """Return up to which version the events of a stream are removed or are to be, else 0."""
        with self._pool.connection() as db:
            return db.execute(SQL["removed_upto"], (stream,)).get or 0

    def removed_runs(self, first: int, last: int) -> list[tuple[int, int, bytes]]:
        """Return the stretches without events that reach into some positions.

        Each is its first and its last position, and the digest of the chain at the last.
        """
        with self._pool.connection() as db:
            return list(db.execute(SQL["runs_between"], (first, last)))

    def position_after(self, position: int) -> int | None:
        """Return the position of the next event, None where there is none."""
        with self._pool.connection() as db:
            following: int | None = db.execute(SQL["position_after"], (position,)).get
            return following

    def position_upto(self, position: int) -> int:
        """Return the position of the newest event up to one, 0 where there is none."""
        with self._pool.connection() as db:
            return db.execute(SQL["position_upto"], (position,)).get or 0

    def first_position(self) -> int:
        """Return the oldest position that is kept, 0 when the log holds no event."""
        with self._pool.connection() as db:
            return db.execute(SQL["oldest_event"]).get or 0

    def recorded_at(self, position: int) -> int | None:
        """Return when the newest event up to a position was recorded, None before the first."""
        with self._pool.connection() as db:
            recorded: int | None = db.execute(SQL["recorded_before"], (position,)).get
            return recorded

    def position_at(self, moment: int) -> int:
        """Return the last position recorded at or before a moment, 0 when there is none.

        `recordedtime` never decreases along the log, so a binary search finds it.
        """
        with self._pool.snapshot() as db:
            newest = db.execute(SQL["newest_event"]).fetchone()
            low, high = 0, newest[0] if newest else 0
            while low < high:
                middle = (low + high + 1) // 2
                recorded = db.execute(SQL["recorded_at"], (middle,)).get
                if recorded is not None and recorded <= moment:
                    low = middle
                else:
                    high = middle - 1
            return low

    def digest_at(self, position: int) -> bytes | None:
        """Return the log's digest as of a position, None before its first kept event."""
        with self._pool.connection() as db:
            digest: bytes | None = db.execute(SQL["digest_at"], (position,)).get
            return digest

    def follow_offset(self, name: str) -> int:
        """Return how far a followed file or pipe was read, 0 when it is not known."""
        with self._pool.connection() as db:
            return db.execute(SQL["find_offset"], (name,)).get or 0

    def follow_offsets(self, prefix: str, after: str = "", limit: int = 100) -> list[Followed]:
        """Return how far each file was read whose name starts so, by name, after a name."""
        with self._pool.connection() as db:
            return [
                Followed(*row) for row in db.execute(SQL["list_offsets"], (prefix, after, limit))
            ]

    def list_dead_letters(
        self, after: int, limit: int, wanted: LetterFilter = EVERY_LETTER
    ) -> list[KeptLetter]:
        """Return dead letters after an id, oldest first.

        Large ones make fewer than `limit` of them; none means that there are no more.
        """
        with self._pool.connection() as db:
            return letters_after(db, after, wanted, limit, PAGE_BYTES)

    def dead_letter(self, letter_id: int) -> KeptLetter | None:
        """Return one dead letter, None where there is none of this id."""
        with self._pool.connection() as db:
            return find_letter(db, letter_id)

    def dead_letter_counts(self) -> dict[str, tuple[int, int]]:
        """Return, by format, how many dead letters there are and how often they came."""
        with self._pool.connection() as db:
            return {row[0]: (row[1], row[2]) for row in db.execute(SQL["count_dead_letters"])}

    def _events(
        self,
        db: apsw.Connection,
        rows: Iterable[Any],
        bytes_max: int = PAGE_BYTES,
        *,
        as_stored: bool = False,
    ) -> tuple[list[RecordedEvent], bool]:
        """Return the events of rows, and whether all of them; at least one, then to the bound."""
        types, sources, known = self._types, self._sources, self._extensions
        class_versions = self._class_versions
        events: list[RecordedEvent] = []
        size = 0
        # This is the dearest loop of all reading: what repeats is looked up, what is read once is
        # put straight into the tuple that an event is.
        for (position, stream, version, type_id, time, recordedtime, source_id, event_id, data,
             extensions, class_version) in rows:  # fmt: skip
            name = types.get(type_id) or self._name(db, types, "type", type_id)
            source = sources.get(source_id) or self._name(db, sources, "source", source_id)
            payload = _loads(data)
            if class_version != class_versions.get(name) and not as_stored:
                try:
                    payload = self._lifted(db, position, stream, name, class_version, payload)
                except UnreadableEvent:
                    if events:
                        return events, False
                    raise
            extra = known.get(extensions)
            if extra is None:
                extra = self._decoded(extensions)
            events.append(_tuple(RecordedEvent, (
                position, stream, version, name, time, recordedtime, source, event_id, data,
                payload, extra, class_version,
            )))  # fmt: skip
            size += len(data)
            if size >= bytes_max:
                return events, False
        return events, True

    def _page(
        self,
        db: apsw.Connection,
        page: Callable[[int], Iterable[Any]],
        after: int,
        place: int,
        limit: int,
    ) -> list[RecordedEvent]:
        """Return the events of a page; its statement ends here, however short the page is."""
        known = self._skip_unknown
        rows = islice(self._known(db, page, after, place), limit) if known else page(after)
        return self._events(db, rows)[0]

    def _known(
        self,
        db: apsw.Connection,
        page: Callable[[int], Iterable[Any]],
        after: int,
        place: int,
    ) -> Iterator[Any]:
        """Yield rows page after page, without those of newer releases."""
        last: int | None = after
        while last is not None:
            rows, last = page(last), None
            for row in rows:
                last = row[place]
                name = self._types.get(row[_TYPE]) or self._name(
                    db, self._types, "type", row[_TYPE]
                )
                if row[_CLASS_VERSION] <= self._class_versions.get(name, 0):
                    yield row

    def _lifted(
        self,
        db: apsw.Connection,
        position: int,
        stream: str,
        name: str,
        class_version: int,
        payload: Mapping[str, Any],
    ) -> Mapping[str, Any]:
        """Return a payload of another class version in the form that this program knows."""
        event = (
            f"event {position} ({shorten(name)}, class version {class_version}, stream "
            f"{shorten(stream)})"
        )
        if class_version > self._class_versions.get(name, 0):
            release = db.execute(SQL["find_meta"], ("release",)).get
            newer = release and release_order(release) > release_order(PROGRAM_VERSION)
            needed = f"release {release}" if newer else f"a release newer than {PROGRAM_VERSION}"
            raise NewerEvent(f"{event} needs {needed}", position=position)
        try:
            return upcast(name, class_version, payload)
        except Exception as error:
            raise UnreadableEvent(
                f"{event} cannot be lifted: {type(error).__name__}: {error}", position=position
            ) from error

    def _decoded(self, text: str) -> Mapping[str, ExtensionValue]:
        """Decode extensions; the events of one run have the same, so short ones are remembered."""
        extensions: Mapping[str, ExtensionValue] = orjson.loads(text) if text else {}
        if len(text) <= EXTENSIONS_LENGTH_MAX:
            if len(self._extensions) >= EXTENSIONS_MAX:
                self._extensions = {None: {}}
            self._extensions[text] = extensions
        return extensions

    @staticmethod
    def _name(db: apsw.Connection, names: dict[int, str], kind: str, number: int) -> str:
        """Look up the name of a type or source; both are few enough to remember many."""
        name: str = db.execute(f"SELECT name FROM {kind}s WHERE {kind}_id = ?", (number,)).get or ""
        if len(names) > NAMES_MAX:
            names.clear()
        if len(name) <= NAME_LENGTH_MAX:
            names[number] = name
        return name


def _stretch(
    db: apsw.Connection, low: int, high: int, *, descending: bool
) -> tuple[int, int, int | None]:
    """Return what one page looks at between two positions (exclusive), and where the next begins.

    A stretch begins and ends with an event: positions without one cost nothing, however many they
    are, and nobody is sent to one of them.
    """
    first: int | None = db.execute(SQL["position_after"], (low,)).get
    last: int = db.execute(SQL["position_upto"], (high - 1,)).get or 0
    if first is None or first > last:
        return low, low + 1, None
    if last - first < SCAN_POSITIONS:
        return first - 1, last + 1, None
    if descending:
        first = db.execute(SQL["position_after"], (last - SCAN_POSITIONS,)).get or first
        return first - 1, last + 1, first
    last = db.execute(SQL["position_upto"], (first - 1 + SCAN_POSITIONS,)).get or last
    return first - 1, last + 1, last


def _correlation(value: str | None) -> str | None:
    """Return a correlation id as it stands in stored extensions, with its name."""
    return None if value is None else orjson.dumps({"correlationid": value}).decode()[1:-1]


def _listing(
    query: EventQuery, low: int, high: int, limit: int
) -> tuple[str, tuple[str | int, ...]]:
    """Build the listing of the events between two positions (both exclusive)."""
    where = ["s.application = ''", "e.event_key IS NOT NULL", "e.position > ?", "e.position < ?"]
    parameters: list[str | int] = [low, high]
    if query.types:
        marks = ", ".join("?" * len(query.types))
        where.append(f"e.type_id IN (SELECT type_id FROM types WHERE name IN ({marks}))")
        parameters += query.types
    conditions = (
        (query.stream, "s.name = ?"),
        (query.source, "e.source_id = (SELECT source_id FROM sources WHERE name = ?)"),
        # Stored compact, quotes in texts escaped: this is the attribute and nothing else.
        (_correlation(query.correlation), "instr(e.extensions, ?)"),
        (query.since, "e.time >= ?"),
        (query.until, "e.time <= ?"),
    )
    for value, condition in conditions:
        if value is not None:
            where.append(condition)
            parameters.append(value)
    tables = "events e CROSS JOIN streams s ON s.stream_id = e.stream_id"
    order = "e.position"
    if query.stream is not None:
        tables = "streams s CROSS JOIN events e ON e.stream_id = s.stream_id"
        order = "e.version"
    direction = "DESC" if query.descending else "ASC"
    sql = (
        "SELECT e.position, s.name, e.version, e.type_id, e.time, e.recordedtime, e.source_id,"
        f" e.id, e.data, e.extensions, e.class_version FROM {tables}"
        f" WHERE {' AND '.join(where)} ORDER BY {order} {direction} LIMIT ?"
    )
    return sql, (*parameters, limit)
