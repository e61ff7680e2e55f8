"""What the tests of projections stand on: a log in memory, and a small projection of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import apsw

from domain.epochs import LostStretch
from domain.events import RecordedEvent
from projections.paging import Page
from projections.runner import ProjectionRunner
from projections.seam import Batch
from projections.views import Views

SECOND = 1_000_000
START = 1_770_000_000 * SECOND
"""A moment of February 2026."""


class MemoryFeed:
    """A log in memory: a list of events with chained digests."""

    def __init__(self, log_id: str = "log-1", epoch: int = 1) -> None:
        self.log_id = log_id
        self.epoch = epoch
        self.lost: list[LostStretch] = []
        self.events: list[RecordedEvent] = []
        self.digests: list[bytes] = []
        self._versions: dict[str, int] = {}

    def add(
        self,
        event_type: str,
        subject: str,
        payload: Mapping[str, Any] | None = None,
        *,
        at: float | None = None,
        recorded: float | None = None,
        id: str | None = None,  # noqa: A002
        source: str = "/tests",
        **extensions: str,
    ) -> RecordedEvent:
        """Append an event; ``at`` and ``recorded`` are seconds after `START`."""
        position = self.events[-1].position + 1 if self.events else 1
        stream = f"{event_type.partition('.')[0]}/{subject}"
        self._versions[stream] = version = self._versions.get(stream, 0) + 1
        last = self.events[-1].recordedtime if self.events else START
        recordedtime = last + SECOND if recorded is None else START + int(recorded * SECOND)
        time = recordedtime if at is None else START + int(at * SECOND)
        data = json.dumps(payload or {}).encode()
        event = RecordedEvent(
            position, stream, version, event_type, time, recordedtime, source,
            id or f"e{position}", data, payload or {}, extensions,
        )  # fmt: skip
        self.append(event)
        return event

    def append(self, event: RecordedEvent) -> None:
        """Append an event as it is."""
        digest = blake2b((self.digests or [b""])[-1] + repr(event[:8]).encode(), digest_size=32)
        self.events.append(event)
        self.digests.append(digest.digest())

    def head(self) -> int:
        """Return the newest position."""
        return self.events[-1].position if self.events else 0

    def read(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        """Return up to ``limit`` events after a position."""
        if self.head() == len(self.events):
            return self.events[after : after + limit]
        return [event for event in self.events if event.position > after][:limit]

    def read_stream(
        self, stream: str, *, after_version: int = 0, upto: int | None = None, limit: int = 1000
    ) -> Sequence[RecordedEvent]:
        """Return up to ``limit`` events of one stream after a version, up to a position."""
        return [
            event
            for event in self.events
            if event.stream == stream
            and event.version > after_version
            and (upto is None or event.position <= upto)
        ][:limit]

    @property
    def streams(self) -> MemoryFeed:
        """The log as whole streams."""
        return self

    def last_stream(self) -> int:
        """Return how many streams there are."""
        return len(self._order())

    def read_streams(self, after: int, last: int, upto: int) -> Iterator[Sequence[RecordedEvent]]:
        """Yield the events of some streams, in pages of a few."""
        events = [
            event
            for stream in self._order()[after:last]
            for event in self.read_stream(stream, upto=upto, limit=len(self.events))
        ]
        for start in range(0, len(events), 3):
            yield events[start : start + 3]

    def _order(self) -> list[str]:
        return list(dict.fromkeys(event.stream for event in self.events))

    def lost_stretches(self) -> Sequence[LostStretch]:
        """Return what its epochs left empty."""
        return self.lost

    def digest_at(self, position: int) -> bytes | None:
        """Return the digest as of a position."""
        upto = position
        if self.head() != len(self.events):
            upto = sum(event.position <= position for event in self.events)
        return self.digests[upto - 1] if 0 < upto <= len(self.digests) else None


class WordCounts:
    """Counts events by the first letter of their job: enough to see what the runner does."""

    name = "words"
    types = frozenset({"job.submitted"})

    def __init__(self, name: str = "words", version: int = 1) -> None:
        self.name = name
        self.version = version
        self.poison: set[int] = set()
        """Positions at which it fails."""

    def schema(self, prefix: str) -> str:
        """Return a table and an index; later versions have a column more."""
        columns = "".join(f", column_{number} INTEGER" for number in range(2, self.version + 1))
        return f"""
            CREATE TABLE {prefix}{self.name}
                (word TEXT PRIMARY KEY, count INTEGER NOT NULL, first INTEGER{columns}) STRICT;
            CREATE INDEX {prefix}{self.name}_by_count ON {prefix}{self.name} (count);
        """

    def fold(self, db: apsw.Connection, prefix: str) -> WordCountsFold:
        """Return the fold over the tables with this prefix."""
        return WordCountsFold(self, db, f"{prefix}{self.name}")


class WordCountsFold:
    """Writes the counts, a row an event: it fails half-way where it is told to fail."""

    def __init__(self, projection: WordCounts, db: apsw.Connection, table: str) -> None:
        self._projection = projection
        self._db = db
        self._table = table
        self.forgotten = 0

    def apply(self, batch: Batch) -> None:
        """Count the events of a batch."""
        for event in batch.events:
            self._db.execute(
                f"INSERT INTO {self._table} (word, count, first) VALUES (?, 1, ?) "
                "ON CONFLICT (word) DO UPDATE SET count = count + 1",
                (event.subject[:1], batch.entities[event.stream]),
            )
            if event.position in self._projection.poison:
                raise ValueError(f"poison at {event.position}")

    def forget(self) -> None:
        """Count how often it was told to forget."""
        self.forgotten += 1


def rows(path: Path, table: str) -> list[tuple[Any, ...]]:
    """Return every row of a table, in order, by a connection of its own."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return sorted(db.execute(f"SELECT * FROM {table}").fetchall(), key=repr)
    finally:
        db.close()


def table_names(path: Path) -> set[str]:
    """Return the names of all tables of a file."""
    return {row[0] for row in rows(path, "(SELECT name FROM pragma_table_list)")}


def built(path: Path, feed: MemoryFeed, **options: Any) -> None:
    """Bring the views at a path up to a feed, and close them."""
    runner = ProjectionRunner(path, feed, **options)
    try:
        runner.catch_up()
    finally:
        runner.close()


def steps(runner: ProjectionRunner, count: int) -> None:
    """Do a number of steps."""
    for _ in range(count):
        runner.step(0)


def submitted(feed: MemoryFeed, subjects: Iterable[str]) -> None:
    """Append one job.submitted a subject."""
    for subject in subjects:
        feed.add("job.submitted", subject)


@contextmanager
def views_of(folder: Path, feed: MemoryFeed) -> Iterator[Views]:
    """Build the views of a feed in a folder and lend a reader of them."""
    path = folder / "views.db"
    built(path, feed)
    views = Views(path)
    try:
        yield views
    finally:
        views.close()


def everything(read: Callable[[str | None], Page]) -> list[dict[str, Any]]:
    """Return the items of all pages of a list, and see that the pages end."""
    page = read(None)
    items = list(page.items)
    for _ in range(1000):
        if page.next is None:
            return items
        page = read(page.next)
        assert page.items
        items += page.items
    raise AssertionError("the pages do not end")


def plans(db: apsw.Connection, query: Callable[[apsw.Connection], Any]) -> list[str]:
    """Run a query and return the plan of every statement it executes, a line a statement."""
    executed: list[tuple[str, Any]] = []

    def trace(cursor: apsw.Cursor, sql: str, bindings: Any) -> bool:
        executed.append((sql, bindings))
        return True

    db.exec_trace = trace
    try:
        query(db)
    finally:
        db.exec_trace = None
    return [
        "; ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", bindings))
        for sql, bindings in executed
    ]


def dump(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every live table, by table."""
    db = apsw.Connection(str(path))
    try:
        tables = ["entities"]
        for row in db.execute("SELECT tables FROM projections WHERE live"):
            tables += row[0].split()
        found = {}
        for table in sorted(tables):
            key = "rowid, *" if table == "search" else "*"
            found[table] = sorted(db.execute(f"SELECT {key} FROM {table}").fetchall(), key=repr)
        db.execute("INSERT INTO search (search, rank) VALUES ('integrity-check', 1)")
        return found
    finally:
        db.close()
