"""How far workflows are followed, for Prometheus; looked up when a scraper asks."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from daemon.metrics import gauge
from daemon.workflows.follower import Follower


class FollowerCollector(Collector):
    """What is looked up about who follows workflows."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def describe(self) -> list[Metric]:
        """Return nothing: the families are known when they are asked for."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        yield gauge(
            "workflows_position",
            "Up to where it is concluded what follows from workflows.",
            self._follower.position,
        )
        yield gauge(
            "workflows_waits_for_views",
            "Whether the next conclusion waits until the views have caught up.",
            float(self._follower.waits_for_views),
        )
