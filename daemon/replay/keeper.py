"""Keeps checkpoints in the background: copies of the live views, and replays where none are.

Each copy costs as much as the views are large, so after one the keeper rests many times as long as
that took: under load checkpoints are further apart. What was left out is filled in later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from daemon.replay.checkpoints import Checkpoints
from daemon.replay.process import Perform
from daemon.replay.tasks import Task
from domain.errors import ChronicledError
from projections.progress import Projector

RESTS: Final = {"copy": 20, "fill": 2}
"""How many times as long as it took the keeper rests after a copy, before it makes another one; and
after a replay, which takes idle time only, and reads the log alone."""
REST_SECONDS: Final = 1.0
"""The least that it rests."""
RETRY_SECONDS: Final = 60.0
"""How long it rests when something went wrong, such as a full disk."""

_logger = logging.getLogger(__name__)


class CheckpointKeeper:
    """Makes one checkpoint a step, or fills one gap: a service."""

    name = "checkpoints"

    def __init__(
        self,
        data: Path,
        checkpoints: Checkpoints,
        projector: Projector,
        perform: Perform,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.woken = threading.Event()
        self._data = data
        self._checkpoints = checkpoints
        self._projector = projector
        self._perform = perform
        self._monotonic = monotonic
        self._due = 0
        self._rests_until = dict.fromkeys(RESTS, 0.0)
        checkpoints.clean()
        self.close: Callable[[], None] = projector.on_progress(self._look)

    def _look(self) -> None:
        """Wake the keeper when the views have come far enough."""
        if self._position() >= self._due:
            self.woken.set()

    def _position(self) -> int:
        """Return the position of the live views, 0 while they are not all at one."""
        statuses = self._projector.status()
        positions = {each.position for each in statuses}
        live = all(each.state == "live" for each in statuses)
        return positions.pop() if live and len(positions) == 1 else 0

    def step(self, now: int) -> float | None:  # noqa: ARG002
        """Make one checkpoint where one is due; return how long to rest."""
        position = self._position()
        if not position or not self._checkpoints.bounds.count:
            return None
        newest = max((each.position for each in self._checkpoints.list()), default=0)
        self._due = self._checkpoints.beyond(newest, self._checkpoints.spacing(position))
        tasks = []
        if position >= self._due:
            tasks.append(self._task("copy"))
        gap = self._checkpoints.gap(position) if self._projector.caught_up else None
        if gap is not None:
            low, high = gap
            length = self._checkpoints.count(low, high)
            parts = -(-length // self._checkpoints.spacing(position))
            tasks.append(
                self._task("fill", self._checkpoints.beyond(low, length // parts)),
            )
        for task in tasks:
            if self._rest(task.kind) <= 0:
                self._do(task)
                break
        return min((self._rest(task.kind) for task in tasks), default=None)

    def _rest(self, kind: str) -> float:
        """Return how long no such task is done."""
        return max(self._rests_until[kind] - self._monotonic(), 0.0)

    def _task(self, kind: str, position: int = 0) -> Task:
        return Task(kind, str(self._data), position, checkpoints=self._checkpoints.bounds)

    def _do(self, task: Task) -> None:
        started = self._monotonic()
        try:
            self._perform(task, lambda _done, _goal: None)
        except ChronicledError as error:
            _logger.warning("no checkpoint was made", extra={"error": error.detail})
            rest = RETRY_SECONDS
        else:
            rest = max((self._monotonic() - started) * RESTS[task.kind], REST_SECONDS)
        self._rests_until[task.kind] = self._monotonic() + rest
