"""Follows workflows: reads the log in order and records what it concludes from it.

Two places in the log are remembered, each in the transaction of what was concluded up to there:
how far events were looked at, and how far it was decided whether what should follow had come.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import EventPage, EventQuery, Follow
from daemon.workflows.file_rules import matched, started_before, started_for
from daemon.workflows.following import Missing, continued
from daemon.workflows.lineage import Lineage, Success, completes
from daemon.workflows.phases import LOADED, REMOVED, Workflow, Workflows
from domain.clock import effective_time
from domain.errors import NotReady, QueryTimeout, QueueFull
from domain.events import NewEvent, RecordedEvent
from domain.job import TERMINAL
from domain.timestamps import MICROSECONDS
from projections.runs import RunJob
from projections.views import Views

FOLLOWED: Final = "chronicled:workflows"
"""The name of the place up to which events were looked at."""
SETTLED: Final = "chronicled:workflows:children"
"""The name of the place up to which it was decided whether what should follow had come."""

PAGE_EVENTS: Final = 500
CONCLUSIONS_MAX: Final = 1_000
"""A page ends early once so many events were concluded from it."""
HISTORY_JOBS: Final = 200
"""How many jobs of before their workflow was known one step looks at."""
WAITING_MAX: Final = 1_000
"""How many done jobs are held whose children may still come; others wait in the log."""
REMEMBER_POSITIONS: Final = 10_000
"""How far a place moves before it is written where there is nothing to conclude."""
PACE_SECONDS: Final = 0.1
"""The rest after a step that reached the head of the log: many events at once cost less."""
_RETRY_SECONDS: Final = 1.0

_FLOW: Final = (LOADED, REMOVED)
_ENDS: Final = ("job.succeeded", "job.failed", "job.lost")
_TYPES: Final = (*_FLOW, "file.observed", "job.submitted", *_ENDS)


class _History(NamedTuple):
    """The jobs that were there before any version of their workflow, and who was looked at."""

    event: RecordedEvent
    after: tuple[int, int]


class Follower:
    """A service that concludes from workflows; see the module."""

    name = "workflows"

    def __init__(
        self,
        log: EventLog,
        views: Views,
        child_seconds: float,
        pace_seconds: float = PACE_SECONDS,
    ) -> None:
        self.woken = threading.Event()
        self.waits_for_views = False
        """Whether the last step could not go on because the views are behind."""
        self._log = log
        self._views = views
        self._child_wait = int(child_seconds * MICROSECONDS)
        self._pace = int(pace_seconds * MICROSECONDS)
        self._next = 0
        self._workflows = Workflows()
        self._lineage = Lineage(log, views)
        self._missing = Missing(log, views)
        self._started = log.head()
        self._place = self._written = min(log.follow_offset(FOLLOWED), self._started)
        self._settled = self._noted = min(log.follow_offset(SETTLED), self._started)
        self._scanned = self._settled
        self._waiting: deque[RecordedEvent] = deque()
        self._history: _History | None = None
        self._read_workflows()

    @property
    def position(self) -> int:
        """Up to where events were looked at, with every conclusion recorded; from any thread."""
        return self._place

    def step(self, now: int) -> float | None:
        """Follow one page of the log, then decide about one job whose children had time."""
        if now < self._next:
            return (self._next - now) / MICROSECONDS
        try:
            busy = self._follow()
            due = self._settle(now)
        except (NotReady, QueryTimeout, QueueFull) as error:
            self.waits_for_views = isinstance(error, NotReady)
            # The views are behind, or the writer is: both wake whoever waits for them.
            self._lineage.recorded()
            return _RETRY_SECONDS
        self.waits_for_views = False
        if busy or due == 0:
            return 0
        self._next = now + self._pace
        return due

    # -- events ---------------------------------------------------------------------------------

    def _follow(self) -> bool:
        """Look at the next events; return whether there may be more."""
        if self._history is not None:
            self._look_back(self._history)
            return True
        if self._place >= self._log.head():
            return False
        some = bool(self._workflows.met)
        query = EventQuery(types=_TYPES if some else _FLOW, after=self._place)
        page = self._log.select(query, PAGE_EVENTS if some else 1)
        self._conclude(page)
        return True

    def _conclude(self, page: EventPage) -> None:
        reached = page.as_of if page.next_after is None else page.next_after
        events: list[NewEvent] = []
        jobs = self._jobs_of(page.events)
        for event in page.events:
            if len(events) >= CONCLUSIONS_MAX:
                reached = event.position - 1
                break
            if event.type in _FLOW:
                if event.type == LOADED and event.subject not in self._workflows.met and events:
                    # What was there before is looked at once the events before it are done with.
                    reached = event.position - 1
                    break
                if self._workflows.apply(event):
                    self._history = _History(event, (-(2**62), 0))
                    reached = event.position - 1
                    break
            elif event.type == "file.observed":
                events += self._of_file(event)
            elif (job := jobs.get(event.stream)) is not None:
                events += self._of_job(event, job)
        self._record(events, reached)

    def _jobs_of(self, events: list[RecordedEvent]) -> dict[str, RunJob]:
        """Return the jobs of workflows among those that events are of, as of the last of them."""
        asked = [event for event in events if event.type.startswith("job.")]
        if not asked:
            return {}
        jobs, as_of = self._views.flow_jobs({event.stream for event in asked})
        # What was concluded before the start must be there too: it is not remembered.
        if as_of < max(asked[-1].position, self._started):
            raise NotReady("the views are behind")
        return jobs

    def _of_file(self, event: RecordedEvent) -> Iterator[NewEvent]:
        conclusions = list(matched(event, self._workflows))
        yield from conclusions
        if conclusions:
            yield from started_before(self._log, event)

    def _of_job(self, event: RecordedEvent, job: RunJob) -> Iterator[NewEvent]:
        """Yield what an event of a job concludes: as a child, as a parent, and of its file."""
        workflow = self._workflows.find(job.workflow)
        if workflow is None:
            return
        match = started_for(self._log, event, job, workflow)
        if match is not None:
            yield match
        if event.type == "job.submitted":
            yield from self._as_child(job, workflow)
            if job.number < event.position and job.status in TERMINAL:
                # It is known only now what it was that had ended.
                yield from self._as_parent(job, workflow, event.position)
        elif event.type == "job.succeeded" and completes(event.payload):
            success = Success(job.id, effective_time(event), event.id)
            yield from self._done(event, job, success, workflow)

    def _as_child(self, job: RunJob, workflow: Workflow) -> Iterator[NewEvent]:
        candidates = self._lineage.candidates(job, workflow)
        yield from self._lineage.to_parent(job, candidates)
        for parent in self._missing.of_jobs(candidates):
            resolved = self._missing.resolved(parent)
            if resolved is not None:
                yield resolved

    def _as_parent(self, job: RunJob, workflow: Workflow, before: int) -> Iterator[NewEvent]:
        for event, success in self._lineage.successes(job.id, before):
            yield from self._done(event, job, success, workflow)

    def _done(
        self, event: RecordedEvent, job: RunJob, success: Success, workflow: Workflow
    ) -> Iterator[NewEvent]:
        yield continued(event, job, success, workflow)
        yield from self._lineage.to_children(job, success, workflow)

    # -- what was there before a workflow ---------------------------------------------------------

    def _look_back(self, history: _History) -> None:
        """Conclude from some jobs that were there before any version of their workflow was."""
        event, after = history
        workflow = self._workflows.find(event.subject)
        jobs, as_of = self._views.jobs_of_workflow(
            event.subject, event.position, after, HISTORY_JOBS
        )
        if as_of < max(event.position, self._started):
            raise NotReady("the views are behind")
        events: list[NewEvent] = []
        for number, job in enumerate(jobs):
            if workflow is not None:
                events += self._as_child(job, workflow)
                events += self._as_parent(job, workflow, event.position)
            after = (job.submitted, job.number)
            if len(events) >= CONCLUSIONS_MAX and number < len(jobs) - 1:
                break
        else:
            if len(jobs) < HISTORY_JOBS:
                self._record(events, event.position)
                self._history = None
                return
        self._record(events, self._place)
        self._history = history._replace(after=after)

    # -- what should have followed ----------------------------------------------------------------

    def _settle(self, now: int) -> float | None:
        """Decide about the next done job that is due; return the seconds until there is one."""
        self._scan()
        if not self._waiting:
            return None
        event = self._waiting[0]
        due = event.recordedtime + self._child_wait
        if now < due:
            return (due - now) / MICROSECONDS
        alert = self._missing.alert(event)
        events = [] if alert is None else [alert]
        far = event.position - self._noted >= REMEMBER_POSITIONS
        if events or far:
            self._log.append(events, follow=Follow(SETTLED, self._noted, event.position))
            self._noted = event.position
        self._settled = event.position
        self._waiting.popleft()
        return 0

    def _scan(self) -> None:
        """Read on after done jobs, as far as events were looked at."""
        if len(self._waiting) >= WAITING_MAX or self._scanned >= self._place:
            return
        query = EventQuery(types=("job.continued",), after=self._scanned, before=self._place + 1)
        page = self._log.select(query, PAGE_EVENTS)
        self._waiting.extend(page.events)
        self._scanned = self._place if page.next_after is None else page.next_after

    # -- places -----------------------------------------------------------------------------------

    def _record(self, events: list[NewEvent], reached: int) -> None:
        """Append conclusions with the place up to which they were drawn."""
        if events or reached - self._written >= REMEMBER_POSITIONS:
            self._log.append(events, follow=Follow(FOLLOWED, self._written, reached))
            self._written = reached
        self._place = reached
        self._lineage.recorded()

    def _read_workflows(self) -> None:
        """Read which workflows are in force at the place that is remembered."""
        for stream in self._log.streams_of("workflow"):
            query = EventQuery(stream=stream, types=_FLOW, before=self._place + 1, descending=True)
            for event in self._log.select(query, 1).events:
                self._workflows.apply(event)
