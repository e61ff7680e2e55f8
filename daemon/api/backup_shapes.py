"""The shapes of the answers about the backup, and their examples; see `schemas`."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import AwareDatetime, Field

from daemon.api.schemas import Answer, Shape
from daemon.backup.documents import Lag, listing_document, status_document
from daemon.backup.status import BackupStatus, State

_NOW: Final = 1_770_185_567_000_000
_HEAD: Final = 1_240
_DAY: Final = 86_400_000_000


class BackupShape(Answer):
    """How the backup stands."""

    state: Literal["off", "starting", "shipping", "unavailable", "refused"]
    url: str | None
    detail: str | None = Field(description="Why shipping does not go on.")
    hint: str | None = Field(description="What to do about it.")
    epoch: int
    shipped: int = Field(description="Every event up to this position is in the store.")
    shipped_at: AwareDatetime | None = Field(description="When a segment was last stored.")
    reported_head: int = Field(description="The newest position that the store was told of.")
    lag_events: int | None = Field(description="Events not shipped; null without a backup.")
    lag_seconds: float | None = Field(description="How long the oldest of them waits.")
    behind_since: AwareDatetime | None
    snapshot_position: int | None = Field(description="Of the newest snapshot.")
    snapshot_at: AwareDatetime | None
    proved_position: int | None = Field(description="Of the newest snapshot that was proved.")
    proved_at: AwareDatetime | None
    snapshot_due: AwareDatetime | None = Field(description="When the next one is taken.")
    snapshots_missed: int = Field(description="How many in a row were due and failed.")
    forget_objects: int = Field(
        description="Objects that hold what was removed from the log since, or redacted."
    )
    forget_bytes: int
    forget_due: AwareDatetime | None = Field(description="When the first of them goes.")
    working: str | None = Field(description="What goes on beside shipping.")
    failures: dict[str, int] = Field(description="Since the start, by step.")
    bytes: dict[str, int] = Field(description="Stored since the start, by kind of object.")


class SnapshotShape(Shape):
    """One copy of the whole log in the store."""

    name: str = Field(description="The object, within the place.")
    epoch: int
    position: int = Field(description="Of the newest event in it.")
    digest: str = Field(description="Of the log's chain at that position.")
    taken: AwareDatetime
    bytes: int = Field(description="As it is stored: compressed.")
    raw_bytes: int = Field(description="As a file.")
    events: int
    db_schema: int = Field(alias="schema", description="The version of the log's tables.")
    release: str = Field(description="The release that took it.")
    sha256: str = Field(description="Of what is stored.")
    proved: AwareDatetime | None = Field(description="When it was last restored and verified.")
    proof: Literal["proved", "failed", "pending"]
    finding: str | None = Field(description="Of a failed proof: what was wrong.")


class SegmentsShape(Shape):
    """The events that were shipped as they came."""

    count: int
    bytes: int
    first: int | None = Field(description="The first position in them.")
    last: int | None = Field(description="The last one.")


class EpochShape(Shape):
    """One writer's stretch of the log."""

    epoch: int
    after: int = Field(description="Up to where the epoch before it counts.")
    first: int = Field(description="Its first position; those between are a declared gap.")
    reported_head: int = Field(description="The newest position that the one before reported.")
    began: AwareDatetime


class SnapshotsShape(Answer):
    """What there is at the place of the backup."""

    items: list[SnapshotShape]
    next: str | None = Field(description="Always null: all are listed.")
    url: str
    log_id: str
    epoch: int
    shipped: int = Field(description="Every event up to this position is in the store.")
    shipped_at: AwareDatetime
    reported_head: int = Field(description="The newest position that the store was told of.")
    writer: str = Field(description="The host that ships.")
    segments: SegmentsShape
    epochs: list[EpochShape]


def backup() -> dict[str, Any]:
    """Return how a backup stands that is one segment behind."""
    status = BackupStatus(
        State.SHIPPING,
        "gs://example-backup/prod",
        epoch=1,
        shipped=_HEAD - 3,
        shipped_at=_NOW - 4_000_000,
        reported_head=_HEAD,
        behind_since=_NOW - 2_500_000,
        snapshot_position=1_000,
        snapshot_at=_NOW - _DAY // 2,
        proved_position=1_000,
        proved_at=_NOW - _DAY // 2 + 9_000_000,
        snapshot_due=_NOW + _DAY // 2,
        failures={"segment": 1},
        bytes={"segment": 181_204, "snapshot": 52_112},
    )
    return {**status_document(status, Lag(3, 2.5)), "as_of": _HEAD}


def snapshots() -> dict[str, Any]:
    """Return what there is at a place."""
    snapshot = {
        "name": "snapshots/000001-00000000000000001000.db.zst",
        "epoch": 1,
        "position": 1_000,
        "digest": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
        "taken": "2026-02-03T18:12:47Z",
        "bytes": 52_112,
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "raw_bytes": 241_664,
        "schema_version": 1,
        "release": "0.1.0",
        "proof": "proved",
        "proved_at": "2026-02-03T18:12:56Z",
        "finding": "",
    }
    found = {
        "url": "gs://example-backup/prod",
        "log_id": "5b0c9a7b-e0c9-4f1d-8a4b-0a2f6e1d3c55",
        "epoch": 1,
        "shipped": _HEAD - 3,
        "shipped_at": "2026-02-04T06:12:43Z",
        "reported_head": _HEAD,
        "writer": "etl-1",
        "snapshots": [snapshot],
        "segments": {"count": 14, "bytes": 181_204, "first": 1, "last": _HEAD - 3},
        "epochs": [],
    }
    return listing_document(found, _HEAD)
