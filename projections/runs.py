"""What following a workflow asks of the jobs: who else is in a run, and who is of a workflow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import apsw
import orjson

from domain.job import TERMINAL
from projections.entities import entity_number
from projections.sql import named_statements

RUN_JOBS: Final = 2_000
"""How many jobs of a run are looked at for one of them."""

_SQL = named_statements("runs.sql")
_ENDED: Final = frozenset(map(str, TERMINAL))


class RunJob(NamedTuple):
    """A job as its workflow sees it; times in microseconds. ``number`` is its first position."""

    number: int
    id: str
    kind: str | None
    phase: str | None
    workflow: str | None
    correlation: str | None
    status: str
    native_status: str | None
    status_time: int | None
    submitted: int

    @property
    def ended(self) -> bool:
        """Whether it has come to an end, whichever."""
        return self.status in _ENDED


def find_jobs(db: apsw.Connection, streams: Iterable[str]) -> dict[str, RunJob]:
    """Return those of some streams that are jobs of a workflow."""
    numbers = [entity_number(db, stream) for stream in streams]
    asked = orjson.dumps([number for number in numbers if number is not None]).decode()
    jobs = _jobs(db.execute(_SQL["flow_jobs"], (asked,)))
    return {f"job/{job.id}": job for job in jobs}


def jobs_before(db: apsw.Connection, run: str, workflow: str, until: int) -> list[RunJob]:
    """Return the jobs of a run and workflow submitted up to a time, the newest first."""
    return _jobs(db.execute(_SQL["run_before"], (run, until, RUN_JOBS, workflow)))


def jobs_after(db: apsw.Connection, run: str, workflow: str, since: int) -> list[RunJob]:
    """Return the jobs of a run and workflow submitted since a time, the oldest first."""
    return _jobs(db.execute(_SQL["run_after"], (run, since, RUN_JOBS, workflow)))


def jobs_of_workflow(
    db: apsw.Connection, workflow: str, before: int, after: tuple[int, int], limit: int
) -> list[RunJob]:
    """Return jobs of a workflow that began before a position, after a (submitted, number)."""
    submitted, number = after
    asked = (workflow, submitted, submitted, number, before, limit)
    return _jobs(db.execute(_SQL["flow_after"], asked))


def known_streams(db: apsw.Connection, streams: Iterable[str]) -> set[str]:
    """Return those of some streams that there are."""
    return {stream for stream in streams if entity_number(db, stream) is not None}


def _jobs(rows: Iterable[Any]) -> list[RunJob]:
    return [RunJob(*row) for row in rows]
