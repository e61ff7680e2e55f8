"""The room on the disk of the data directory, and the lines below which something happens."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple, Self

from daemon.settings import RESERVE_BYTES_MIN, SizeSettings

WARN_SHARE: Final = 10
"""On a small disk it is low below a tenth of it, however much was asked for."""
REFUSE_SHARE: Final = 20
"""On a small disk events are refused below a twentieth of it."""
RESERVE_SHARE: Final = 10
"""The reserve takes no more than a tenth of the disk."""


class Room(NamedTuple):
    """How large a disk is, and how much of it this process can still take (bytes)."""

    total: int
    free: int


def room_of(folder: Path) -> Room:
    """Return the room of the disk that a folder is on.

    Raises:
        OSError: the file system does not say.

    """
    found = os.statvfs(folder)
    return Room(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)


class Lines(NamedTuple):
    """How much has to be free, or else; and how much is kept in reserve (bytes). 0 asks nothing."""

    warn: int
    refuse: int
    reserve: int

    @classmethod
    def of(cls, settings: SizeSettings, total: int) -> Self:
        """Return what the settings come to on a disk of a size."""
        reserve = min(settings.reserve_bytes, total // RESERVE_SHARE)
        return cls(
            min(settings.disk_warn_bytes, total // WARN_SHARE),
            min(settings.disk_refuse_bytes, total // REFUSE_SHARE),
            reserve if reserve >= RESERVE_BYTES_MIN else 0,
        )
