"""The jobs of a queue as the log has them, inside a transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from daemon.eventlog.within import LogWithin
from domain.errors import NotReady
from domain.job import JobState, JobStatus, job_after

JOBS_MAX: Final = 1_000
"""How many jobs one request changes, at the most."""
TAIL_EVENTS_MAX: Final = 20_000
"""How far the views may be behind the log when it is asked for the rest (events)."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the views say: ids of jobs of a queue, as of a position of the log."""

    ids: Sequence[str]
    as_of: int


def find_jobs(
    log: LogWithin, queue: str, statuses: Collection[JobStatus], known: Known
) -> list[JobState]:
    """Return the jobs of a queue that have one of some statuses, by when they came.

    ``known`` has to hold every such job as of its position, or the first `JOBS_MAX` and one.

    Raises:
        NotReady: the views are too far behind.

    """
    streams = dict.fromkeys(f"job/{id_}" for id_ in known.ids)
    for number, event in enumerate(log.after(known.as_of)):
        if number >= TAIL_EVENTS_MAX:
            raise NotReady("The views are too far behind the log to tell what is in the queue.")
        if event.stream.startswith("job/"):
            streams[event.stream] = None
    states = [state for stream in streams if (state := fold_stream(log, stream)) is not None]
    return [state for state in states if state.queue == queue and state.status in statuses]


def fold_stream(log: LogWithin, stream: str, upto: int | None = None) -> JobState | None:
    """Return a job as the log has it at a position, None where it was not there yet."""
    state: JobState | None = None
    for event in log.stream(stream, upto):
        state = job_after(state, event)
    return state
