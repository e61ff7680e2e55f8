"""How often the projector looks at the log.

A transaction costs much the same for a few events as for many, so the projector rests after one:
in a steady stream the events of the rest are then taken together. The rest follows the work, so
that it is short where little comes, and under load leaves a part of the processor to intake.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from projections.runner import ProjectionRunner

REST_SECONDS_MIN: Final = 0.01
"""The least rest after events were taken up to the head of the log."""
REST_SECONDS_MAX: Final = 0.05
"""The longest such rest: it is a part of the lag."""

MANY_EVENTS: Final = 100
"""With fewer in a step there is no rest before the next one, which as a rule has nothing to do."""


def rest_after(worked_seconds: float) -> float:
    """Return how long to rest after so much work: half as long, within bounds."""
    return min(max(worked_seconds / 2, REST_SECONDS_MIN), REST_SECONDS_MAX)


class PacedRunner:
    """Steps a runner, and lets it rest once it has reached the head of the log: a service.

    `wake` belongs to one thread, which it makes wait; the runner's own requests wake it at once.
    """

    name = ProjectionRunner.name

    def __init__(
        self, runner: ProjectionRunner, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._runner = runner
        self._monotonic = monotonic
        self._at_work = threading.Lock()
        self._rests_until = 0.0
        self._pause = threading.Event()

    @property
    def woken(self) -> threading.Event:
        """Set when there may be work."""
        return self._runner.woken

    def step(self, now: int) -> float | None:
        """Do a step of the runner; where many events led to the head, the next one has to wait."""
        runner = self._runner
        with self._at_work:
            began, position = self._monotonic(), runner.position
            delay = runner.step(now)
            if delay != 0 or runner.position < runner.head:
                return delay
            ended = self._monotonic()
            rest = rest_after(ended - began)
            self._rests_until = ended + rest
            return rest if runner.position - position >= MANY_EVENTS else delay

    def wake(self) -> None:
        """Wake the runner when it has rested: many wakes are one."""
        with self._at_work:
            rest = self._rests_until - self._monotonic()
        if rest > 0:
            self._pause.wait(rest)
        self._runner.wake()
