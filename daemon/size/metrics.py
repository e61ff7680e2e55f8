"""How much room there is and what takes it, for Prometheus; looked up when a scraper asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from daemon.metrics import PREFIX, family, gauge
from daemon.size.board import SizeBoard
from daemon.size.figures import Measured
from daemon.size.gate import Gate
from daemon.size.guard import Disk, DiskState


class SizeCollector(Collector):
    """What is looked up about sizes; labels are names of tables and categories of events."""

    def __init__(self, board: SizeBoard, gate: Gate) -> None:
        self._board = board
        self._gate = gate

    def describe(self) -> list[Metric]:
        """Return nothing: the families are known when they are asked for."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        with suppress(OSError):
            yield from _disk(self._board.disk())
        yield gauge(
            "intake_refused",
            "Whether new events are refused for want of room.",
            int(self._gate.shut),
        )
        yield CounterMetricFamily(
            f"{PREFIX}intake_refusals",
            "Requests and readings of sources refused for want of room.",
            value=self._gate.refusals,
        )
        if (measured := self._board.measured) is not None:
            yield from _measured(measured)
        rates = self._board.rates()
        if rates is not None:
            growth = family("growth_bytes_per_day", "By how much something grows each day.", "of")
            growth.add_metric(["log"], rates.log)
            growth.add_metric(["data"], rates.data)
            yield growth


def _disk(disk: Disk) -> Iterator[Metric]:
    yield gauge(
        "disk_low",
        "Whether the disk has less room than it should.",
        int(disk.state is not DiskState.OK),
    )
    lines = family("disk_line_bytes", "Free room below which something happens.", "line")
    lines.add_metric(["warn"], disk.lines.warn)
    lines.add_metric(["refuse"], disk.lines.refuse)
    yield lines
    yield gauge("disk_reserve_bytes", "Room that is held in reserve.", disk.reserve)


def _measured(measured: Measured) -> Iterator[Metric]:
    yield gauge(
        "size_measured_timestamp_seconds",
        "When the sizes were last measured.",
        measured.time / 1_000_000,
    )
    tables = family("table_size_bytes", "What a table takes with its indexes.", "database", "table")
    free = family("database_free_bytes", "What of a database file holds nothing.", "database")
    for name, database in measured.databases.items():
        free.add_metric([name], database.free)
        for table in database.tables:
            tables.add_metric([name, table.name], table.bytes)
    events = family("category_events", "Events of a category that are kept.", "category")
    stored = family("category_size_bytes", "What was stored of a category's events.", "category")
    for category in measured.categories:
        events.add_metric([category.name], category.events)
        stored.add_metric([category.name], category.bytes)
    yield from (tables, free, events, stored)
