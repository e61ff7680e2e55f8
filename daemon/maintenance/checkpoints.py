"""Empties the write-ahead logs in quiet times, and keeps the replay's checkpoints in bounds.

The writer moves its write-ahead log into the database when that is long; what is left of it stays
on the disk, with whatever was removed or redacted meanwhile. So it is cut to nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from daemon.emptying import empty_wal
from daemon.maintenance.task import Outcome
from daemon.replay.checkpoints import Checkpoints

WORTH_BYTES: Final = 1 << 20
"""A write-ahead log that was shorter is not counted: each run that is recorded adds to it."""


class CheckpointsTask:
    """The task ``checkpoints``; ``files`` are the databases, ``head`` the newest position."""

    name = "checkpoints"
    summary = "Empty the write-ahead logs, and keep the checkpoints of replays in bounds."

    def __init__(
        self, files: Mapping[str, Path], checkpoints: Checkpoints, head: Callable[[], int]
    ) -> None:
        self._files = files
        self._checkpoints = checkpoints
        self._head = head

    def run(self, now: int) -> Outcome:  # noqa: ARG002
        """Do both."""
        emptied = sum(_emptied(path) for path in self._files.values())
        before = len(self._checkpoints.list())
        self._checkpoints.thin(self._head())
        removed = before - len(self._checkpoints.list())
        return Outcome({"wal_bytes": emptied, "checkpoints": max(removed, 0)})


def _emptied(path: Path) -> int:
    """Empty the write-ahead log of a database; return by how much it is shorter, if it was long."""
    wal = path.with_name(f"{path.name}-wal")
    before = _size(wal)
    if before and path.exists():
        empty_wal(path)
    shorter = before - _size(wal)
    return shorter if shorter >= WORTH_BYTES else 0


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0
