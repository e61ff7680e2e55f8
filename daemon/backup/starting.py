"""The backup at the start of a daemon: before its log is open, and what it may record in it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from daemon.backup.process import BackupProcess
from daemon.backup.settings import Settings
from daemon.eventlog.epochs import SOURCE
from domain.catalog import validate_payload
from domain.events import NewEvent

if TYPE_CHECKING:
    from daemon.config import Config
    from daemon.eventlog.log import EventLog

_logger = logging.getLogger(__name__)


def open_backup(config: Config, inherited: Sequence[int]) -> BackupProcess | None:
    """Return the backup that is configured; None, and a warning, where there is none."""
    if not config.backup.url:
        _logger.warning("no backup is configured: set [backup] url")
        return None
    return BackupProcess(Settings.of(config), inherited)


def recover(
    backup: BackupProcess,
    allow_empty: bool,
    tell: Callable[[str], None],
    stopping: Callable[[], bool],
) -> None:
    """Compare log and backup, and bring the log back where it is needed.

    Raises:
        RestoreRefused: starting would lose events.
        NotReady: ``stopping`` says that the daemon is told to stop.

    """
    tell("comparing the log with its backup")

    def progress(done: int, total: int) -> None:
        part = done * 100 // max(total, 1)
        tell(f"restoring from the backup: {part} % of {total / 1_000_000:.1f} MB")
        if part % 10 == 0:
            _logger.info("restoring from the backup", extra={"percent": part, "bytes": total})

    outcome = backup.recover(allow_empty=allow_empty, progress=progress, stopping=stopping)
    log = _logger.info if outcome["action"] == "kept" else _logger.warning
    log("the backup was looked at", extra={name: outcome[name] for name in ("action", "detail")})


def record(log: EventLog, type_: str, subject: str, payload: dict[str, Any]) -> None:
    """Record an event of the backup.

    Raises:
        ChronicledError: it could not be recorded.

    """
    id_ = payload.pop("id", None) or str(uuid.uuid4())
    log.append([NewEvent(type_, subject, SOURCE, id_, validate_payload(type_, payload))])
