"""Recovering and clearing a queue: an event for each job and one for the queue, or none at all."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import islice
from typing import ClassVar

from daemon.eventlog.requests import Append, Appended
from daemon.eventlog.transaction import Transaction
from daemon.eventlog.within import LogWithin
from daemon.intake.message import EventMaker, identity
from daemon.queues.jobs import JOBS_MAX, Known, find_jobs, fold_stream
from domain.errors import Fault, Invalid
from domain.events import NewEvent, RecordedEvent
from domain.job import JobState, JobStatus
from domain.limits import Limits
from domain.queue import WAITING
from projections.queues import RUNNING_SECTION, WAITING_SECTION


@dataclass(eq=False)
class Change:
    """One request about a whole queue: run in a transaction, it leaves what it found.

    ``id`` is the caller's, for a retry: it answers as the first time, whatever happened since.
    """

    queue: str
    known: Known
    now: int
    limits: Limits
    by: str | None = None
    reason: str | None = None
    id: str | None = None
    jobs: list[JobState] = field(default_factory=list, init=False)
    """The jobs that were changed, as they stood before."""
    more: bool = field(default=False, init=False)
    """Whether there are more of them than one request changes."""

    source: ClassVar[str]
    queue_type: ClassVar[str]
    job_type: ClassVar[str]
    statuses: ClassVar[Collection[JobStatus]]
    section: ClassVar[int]
    usual_reason: ClassVar[str]

    def run(self, transaction: Transaction) -> Appended:
        """Change the queue; `jobs` and `more` then say what was done."""
        # It may be run twice.
        self.jobs, self.more = [], False
        log = LogWithin(transaction)
        repeated = None if self.id is None else self._earlier(log)
        if repeated is not None:
            return self._answer_again(log, repeated)
        found = find_jobs(log, self.queue, self.statuses, self.known)
        self.more = len(found) > JOBS_MAX
        self.jobs = found[:JOBS_MAX]
        if not self.jobs:
            return Appended([], transaction.position)
        return transaction.append(Append(self._events(transaction)))

    def _events(self, transaction: Transaction) -> list[NewEvent]:
        time = max(self.now, transaction.now)
        told = self.id or identity(self.queue_type, self.queue, transaction.position, time)
        actor = {} if self.by is None else {"actor": self.by}
        make = EventMaker(self.source, self.limits, actor)
        # The queue's own event is the first: a retry finds by it what came after.
        said = {"reason": self.reason, "count": len(self.jobs), "extra": {"more": self.more}}
        events = [make.event(self.queue_type, self.queue, told, time, said)]
        make = EventMaker(self.source, self.limits, {**actor, "causationid": told})
        reason = {"reason": self.reason or self.usual_reason}
        for job in self.jobs:
            # A job whose producer's clock runs ahead must not go on because it is "newer".
            then = max(time, job.updated)
            events.append(make.event(self.job_type, job.id, identity(told, job.id), then, reason))
        return events

    def _earlier(self, log: LogWithin) -> RecordedEvent | None:
        """Return the event that a request with this id recorded before."""
        for event in log.stream(f"queue/{self.queue}"):
            if event.id == self.id and event.source == self.source:
                if event.type != self.queue_type:
                    detail = f"the id is that of a {event.type} event of this queue"
                    raise Invalid(detail, errors=[Fault(detail, "/id")])
                return event
        return None

    def _answer_again(self, log: LogWithin, event: RecordedEvent) -> Appended:
        """Say what was said then: the jobs as they stood before the event."""
        count = event.payload.get("count") or 0
        caused = list(islice(log.after(event.position), count))
        for each in caused:
            state = fold_stream(log, each.stream, event.position)
            if state is not None:
                self.jobs.append(state)
        self.more = bool((event.payload.get("extra") or {}).get("more"))
        return Appended([], event.position + count)


class Recovery(Change):
    """The queue's program came back: what ran is interrupted, what waits stays."""

    source = "/chronicled/queues"
    queue_type = "queue.recovered"
    job_type = "job.interrupted"
    statuses = frozenset({JobStatus.RUNNING})
    section = RUNNING_SECTION
    usual_reason = "the queue was restarted"


class Clearing(Change):
    """The jobs that wait are thrown away."""

    source = "/chronicled/api"
    queue_type = "queue.cleared"
    job_type = "job.cancelled"
    statuses = WAITING
    section = WAITING_SECTION
    usual_reason = "the queue was cleared"
