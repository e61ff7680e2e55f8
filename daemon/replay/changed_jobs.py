"""Which jobs appeared, changed their status, or ended between two positions of the log.

A page walks the log's own events by position. A job is taken at its first event in the range, and
its stream folded up to both ends; so the list is exact at any size, and needs no view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol

from daemon.eventlog.reader import SCAN_POSITIONS
from domain.clock import effective_time
from domain.events import RecordedEvent
from domain.job import TERMINAL, JobState, JobStatus, job_after
from domain.timestamps import format_timestamp

_STREAMS: Final = 500
"""How many streams are looked up at once."""

ReadStream = Callable[[str, int], Iterable[RecordedEvent]]
"""Reads the events of a stream up to a position."""


class Streams(Protocol):
    """A log, as far as its streams are asked for."""

    def streams_met(
        self, category: str, after: int, upto: int, since: int, limit: int
    ) -> list[tuple[int, str]]:
        """Return streams by their first event after ``since``, as far as it lies in a range."""
        ...

    def position_after(self, position: int) -> int | None:
        """Return the position of the next event, None where there is none."""
        ...

    def position_upto(self, position: int) -> int:
        """Return the position of the newest event up to one, 0 where there is none."""
        ...


class Range(NamedTuple):
    """What lies between two positions: after the first, up to the second."""

    since: int
    upto: int


@dataclass(frozen=True, slots=True)
class ChangedJobFilter:
    """Which jobs are shown: all conditions hold, of the job as it is at the end of the range."""

    kind: str | None = None
    name: str | None = None
    status: Sequence[str] = ()

    def fits(self, job: JobState) -> bool:
        """Return whether a job is shown."""
        return (
            self.kind in (None, job.kind)
            and self.name in (None, job.name)
            and (not self.status or job.status in self.status)
        )


def list_changed_jobs(
    log: Streams,
    read: ReadStream,
    between: Range,
    after: int,
    limit: int,
    wanted: ChangedJobFilter,
    deadline: float,
) -> tuple[list[dict[str, Any]], int | None]:
    """Return the items of a page, and the position to go on after (None = at the end).

    A page that has used up half of its time ends early.
    """
    items: list[dict[str, Any]] = []
    soft_deadline = (monotonic() + deadline) / 2
    # A page begins and ends with an event: it is not spent on positions that an epoch left empty.
    first = log.position_after(after)
    if first is None or first > between.upto:
        return items, None
    high = log.position_upto(min(between.upto, first - 1 + SCAN_POSITIONS))
    while after < high:
        met = log.streams_met("job", after, high, between.since, _STREAMS)
        for position, stream in met:
            item = _changed_job(read(stream, between.upto), between, wanted)
            if item is not None:
                items.append(item)
            if len(items) == limit or monotonic() > soft_deadline:
                return items, position if position < between.upto else None
        after = met[-1][0] if len(met) == _STREAMS else high
    return items, high if high < between.upto else None


def _changed_job(
    events: Iterable[RecordedEvent], between: Range, wanted: ChangedJobFilter
) -> dict[str, Any] | None:
    """Return a job that appeared, changed its status or ended in a range, None for any other."""
    state: JobState | None = None
    before: tuple[JobStatus, int] | None = None
    moved: RecordedEvent | None = None
    ended = False
    count = 0
    for event in events:
        then = None if state is None else (state.status, state.status_time)
        state = job_after(state, event)
        if event.position <= between.since:
            before = None if state is None else (state.status, state.attempt)
            continue
        count += 1
        if state is not None and (state.status, state.status_time) != then:
            moved = event
            ended = state.status in TERMINAL
    if state is None or moved is None or not wanted.fits(state):
        return None
    if before is not None and before[0] == state.status and not ended:
        return None
    return {
        "id": state.id,
        "kind": state.kind,
        "name": state.name,
        "appeared": before is None,
        "ended": ended,
        "from": before and before[0],
        "to": state.status,
        "from_attempt": before and before[1],
        "to_attempt": state.attempt,
        "events": count,
        "position": moved.position,
        "time": format_timestamp(effective_time(moved)),
    }
