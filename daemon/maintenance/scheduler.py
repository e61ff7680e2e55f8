"""Decides which task has its turn, and records how it went; a `Worker` does the work.

At most one task runs at a time, by schedule or asked for. What is known of earlier runs comes from
the log, so that a run that was missed is caught up once, and one that was cut off is told.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from daemon.eventlog.log import EventLog
from daemon.maintenance.board import SECONDS, TaskStatus
from daemon.maintenance.calendar import Calendar
from daemon.maintenance.ledger import Ledger
from daemon.maintenance.runs import Reason, Run, created
from daemon.maintenance.task import MaintenanceTask
from daemon.maintenance.worker import Done, Worker
from daemon.metrics import Series
from daemon.schedule import Schedule
from domain.errors import ChronicledError, NotFound, NotReady
from domain.suggest import did_you_mean, shorten
from domain.timestamps import MICROSECONDS

LOOK_SECONDS: Final = 60.0
"""How often it is looked for what is due at least: clocks jump."""
SOON_SECONDS: Final = 5.0
"""A run whose start was left out of the log is recorded when it takes longer than this."""

_logger = logging.getLogger(__name__)


class Entry(NamedTuple):
    """A task and when it is due; ``shown`` says that for people where the schedule does not."""

    task: MaintenanceTask
    schedule: Schedule
    shown: str = ""


class Asked:
    """A run that somebody asked for: ``ended`` is set when ``run`` says how it went."""

    def __init__(self, by: str | None) -> None:
        self.by = by
        self.ended = threading.Event()
        self.run: Run | None = None
        """None also where the daemon stopped before."""


class _Task:
    """What the scheduler knows of one task."""

    def __init__(self, entry: Entry, calendar: Calendar, ledger: Ledger, seen: int) -> None:
        self.task = entry.task
        self.name = entry.task.name
        self.calendar = calendar
        self.ledger = ledger
        self.seen = seen
        """Up to here its due times are seen to."""
        self.asked: Asked | None = None
        self.seconds = Series(SECONDS)
        shown = entry.shown or entry.schedule.text
        self.status = TaskStatus(self.name, entry.task.summary, shown)


class _Present(NamedTuple):
    """The run that goes on."""

    task: _Task
    run: Run
    asked: Asked | None


class Scheduler:
    """The service; ``worker`` is another one, which has to be driven beside it.

    ``stopping`` is what `stop` sets: tasks that may take long are made with it.
    """

    name = "maintenance"

    def __init__(
        self,
        log: EventLog,
        entries: Sequence[Entry],
        *,
        jitter_seconds: float = 0.0,
        stopping: threading.Event | None = None,
    ) -> None:
        self.woken = threading.Event()
        self._stopping = stopping or threading.Event()
        self.worker = Worker(self.woken.set, self._stopping)
        self._lock = threading.Lock()
        self._began: int | None = None
        self._present: _Present | None = None
        self._tasks: dict[str, _Task] = {}
        since = created(log)
        for entry in entries:
            name = entry.task.name
            calendar = Calendar.of(entry.schedule, jitter_seconds, f"{log.log_id} {name}")
            self._tasks[name] = _Task(entry, calendar, Ledger(log, name), since)

    # -- any thread ---------------------------------------------------------------------------

    def statuses(self) -> list[TaskStatus]:
        """Return how each task stands, in the order of the list."""
        return [task.status for task in self._tasks.values()]

    def durations(self) -> dict[str, Series]:
        """Return how long the runs of each task took since the start (seconds)."""
        return {name: task.seconds for name, task in self._tasks.items()}

    def status(self, name: str) -> TaskStatus:
        """Return how a task stands.

        Raises:
            NotFound: there is no such task; the detail names the nearest one.

        """
        return self._find(name).status

    def runs(self, name: str, limit: int) -> list[Run]:
        """Return the newest runs of a task that are in the log, the newest first.

        Raises:
            NotFound: there is no such task.

        """
        return self._find(name).ledger.runs(limit)

    def ask(self, name: str, by: str | None = None) -> Asked:
        """Have a task run as soon as no other does; who asks meanwhile gets the same run.

        Raises:
            NotFound: there is no such task.
            NotReady: the daemon is stopping.

        """
        task = self._find(name)
        with self._lock:
            if self._stopping.is_set():
                raise NotReady("The daemon is stopping.")
            if task.asked is None:
                task.asked = Asked(by)
                task.status = replace(task.status, asked=True)
            asked = task.asked
        self.woken.set()
        return asked

    def stop(self) -> None:
        """Have the run that goes on end early, and begin no other."""
        with self._lock:
            self._stopping.set()

    def _find(self, name: str) -> _Task:
        task = self._tasks.get(name)
        if task is None:
            hint = did_you_mean(name, list(self._tasks))
            raise NotFound(f"There is no maintenance task {shorten(name)}; {hint}")
        return task

    # -- the service's thread -----------------------------------------------------------------

    def step(self, now: int) -> float | None:
        """Record a run that has ended, or begin the next one; return when to look again."""
        if self._began is None:
            self._begin(now)
            self._began = now
        if self._present is not None:
            if self.worker.done is None:
                return self._watch(self._present, now)
            self._end(self._present, self.worker.done, now)
            return 0.0
        if self._stopping.is_set():
            return LOOK_SECONDS
        if self._start_next(now):
            return SOON_SECONDS
        return self._show_next(now)

    def close(self, now: int) -> None:
        """Record what ended last; call it when neither service is driven any more."""
        if self._began is None:
            return
        try:
            if self._present is not None and self.worker.done is not None:
                self._end(self._present, self.worker.done, now)
            for task in self._tasks.values():
                if self._present is None or task is not self._present.task:
                    task.ledger.close()
        except ChronicledError as error:
            _logger.warning("a run could not be recorded", extra={"error": error.detail})

    def _begin(self, now: int) -> None:
        """Read from the log how the tasks stand."""
        for task in self._tasks.values():
            last = task.ledger.open(now)
            if last is not None and last.due is not None:
                task.seen = last.due
            with self._lock:
                task.status = replace(task.status, last=last, succeeded=task.ledger.succeeded)

    def _watch(self, present: _Present, now: int) -> float | None:
        """Record the start of a run that turns out to take long."""
        if present.task.ledger.holds_back:
            if now - present.run.started < SOON_SECONDS * MICROSECONDS:
                return SOON_SECONDS
            present.task.ledger.begin_after_all()
        return None

    def _start_next(self, now: int) -> bool:
        """Begin the run whose turn it is: first what is asked for, then what waits longest."""
        for task in self._tasks.values():
            if task.asked is not None:
                self._start(task, Run(now, Reason.ASKED, self._seen(task), task.asked.by), now)
                return True
        turns = [
            (turn.first, task, turn)
            for task in self._tasks.values()
            if (turn := task.calendar.turn(task.seen, now)) is not None
        ]
        if not turns:
            return False
        _, task, turn = min(turns, key=lambda each: each[0])
        missed = turn.several or turn.first + task.calendar.offset < (self._began or 0)
        reason = Reason.CATCH_UP if missed else Reason.SCHEDULE
        self._start(task, Run(now, reason, turn.due), now)
        return True

    def _seen(self, task: _Task) -> int | None:
        return None if task.calendar.schedule.cron is None else task.seen

    def _start(self, task: _Task, run: Run, now: int) -> None:
        task.ledger.begin(run)
        if run.due is not None:
            task.seen = run.due
        with self._lock:
            asked = task.asked if run.reason is Reason.ASKED else None
            if asked is not None:
                task.asked = None
            waits = task.asked is not None
            task.status = replace(task.status, running_since=now, asked=waits, next_turn=None)
        self._present = _Present(task, run, asked)
        self.worker.give(task.task, now)

    def _end(self, present: _Present, done: Done, now: int) -> None:
        task = present.task
        run = present.run.end(now, done.result, done.counts, done.message)
        # Where the log refuses, the next step tries this again.
        recorded = task.ledger.end(run)
        self.worker.clear()
        self._present = None
        task.seconds.observe(done.seconds)
        outcomes = dict(task.status.outcomes)
        outcomes[done.result] = outcomes.get(done.result, 0) + 1
        with self._lock:
            task.status = replace(
                task.status,
                running_since=None,
                last=run,
                recorded=recorded,
                succeeded=task.ledger.succeeded,
                outcomes=outcomes,
            )
        if present.asked is not None:
            present.asked.run = run
            present.asked.ended.set()

    def _show_next(self, now: int) -> float:
        """Show when each task has its turn; return the seconds until the first one."""
        nearest = LOOK_SECONDS
        for task in self._tasks.values():
            turn = task.calendar.next_turn(task.seen, now)
            if turn != task.status.next_turn:
                with self._lock:
                    task.status = replace(task.status, next_turn=turn)
            if turn is not None:
                nearest = min(nearest, max(turn - now, 0) / MICROSECONDS)
        return nearest
