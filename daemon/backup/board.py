"""How the backup stands, kept by those who work on it and read by whoever asks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from daemon.backup.errors import NotTheWriter, StoreRefused
from daemon.backup.manifest import Manifest
from daemon.backup.status import BackupStatus, State
from daemon.lifecycle import Clock
from domain.errors import ChronicledError
from domain.timestamps import MICROSECONDS

RECORD_SECONDS: Final = 3600.0
"""The same step is not recorded as failed again before (seconds): a log is no counter."""

Record = Callable[[str, str, dict[str, Any]], None]

_logger = logging.getLogger(__name__)


class Board:
    """The status of the backup.

    ``tell`` hears of every change; ``record`` records an event: its type, subject and payload.
    """

    def __init__(
        self,
        status: BackupStatus,
        clock: Clock,
        tell: Callable[[BackupStatus], None] = lambda _: None,
        record: Record = lambda *_: None,
    ) -> None:
        self._status = status
        self._clock = clock
        self._tell = tell
        self._record = record
        self._recorded: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def status(self) -> BackupStatus:
        """How it stands."""
        return self._status

    def record(self, type_: str, subject: str, payload: dict[str, Any]) -> None:
        """Record an event of the backup."""
        self._record(type_, subject, payload)

    def show(self, **changes: Any) -> None:
        """Change what is shown."""
        self._change(lambda status: replace(status, **changes))

    def _change(self, change: Callable[[BackupStatus], BackupStatus]) -> None:
        # Told under the lock: who is told hears of the changes in their order.
        with self._lock:
            status = change(self._status)
            if status != self._status:
                self._status = status
                self._tell(status)

    def show_manifest(self, manifest: Manifest) -> None:
        """Show what the place says."""
        forgetting = manifest.forgetting
        newest, proved = manifest.newest(), manifest.newest(proved=True)
        self.show(
            epoch=manifest.epoch,
            shipped=manifest.shipped,
            shipped_at=manifest.shipped_at,
            reported_head=manifest.head,
            snapshot_position=newest and newest.position,
            snapshot_at=newest and newest.taken,
            proved_position=proved and proved.position,
            proved_at=proved and proved.proved_at,
            forget_objects=forgetting.objects if forgetting else 0,
            forget_bytes=forgetting.bytes if forgetting else 0,
            forget_due=forgetting and forgetting.due,
        )

    def stored(self, kind: str, size: int) -> None:
        """Count what was stored."""

        def change(status: BackupStatus) -> BackupStatus:
            return replace(status, bytes={**status.bytes, kind: status.bytes.get(kind, 0) + size})

        self._change(change)

    def failed(self, step: str, error: ChronicledError) -> None:
        """Count a step that failed, log it, and record it unless it was a short while ago."""
        _logger.warning(
            "a step of the backup failed",
            extra={"step": step, "code": error.code, "error": error.detail},
        )
        self.count(step)
        now = self._clock()
        if abs(now - self._recorded.get(step, 0)) > RECORD_SECONDS * MICROSECONDS:
            self._recorded[step] = now
            self._record("backup.failed", step, {"step": step, "message": error.detail})

    def count(self, step: str) -> None:
        """Count a step that failed."""

        def change(status: BackupStatus) -> BackupStatus:
            failures = status.failures
            return replace(status, failures={**failures, step: failures.get(step, 0) + 1})

        self._change(change)

    def shipping_failed(self, step: str, error: ChronicledError) -> None:
        """Count a step of shipping that failed, and show why shipping does not go on."""
        self.failed(step, error)
        refused = isinstance(error, (NotTheWriter, StoreRefused))
        state = State.REFUSED if refused else State.UNAVAILABLE
        self.show(state=state, detail=error.detail, hint=error.operator_hint)
