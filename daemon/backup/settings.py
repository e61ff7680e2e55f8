"""What the backup works with, in whatever process: plain values."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from daemon.config import Config


_FILE: Final = "file "
"""How the origin of a setting begins that is in a configuration file."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the backup, and of the process that makes it; seconds and bytes.

    ``file`` is the configuration file that names the place, where one does.
    """

    data: str
    url: str
    credentials: str
    segment_seconds: float
    segment_events: int
    snapshot: str
    keep: str
    prove: bool
    bytes_per_second: int
    timeout_seconds: float
    snapshot_on_stop: bool
    forget_after_days: float
    level: str
    style: str
    file: str = ""

    @classmethod
    def of(cls, config: Config) -> Settings:
        """Return the settings of a configuration."""
        backup = config.backup
        return cls(
            data=str(config.data),
            url=backup.url,
            credentials=str(backup.credentials or ""),
            segment_seconds=backup.segment_seconds,
            segment_events=backup.segment_events,
            snapshot=backup.snapshot,
            keep=backup.keep,
            prove=backup.prove,
            bytes_per_second=backup.bytes_per_second,
            timeout_seconds=backup.timeout_seconds,
            snapshot_on_stop=backup.snapshot_on_stop,
            forget_after_days=backup.forget_after_days,
            file=config.origin["backup.url"].removeprefix(_FILE)
            if config.origin["backup.url"].startswith(_FILE)
            else "",
            level=config.logging.level,
            style=config.logging.format,
        )

    def message(self) -> dict[str, Any]:
        """Return the settings as they are sent."""
        return asdict(self)

    @property
    def options(self) -> str:
        """The options of the command line that lead to these settings, each after a space."""
        file = f" --config {shlex.quote(self.file)}" if self.file else ""
        return f"{file} --data {shlex.quote(self.data)}"

    @property
    def folder(self) -> Path:
        """The folder in the data directory for what the backup keeps and works with."""
        return Path(self.data) / "backup"
