"""Proof: a snapshot is restored elsewhere, verified, and gives the views that people look at.

What is compared is a copy of the live views at some position, and a replay of the restored log up
to there: so the object, the segments after it, and the way back are proved together.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from daemon.backup.errors import BackupError, ObjectDamaged, ObjectMissing
from daemon.backup.manifest import Ledger, Snapshot
from daemon.backup.pace import Pace
from daemon.backup.restore import Restoring
from daemon.backup.snapshots import SHIP_SECONDS, Ship
from daemon.backup.status import Progress
from daemon.backup.store import ObjectStore
from daemon.eventlog.connection import translate
from daemon.lock import LOG_FILE, VIEWS_FILE
from daemon.replay.checkpoints import copy_views, whole_at
from daemon.replay.verify import verify
from daemon.storage_errors import as_storage_errors
from domain.errors import DiskFull, NotReady

FOLDER: Final = "proof"
"""The folder, in that of the backup, where a snapshot is restored."""
VIEWS_SECONDS: Final = 60.0
"""How long a proof waits for the views to get to a snapshot (seconds)."""
_LOOK_SECONDS: Final = 1.0
_SPARE_BYTES: Final = 256 << 20


class Prover:
    """Proves snapshots; ``views`` is the file of the live views."""

    def __init__(
        self,
        store: ObjectStore,
        ledger: Ledger,
        views: Path,
        folder: Path,
        ship: Ship,
        stopping: threading.Event,
        bytes_per_second: int,
        patience_seconds: float = VIEWS_SECONDS,
    ) -> None:
        """Work in ``folder``; ``patience_seconds`` are for views that are behind a snapshot."""
        self._store = store
        self._ledger = ledger
        self._views = views
        self._folder = folder / FOLDER
        self._ship = ship
        self._stopping = stopping
        self._bytes_per_second = bytes_per_second
        self._looks = round(patience_seconds / _LOOK_SECONDS)

    def prove(self, snapshot: Snapshot, now: Callable[[], int], progress: Progress) -> Snapshot:
        """Restore a snapshot and verify it; return it with what came of that.

        Raises:
            BackupError, DiskFull, StorageFailed: it could not be tried, which says nothing of it.

        """
        try:
            with as_storage_errors("what a proof takes", translate):
                finding = self._finding(snapshot, progress)
        finally:
            self.clean()
        proof = "failed" if finding else "proved"
        told = {"proof": proof, "proved_at": None if finding else now(), "finding": finding}
        proved = snapshot.model_copy(update=told)
        self._ledger.change(
            lambda manifest: (
                manifest.with_snapshot(proved)
                if any(each.name == proved.name for each in manifest.snapshots)
                else manifest
            )
        )
        return proved

    def clean(self) -> None:
        """Remove what a proof left."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _finding(self, snapshot: Snapshot, progress: Progress) -> str:
        """Return what is wrong with a snapshot, empty when nothing is."""
        self.clean()
        self._folder.mkdir(mode=0o700, parents=True)
        self._require_room(snapshot)
        self._await_views(snapshot.position)
        position = self._copy_views()
        upto = max(position, snapshot.position)
        if not self._ship(upto, SHIP_SECONDS):
            raise BackupError(f"the events up to position {upto} are not shipped yet")
        return self._restored(snapshot, upto, progress)

    def _await_views(self, position: int) -> None:
        """Wait for the live views to get to a position; in the end they are taken as they are."""
        for _ in range(self._looks):
            if self._views.exists() and (whole_at(self._views) or 0) >= position:
                break
            if self._stopping.wait(_LOOK_SECONDS):
                raise NotReady("The daemon is stopping.")

    def _copy_views(self) -> int:
        """Copy the live views; return the position where they are."""
        copy, position = self._folder / VIEWS_FILE, None
        if self._views.exists():
            copy_views(self._views, copy)
            position = whole_at(copy)
        if position is None:
            raise NotReady("The views are being built: there is nothing to compare with yet.")
        return position

    def _restored(self, snapshot: Snapshot, upto: int, progress: Progress) -> str:
        """Restore and verify; return what is wrong, empty when nothing is."""
        # Restored as if it were the only one, and not trusted.
        alone = snapshot.model_copy(update={"proof": "pending"})
        manifest = self._ledger.manifest.model_copy(update={"snapshots": (alone,)})
        pace = Pace(self._bytes_per_second, self._stopping)
        restoring = Restoring(
            self._store, manifest, self._folder, pace=pace, prove=False, alternatives=False
        )
        try:
            chosen = restoring.run(upto)
        except (ObjectDamaged, ObjectMissing) as error:
            return error.detail
        if chosen.snapshot is None:
            return "the snapshot cannot be used"
        log, views = self._folder / LOG_FILE, self._folder / VIEWS_FILE

        def watched(done: int, total: int) -> None:
            if self._stopping.is_set():
                raise NotReady("The daemon is stopping.")
            progress(done, total)

        report = verify(log, views, at_rest=True, progress=watched)
        if not report.findings:
            return ""
        first = report.findings[0]
        return f"{first.kind} at position {first.position}" if first.position else first.kind

    def _require_room(self, snapshot: Snapshot) -> None:
        size = self._views.stat().st_size if self._views.exists() else 0
        needed = snapshot.bytes + snapshot.raw_bytes + 3 * size + _SPARE_BYTES
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise DiskFull(f"the disk has {free >> 20} MiB free; a proof takes {needed >> 20} MiB")
