"""How fast a proof may read: whoever works for people goes first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from domain.errors import NotReady

_DEBT_SECONDS: Final = 0.05
"""Less than this is not waited for."""


class Pace:
    """Lets so many bytes a second pass; ends the work when ``stopping`` is set.

    Raises:
        NotReady: the daemon is stopping.

    """

    def __init__(
        self,
        bytes_per_second: int,
        stopping: threading.Event,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = bytes_per_second
        self._stopping = stopping
        self._monotonic = monotonic
        self._began = monotonic()
        self._passed = 0

    def __call__(self, count: int) -> None:
        """Count bytes, and wait while there were too many."""
        self._passed += count
        ahead = self._passed / self._rate - (self._monotonic() - self._began)
        if ahead > _DEBT_SECONDS:
            self._stopping.wait(ahead)
        if self._stopping.is_set():
            raise NotReady("The daemon is stopping.")
