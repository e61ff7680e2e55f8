"""A backup that stands as a test says, in place of one that ships."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daemon.backup.errors import BackupError
from daemon.backup.status import BackupStatus, Kind, Progress, State

MOMENT = 1_770_185_567_000_000
TIME = "2026-02-04T06:12:47Z"
"""The same."""


class StandingBackup:
    """A `Backup` whose status, answers and errors are given."""

    def __init__(self, **status: Any) -> None:
        """Stand as the fields of a status say; shipping, where they do not say."""
        self.stands = BackupStatus(**{"state": State.SHIPPING, "url": "file:///b"} | status)
        self.error: BackupError | None = None
        self.asked: list[tuple[Kind, Mapping[str, Any]]] = []

    def status(self) -> BackupStatus:
        """Return how it stands."""
        return self.stands

    def perform(
        self, kind: Kind, arguments: Mapping[str, Any], progress: Progress
    ) -> dict[str, Any]:
        """Answer with what there is, or fail as told."""
        self.asked.append((kind, arguments))
        if self.error is not None:
            raise self.error
        progress(1, 2)
        if kind is Kind.LIST:
            return listing()
        if kind is Kind.PRUNE:
            return removal(dry_run=arguments["dry_run"])
        more = {"ok": True} if kind is Kind.PROVE else {"skipped": False}
        return {**more, "snapshot": snapshot(1, 10)}


def listing() -> dict[str, Any]:
    """Return what there is at a place with two epochs, as the backup says it."""
    return {
        "url": "file:///b",
        "log_id": "a-log",
        "epoch": 2,
        "shipped": 31,
        "shipped_at": TIME,
        "reported_head": 31,
        "writer": "host",
        "snapshots": [
            snapshot(1, 10),
            snapshot(2, 30, proved_at=None, proof="failed", finding="chain at position 3"),
        ],
        "segments": {"count": 3, "bytes": 999, "first": 1, "last": 31},
        "epochs": [
            {
                "epoch": 2,
                "after": 12,
                "first": 21,
                "letters": 0,
                "reported_head": 14,
                "began": TIME,
            }
        ],
    }


def removal(*, dry_run: bool) -> dict[str, Any]:
    """Return what pruning says."""
    names = [snapshot(1, 10)["name"]]
    return {"dry_run": dry_run, "snapshots": names, "strays": [], "bytes": 1_000}


def snapshot(epoch: int, position: int, **fields: Any) -> dict[str, Any]:
    """Return a snapshot as the backup describes it."""
    return {
        "name": f"snapshots/{epoch:06}-{position:020}.db.zst",
        "epoch": epoch,
        "position": position,
        "digest": "11" * 32,
        "taken": TIME,
        "bytes": 1_000,
        "sha256": "00" * 32,
        "raw_bytes": 4_000,
        "raw_sha256": "22" * 32,
        "schema_version": 1,
        "release": "0.1.0",
        "letters": 0,
        "proof": "proved",
        "proved_at": "2026-02-04T06:12:48Z",
        "finding": "",
    } | fields
