"""The service that ends what was begun: archives and purges that a kill or a store interrupted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from daemon.archive.finishing import Finisher
from daemon.archive.journal import Begun
from daemon.archive.parts import Parts
from domain.errors import ChronicledError

IDLE_SECONDS: Final = 10.0
"""How often it looks for what waits."""
BUSY_SECONDS: Final = 1.0
"""How long it rests while a job is being archived or brought back."""
SHIPPED_SECONDS: Final = 2.0
"""How long it rests where the backup does not have a marker yet."""
RETRY_SECONDS: Final = 30.0
"""How long it rests when something could not be done."""

logger = logging.getLogger(__name__)


class ArchiveService:
    """Works through the removals that wait for something outside of the log, one a step."""

    name = "archive"

    def __init__(self, parts: Parts, finisher: Finisher) -> None:
        self.woken = threading.Event()
        self.waiting = 0
        """How many could not be done at the last look."""
        self._journal = parts.journal
        self._removals = parts.removals
        self._lock = parts.lock
        self._finisher = finisher
        self._failed: set[str] = set()

    def step(self, now: int) -> float | None:  # noqa: ARG002
        """End one thing that was begun; those that could not be ended come last."""
        # Whoever archives holds the lock all the time: what it has begun is not met here.
        if not self._lock.acquire(blocking=False):
            return BUSY_SECONDS
        try:
            return self._step()
        finally:
            self._lock.release()

    def _step(self) -> float:
        unshipped = 0
        for stream in (each.stream for each in self._removals.pending() if each.outside):
            if stream not in self._failed:
                if self._try(stream, partial(self._finisher.finish_stream, stream)):
                    return 0
                unshipped += 1
        for begun in self._journal.begun():
            if begun.location not in self._failed:
                self._try(begun.location, partial(self._tidy, begun))
                return 0
        self.waiting = len(self._failed)
        self._failed.clear()
        if self.waiting:
            return RETRY_SECONDS
        return SHIPPED_SECONDS if unshipped else IDLE_SECONDS

    def _tidy(self, begun: Begun) -> bool:
        self._finisher.tidy(begun)
        self._journal.end(begun.job)
        return True

    def _try(self, subject: str, work: Callable[[], bool]) -> bool:
        """Do something; return whether it is done, or has failed, and does not only wait."""
        try:
            return work()
        except (ChronicledError, OSError) as error:
            self._failed.add(subject)
            detail = error.detail if isinstance(error, ChronicledError) else str(error)
            logger.warning(
                "what was archived or purged waits",
                extra={"subject": subject[:200], "error": detail},
            )
            return True
