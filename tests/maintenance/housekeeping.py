"""A scheduler that is driven by hand, on a real log and with a clock of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from daemon.eventlog.log import EventLog
from daemon.maintenance.board import TaskStatus
from daemon.maintenance.runs import FINISHED, STARTED
from daemon.maintenance.scheduler import Asked, Entry, Scheduler
from daemon.maintenance.task import Outcome
from daemon.schedule import Schedule
from domain.events import RecordedEvent

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 3600 * SECOND
DAY = 24 * HOUR
START = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z, a Thursday."""

BUSY = Outcome({"things": 1})


class Chore:
    """A task that does what the test says, and counts how often and when it was run."""

    summary = "Do what the test says."

    def __init__(self, name: str, do: Callable[[int], Outcome] = lambda _: BUSY) -> None:
        self.name = name
        self.do = do
        self.ran: list[int] = []

    def run(self, now: int) -> Outcome:
        """Note the moment, and do it."""
        self.ran.append(now)
        return self.do(now)


class House:
    """The housekeeping of one log, which outlives the daemons that keep it."""

    def __init__(
        self,
        folder: Path,
        chores: Mapping[str, Chore],
        *,
        jitter_seconds: float = 0.0,
        start: int = START,
    ) -> None:
        """Open a log, with one chore for each cron text."""
        self.now = start
        self.jitter_seconds = jitter_seconds
        self.entries = [Entry(chore, Schedule.parse(text)) for text, chore in chores.items()]
        self.log = EventLog.open(folder / "log.db", clock=lambda: self.now, synchronous="OFF")
        self.log.start()
        self.stopping = threading.Event()
        self.scheduler = self._open()

    def _open(self) -> Scheduler:
        self.stopping = threading.Event()
        return Scheduler(
            self.log, self.entries, jitter_seconds=self.jitter_seconds, stopping=self.stopping
        )

    def close(self) -> None:
        """Close the log."""
        self.log.close()

    def kill(self) -> None:
        """End the daemon as a crash does, and start another."""
        self.scheduler = self._open()

    def restart(self) -> None:
        """End the daemon as it should, and start another."""
        self.scheduler.stop()
        self.scheduler.worker.step(self.now)
        self.scheduler.close(self.now)
        self.scheduler = self._open()

    def step(self) -> float | None:
        """Do one step of the scheduler, then one of the worker."""
        delay = self.scheduler.step(self.now)
        self.scheduler.worker.step(self.now)
        return delay

    def settle(self) -> None:
        """Do all that is to be done now."""
        for _ in range(1000):
            delay = self.scheduler.step(self.now)
            self.scheduler.worker.step(self.now)
            if delay is not None and delay > 0 and not self.scheduler.woken.is_set():
                return
            self.scheduler.woken.clear()
        raise AssertionError("there is no end of it")

    def pass_time(self, microseconds: int, step: int = MINUTE) -> None:
        """Let time go by, and look as often as the scheduler does."""
        end = self.now + microseconds
        self.settle()
        while self.now < end:
            self.now = min(self.now + step, end)
            self.settle()

    def ask(self, name: str, by: str | None = None) -> Asked:
        """Ask for a run, and let it be done."""
        asked = self.scheduler.ask(name, by)
        self.settle()
        return asked

    def status(self, name: str) -> TaskStatus:
        """Return how a task stands."""
        return self.scheduler.status(name)

    def events(self, *types: str) -> list[RecordedEvent]:
        """Return what was recorded, all of it or of some types."""
        found: list[RecordedEvent] = []
        while page := self.log.read(found[-1].position if found else 0, 1000):
            found += page
        return [event for event in found if not types or event.type in types]

    def runs(self, name: str) -> list[RecordedEvent]:
        """Return the starts and ends of a task's runs."""
        return [event for event in self.events(STARTED, FINISHED) if event.subject == name]
