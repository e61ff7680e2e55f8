"""The state of a queue, folded from the events that tell of the queue itself.

Which jobs a queue has is told by the events of its jobs. A ``queue.cleared`` is a fact about the
queue and moves no job: whoever throws jobs away says so of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from domain.clock import effective_time, later
from domain.events import RecordedEvent
from domain.job import JobStatus
from domain.timestamps import format_optional

QUEUE_TYPES: Final = frozenset(
    {"queue.paused", "queue.resumed", "queue.cleared", "queue.recovered"}
)
"""Every event type of a queue."""

WAITING: Final = frozenset({JobStatus.SUBMITTED, JobStatus.QUEUED})
"""The statuses of a job that waits for its turn."""


@dataclass(slots=True)
class QueueState:
    """A queue as the events up to ``last_position`` tell it; times in microseconds.

    ``changed`` is when it was last paused or resumed, ``pauses`` and ``resumes`` are how often
    that was said; ``cleared`` and ``recovered`` are when that was done last, and to how many jobs.
    """

    name: str
    first_position: int
    last_position: int = 0
    paused: bool = False
    changed: int | None = None
    reason: str | None = None
    by: str | None = None
    pauses: int = 0
    resumes: int = 0
    cleared: int | None = None
    cleared_count: int | None = None
    recovered: int | None = None
    recovered_count: int | None = None


def advance_queue(state: QueueState | None, event: RecordedEvent) -> QueueState:
    """Take a queue on by its next event in log order: changes ``state``, or makes the first."""
    if state is None:
        state = QueueState(event.subject, event.position)
    elif event.position <= state.last_position:
        return state
    state.last_position = event.position
    time = effective_time(event)
    if event.type in ("queue.paused", "queue.resumed"):
        _turn(state, event, time)
    elif event.type == "queue.cleared":
        if state.cleared is None or time >= state.cleared:
            state.cleared_count = event.payload.get("count")
        state.cleared = later(state.cleared, time)
    elif event.type == "queue.recovered":
        if state.recovered is None or time >= state.recovered:
            state.recovered_count = event.payload.get("count")
        state.recovered = later(state.recovered, time)
    return state


def _turn(state: QueueState, event: RecordedEvent, time: int) -> None:
    pausing = event.type == "queue.paused"
    if pausing:
        state.pauses += 1
    else:
        state.resumes += 1
    if state.changed is not None and time < state.changed:
        return
    actor = event.extensions.get("actor")
    state.paused, state.changed = pausing, time
    state.reason = event.payload.get("reason")
    state.by = None if actor is None else str(actor)


def queue_view(state: QueueState) -> dict[str, Any]:
    """Return what is said of the queue itself as the HTTP interface shows it."""
    return {
        "name": state.name,
        "paused": state.paused,
        "changed": format_optional(state.changed),
        "reason": state.reason,
        "by": state.by,
        "cleared": format_optional(state.cleared),
        "cleared_count": state.cleared_count,
        "recovered": format_optional(state.recovered),
        "recovered_count": state.recovered_count,
    }
