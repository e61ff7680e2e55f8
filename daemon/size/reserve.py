"""Room that is held while there is plenty, and given up when there is none."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Final

FILE: Final = "reserve"
"""The reserve's name in the data directory."""
_MODE: Final = 0o600

_logger = logging.getLogger(__name__)


class Reserve:
    """A file that takes room which the daemon needs when everything else is full."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self.held = self._measure()
        """How much it takes (bytes)."""

    def take(self, size: int) -> bool:
        """Hold so much; return whether it does. A file of another size is made anew."""
        if self.held == size:
            return True
        self.give_up()
        if size == 0:
            return True
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self._path, flags, _MODE)
            try:
                os.posix_fallocate(descriptor, 0, size)
            finally:
                os.close(descriptor)
        except OSError as error:
            _logger.debug("the reserve is not taken: %s", error)
            self.give_up()
            return False
        self.held = self._measure()
        return self.held == size

    def give_up(self) -> int:
        """Let it go; return how much that gave (bytes)."""
        given = self.held
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        self.held = self._measure()
        return given - self.held

    def _measure(self) -> int:
        try:
            return self._path.lstat().st_size
        except OSError:
            return 0
