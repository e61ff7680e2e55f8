"""How the backup stands, for Prometheus; looked up when a scraper asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from daemon.backup.documents import Lag
from daemon.backup.status import BackupStatus, State
from daemon.metrics import PREFIX, family, gauge

if TYPE_CHECKING:
    from daemon.eventlog.log import EventLog
    from daemon.lifecycle import Clock

STEPS: Final = ("segment", "manifest", "copy", "upload", "proof", "prune", "merge", "process")
"""The steps of a backup that can fail: each is a series from the start, so that rates are seen."""
KINDS: Final = ("segment", "snapshot")
"""The kinds of objects that are stored."""


class BackupCollector(Collector):
    """What is looked up about the backup when a scraper asks."""

    def __init__(self, log: EventLog, status: Callable[[], BackupStatus], clock: Clock) -> None:
        self._log = log
        self._status = status
        self._clock = clock

    def describe(self) -> list[Metric]:
        """Return nothing: the families are known when they are asked for."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        status = self._status()
        yield gauge(
            "backup_configured",
            "Whether there is a backup at all.",
            int(status.state is not State.OFF),
        )
        yield gauge(
            "backup_shipping",
            "Whether the log is being shipped; 0 while the store is away or refuses.",
            int(status.state is State.SHIPPING),
        )
        yield gauge(
            "backup_position", "Every event up to this position is in the store.", status.shipped
        )
        yield from self._lag(status)
        yield from _times(status)
        yield gauge(
            "snapshots_missed",
            "Snapshots that were due and failed.",
            float(status.snapshots_missed),
        )
        yield _counter(
            "snapshot_failures",
            "Failed backups, by the step that failed.",
            "step",
            {**dict.fromkeys(STEPS, 0), **status.failures},
        )
        yield _counter(
            "backup_stored_bytes",
            "Bytes stored, by the kind of object.",
            "kind",
            {**dict.fromkeys(KINDS, 0), **status.bytes},
        )

    def _lag(self, status: BackupStatus) -> Iterator[Metric]:
        events = family("backup_lag_events", "Events that are not in the store yet.")
        seconds = family("backup_lag_seconds", "How long the oldest of them waits.")
        lag = Lag.of(status, self._log, self._clock())
        if lag is not None:
            events.add_metric((), lag.events)
            seconds.add_metric((), lag.seconds)
        yield from (events, seconds)


def _times(status: BackupStatus) -> Iterator[Metric]:
    for name, text, when in (
        ("backup_last_success", "When a segment was last stored", status.shipped_at),
        ("snapshot_last_success", "When a snapshot was last stored", status.snapshot_at),
        (
            "snapshot_last_proved",
            "When a snapshot was last proved by restoring it",
            status.proved_at,
        ),
    ):
        yield gauge(f"{name}_timestamp_seconds", f"{text}; 0 = never.", (when or 0) / 1_000_000)


def _counter(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    counter = CounterMetricFamily(PREFIX + name, text, labels=(label,))
    for value, count in counts.items():
        counter.add_metric((value,), count)
    return counter
