"""Prometheus metrics: what is counted on the way, and what is looked up when scraped.

Every label has a bounded set of values: never an id, a path or a name that a client chose. Each
`Metrics` has a registry of its own, so that two daemons in one process do not share counts.

Of each request two durations are observed, and the library's histograms take longer for that than
all the rest of an answer. So they are kept here, and become its families when a scraper asks.
"""

from __future__ import annotations

import platform
import shutil
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import apsw
from prometheus_client import CollectorRegistry, Counter, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from daemon.eventlog.requests import Appended
from daemon.release import PROGRAM_VERSION
from daemon.replay.checkpoints import FOLDER
from domain.errors import ChronicledError

if TYPE_CHECKING:
    from daemon.eventlog.log import EventLog
    from daemon.size.gate import Gate
    from projections.progress import Projector
    from projections.views import Views

PREFIX: Final = "chronicled_"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
EVENTS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)

RATE_SECONDS: Final = 300
"""How far back rates are kept (seconds)."""


class Metrics:
    """Everything this daemon counts: requests on the event loop, commits on the writer's thread."""

    def __init__(self, clock: Callable[[], int]) -> None:
        # The creation time of each series would double their number, and nobody charts it.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.rates = Rates(clock)
        self._appended = self._counter(
            "events_appended_total",
            "Events appended to the log, by the category of their type and the format they "
            "came in.",
            ("category", "source_kind"),
        )
        self._duplicates = self._counter(
            "events_duplicate_total", "Events that were in the log already."
        )
        self._rejected = self._counter(
            "events_rejected_total",
            "Faults of refused ingest requests, by error code.",
            ("reason",),
        )
        self._dead_letters = self._counter(
            "dead_letters_total",
            "Undecodable pieces of input put aside, by the format they were read as.",
            ("format",),
        )
        self._append_seconds = self._histogram(
            "append_duration_seconds",
            "From the start of an ingest request to the fsync of its events.",
            SECONDS,
        ).series()
        self._commit_events = self._histogram(
            "commit_events", "Events in one commit of the log.", EVENTS
        ).series()
        self._request_seconds = self._histogram(
            "http_request_duration_seconds",
            "From a request to its answer; for streams, to the answer's beginning.",
            SECONDS,
            ("route", "method", "status"),
        )
        self._requests: dict[tuple[str, str, int], Series] = {}

    def _counter(self, name: str, text: str, labels: Iterable[str] = ()) -> Counter:
        return Counter(PREFIX + name, text, tuple(labels), registry=self.registry)

    def _histogram(
        self, name: str, text: str, bounds: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        histogram = Histogram(PREFIX + name, text, bounds, labels)
        self.registry.register(histogram)
        return histogram

    def appended(self, appends: Iterable[tuple[Appended, str, float]]) -> None:
        """Count what the requests of a commit recorded, what was there already and put aside.

        With each request comes the format it was in, and the seconds from it to the fsync.
        """
        tally: dict[tuple[str, str], int] = {}
        for appended, source_kind, seconds in appends:
            self._append_seconds.observe(seconds)
            self._tally(tally, appended, source_kind)
        self._count(tally)

    def recorded(self, appended: Appended, source_kind: str) -> None:
        """Count what came by another way than a request; from any thread."""
        tally: dict[tuple[str, str], int] = {}
        self._tally(tally, appended, source_kind)
        self._count(tally)

    def _tally(
        self, tally: dict[tuple[str, str], int], appended: Appended, source_kind: str
    ) -> None:
        for receipt in appended.receipts:
            category = "" if receipt.duplicate else receipt.stream.partition("/")[0]
            key = (category, source_kind)
            tally[key] = tally.get(key, 0) + 1
        if appended.dead_letters:
            self._dead_letters.labels(source_kind).inc(appended.dead_letters)

    def _count(self, tally: Mapping[tuple[str, str], int]) -> None:
        for (category, source_kind), count in tally.items():
            if category:
                self._appended.labels(category, source_kind).inc(count)
            else:
                self._duplicates.inc(count)

    def rejected(self, error: ChronicledError) -> None:
        """Count the faults of a refused ingest request; one where none is named."""
        self._rejected.labels(error.code).inc(max(len(error.errors), 1))

    def committed(self, events: int) -> None:
        """Observe a commit of the log; called on the writer's thread."""
        self._commit_events.observe(events)
        self.rates.add(events)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Observe an HTTP request."""
        key = (route, method if method in METHODS else "other", status)
        series = self._requests.get(key)
        if series is None:
            series = self._requests[key] = self._request_seconds.series(*map(str, key))
        series.observe(seconds)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return the text and content type for a scraper: OpenMetrics if it accepts that."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self.registry), content_type


class Series:
    """The observations of one set of labels: how many fell into each bucket, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Histogram(Collector):
    """A histogram as the library shows it, but each series is observed on one thread alone."""

    def __init__(
        self, name: str, text: str, bounds: Sequence[float], labels: Sequence[str] = ()
    ) -> None:
        self._name, self._text, self._bounds, self._labels = name, text, bounds, labels
        self._series: dict[tuple[str, ...], Series] = {}

    def series(self, *labels: str) -> Series:
        """Return where the values with these labels are counted."""
        return self._series.setdefault(labels, Series(self._bounds))

    def describe(self) -> list[Metric]:
        """Return the family without its samples."""
        return [HistogramMetricFamily(self._name, self._text, labels=self._labels)]

    def collect(self) -> Iterator[Metric]:
        """Yield the family."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        bounds = [*map(str, map(float, self._bounds)), "+Inf"]
        for labels, series in list(self._series.items()):
            buckets = list(zip(bounds, accumulate(series.counts), strict=True))
            family.add_metric(labels, buckets, series.total)
        yield family


class Rates:
    """Events per second over the last seconds and minutes; one number a second is kept."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds: deque[tuple[int, int]] = deque(maxlen=RATE_SECONDS)

    def add(self, events: int) -> None:
        """Count events of this second."""
        second = self._clock() // 1_000_000
        with self._lock:
            if self._seconds and self._seconds[-1][0] == second:
                events += self._seconds.pop()[1]
            self._seconds.append((second, events))

    def per_second(self, seconds: int) -> float:
        """Return the mean rate of the last ``seconds`` (at most `RATE_SECONDS`)."""
        start = self._clock() // 1_000_000 - seconds
        with self._lock:
            return sum(events for second, events in self._seconds if second > start) / seconds


class StateCollector(Collector):
    """Gauges that are looked up when a scraper asks: the log, the projections, the disk."""

    def __init__(
        self,
        log: EventLog,
        views: Views,
        runner: Projector,
        files: Mapping[str, Path],
        gate: Gate,
    ) -> None:
        self._log = log
        self._views = views
        self._runner = runner
        self._files = files
        self._gate = gate

    def describe(self) -> list[Metric]:
        """Return nothing: asking at registration would read files before they are there."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        writer = self._log.writer
        yield gauge("writer_queue_events", "Events that wait for the writer.", writer.queued_events)
        yield gauge(
            "writer_queue_capacity_events",
            "Events that may wait for the writer; beyond, requests get 503.",
            writer.bounds.queue_events,
        )
        yield gauge("log_position", "Position of the newest event.", self._log.head())
        yield gauge(
            "log_writable",
            "Whether the disk takes events; 0 while it refuses.",
            int(self._log.health.ok and not self._gate.shut),
        )
        yield from self._projections()
        yield from self._sizes()
        yield self._jobs()
        yield _build()

    def _projections(self) -> Iterator[Metric]:
        position = family("projection_position", "How far a projection is.", "projection")
        processed = family(
            "projection_last_processed_timestamp_seconds",
            "When the last event that a projection processed was recorded.",
            "projection",
        )
        failed = family(
            "projection_failed", "Whether a projection stands still on an error.", "projection"
        )
        built = family(
            "projection_build_position", "How far a build beside the tables is.", "projection"
        )
        for status in self._runner.status():
            position.add_metric([status.name], status.position)
            failed.add_metric([status.name], float(status.state == "failed"))
            if status.recordedtime is not None:
                processed.add_metric([status.name], status.recordedtime / 1_000_000)
            if status.built is not None:
                built.add_metric([status.name], status.built)
        yield from (position, processed, failed, built)

    def _sizes(self) -> Iterator[Metric]:
        database = family("database_size_bytes", "Size of a database file.", "database")
        wal = family("wal_size_bytes", "Size of a database's write-ahead log.", "database")
        sizes = database_sizes(self._files)
        for name, size in sizes.items():
            database.add_metric([name], size.database)
            wal.add_metric([name], size.wal)
        yield from (database, wal)
        yield gauge(
            "replay_size_bytes",
            "What the checkpoints and the moments asked for take on the disk.",
            folder_size(self._files["views"].parent / FOLDER),
        )
        free = disk_free(self._files.values())
        yield gauge("disk_free_bytes", "Free space on the disk of the data directory.", free)

    def _jobs(self) -> Metric:
        jobs = family("jobs", "Jobs by their present status.", "status")
        # Before the views are first built there is nothing to count.
        with suppress(ChronicledError):
            for status, count in self._views.job_counts().items():
                jobs.add_metric([status], count)
        return jobs


class Sizes(NamedTuple):
    """The sizes of a database file and its write-ahead log (bytes)."""

    database: int
    wal: int


def database_sizes(files: Mapping[str, Path]) -> dict[str, Sizes]:
    """Return the sizes of the databases; a file that is not there has none."""
    return {
        name: Sizes(_size(path), _size(path.with_name(f"{path.name}-wal")))
        for name, path in files.items()
    }


def folder_size(folder: Path) -> int:
    """Return what the files in a folder, and in folders in it, take (bytes)."""
    return sum(_size(path) for path in folder.rglob("*"))


def disk_free(files: Iterable[Path]) -> int:
    """Return the free bytes of the disk that holds the data directory."""
    for path in files:
        with suppress(OSError):
            return shutil.disk_usage(path.parent).free
    return 0


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def family(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    """Return a family of gauges, without samples."""
    return GaugeMetricFamily(PREFIX + name, text, labels=labels)


def gauge(name: str, text: str, value: float) -> Metric:
    """Return a gauge without labels."""
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def counter(name: str, text: str, value: float) -> Metric:
    """Return a counter without labels; its samples end in ``_total``."""
    return CounterMetricFamily(PREFIX + name, text, value=value)


def _build() -> Metric:
    build = family("build_info", "The running program; always 1.", "version", "python", "sqlite")
    versions = (PROGRAM_VERSION, platform.python_version(), apsw.sqlite_lib_version())
    build.add_metric(versions, 1)
    return build
