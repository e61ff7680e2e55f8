"""What was removed from the log, for Prometheus; looked up when a scraper asks."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from daemon.eventlog.truncation import PAGE_BYTES, Truncation
from daemon.metrics import counter, gauge


class TruncationCollector(Collector):
    """What is looked up about who removes events."""

    def __init__(self, truncation: Truncation) -> None:
        self._truncation = truncation

    def describe(self) -> list[Metric]:
        """Return nothing: the families are known when they are asked for."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        board = self._truncation.board
        yield counter("events_removed", "Events that were removed from the log.", board.events)
        yield counter(
            "reclaimed_bytes", "Bytes of the log that were given back.", board.pages * PAGE_BYTES
        )
        yield gauge("removals_pending", "Entities whose events are to be removed.", board.pending)
