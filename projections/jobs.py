"""The jobs as they are now: tables and fold. What is asked of them is in `job_list`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any, Final

import apsw
import orjson

from domain.events import RecordedEvent
from domain.job import JobState, JobStatus, advance_job
from projections.seam import Batch
from projections.sql import named_statements
from projections.states import EntityStates, advanced, narrowed

COURSE_TYPES: Final = frozenset(
    f"job.{verb}"
    for verb in (
        "submitted", "queued", "started", "progressed", "succeeded", "failed", "cancelled",
        "interrupted", "lost",
    )
)  # fmt: skip
"""The event types that tell the course of a job."""

NOTE_TYPES: Final = frozenset(
    f"job.{verb}" for verb in ("retried", "linked", "pinned", "unpinned", "archived")
)
"""The event types that note something about a job."""

TRANSITION_TYPES: Final = COURSE_TYPES - {"job.progressed"}
"""The event types that report a status."""

JOB_TYPES: Final = COURSE_TYPES | NOTE_TYPES
"""Every event type of a job."""

DOCUMENTS: Final = ("params", "input", "result", "error")
"""The fields that are kept apart, because they can be large."""

_course = attrgetter(
    "updated", "last_position", "events", "status_time", "submitted_known", "started",
    "priority", "phase", "native_status", "stage", "progress", "attempt", "attempts", "worker",
    "message", "warning", "next", "links", "pinned", "pinned_time", "archived_time", "clock",
)  # fmt: skip
_LINKS: Final = 17
_CLOCK: Final = 21
_filters = attrgetter(
    "submitted", "kind", "name", "owner", "queue", "workflow", "parent", "correlation"
)
_documents = attrgetter(*DOCUMENTS)


def narrowed_job_event(event: RecordedEvent, fields: Iterable[str]) -> RecordedEvent:
    """Return the event with these fields only; a note about the job then says nothing but when."""
    return narrowed(event, fields, "job.noted" if event.type in NOTE_TYPES else "")


class Jobs:
    """Each job as it is now."""

    name = "jobs"
    version = 1
    types = JOB_TYPES

    def schema(self, prefix: str) -> str:
        """Return the DDL of its tables."""
        return named_statements("jobs.sql", prefix)["schema"]

    def fold(self, db: apsw.Connection, prefix: str) -> JobsFold:
        """Return the fold over the tables with this prefix."""
        return JobsFold(db, prefix)


class JobsFold:
    """Writes each job of a batch once, by the least statement that says what changed."""

    def __init__(self, db: apsw.Connection, prefix: str) -> None:
        self._db = db
        self._sql = named_statements("jobs.sql", prefix)
        self._states = EntityStates(self._load)

    def forget(self) -> None:
        """Drop what is remembered of the rows."""
        self._states.forget()

    def _load(self, job: int) -> JobState | None:
        row = self._db.execute(self._sql["load_job"], (job,)).fetchone()
        return None if row is None else state_of(row, documents=False)

    def apply(self, batch: Batch) -> None:
        """Fold the events of each job and write what changed."""
        courses, statuses, filters, inserts, documents = [], [], [], [], []
        states: dict[int, JobState] = {}
        for job, state, events in self._states.before(batch):
            described = status = None
            if state is not None:
                described, status = _filters(state), state.status
            states[job] = after = advanced(advance_job, state, events)
            row = _course_row(after, job)
            now = _filters(after)
            if described is None:
                inserts.append((*row, after.status, *now, after.id))
            else:
                courses.append(row)
                if after.status != status:
                    statuses.append((after.status, job))
                if now != described:
                    filters.append((*now, job))
            set_documents = _documents(after)
            if set_documents != (None, None, None, None):
                documents.append((job, *map(_json, set_documents)))
                # Written, and not needed to fold on: a state in memory stays small without them.
                after.params = after.input = after.result = after.error = None
        self._write(inserts, courses, statuses, filters, documents)
        self._states.keep(states, batch)

    def _write(self, *rows: list[tuple[Any, ...]]) -> None:
        names = ("insert_job", "update_job", "update_status", "update_filters", "write_documents")
        for name, some in zip(names, rows, strict=True):
            if some:
                self._db.executemany(self._sql[name], some)


def _course_row(state: JobState, job: int) -> tuple[Any, ...]:
    row = list(_course(state))
    row[_LINKS] = orjson.dumps(row[_LINKS]).decode()
    row[_CLOCK] = orjson.dumps(row[_CLOCK]).decode()
    row.append(job)
    return tuple(row)


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


_COLUMNS: Final = tuple(JobState.__dataclass_fields__)
_PLACE: Final[Mapping[str, int]] = {name: place for place, name in enumerate(_COLUMNS)}
_JSON_PLACES: Final = tuple(_PLACE[name] for name in (*DOCUMENTS, "links", "clock"))
_STATUSES: Final[Mapping[str, JobStatus]] = {str(status): status for status in JobStatus}


def state_of(row: tuple[Any, ...], *, documents: bool = True) -> JobState:
    """Return the state of a row of ``load_job``; its documents only where they are needed."""
    values: list[Any] = list(row)
    values[_PLACE["status"]] = _STATUSES[values[_PLACE["status"]]]
    for name in ("submitted_known", "pinned"):
        values[_PLACE[name]] = bool(values[_PLACE[name]])
    for place in _JSON_PLACES:
        if values[place] is not None:
            keep = documents or _COLUMNS[place] not in DOCUMENTS
            values[place] = orjson.loads(values[place]) if keep else None
    return JobState(*values)
