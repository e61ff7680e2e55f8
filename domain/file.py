"""The state of a file, folded from its events.

What one event says about a file belongs together: a newer observation replaces all facts of the
older one (a checksum of an older version must not survive), a newer match the whole older match.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from domain.clock import earlier, effective_time, later
from domain.events import RecordedEvent
from domain.lives import is_tombstone
from domain.timestamps import format_optional, format_timestamp


class FileStatus(StrEnum):
    """What was last said about a file."""

    OBSERVED = "observed"
    PROCESSED = "processed"
    REMOVED = "removed"


RANKS: Final[Mapping[FileStatus, int]] = {
    FileStatus.OBSERVED: 0,
    FileStatus.PROCESSED: 1,
    FileStatus.REMOVED: 2,
}
"""Of two events at one time, the one that gives the greater rank is the later one."""

STATUS_OF: Final[Mapping[str, FileStatus]] = {
    "file.observed": FileStatus.OBSERVED,
    "file.processed": FileStatus.PROCESSED,
    "file.removed": FileStatus.REMOVED,
}
"""The state that each event type reports."""

FACTS: Final = (
    *("size", "checksum", "linecnt", "bytecnt", "created"),
    *("is_dir", "files", "generation", "bucket"),
)
"""What an observation says about a file, beside its path."""

_MATCH: Final = ("workflow", "phases", "jobs", "reason")
_OUTCOME: Final = ("outcome", "job", "message")


@dataclass(slots=True)
class FileState:
    """A file as the events up to ``last_position`` tell it; plain values, times in microseconds.

    ``facts`` are of the greatest observation (at ``observed``), ``match`` of the greatest match
    (at ``matched``), ``outcome`` of the greatest processing or removal (at ``concluded``).
    ``observations`` counts the ``file.observed`` events. ``state_time`` is the time of the event
    that gave the state, None while no event did.
    """

    path: str
    first_position: int
    updated: int
    last_position: int = 0
    events: int = 0
    state: FileStatus = FileStatus.OBSERVED
    state_time: int | None = None
    first_observed: int | None = None
    observed: int | None = None
    observations: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    matched: int | None = None
    match: Mapping[str, Any] = field(default_factory=dict)
    concluded: int | None = None
    concluded_rank: int = 0
    outcome: Mapping[str, Any] = field(default_factory=dict)


def fold_file(state: FileState | None, events: Iterable[RecordedEvent]) -> FileState:
    """Return the file after more of its events, in log order; ``state`` is left as it is.

    What was folded already (up to ``last_position``) is skipped, so a repeat changes nothing.

    Raises:
        ValueError: there is no event, or the last of them purged the file.

    """
    folded = None if state is None else replace(state)
    for event in events:
        folded = file_after(folded, event)
    if folded is None:
        raise ValueError("a file has at least one event")
    return folded


def file_after(state: FileState | None, event: RecordedEvent) -> FileState | None:
    """Take a file on by the next event of its stream, None where that purged it."""
    return None if is_tombstone(event) else advance_file(state, event)


def advance_file(state: FileState | None, event: RecordedEvent) -> FileState:
    """Take a file on by its next event in log order: changes ``state``, or makes the first."""
    time = effective_time(event)
    if state is None:
        state = FileState(event.subject, event.position, time)
    elif event.position <= state.last_position:
        return state
    state.last_position = event.position
    state.events += 1
    state.updated = later(state.updated, time)
    status = STATUS_OF.get(event.type)
    if status is FileStatus.OBSERVED:
        _observe(state, time, event.payload)
    elif status is not None:
        _conclude(state, status, time, event.payload)
    elif event.type == "file.matched" and (state.matched is None or time >= state.matched):
        state.matched, state.match = time, _said(event.payload, _MATCH)
    if status is not None:
        then = state.state_time
        if then is None or (time, RANKS[status]) >= (then, RANKS[state.state]):
            state.state, state.state_time = status, time
    return state


def _observe(state: FileState, time: int, payload: Mapping[str, Any]) -> None:
    state.observations += 1
    state.first_observed = earlier(state.first_observed, time)
    if state.observed is None or time >= state.observed:
        state.observed, state.facts = time, _said(payload, FACTS)


def _conclude(state: FileState, status: FileStatus, time: int, payload: Mapping[str, Any]) -> None:
    """Keep the outcome of the greatest of the processings and removals."""
    key = (time, RANKS[status])
    if state.concluded is None or key >= (state.concluded, state.concluded_rank):
        state.concluded, state.concluded_rank = key
        state.outcome = _said(payload, _OUTCOME)


def _said(payload: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: payload[name] for name in names if payload.get(name) is not None}


def file_view(state: FileState) -> dict[str, Any]:
    """Return the file as the HTTP interface shows it."""
    return {
        "path": state.path,
        "state": state.state,
        **{name: state.facts.get(name) for name in FACTS},
        "observations": state.observations,
        "first_observed": format_optional(state.first_observed),
        "observed": format_optional(state.observed),
        "matched": format_optional(state.matched),
        **{name: state.match.get(name) for name in _MATCH},
        "concluded": format_optional(state.concluded),
        **{name: state.outcome.get(name) for name in _OUTCOME},
        "updated": format_timestamp(state.updated),
        "last_position": state.last_position,
        "events": state.events,
    }
