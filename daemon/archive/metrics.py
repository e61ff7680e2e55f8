"""What waits in the archive, for Prometheus; looked up when a scraper asks."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from daemon.archive.service import ArchiveService
from daemon.metrics import gauge


class ArchiveCollector(Collector):
    """What is looked up about who ends archives and purges."""

    def __init__(self, service: ArchiveService) -> None:
        self._service = service

    def describe(self) -> list[Metric]:
        """Return nothing: the families are known when they are asked for."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        yield gauge(
            "archive_waiting",
            "Archives and purges of jobs that could not be ended at the last look.",
            self._service.waiting,
        )
