"""Raises an alert for each attempt that takes longer than it may, and resolves it at its end.

Candidates come from the views, which lag behind; whether an attempt is overdue is decided by the
job's own stream, and recorded only where that stream has not grown until the writer's transaction.
Ids are digests of job and attempt, so a restart, or views that lag, raise nothing twice.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from orjson import Fragment

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Append, EventQuery, Work
from daemon.eventlog.transaction import Transaction
from daemon.intake.message import identity
from daemon.workflows.durations import duration_text
from daemon.workflows.limits import OverdueLimits
from daemon.workflows.loader import COMMIT_SECONDS, SOURCE
from domain.catalog import validate_payload
from domain.errors import NotReady, QueryTimeout, UnreadableEvent
from domain.events import NewEvent
from domain.job import TERMINAL, JobState, JobStatus, job_after
from domain.limits import Limits
from domain.timestamps import MICROSECONDS, SKEW_LIMIT, parse_timestamp
from projections.alerts import AlertFilter
from projections.job_list import JobFilter
from projections.paging import Page
from projections.views import Views

KIND: Final = "overdue"

REST_SECONDS: Final = 5.0
"""How long it rests when it has looked at every open job and every open alert."""
PAGE_SECONDS: Final = 0.5
"""How long it rests between two pages."""
PAGE: Final = 200
"""How many jobs or alerts one step looks at in the views."""
LOOKS_MAX: Final = 50
"""How many jobs one step looks at in the log: so many alerts it raises at most."""
HISTORY_SECONDS: Final = 24 * 3600
"""A job that was recorded so long after it was submitted is history, and is not watched."""

_KEPT_MAX: Final = 100_000
_LOOK_AGAIN: Final = 3600 * MICROSECONDS
"""How long what is settled is believed to be so: a job may run again after its end."""
_OPEN: Final = tuple(str(status) for status in JobStatus if status not in TERMINAL)
_UNRESOLVED: Final = ("acknowledged", "open")


class _Attempt(NamedTuple):
    """The present attempt of a job, as its stream tells it up to ``version``."""

    state: JobState
    began: int
    """When the first event of the attempt was recorded: by our clock."""
    began_position: int
    version: int

    @property
    def is_history(self) -> bool:
        """Whether the log got to know the job long after it was submitted."""
        late = self.began - self.state.submitted
        first = self.began_position == self.state.first_position
        return first and late > HISTORY_SECONDS * MICROSECONDS

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.state.status in TERMINAL

    @property
    def alert(self) -> str:
        """The id of the event that says it is overdue."""
        return identity(KIND, self.state.id, self.began_position)


class _Conclusion(NamedTuple):
    """An event to record, where its job's stream still has this version; None asks for none.

    ``key`` is what need not be looked at again once it is recorded.
    """

    event: NewEvent
    stream: str
    version: int | None
    key: tuple[str, str | int]


class Overdue:
    """Looks at a page of open alerts, or of open jobs, in each step."""

    name = "overdue"

    def __init__(
        self, log: EventLog, views: Views, limits: OverdueLimits, sizes: Limits | None = None
    ) -> None:
        self.woken = threading.Event()
        self._log = log
        self._views = views
        self._limits = limits
        self._sizes = sizes or Limits()
        self._cursor: str | None = None
        self._on_jobs = False
        self._round_at = 0
        """The position that this round's first page showed."""
        self._seen = False
        """Whether this round found anything open."""
        self._nothing_at: int | None = 0
        """Where nothing is open up to: the views are not asked again before the log grows."""
        self._settled: dict[tuple[str, str | int], int] = {}
        """When to look again at what needs no look before: what this round met, or settled."""
        self._settled_before: dict[tuple[str, str | int], int] = {}
        """The same of the round before, as far as it was not met again: it may have ended."""

    def step(self, now: int) -> float | None:
        """Look at one page: first at the alerts that are open, then at the jobs."""
        if self._nothing_at == self._log.head():
            return REST_SECONDS
        try:
            if self._on_jobs:
                page = self._list_jobs()
                worth = [job for job in page.items if self._may_be_late(job, now)]
            else:
                page = self._list_alerts()
                worth = [alert for alert in page.items if self._may_be_over(alert, now)]
            found = [self._decide(item, now) for item in worth[:LOOKS_MAX]]
            self._record([each for each in found if each is not None], now)
        except (NotReady, QueryTimeout):
            return REST_SECONDS
        if self._cursor is None and not self._on_jobs:
            self._round_at, self._seen = page.as_of, False
        self._seen = self._seen or bool(page.items)
        if len(worth) > LOOKS_MAX:
            # The page comes again; what was settled of it is not looked at twice.
            return PAGE_SECONDS
        self._cursor = page.next
        if page.next is not None:
            return PAGE_SECONDS
        self._on_jobs = not self._on_jobs
        if self._on_jobs:
            return PAGE_SECONDS
        self._settled_before, self._settled = self._settled, {}
        self._nothing_at = None if self._seen else self._round_at
        return REST_SECONDS

    def _decide(self, item: Mapping[str, Any], now: int) -> _Conclusion | None:
        try:
            return self._decide_job(item, now) if self._on_jobs else self._decide_alert(item, now)
        except UnreadableEvent:
            # Of a newer release: nothing can be said about this job, but about the others.
            return None

    def _list_jobs(self) -> Page:
        open_jobs = JobFilter(status=_OPEN)
        return self._views.list_jobs(open_jobs, "submitted", PAGE, self._cursor, Fragment)

    def _list_alerts(self) -> Page:
        wanted = AlertFilter(state=_UNRESOLVED, kind=KIND)
        return self._views.list_alerts(wanted, PAGE, self._cursor)

    def _may_be_late(self, job: Mapping[str, Any], now: int) -> bool:
        limit = self._limits.of(job)
        if limit is None or self._is_settled((job["id"], str(job["attempt"])), now):
            return False
        submitted = parse_timestamp(job["submitted"])
        # A producer whose clock is ahead says nothing about how long it has been.
        return submitted + limit <= now or submitted > now + SKEW_LIMIT

    def _decide_job(self, job: Mapping[str, Any], now: int) -> _Conclusion | None:
        attempt = self._attempt(job["id"])
        limit = self._limits.of(job)
        if attempt is None or attempt.ended or limit is None:
            return None
        key = (job["id"], str(job["attempt"]))
        if attempt.is_history or attempt.began + limit > now:
            self._settle(key, now + _LOOK_AGAIN if attempt.is_history else attempt.began + limit)
            return None
        event = self._event("alert.raised", job["id"], attempt.alert, _raised(attempt, limit), now)
        return _Conclusion(event, f"job/{job['id']}", attempt.version, key)

    def _may_be_over(self, alert: Mapping[str, Any], now: int) -> bool:
        if not alert["job"] or self._is_settled((alert["id"], alert["last_position"]), now):
            return False
        job, _ = self._views.job(alert["job"], Fragment)
        if job is None or job["status"] not in _OPEN:
            return True
        return bool(str(job["attempt"]) != alert["labels"].get("attempt"))

    def _decide_alert(self, alert: Mapping[str, Any], now: int) -> _Conclusion | None:
        stream, key = f"alert/{alert['id']}", (alert["id"], alert["last_position"])
        ours = EventQuery(stream=stream, types=("alert.raised",), source=SOURCE, descending=True)
        raised = self._log.select(ours, 1).events
        if not raised:
            self._settle(key, now + _LOOK_AGAIN)
            return None
        attempt = self._attempt(alert["job"])
        if attempt is None:
            reason = "the job is no longer known"
        elif attempt.ended:
            reason = f"the job ended: {attempt.state.status}"
        elif attempt.alert != raised[0].id:
            reason = "another attempt has begun"
        else:
            return None
        for settled in (self._settled, self._settled_before):
            settled.pop((alert["job"], alert["labels"].get("attempt", "")), None)
        # Never before it was raised, also where the clock was set back.
        time = max(now, parse_timestamp(alert["last_seen"]))
        id_ = identity("ended", raised[0].id)
        event = self._event("alert.resolved", alert["job"], id_, {"reason": reason}, time)
        event = event._replace(subject=alert["id"])
        version = attempt.version if attempt else None
        return _Conclusion(event, f"job/{alert['job']}", version, key)

    def _attempt(self, job_id: str) -> _Attempt | None:
        """Return the present attempt of a job as the log tells it, None where it knows none."""
        state: JobState | None = None
        began = position = version = 0
        while events := self._log.read_stream(f"job/{job_id}", after_version=version):
            for event in events:
                before = (state.attempt, state.status in TERMINAL) if state else (0, False)
                state = job_after(state, event)
                version = event.version
                if state is None:
                    continue
                reopened = before[1] and state.status not in TERMINAL
                if state.attempt > before[0] or reopened:
                    began, position = event.recordedtime, event.position
        return None if state is None else _Attempt(state, began, position, version)

    def _event(
        self, type_: str, job_id: str, id_: str, payload: Mapping[str, Any], time: int
    ) -> NewEvent:
        subject = f"{job_id}:{KIND}"
        if len(subject.encode()) > self._sizes.subject_bytes:
            subject = f"{identity(job_id)}:{KIND}"
        return NewEvent(type_, subject, SOURCE, id_, validate_payload(type_, payload), time)

    def _record(self, conclusions: list[_Conclusion], now: int) -> None:
        if not conclusions:
            return
        work = Work(partial(_append, conclusions), events=len(conclusions))
        recorded = self._log.work(work, timeout_seconds=COMMIT_SECONDS)
        for conclusion, done in zip(conclusions, recorded, strict=True):
            if done:
                self._settle(conclusion.key, now + _LOOK_AGAIN)

    def _settle(self, key: tuple[str, str | int], until: int) -> None:
        if len(self._settled) >= _KEPT_MAX:
            self._settled.clear()
        self._settled[key] = until

    def _is_settled(self, key: tuple[str, str | int], now: int) -> bool:
        if key in self._settled_before:
            self._settle(key, self._settled_before.pop(key))
        return self._settled.get(key, 0) > now


def _append(conclusions: list[_Conclusion], transaction: Transaction) -> list[bool]:
    """Record the conclusions whose job has not changed; return which."""
    recorded = []
    for event, stream, version, _ in conclusions:
        unchanged = version is None or transaction.version_of(stream) == version
        if unchanged:
            transaction.append(Append([event]))
        recorded.append(unchanged)
    return recorded


def _raised(attempt: _Attempt, limit: int) -> dict[str, Any]:
    state = attempt.state
    labels = {"workflow": state.workflow, "attempt": str(state.attempt)}
    what = state.phase or state.kind or ""
    return {
        "severity": "warning",
        "kind": KIND,
        "title": f"{what}: overdue",
        "message": f"{state.status}, and not ended within {duration_text(limit)}",
        "fingerprint": what,
        "job": state.id,
        "labels": {name: value for name, value in labels.items() if value},
    }
