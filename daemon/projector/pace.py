"""How often the projector looks at the log.

A transaction costs much the same for a few events as for many, so the projector rests a moment
after one: in a steady stream the events of the rest are then taken together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from daemon.projector.courtesy import Courtesy
from projections.runner import ProjectionRunner

REST_SECONDS: Final = 0.01
"""How long the projector rests after events that it took up to the head of the log."""


class PacedRunner:
    """Steps a runner, and lets it rest once it has reached the head of the log: a service.

    `wake` belongs to one thread, which it makes wait; the runner's own requests wake it at once.
    """

    name = ProjectionRunner.name

    def __init__(
        self,
        runner: ProjectionRunner,
        courtesy: Courtesy,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runner = runner
        self._courtesy = courtesy
        self._monotonic = monotonic
        self._at_work = threading.Lock()
        self._rests_until = 0.0
        self._pause = threading.Event()

    @property
    def woken(self) -> threading.Event:
        """Set when there may be work."""
        return self._runner.woken

    def step(self, now: int) -> float | None:
        """Do a step of the runner; where it led to the head, the next one has to wait."""
        runner = self._runner
        with self._at_work, self._courtesy.working():
            position = runner.position
            delay = runner.step(now)
            if runner.position == position or runner.position < runner.head:
                return delay
            self._rests_until = self._monotonic() + REST_SECONDS
            return REST_SECONDS

    def wake(self) -> None:
        """Wake the runner when it has rested: many wakes are one."""
        with self._at_work:
            rest = self._rests_until - self._monotonic()
        if rest > 0:
            self._pause.wait(rest)
        self._runner.wake()
