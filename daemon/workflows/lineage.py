"""Which job started which: links between the jobs of a run, by what their phases depend on.

A child says nothing of its parent. It has the run's correlation and the workflow, and its phase
depends on the parent's. Of several parents that fit, the one that ended last before the child was
created is taken; one that ended after it, by clocks that differ, only where there is no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import EventQuery
from daemon.workflows.conclusion import SOURCE, conclude
from daemon.workflows.phases import Workflow
from domain.clock import effective_time
from domain.events import NewEvent, RecordedEvent
from domain.job import PARENT_ROLE
from domain.timestamps import MICROSECONDS, format_timestamp, parse_timestamp
from projections.runs import RunJob
from projections.views import Views

TOLERANCE: Final = 2 * MICROSECONDS
"""How long after its child's creation a parent may seem to have ended: times are whole seconds."""
_EVENTS_MAX: Final = 1_000

_Order = tuple[bool, int, str]


class Success(NamedTuple):
    """A job that ended so that others follow it: when, and by which event."""

    job: str
    time: int
    event: str


class _Recorded(NamedTuple):
    """The last link that was recorded for a child; None where its producer named a parent."""

    order: _Order | None
    time: int


def completes(payload: Mapping[str, Any]) -> bool:
    """Return whether others follow a job that succeeded like this; none do after a warning."""
    return payload.get("native_status") in (None, "complete") and not payload.get("warning")


class Lineage:
    """Finds parents and children in the views, and concludes links that are better than before.

    ``drawn`` are the links of conclusions that are not in the log yet.
    """

    def __init__(self, log: EventLog, views: Views) -> None:
        self._log = log
        self._views = views
        self._drawn: dict[str, _Recorded] = {}

    def recorded(self) -> None:
        """Forget what was drawn: it is in the log now, or is drawn again."""
        self._drawn.clear()

    def candidates(self, child: RunJob, workflow: Workflow) -> list[RunJob]:
        """Return the jobs that have ended and on whose phase a job's phase depends."""
        wanted = workflow.before(child.phase)
        if not wanted or child.correlation is None:
            return []
        until = child.submitted + TOLERANCE
        jobs = self._views.jobs_before(child.correlation, workflow.path, until)
        return [
            job
            for job in jobs
            if (job.kind in wanted or job.phase in wanted) and job.ended and job.id != child.id
        ]

    def to_parent(self, child: RunJob, candidates: Iterable[RunJob]) -> Iterator[NewEvent]:
        """Yield the link of a child to the best of its parents."""
        fitting = [
            success for job in candidates if (success := self._fitting(job, child)) is not None
        ]
        if fitting:
            best = max(fitting, key=lambda success: _order(success, child))
            yield from self._link(child, best)

    def to_children(
        self, parent: RunJob, success: Success, workflow: Workflow
    ) -> Iterator[NewEvent]:
        """Yield the links of those children that were there before their parent ended."""
        phases = {phase.name for phase in workflow.after(parent.kind, parent.phase)}
        if not phases or parent.correlation is None:
            return
        since = success.time - TOLERANCE
        for child in self._views.jobs_after(parent.correlation, workflow.path, since):
            if child.phase in phases and child.id != parent.id:
                yield from self._link(child, success)

    def successes(self, job: str, before: int | None = None) -> list[tuple[RecordedEvent, Success]]:
        """Return when and by which events a job ended so that others follow it."""
        query = EventQuery(stream=f"job/{job}", types=("job.succeeded",), before=before)
        events = self._log.select(query, _EVENTS_MAX).events
        return [
            (event, Success(job, effective_time(event), event.id))
            for event in events
            if completes(event.payload)
        ]

    def _fitting(self, job: RunJob, child: RunJob) -> Success | None:
        """Return the last success of a job that a child may follow."""
        times = [
            success
            for _, success in self.successes(job.id)
            if success.time <= child.submitted + TOLERANCE
        ]
        return max(times, key=lambda success: _order(success, child), default=None)

    def _link(self, child: RunJob, success: Success) -> Iterator[NewEvent]:
        """Yield a link, where it is better than the last that was recorded for the child.

        Its time is no earlier than that one's, so that the fold takes it.
        """
        before = self._drawn.get(child.id) or self._last(child)
        order = _order(success, child)
        if before is None or (before.order is not None and before.order >= order):
            return
        time = max(success.time, before.time)
        self._drawn[child.id] = _Recorded(order, time)
        yield conclude(
            "job.linked",
            child.id,
            (child.id, success.job, success.time),
            time,
            {
                "to": success.job,
                "role": PARENT_ROLE,
                "extra": {"ended": format_timestamp(success.time)},
            },
            cause=success.event,
            correlation=child.correlation,
        )

    def _last(self, child: RunJob) -> _Recorded | None:
        """Return the last link in the log; None where the child's producer named its parent."""
        query = EventQuery(stream=f"job/{child.id}", types=("job.linked", "job.submitted"))
        last = _Recorded(None, -(2**62))
        for event in self._log.select(query, _EVENTS_MAX).events:
            if event.payload.get("parent") is not None:
                return None
            if event.source == SOURCE and event.payload.get("role") == PARENT_ROLE:
                ended = parse_timestamp(event.payload["extra"]["ended"])
                success = Success(event.payload["to"], ended, "")
                last = _Recorded(_order(success, child), event.time)
        return last


def _order(success: Success, child: RunJob) -> _Order:
    """Return what the better of two parents has more of."""
    before = success.time <= child.submitted
    return before, success.time if before else -success.time, success.job
