"""Giving way: whoever waits for an acknowledgement goes before the views.

A lower priority is not enough for that: Linux lets a thread that runs finish its slice of some
milliseconds, whoever else is woken. An idle thread has to leave at once. It may also get nothing at
all, where others use every processor for long; then it goes on as an ordinary thread of low
priority for a while.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

NICENESS: Final = 10
"""The priority when it does not give way at once."""
WINDOW_SECONDS: Final = 2.0
"""After so much work it is looked for how much of that time there was a processor."""
STARVING: Final = 0.1
"""With a smaller share than this it does not give way for the next such time."""


class Courtesy:
    """Has a thread give way to everybody who has work, unless that leaves it nothing.

    ``schedule`` makes the thread that calls it idle, or ordinary again.
    """

    def __init__(
        self,
        schedule: Callable[[bool], None],
        monotonic: Callable[[], float] = time.monotonic,
        processor: Callable[[], float] = time.thread_time,
    ) -> None:
        self._schedule = schedule
        self._monotonic = monotonic
        self._processor = processor
        self._worked = self._used = 0.0
        self._idle: bool | None = None

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Measure what is done inside, on the thread that gives way."""
        if self._idle is None:
            self._become(idle=True)
        worked, used = self._monotonic(), self._processor()
        yield
        self._worked += self._monotonic() - worked
        self._used += self._processor() - used
        if self._worked >= WINDOW_SECONDS:
            self._become(idle=self._used >= self._worked * STARVING)

    def _become(self, *, idle: bool) -> None:
        self._worked = self._used = 0.0
        if idle != self._idle:
            self._idle = idle
            self._schedule(idle)


def be_last() -> Courtesy:
    """Lower the priority of this process; what is returned lets a thread give way altogether."""
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    return Courtesy(schedule if may_return() else lambda _: None)


def schedule(idle: bool) -> None:
    """Make the calling thread idle, or ordinary."""
    policy = os.SCHED_IDLE if idle else os.SCHED_OTHER
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, policy, os.sched_param(0))


def may_return() -> bool:
    """Return whether a thread of this process that is idle may become ordinary again: by trying."""
    if not hasattr(os, "SCHED_IDLE"):
        return False
    returned = False

    def go_and_return() -> None:
        nonlocal returned
        schedule(True)
        schedule(False)
        returned = os.sched_getscheduler(0) == os.SCHED_OTHER

    thread = threading.Thread(target=go_and_return, name="courtesy")
    thread.start()
    thread.join()
    return returned
