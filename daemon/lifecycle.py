"""One life cycle for every background service: a ``step`` that is driven, never one that waits.

A service does one bounded piece of work per ``step(now)`` and says when it wants the next. On a
`ServiceThread` the steps run one after another on a thread of their own; a test or a simulation
drives the same steps by hand, with a clock of its own, in whatever order it likes.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

Clock = Callable[[], int]
"""Where the time comes from: microseconds UTC."""

BACKOFF_SECONDS: Final = 1.0
"""How long a service rests after its first failed step; doubled with each further one."""

BACKOFF_SECONDS_MAX: Final = 30.0
"""The longest rest of a service that keeps failing."""

_logger = logging.getLogger(__name__)


def spare_collector() -> None:
    """Let the garbage collector rest while modules are loaded: what they make stays."""
    gc.set_threshold(100_000, 50, 100)


def settle_collector() -> None:
    """Tell the garbage collector that what is there now stays, and that much more comes and goes.

    As Python sets it up, it takes up to a fifth of the time of a process with many small objects.
    """
    gc.collect()
    gc.freeze()
    spare_collector()


def system_clock() -> int:
    """Return the system's time in microseconds UTC."""
    return time.time_ns() // 1000


class Service(Protocol):
    """Something that works in the background, one bounded step after another.

    Whoever brings work sets ``woken``. It is cleared before each step, so that what arrives
    during a step leads to another one.
    """

    @property
    def name(self) -> str:
        """What logs and thread lists call it."""
        ...

    @property
    def woken(self) -> threading.Event:
        """Set when there may be work."""
        ...

    def step(self, now: int) -> float | None:
        """Do one bounded piece of work without waiting for anything.

        Returns the seconds until the next step: 0 = at once, None = not before it is woken.
        """
        ...


class ServiceThread:
    """Runs the steps of one service on a thread of its own.

    An exception out of a step is logged and counted, and the next step comes after a rest; it
    ends neither the thread nor the daemon.
    """

    def __init__(
        self, service: Service, clock: Clock, *, backoff_seconds: float = BACKOFF_SECONDS
    ) -> None:
        self.service = service
        self.failures = 0
        """Failed steps since the start."""
        self._clock = clock
        self._backoff_seconds = backoff_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=service.name, daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive()

    @property
    def current(self) -> bool:
        """Whether the caller runs on this very thread."""
        return threading.current_thread() is self._thread

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    def stop(self, timeout_seconds: float | None = None) -> bool:
        """Ask the thread to end after the step it is in, and wait for it.

        Returns whether it has ended within the timeout. Work that is still queued is left to the
        service's owner. Stopping twice, or before the start, does no harm.
        """
        self._stopping.set()
        self.service.woken.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        in_a_row = 0
        while not self._stopping.is_set():
            self.service.woken.clear()
            if self._stopping.is_set():
                # stop() may have set both between the two lines above; its wake is gone now.
                return
            try:
                delay = self.service.step(self._clock())
            except Exception:
                self.failures += 1
                rest = min(self._backoff_seconds * 2**in_a_row, BACKOFF_SECONDS_MAX)
                in_a_row = min(in_a_row + 1, 16)
                _logger.exception("%s failed; it goes on in %g s", self.service.name, rest)
                self._stopping.wait(rest)
                continue
            in_a_row = 0
            if delay != 0:
                self.service.woken.wait(delay)
