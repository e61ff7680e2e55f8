"""The backup as JSON: the same documents by HTTP, by a daemon's operations and by the commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

from daemon.backup.status import BackupStatus, State
from domain.epochs import Positions
from domain.timestamps import format_timestamp

_TOLD: Final = (
    *("name", "epoch", "position", "digest", "taken", "bytes", "raw_bytes"),
    *("release", "sha256", "proof"),
)
_EPOCH: Final = ("epoch", "after", "first", "reported_head", "began")
_PLACE: Final = (
    *("url", "log_id", "epoch", "shipped", "shipped_at", "reported_head", "writer"),
    "segments",
)
"""What is told of a snapshot, of an epoch, and of the place, as the backup names it."""
_SECOND: Final = 1_000_000


class Lag(NamedTuple):
    """How far the store is behind the log: events, and the seconds that the oldest one waits."""

    events: int
    seconds: float

    @classmethod
    def of(cls, status: BackupStatus, log: Positions, now: int) -> Self | None:
        """Return how far it is behind a log; None where there is no backup that could be."""
        if status.state is State.OFF:
            return None
        since = status.behind_since
        seconds = 0.0 if since is None else max(now - since, 0) / _SECOND
        stretches = log.lost_stretches()
        lost = sum(each.length for each in stretches if each.complete_to >= status.shipped)
        return cls(max(log.head() - status.shipped - lost, 0), seconds)


def status_document(status: BackupStatus, lag: Lag | None) -> dict[str, Any]:
    """Return how the backup stands, and how far it is behind."""
    return {
        "state": status.state,
        "url": status.url or None,
        "detail": status.detail or None,
        "hint": status.hint or None,
        "epoch": status.epoch,
        "shipped": status.shipped,
        "shipped_at": _time(status.shipped_at),
        "reported_head": status.reported_head,
        "lag_events": None if lag is None else lag.events,
        "lag_seconds": None if lag is None else lag.seconds,
        "behind_since": _time(status.behind_since),
        "snapshot_position": status.snapshot_position,
        "snapshot_at": _time(status.snapshot_at),
        "proved_position": status.proved_position,
        "proved_at": _time(status.proved_at),
        "snapshot_due": _time(status.snapshot_due),
        "snapshots_missed": status.snapshots_missed,
        "forget_objects": status.forget_objects,
        "forget_bytes": status.forget_bytes,
        "forget_due": _time(status.forget_due),
        "working": status.working or None,
        "failures": dict(status.failures),
        "bytes": dict(status.bytes),
    }


def snapshot_document(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """Return a snapshot as it is told of."""
    document = {name: snapshot[name] for name in _TOLD}
    return document | {
        "schema": snapshot["schema_version"],
        "proved": snapshot["proved_at"],
        "finding": snapshot["finding"] or None,
    }


def result_document(result: Mapping[str, Any], field: str = "snapshot") -> dict[str, Any]:
    """Return what came of a piece of the backup's work; ``field`` has a snapshot, or none."""
    snapshot = result.get(field)
    if not isinstance(snapshot, Mapping):
        return dict(result)
    return {**result, field: snapshot_document(snapshot)}


def listing_document(found: Mapping[str, Any], as_of: int) -> dict[str, Any]:
    """Return what there is at the place: snapshots, the newest first; segments; epochs."""
    epochs = [{name: each[name] for name in _EPOCH} for each in found["epochs"]]
    items = [
        {**snapshot_document(each), "events": _events(each["position"], epochs)}
        for each in found["snapshots"]
    ]
    items.sort(key=lambda each: (each["epoch"], each["position"]), reverse=True)
    return {
        "items": items,
        "next": None,
        **{name: found[name] for name in _PLACE},
        "epochs": epochs,
        "as_of": as_of,
    }


def _events(position: int, epochs: Sequence[Mapping[str, Any]]) -> int:
    """Return how many events a log up to a position has: the gaps between epochs have none."""
    gaps = [each["first"] - 1 - each["after"] for each in epochs if each["first"] <= position]
    return position - int(sum(gaps))


def _time(moment: int | None) -> str | None:
    return None if moment is None else format_timestamp(moment)
