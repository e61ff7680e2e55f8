"""How the housekeeping goes, for Prometheus; looked up when a scraper asks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from daemon.maintenance.board import SECONDS
from daemon.maintenance.runs import Result
from daemon.maintenance.scheduler import Scheduler
from daemon.metrics import PREFIX, family
from domain.timestamps import MICROSECONDS


class MaintenanceCollector(Collector):
    """What is looked up about the tasks; the labels are their names and how runs can end."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def describe(self) -> list[Metric]:
        """Return nothing: the families are known when they are asked for."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        succeeded = family(
            "maintenance_last_success_timestamp_seconds",
            "When a run of a maintenance task ended well last.",
            "task",
        )
        due = family(
            "maintenance_next_timestamp_seconds", "When a maintenance task runs next.", "task"
        )
        running = family("maintenance_running", "Whether a maintenance task runs now.", "task")
        failing = family(
            "maintenance_failing", "Whether the last run of a maintenance task failed.", "task"
        )
        runs = CounterMetricFamily(
            f"{PREFIX}maintenance_runs",
            "Runs of maintenance tasks since the start, by how they ended.",
            labels=("task", "outcome"),
        )
        for status in self._scheduler.statuses():
            if status.succeeded is not None:
                succeeded.add_metric([status.name], status.succeeded / MICROSECONDS)
            if status.next_turn is not None:
                due.add_metric([status.name], status.next_turn / MICROSECONDS)
            running.add_metric([status.name], float(status.running_since is not None))
            failing.add_metric([status.name], float(status.failing))
            for result in Result:
                runs.add_metric([status.name, result], status.outcomes.get(result, 0))
        yield from (succeeded, due, running, failing, runs, self._durations())

    def _durations(self) -> Metric:
        seconds = HistogramMetricFamily(
            f"{PREFIX}maintenance_duration_seconds",
            "How long runs of maintenance tasks take.",
            labels=("task",),
        )
        bounds = [*map(str, map(float, SECONDS)), "+Inf"]
        for name, series in self._scheduler.durations().items():
            buckets = list(zip(bounds, accumulate(series.counts), strict=True))
            seconds.add_metric([name], buckets, series.total)
        return seconds
