"""Throws away what still holds the events that were removed from the log.

That is a checkpoint or a moment that was made before, the write-ahead logs, and what SQLite leaves
of rows in the pages of the log and the views (`daemon.unallocated`). It goes when the removal is
complete, so that no checkpoint is made of rows that go next. How far that was done is kept beside
the checkpoints: what a kill leaves undone is done at the next start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import EventQuery
from daemon.replay.checkpoints import FOLDER
from daemon.unallocated import clear_unallocated
from domain.epochs import removals_stream

LOOK_SECONDS: Final = 10.0
"""How often it looks whether events were removed."""
RETRY_SECONDS: Final = 1.0
"""When it tries again where somebody reads or writes the views."""
MARK: Final = "forgotten"
"""The file that says up to which removal the past was thrown away: a position of the log."""


class Forgetting:
    """Has the past thrown away after removals: a service."""

    name = "forgetting"

    def __init__(
        self,
        data: Path,
        views: Path,
        log: EventLog,
        forget: Callable[[], None],
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.woken = threading.Event()
        self._stopping = stopping
        self._views = views
        self._uncleared: list[Path] = []
        self._removed_at = 0
        self._mark = data / FOLDER / MARK
        self._log = log
        self._forget = forget

    def step(self, now: int) -> float | None:  # noqa: ARG002
        """Throw it away where events were removed since, and none waits to be."""
        removed = self._removed()
        if removed > self._done() and not self._log.pending_removals(outside=False, limit=1):
            # Where one has to be tried again, the other is not read a second time.
            if self._removed_at < removed:
                self._removed_at = removed
                self._uncleared = [Path(self._log.path), self._views]
            while self._uncleared:
                if not clear_unallocated(self._uncleared[0], self._stopping):
                    return RETRY_SECONDS
                del self._uncleared[0]
            self._forget()
            self._mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._mark.write_text(f"{self._log.log_id} {removed}\n")
        return LOOK_SECONDS

    def _removed(self) -> int:
        """Return the position of what tells of the newest removal, 0 where there is none."""
        query = EventQuery(stream=removals_stream(self._log.log_id), descending=True)
        events = self._log.select(query, 1).events
        return events[0].position if events else 0

    def _done(self) -> int:
        try:
            log_id, position = self._mark.read_text().split()
        except (OSError, ValueError):
            return 0
        return int(position) if log_id == self._log.log_id and position.isdecimal() else 0
