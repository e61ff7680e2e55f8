"""The history of a job: one entry for each event that says something new about it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from domain.clock import effective_time, is_skewed
from domain.events import RecordedEvent
from domain.job import JobState, JobStatus, advance_job, is_late, transition_of
from domain.timestamps import format_timestamp


class HistoryEntry(NamedTuple):
    """What one event said, and what it changed; times in microseconds.

    ``time`` is the effective time. ``from_status`` is the status before the event in log order,
    None for a job's first event; ``to_status`` is what the event says, and the status before it
    where it says nothing. ``late``: a transition that did not move the status.
    """

    position: int
    version: int
    type: str
    time: int
    recordedtime: int
    from_status: JobStatus | None
    to_status: JobStatus
    attempt: int
    stage: str | None
    percent: int | None
    source: str
    actor: str | None
    message: str | None
    late: bool
    skewed: bool

    @property
    def progress_key(self) -> tuple[int, str, int] | None:
        """For progress: (attempt, stage, whole percent), of which a history keeps the first."""
        if self.type != "job.progressed":
            return None
        return (self.attempt, self.stage or "", -1 if self.percent is None else self.percent)


def history_entry(before: JobState | None, event: RecordedEvent) -> HistoryEntry | None:
    """Return the entry of an event, given the job before it in log order.

    None for what is no event of a job, or was folded already. Progress always has an entry: which
    one is the first of its ``progress_key`` is known to who keeps the history.
    """
    if not event.type.startswith("job."):
        return None
    if before is not None and event.position <= before.last_position:
        return None
    transition = transition_of(event)
    status = None if before is None else before.status
    payload = event.payload
    percent = None
    stage = payload.get("stage")
    if event.type == "job.progressed":
        stage = stage or (before.stage if before else None)
        percent = _percent(payload.get("fraction"))
    actor = event.extensions.get("actor")
    return HistoryEntry(
        position=event.position,
        version=event.version,
        type=event.type,
        time=effective_time(event),
        recordedtime=event.recordedtime,
        from_status=status,
        to_status=transition.status if transition else status or JobStatus.SUBMITTED,
        attempt=payload.get("attempt") or (before.attempt if before else 1),
        stage=stage,
        percent=percent,
        source=event.source,
        actor=None if actor is None else str(actor),
        message=_message(event),
        late=transition is not None and before is not None and is_late(before, transition),
        skewed=is_skewed(event),
    )


def _percent(fraction: float | None) -> int | None:
    """Return the whole percent reached; 0.29 is 29 although 0.29 * 100 is a little less."""
    return None if fraction is None else int(fraction * 100 + 1e-9)


def _message(event: RecordedEvent) -> str | None:
    payload = event.payload
    error = payload.get("error") or {}
    for text in (payload.get("message"), payload.get("reason"), error.get("message")):
        if text:
            return str(text)
    warning = payload.get("warning")
    return None if warning is None else str(warning)


def history_of(events: Iterable[RecordedEvent]) -> list[HistoryEntry]:
    """Return the history of one job from all its events in log order."""
    entries: list[HistoryEntry] = []
    seen: set[tuple[int, str, int] | None] = set()
    state: JobState | None = None
    for event in events:
        entry = history_entry(state, event)
        if entry is None:
            continue
        state = advance_job(state, event)
        key = entry.progress_key
        if key is None or key not in seen:
            seen.add(key)
            entries.append(entry)
    return entries


def history_view(entry: HistoryEntry, *, job: str | None = None) -> dict[str, Any]:
    """Return the entry as the HTTP interface shows it; with ``job`` in a chain of attempts."""
    view: dict[str, Any] = {} if job is None else {"job": job}
    return view | {
        "position": entry.position,
        "version": entry.version,
        "type": entry.type,
        "time": format_timestamp(entry.time),
        "recordedtime": format_timestamp(entry.recordedtime),
        "from": entry.from_status,
        "to": entry.to_status,
        "attempt": entry.attempt,
        "stage": entry.stage,
        "percent": entry.percent,
        "source": entry.source,
        "actor": entry.actor,
        "message": entry.message,
        "late": entry.late,
        "skewed": entry.skewed,
    }
