"""What follows a job that is done: which phases, which not and why, and who did not come."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import EventQuery
from daemon.workflows.conclusion import conclude, first_value, meta_of
from daemon.workflows.lineage import TOLERANCE, Success
from daemon.workflows.phases import Phase, Workflow
from domain.events import NewEvent, RecordedEvent
from domain.timestamps import MICROSECONDS
from projections.runs import RUN_JOBS, RunJob
from projections.views import Views

CHILD_MISSING: Final = "child_missing"
"""The kind of the alert about phases that should have followed, and the end of its id."""

OLD: Final = 3_600 * MICROSECONDS
"""No alert is raised for what was recorded so much earlier than it was concluded: history."""


class Outcome(StrEnum):
    """Whether a phase follows a job."""

    EXPECTED = "expected"
    REQUIRE_UNMET = "require_unmet"


def continued(event: RecordedEvent, job: RunJob, success: Success, workflow: Workflow) -> NewEvent:
    """Return what is recorded of a job that is done: the phases that depend on it."""
    phases = [_outcome(phase, event) for phase in workflow.after(job.kind, job.phase)]
    return conclude(
        "job.continued",
        job.id,
        (job.id, event.source, event.id),
        success.time,
        {"workflow": workflow.path, "sha256": workflow.sha256, "phases": phases},
        cause=event.id,
        correlation=job.correlation,
    )


def expected_phases(event: RecordedEvent) -> list[str]:
    """Return the phases that a ``job.continued`` says are to follow, each once."""
    phases = event.payload.get("phases") or ()
    expected = (each["phase"] for each in phases if each["outcome"] == Outcome.EXPECTED)
    return list(dict.fromkeys(expected))


def alert_id(job: str) -> str:
    """Return the id of the alert about what should have followed a job."""
    return f"{job}:{CHILD_MISSING}"


class Missing:
    """Finds out whether what should follow a job is there."""

    def __init__(self, log: EventLog, views: Views) -> None:
        self._log = log
        self._views = views

    def phases(self, event: RecordedEvent) -> list[str]:
        """Return the phases that a ``job.continued`` expects and of which the run has no job.

        A job that any parent of the same phase may have started counts for each of them.
        """
        expected = expected_phases(event)
        run = event.extensions.get("correlationid")
        workflow = event.payload.get("workflow")
        if not expected or run is None or workflow is None:
            return []
        jobs = self._views.jobs_after(str(run), workflow, event.time - TOLERANCE)
        if len(jobs) >= RUN_JOBS:
            # There are more than one look shows.
            return []
        there = {job.phase for job in jobs}
        return [phase for phase in expected if phase not in there]

    def alert(self, event: RecordedEvent) -> NewEvent | None:
        """Return the alert about what a ``job.continued`` expects and is not there."""
        missing = self.phases(event)
        if not missing or self._is_old(event):
            return None
        newer = self._just_submitted(event)
        missing = [phase for phase in missing if phase not in newer]
        if not missing:
            return None
        names = ", ".join(missing)
        return conclude(
            "alert.raised",
            alert_id(event.subject),
            (event.id, event.subject),
            None,
            {
                "severity": "error",
                "kind": CHILD_MISSING,
                "title": f"{names} did not follow",
                "message": f"{names} should have followed {event.subject} and did not.",
                "fingerprint": f"{event.payload['workflow']}:{names}",
                "job": event.subject,
                "labels": {"workflow": event.payload["workflow"]},
            },
            cause=event.id,
            correlation=str(event.extensions["correlationid"]),
        )

    def resolved(self, job: str) -> NewEvent | None:
        """Return the end of the alert about a job, where what was missing has come."""
        query = EventQuery(
            stream=f"alert/{alert_id(job)}",
            types=("alert.raised", "alert.resolved"),
            descending=True,
        )
        newest = self._log.select(query, 1).events
        if not newest or newest[0].type != "alert.raised":
            return None
        done = EventQuery(stream=f"job/{job}", types=("job.continued",), descending=True)
        if any(self.phases(event) for event in self._log.select(done, 1).events):
            return None
        [raised] = newest
        return conclude(
            "alert.resolved",
            alert_id(job),
            ("resolved", raised.source, raised.id),
            None,
            {"by": "chronicled", "reason": "What should have followed is there."},
            cause=raised.id,
        )

    def of_jobs(self, jobs: Iterable[RunJob]) -> list[str]:
        """Return the ids of those jobs about which there is such an alert, open or not."""
        alerts = {f"alert/{alert_id(job.id)}": job.id for job in jobs}
        if not alerts:
            return []
        return sorted(alerts[stream] for stream in self._views.known_streams(alerts))

    def _is_old(self, event: RecordedEvent) -> bool:
        """Whether the end was recorded long before it was concluded what should follow it."""
        cause = event.extensions.get("causationid")
        ends = EventQuery(stream=event.stream, types=("job.succeeded",))
        return any(
            each.id == cause and event.recordedtime - each.recordedtime > OLD
            for each in self._log.select(ends, 100).events
        )

    def _just_submitted(self, event: RecordedEvent) -> set[Any]:
        """Return the phases of the run's jobs that the views may not know yet."""
        _, as_of = self._views.flow_jobs(())
        query = EventQuery(
            types=("job.submitted",),
            correlation=str(event.extensions["correlationid"]),
            after=as_of,
        )
        return {each.payload.get("phase") for each in self._log.select(query, RUN_JOBS).events}


def _outcome(phase: Phase, event: RecordedEvent) -> dict[str, Any]:
    meta = meta_of(event)
    missing = [key for key in phase.require if not first_value(meta, key)]
    if missing:
        return {"phase": phase.name, "outcome": Outcome.REQUIRE_UNMET, "missing": missing}
    return {"phase": phase.name, "outcome": Outcome.EXPECTED}
