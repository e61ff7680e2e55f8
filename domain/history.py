"""The history of a job: one entry for each event that says something new about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from domain.events import RecordedEvent
from domain.job import STATUS_OF, Course, JobState, JobStatus, course_of, is_passed, job_after
from domain.lives import ARCHIVED, is_marker
from domain.timestamps import SKEW_LIMIT, format_timestamp


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
    return HistoryEntry._make(history_values(None if before is None else course_of(before), event))


def history_values(before: Course | None, event: RecordedEvent) -> tuple[Any, ...]:
    """Return the values of the entry of a job's event, in the order of `HistoryEntry`."""
    position, _, version, type_, own_time, recorded, source, _, _, payload, extensions, _ = event
    skewed = own_time > recorded + SKEW_LIMIT
    time = recorded + SKEW_LIMIT if skewed else own_time
    said = payload.get
    stage = said("stage")
    attempt = said("attempt")
    to_status = STATUS_OF.get(type_)
    percent = None
    late = False
    if before is None:
        from_status = None
        # The first event may be a marker, by which the job goes on.
        row: Mapping[str, Any] = (said("row") or {}) if type_ == ARCHIVED else {}
        attempt = attempt or row.get("attempt") or 1
        to_status = to_status or JobStatus(row.get("status") or JobStatus.SUBMITTED)
    else:
        from_status, then, its_attempt, its_stage = before
        attempt = attempt or its_attempt
        if to_status is None:
            to_status = from_status
        else:
            late = is_passed(from_status, then, to_status, time)
        if type_ == "job.progressed":
            stage = stage or its_stage
    if type_ == "job.progressed":
        percent = _percent(said("fraction"))
    message = said("message") or said("reason") or _other_text(payload)
    actor = extensions.get("actor")
    return (
        position, version, type_, time, recorded, from_status, to_status, attempt, stage, percent,
        source, None if actor is None else str(actor),
        None if message is None else str(message), late, skewed,
    )  # fmt: skip


def _percent(fraction: float | None) -> int | None:
    """Return the whole percent reached; 0.29 is 29 although 0.29 * 100 is a little less."""
    return None if fraction is None else int(fraction * 100 + 1e-9)


def _other_text(payload: Mapping[str, Any]) -> str | None:
    """Return what an event without message and reason says: its error, else a warning."""
    error = payload.get("error")
    if error and error.get("message"):
        return str(error["message"])
    warning = payload.get("warning")
    return None if warning is None else str(warning)


def history_of(events: Iterable[RecordedEvent]) -> list[HistoryEntry]:
    """Return the history of one job from all its events in log order.

    It begins with the last marker, or after it where that was a purge.
    """
    entries: list[HistoryEntry] = []
    seen: set[tuple[int, str, int] | None] = set()
    state: JobState | None = None
    for event in events:
        if is_marker(event):
            state = None
            entries.clear()
            seen.clear()
        entry = history_entry(state, event)
        state = job_after(state, event) if entry is not None else state
        if entry is None or state is None:
            continue
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
