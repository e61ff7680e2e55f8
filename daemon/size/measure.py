"""One measure of the databases, in slices: none takes long, and none holds the log back.

Each slice is one statement on a connection of the measure's own, so that the write-ahead logs can
be emptied between any two of them. What is recorded meanwhile is of the next measure.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw

from daemon.eventlog.connection import BUSY_TIMEOUT_MS, close, translate, wait_for_locks
from daemon.eventlog.epochs import lost_stretches
from daemon.size.figures import SAMPLES_MAX, Category, Database, Growth, Measured, Sample
from daemon.size.forecast import DAY
from daemon.size.trees import PAGES_MAX, SQL, Trees
from domain.catalog import category_of

WINDOWS: Final = (1, 7, 30)
"""Over how many last days the growth is told."""
SLICE_SECONDS: Final = 0.05
"""How long a slice should take: the next one holds more events, or fewer."""
_SLICE_EVENTS: Final = (500, 5_000, 100_000)
"""How many events a slice has: at least, at first, and at most."""

Progress = Callable[[int, int], None]
"""Hears how far it is, and of how much; what it raises ends the measure."""


class Files(NamedTuple):
    """What is measured: the log, the views, and the folder they are in."""

    log: Path
    views: Path

    @property
    def folder(self) -> Path:
        """The data directory."""
        return self.log.parent


@dataclass(slots=True)
class _Window:
    """What is younger than a moment."""

    days: int
    cutoff: int
    events: int = 0
    bytes: int = 0
    first: int | None = None
    recorded: int | None = None


@dataclass(slots=True)
class Measurement:
    """One measure; `run` does it."""

    files: Files
    now: int
    before: Measured | None
    progress: Progress
    rest: Callable[[float], None] = time.sleep
    """Waits as long as a slice took, so that a measure takes half of a disk's time at most."""
    pages_max: int = PAGES_MAX
    head: int = 0
    oldest: int | None = None
    _types: dict[int, tuple[int, int]] = field(default_factory=dict)
    _windows: list[_Window] = field(default_factory=list)

    def run(self, data_bytes: Callable[[], int]) -> Measured:
        """Measure everything; ``data_bytes`` returns what the whole data directory takes.

        Raises:
            StorageFailed, LogDamaged: a file cannot be read.

        """
        began = time.monotonic()
        with _opened(self.files.log) as log:
            self._drive(self._walk(log))
            categories = self._categories(log)
            growth = self._growth(log)
            rows = {"events": sum(events for events, _ in self._types.values())}
            databases = {"log": self._trees(log, self.files.log, rows)}
        if self.files.views.exists():
            with _opened(self.files.views) as views:
                databases["views"] = self._trees(views, self.files.views, {})
        return Measured(
            time=self.now,
            seconds=round(time.monotonic() - began, 3),
            head=self.head,
            since=self.oldest,
            databases=databases,
            categories=categories,
            growth=growth,
            samples=self._samples(databases["log"], data_bytes()),
        )

    def _drive(self, steps: Iterator[None]) -> None:
        while True:
            began = time.monotonic()
            if next(steps, steps) is steps:
                return
            self.rest(time.monotonic() - began)

    def _walk(self, log: apsw.Connection) -> Iterator[None]:
        """Go through the events, by types and by how young they are."""
        self.head = log.execute(SQL["head"]).get
        _, self.oldest = log.execute(SQL["oldest"]).fetchone() or (0, None)
        self._windows = [_Window(days, self.now - days * DAY) for days in WINDOWS]
        cutoffs = [window.cutoff for window in self._windows]
        position, (least, events, most) = 0, _SLICE_EVENTS
        while position < self.head:
            began = time.monotonic()
            rows: list[Any] = log.execute(SQL["slice"], (position, events, *cutoffs)).fetchall()
            if not rows:
                return
            position = max(row[3] for row in rows)
            for row in rows:
                self._add(row)
            self.progress(min(position, self.head), self.head)
            took = time.monotonic() - began
            events = max(least, min(most, int(events * min(2, SLICE_SECONDS / max(took, 0.001)))))
            yield

    def _add(self, row: tuple[int, ...]) -> None:
        events, size = self._types.get(row[0], (0, 0))
        self._types[row[0]] = (events + row[1], size + row[2])
        for number, window in enumerate(self._windows):
            count, stored, first, recorded = row[4 + 4 * number : 8 + 4 * number]
            window.events += count
            window.bytes += stored
            if count and (window.first is None or first < window.first):
                window.first, window.recorded = first, recorded

    def _categories(self, log: apsw.Connection) -> tuple[Category, ...]:
        found: dict[str, tuple[int, int]] = {}
        types: list[Any] = log.execute(SQL["types"]).fetchall()
        for type_id, application, name in types:
            if type_id in self._types:
                category = "other" if application else category_of(name)
                events, size = found.get(category, (0, 0))
                more, bytes_ = self._types[type_id]
                found[category] = (events + more, size + bytes_)
        named = [Category(name=name, events=n, bytes=size) for name, (n, size) in found.items()]
        return tuple(sorted(named, key=lambda each: (-each.bytes, each.name)))

    def _growth(self, log: apsw.Connection) -> tuple[Growth, ...]:
        """Return what was recorded per day; of what is gone again the number is known."""
        log_id = log.execute(SQL["log_id"]).get
        lost = [(each.complete_to + 1, each.resumed) for each in lost_stretches(log, log_id)]
        kept = sum(events for events, _ in self._types.values())
        return tuple(self._grown(window, lost, kept) for window in self._windows)

    def _grown(self, window: _Window, lost: list[tuple[int, int]], kept: int) -> Growth:
        if window.first is None or window.recorded is None or not window.events:
            return Growth(days=window.days, events=0, bytes=0)
        recorded = self.head - window.first + 1
        recorded -= sum(max(0, to - max(since, window.first)) for since, to in lost)
        recorded = max(recorded, window.events)
        span = float(window.days)
        if kept == window.events:
            # Nothing is older: it began within these days.
            span = min(span, max(1.0, (self.now - window.recorded) / DAY))
        size = window.bytes * recorded / window.events
        return Growth(days=window.days, events=recorded / span, bytes=size / span)

    def _trees(self, connection: apsw.Connection, path: Path, rows: dict[str, int]) -> Database:
        trees = Trees(connection, self.pages_max, rows)
        self._drive(self._told(trees.steps()))
        return trees.database(path.stat().st_size)

    def _told(self, steps: Iterator[None]) -> Iterator[None]:
        for _ in steps:
            self.progress(self.head, self.head)
            yield

    def _samples(self, log: Database, data: int) -> tuple[Sample, ...]:
        """Add this measure to those before it; a later one of a day takes the place of its last."""
        before = list(self.before.samples) if self.before else []
        before = [each for each in before if each.time < self.now]
        if len(before) > 1 and before[-1].time - before[-2].time < DAY * 0.9:
            before.pop()
        return (*before[1 - SAMPLES_MAX :], Sample(time=self.now, log=log.used, data=data))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[apsw.Connection]:
    """Lend a connection that only reads; SQLite's errors come out as ours."""
    connection: apsw.Connection | None = None
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        wait_for_locks(connection, str(path), BUSY_TIMEOUT_MS)
        yield connection
    except apsw.Error as error:
        raise translate(error) from error
    finally:
        if connection is not None:
            close(connection)


def room_by_name(folder: Path) -> Mapping[str, int]:
    """Return what each file and folder of a data directory takes (bytes), by its name."""
    found: dict[str, int] = {}
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                found[path.name] = sum(_size(each) for each in path.rglob("*"))
            else:
                found[path.name] = _size(path)
    return found


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.lstat().st_size
    return 0
