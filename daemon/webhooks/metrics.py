"""How the webhooks stand, for Prometheus; looked up when a scraper asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from daemon.metrics import PREFIX, family
from daemon.webhooks.webhook import Webhook


class WebhookCollector(Collector):
    """What is looked up about webhooks; their names are those of the configuration."""

    def __init__(self, webhooks: Mapping[str, Webhook]) -> None:
        self._webhooks = webhooks

    def describe(self) -> list[Metric]:
        """Return nothing: the families are known when they are asked for."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        position = family("webhook_position", "Up to where a webhook was told.", "webhook")
        lag = family("webhook_lag_events", "Positions that are before it.", "webhook")
        dead = family("webhook_dead", "Whether it was given up.", "webhook")
        delivered = CounterMetricFamily(
            f"{PREFIX}webhook_delivered", "Events that it has taken.", labels=("webhook",)
        )
        failures = CounterMetricFamily(
            f"{PREFIX}webhook_failures", "Requests that it has not.", labels=("webhook",)
        )
        for name, webhook in self._webhooks.items():
            said = webhook.document()
            position.add_metric([name], said["position"])
            lag.add_metric([name], said["lag"])
            dead.add_metric([name], float(said["state"] == "dead"))
            delivered.add_metric([name], said["delivered"])
            failures.add_metric([name], said["failures"])
        yield from (position, lag, dead, delivered, failures)
