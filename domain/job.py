"""The state of a job, folded from its events."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final, TypeAlias

from domain.clock import Clock, claim, copy_of, effective_time, newer_fields
from domain.events import RecordedEvent
from domain.lives import ARCHIVED, is_tombstone, replaced_versions
from domain.timestamps import MICROSECONDS, SKEW_LIMIT, format_optional, format_timestamp


class JobStatus(StrEnum):
    """Where a job is in its life; the producer's own word is in ``native_status``."""

    SUBMITTED = "submitted"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    LOST = "lost"

    __hash__ = str.__hash__
    """As text has it, which it equals; that of an enumeration is slow."""


RANKS: Final[Mapping[str, int]] = {
    JobStatus.SUBMITTED: 0,
    JobStatus.QUEUED: 1,
    JobStatus.RUNNING: 2,
    JobStatus.SUCCEEDED: 3,
    JobStatus.FAILED: 3,
    JobStatus.CANCELLED: 3,
    JobStatus.INTERRUPTED: 3,
    JobStatus.LOST: 3,
}
"""The rank of each status: of two transitions at one time, the greater rank is the later one."""

TERMINAL: Final = frozenset(status for status, rank in RANKS.items() if rank == 3)
"""The statuses of a job that ended."""

WITH_ERROR: Final = TERMINAL - {JobStatus.SUCCEEDED}
"""The statuses in which an error is shown: the job has not got over it."""

STATUS_OF: Final[Mapping[str, JobStatus]] = {
    "job.submitted": JobStatus.SUBMITTED,
    "job.queued": JobStatus.QUEUED,
    "job.started": JobStatus.RUNNING,
    "job.succeeded": JobStatus.SUCCEEDED,
    "job.failed": JobStatus.FAILED,
    "job.cancelled": JobStatus.CANCELLED,
    "job.interrupted": JobStatus.INTERRUPTED,
    "job.lost": JobStatus.LOST,
}
"""The status that each event type reports."""

PARENT_ROLE: Final = "parent"
"""The role of a link that says which job caused this one."""

_RANK_OF: Final[Mapping[str, int]] = {
    type_: RANKS[status] for type_, status in STATUS_OF.items()
} | {"job.progressed": RANKS[JobStatus.RUNNING]}
_RUNNING: Final = RANKS[JobStatus.RUNNING]
_NOTED: Final = -1


Course: TypeAlias = tuple[JobStatus, int | None, int, str | None]
"""What of a job the history of its next event depends on: status, its time, attempt, stage."""


@dataclass(slots=True)
class JobState:
    """A job as the events up to ``last_position`` tell it; plain values, times in microseconds.

    ``first_position`` and ``last_position`` are those of its first and last event in log order.
    ``status_time`` is the time of the event that gave the status, None while no event did.
    ``submitted_known`` says that ``submitted`` is the time of a ``job.submitted``. ``clock`` says
    which event each descriptive field is from; it is JSON as it stands.
    """

    id: str
    first_position: int
    submitted: int
    updated: int
    last_position: int = 0
    events: int = 0
    status: JobStatus = JobStatus.SUBMITTED
    status_time: int | None = None
    submitted_known: bool = False
    started: int | None = None
    kind: str | None = None
    name: str | None = None
    owner: str | None = None
    queue: str | None = None
    priority: int | None = None
    workflow: str | None = None
    phase: str | None = None
    parent: str | None = None
    correlation: str | None = None
    native_status: str | None = None
    stage: str | None = None
    progress: float | None = None
    attempt: int = 1
    attempts: int = 1
    worker: str | None = None
    params: Mapping[str, Any] | None = None
    input: Any = None
    result: Any = None
    message: str | None = None
    warning: str | None = None
    error: Mapping[str, Any] | None = None
    next: str | None = None
    links: list[list[str | None]] = field(default_factory=list)
    pinned: bool = False
    pinned_time: int | None = None
    archived_time: int | None = None
    clock: Clock = field(default_factory=list)

    @property
    def ended(self) -> int | None:
        """When the job ended; None while it has not."""
        return self.status_time if self.status in TERMINAL else None

    @property
    def shown_error(self) -> Mapping[str, Any] | None:
        """The error, while the job has not got over it."""
        return self.error if self.status in WITH_ERROR else None

    @property
    def queue_seconds(self) -> float | None:
        """How long the job waited; None when not known, or when its times contradict."""
        return _seconds(self.submitted, self.started)

    @property
    def run_seconds(self) -> float | None:
        """How long the job ran; None when not known, or when its times contradict."""
        return _seconds(self.started, self.ended)


def _seconds(start: int | None, end: int | None) -> float | None:
    if start is None or end is None or end < start:
        return None
    return (end - start) / MICROSECONDS


_FIELDS: Final = (
    "kind", "name", "owner", "queue", "priority", "workflow", "phase", "parent", "correlation",
    "native_status", "stage", "progress", "attempt", "worker", "params", "input", "result",
    "message", "warning", "error", "next", "pinned", "archived",
)  # fmt: skip
"""The fields that follow the greatest event that set them; the place of each is its bit in a clock.

A stored clock holds these bits: append new fields only, and raise the version of what stores them.
"""

_BIT_OF: Final[Mapping[str, int]] = {name: 1 << place for place, name in enumerate(_FIELDS)}
_CORRELATION: Final = _BIT_OF["correlation"]
_PINNED: Final = _BIT_OF["pinned"]
_ARCHIVED: Final = _BIT_OF["archived"]

_TARGETS: Final[Mapping[str, tuple[str, int]]] = {
    name: (name, bit)
    for name, bit in _BIT_OF.items()
    if name not in ("correlation", "progress", "pinned", "archived")
} | {
    "fraction": ("progress", _BIT_OF["progress"]),
    "reason": ("message", _BIT_OF["message"]),
}
"""Field of a payload to field of the job; why a job waits or stopped is its message."""


def fold_job(state: JobState | None, events: Iterable[RecordedEvent]) -> JobState:
    """Return the job after more of its events, in log order; ``state`` is left as it is.

    What was folded already (up to ``last_position``) is skipped, so a repeat changes nothing.

    Raises:
        ValueError: there is no event, or the last of them purged the job.

    """
    folded = None
    if state is not None:
        folded = JobState(*_values(state))
        folded.links = state.links.copy()
        folded.clock = copy_of(state.clock)
    for event in events:
        folded = job_after(folded, event)
    if folded is None:
        raise ValueError("a job has at least one event")
    return folded


_values = attrgetter(*JobState.__dataclass_fields__)


def job_after(state: JobState | None, event: RecordedEvent) -> JobState | None:
    """Take a job on by the next event of its stream, None where that purged it.

    This is the step of `fold_job` for a caller that owns the state and looks at each event.
    """
    return None if is_tombstone(event) else advance_job(state, event)


def advance_job(state: JobState | None, event: RecordedEvent) -> JobState:
    """Take a job on by its next event in log order: changes ``state`` itself, or makes the first.

    A marker makes a state of its own: what was known is forgotten. It is never a purge.
    """
    position, stream, _, type_, time, recorded, _, _, _, payload, extensions, _ = event
    if time > recorded + SKEW_LIMIT:
        time = recorded + SKEW_LIMIT
    if state is None:
        if type_ == ARCHIVED and replaced_versions(type_, payload):
            return _archived(event)
        state = JobState(stream.partition("/")[2], position, time, time)
    elif position <= state.last_position:
        return state
    elif type_ == ARCHIVED and replaced_versions(type_, payload):
        return _archived(event)
    state.last_position = position
    state.events += 1
    if time > state.updated:
        state.updated = time
    if time < state.submitted and not state.submitted_known:
        state.submitted = time
    said: Mapping[str, Any] = payload
    rank = _RANK_OF.get(type_, _NOTED)
    status = STATUS_OF.get(type_)
    if status is not None:
        if rank == 0:
            state.submitted = min(time, state.submitted) if state.submitted_known else time
            state.submitted_known = True
        elif rank == _RUNNING and (state.started is None or time > state.started):
            state.started = time
        then = state.status_time
        if then is None or time > then or not is_passed(state.status, then, status, time):
            state.status = status
            state.status_time = time
    elif rank == _NOTED:
        # Of what is noted about a job only a retry, and a parent, describe the job itself.
        rank = 0
        if type_ == "job.linked":
            said = {"parent": payload["to"]} if payload.get("role") == PARENT_ROLE else {}
        else:
            said = payload if type_ == "job.retried" else {}
        _note(state, type_, time, payload)
    # Take over the fields that the event sets and no greater event has set.
    clock = state.clock
    newer = newer_fields(clock, time, rank) if clock and clock[-1][0] >= time else 0
    fields = 0
    for name, value in said.items():
        target = _TARGETS.get(name)
        if target is not None and value is not None and not target[1] & newer:
            setattr(state, target[0], value)
            fields |= target[1]
    if extensions:
        correlation = extensions.get("correlationid")
        if correlation is not None and not newer & _CORRELATION:
            state.correlation = str(correlation)
            fields |= _CORRELATION
    if fields:
        claim(clock, time, rank, fields)
    if "attempt" in said:
        attempt = said["attempt"]
        if attempt is not None and attempt > state.attempts:
            state.attempts = attempt
    return state


_LEFT_OUT: Final = frozenset(
    ("first_position", "last_position", "archived_time", "params", "input", "result", "error")
)
_ROW: Final[Mapping[str, Any]] = {
    name: None if each.default is MISSING else each.default
    for name, each in JobState.__dataclass_fields__.items()
    if name not in _LEFT_OUT
}
"""The fields of a row, and what stands for each where the row does not name it."""


def row_of(state: JobState) -> dict[str, Any]:
    """Return all of a job that goes on when its events are gone, as JSON: see `domain.lives`.

    ``params``, ``input`` and ``result`` are left out, and the error but for its words; so is what
    is as in a new job.
    """
    row: dict[str, Any] = {}
    for name, usual in _ROW.items():
        value = getattr(state, name)
        if value != usual and value != []:
            row[name] = value
    row["status"] = str(state.status)
    if state.links:
        row["links"] = [link.copy() for link in state.links]
    if state.clock:
        row["clock"] = copy_of(state.clock)
    if state.error is not None:
        row["error"] = words_of(state.error)
    return row


def words_of(error: Mapping[str, Any]) -> dict[str, Any]:
    """Return of an error what can be searched for: its class and its message."""
    return {name: error[name] for name in ("class", "message") if name in error}


def _archived(event: RecordedEvent) -> JobState:
    """Return the job that goes on from a marker, as its row says."""
    time = effective_time(event)
    state = JobState(event.subject, event.position, time, time)
    row: Mapping[str, Any] = event.payload.get("row") or {}
    for name, value in row.items():
        if value is not None and (name in _ROW or name == "error"):
            setattr(state, name, value)
    state.id, state.status = event.subject, JobStatus(state.status)
    state.links = [list(link) for link in state.links]
    state.clock = copy_of(state.clock)
    state.last_position = event.position
    state.events += 1
    state.updated = max(state.updated, time)
    state.archived_time = time
    claim(state.clock, time, 0, _ARCHIVED)
    return state


def is_passed(status: JobStatus, then: int | None, new: JobStatus, time: int) -> bool:
    """Return whether a job with a status since ``then`` is past another one: it comes late."""
    if then is None or time > then:
        return False
    return time < then or RANKS[new] < RANKS[status]


course_of: Final[Callable[[JobState], Course]] = attrgetter(
    "status", "status_time", "attempt", "stage"
)
"""The course of a job."""


def _note(state: JobState, type_: str, time: int, payload: Mapping[str, Any]) -> None:
    """Apply an event that says something about the job without describing its work."""
    if type_ == "job.linked":
        _link(state.links, [payload["to"], payload.get("role")])
    elif type_ in ("job.archived", "job.restored"):
        if not newer_fields(state.clock, time, 0) & _ARCHIVED:
            state.archived_time = time if type_ == ARCHIVED else None
            claim(state.clock, time, 0, _ARCHIVED)
    elif type_ in ("job.pinned", "job.unpinned") and not (
        newer_fields(state.clock, time, 0) & _PINNED
    ):
        state.pinned = type_ == "job.pinned"
        state.pinned_time = time if state.pinned else None
        claim(state.clock, time, 0, _PINNED)


def _link(links: list[list[str | None]], link: list[str | None]) -> None:
    """Add a link where it is not there yet; a job may have very many of them."""
    place = bisect_left(links, _link_order(link), key=_link_order)
    if links[place : place + 1] != [link]:
        links.insert(place, link)


def _link_order(link: list[str | None]) -> tuple[str, bool, str]:
    to, role = link
    return (to or "", role is not None, role or "")


def job_view(state: JobState) -> dict[str, Any]:
    """Return the job as the HTTP interface shows it."""
    return {
        "id": state.id,
        "kind": state.kind,
        "name": state.name,
        "owner": state.owner,
        "queue": state.queue,
        "priority": state.priority,
        "workflow": state.workflow,
        "phase": state.phase,
        "parent": state.parent,
        "correlation": state.correlation,
        "status": state.status,
        "native_status": state.native_status,
        "stage": state.stage,
        "progress": state.progress,
        "attempt": state.attempt,
        "attempts": state.attempts,
        "worker": state.worker,
        "params": state.params,
        "input": state.input,
        "result": state.result,
        "message": state.message,
        "warning": state.warning,
        "error": state.shown_error,
        "next": state.next,
        "links": [{"to": to, "role": role} for to, role in state.links],
        "submitted": format_timestamp(state.submitted),
        "started": format_optional(state.started),
        "ended": format_optional(state.ended),
        "updated": format_timestamp(state.updated),
        "queue_seconds": state.queue_seconds,
        "run_seconds": state.run_seconds,
        "last_position": state.last_position,
        "events": state.events,
        "pinned": state.pinned,
        "pinned_time": format_optional(state.pinned_time),
        "archived": state.archived_time is not None,
        "archived_time": format_optional(state.archived_time),
    }
