"""Does the runs of tasks, one at a time, on a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from daemon.maintenance.runs import Result
from daemon.maintenance.task import MaintenanceTask
from domain.errors import ChronicledError, NotReady

_logger = logging.getLogger(__name__)


class Done(NamedTuple):
    """How a run ended, and how long it took."""

    result: Result
    counts: Mapping[str, int]
    message: str | None
    seconds: float


class Worker:
    """A service that does what it is given; ``tell`` is called when it is done.

    ``stopping`` is set when the daemon stops: a run is to end early.
    """

    name = "maintenance-worker"

    def __init__(
        self,
        tell: Callable[[], None],
        stopping: threading.Event,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.woken = threading.Event()
        self._stopping = stopping
        self._tell = tell
        self._monotonic = monotonic
        self._given: tuple[MaintenanceTask, int] | None = None
        self._done: Done | None = None

    def give(self, task: MaintenanceTask, now: int) -> None:
        """Have a task run as of a moment; what it was given before has been taken."""
        if self._given is not None:
            raise RuntimeError("one run at a time")
        self._given = (task, now)
        self.woken.set()

    @property
    def done(self) -> Done | None:
        """How the run that was given ended, None while it goes on."""
        return self._done

    def clear(self) -> None:
        """Forget the run that ended: another may be given."""
        self._given = self._done = None

    def step(self, now: int) -> float | None:  # noqa: ARG002
        """Do the run that was given."""
        if self._given is None or self._done is not None:
            return None
        began = self._monotonic()
        result, counts, message = self._run(*self._given)
        self._done = Done(result, counts, message, max(self._monotonic() - began, 0.0))
        self._tell()
        return None

    def _run(self, task: MaintenanceTask, now: int) -> tuple[Result, Mapping[str, int], str | None]:
        try:
            outcome = task.run(now)
        except NotReady as error:
            early = self._stopping.is_set()
            return Result.INTERRUPTED if early else Result.SKIPPED, {}, error.detail
        except ChronicledError as error:
            _logger.warning("a maintenance task failed", extra={"task": task.name})
            return Result.FAILED, {}, error.detail
        except Exception as error:
            _logger.exception("the maintenance task %s failed", task.name)
            return Result.FAILED, {}, f"unexpected: {type(error).__name__}: {error}"
        if not outcome.ok:
            return Result.FAILED, outcome.counts, outcome.message
        if not outcome.complete:
            message = outcome.message or "the daemon stopped before the run had ended"
            return Result.INTERRUPTED, outcome.counts, message
        return Result.SUCCEEDED, outcome.counts, outcome.message
