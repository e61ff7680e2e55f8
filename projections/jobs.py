"""The jobs as they are now: tables and fold. What is asked of them is in `job_list`."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Final

import apsw
import orjson

from domain.job import JobState, JobStatus
from projections.job_states import JOB_TYPES, Before
from projections.seam import Batch, Rows
from projections.sql import delete_rows, named_statements, statements_of

DOCUMENTS: Final = ("params", "input", "result", "error")
"""The fields that are kept apart, because they can be large."""

_course = attrgetter(
    "updated", "last_position", "events", "status_time", "submitted_known", "started",
    "priority", "phase", "native_status", "stage", "progress", "attempt", "attempts", "worker",
    "message", "warning", "next", "pinned", "pinned_time", "archived_time", "links", "clock",
)  # fmt: skip
_filters = attrgetter(*Before._fields[:8])


class Jobs:
    """Each job as it is now."""

    name = "jobs"
    version = 4
    types = JOB_TYPES
    ordered: frozenset[str] = frozenset()

    def schema(self, prefix: str) -> str:
        """Return the DDL of its tables."""
        return named_statements("jobs.sql", prefix)["schema"]

    def fold(self, db: apsw.Connection, prefix: str) -> JobsFold:
        """Return the fold over the tables with this prefix."""
        return JobsFold(db, prefix)

    def whole_rows(self, batch: Batch) -> Rows:
        """Return a row for each job, and its documents."""
        jobs, documents = [], []
        for job, _, state, set_documents, _, _ in batch.jobs:
            jobs.append((str(state.status), *_course_row(state, job), *_filters(state), state.id))
            if set_documents is not None:
                documents.append((job, *map(_json, set_documents)))
        return {"insert_job": jobs, "write_documents": documents}

    def whole_statements(self, prefix: str) -> Mapping[str, str]:
        """Return the statements of the rows."""
        return statements_of("jobs.sql", prefix, "insert_job", "write_documents")


class JobsFold:
    """Writes each job of a batch once, by the least statement that says what changed."""

    def __init__(self, db: apsw.Connection, prefix: str) -> None:
        self._db = db
        self._sql = named_statements("jobs.sql", prefix)

    def forget(self) -> None:
        """Nothing is remembered here."""

    def load(self, jobs: list[int]) -> list[JobState]:
        """Return the jobs that have rows, as those have them."""
        rows = self._db.execute(self._sql["load_jobs"], (orjson.dumps(jobs).decode(),))
        return [_state(row) for row in rows]

    def apply(self, batch: Batch) -> None:
        """Write what changed of each job."""
        inserts, moves, courses, filters, documents = [], [], [], [], []
        jobs = batch.jobs
        delete_rows(self._db, self._sql, ("delete_job", "delete_documents"), batch.gone)
        for job, before, state, set_documents, _, _ in jobs:
            row = _course_row(state, job)
            now = _filters(state)
            if before is None:
                inserts.append((state.status, *row, *now, state.id))
            else:
                if state.status is before.status:
                    courses.append(row)
                else:
                    moves.append((state.status, *row))
                if now != before[:8]:
                    filters.append((*now, job))
            if set_documents is not None:
                documents.append((job, *map(_json, set_documents)))
        self._write(inserts, moves, courses, filters, documents)

    def _write(self, *rows: list[tuple[Any, ...]]) -> None:
        names = ("insert_job", "move_job", "update_job", "update_filters", "write_documents")
        for name, some in zip(names, rows, strict=True):
            if some:
                self._db.executemany(self._sql[name], some)


def _course_row(state: JobState, job: int) -> tuple[Any, ...]:
    *course, links, clock = _course(state)
    text = orjson.dumps(links).decode() if links else "[]"
    return (*course, text, orjson.dumps(clock).decode(), job)


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


_COLUMNS: Final = tuple(JobState.__dataclass_fields__)
_PLACE: Final[Mapping[str, int]] = {name: place for place, name in enumerate(_COLUMNS)}
_STATUS: Final = _PLACE["status"]
_FLAGS: Final = (_PLACE["submitted_known"], _PLACE["pinned"])
_JSON: Final = (_PLACE["error"], _PLACE["links"], _PLACE["clock"])
_STATUSES: Final[Mapping[str, JobStatus]] = {str(status): status for status in JobStatus}


def _state(row: tuple[Any, ...]) -> JobState:
    """Return the state of a row of ``load_jobs``."""
    values: list[Any] = list(row)
    values[_STATUS] = _STATUSES[values[_STATUS]]
    for place in _FLAGS:
        values[place] = bool(values[place])
    for place in _JSON:
        if values[place] is not None:
            values[place] = orjson.loads(values[place])
    return JobState(*values)
