"""The queues: the projection `queues`, the list of them, and one with the jobs in it.

The jobs that wait are in the order in which they have their turn: the greater priority first (none
counts as 0), then who was submitted earlier, then who came first into the log.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import apsw

from domain.job import TERMINAL, JobState, JobStatus
from domain.queue import QUEUE_TYPES, WAITING, QueueState, advance_queue, queue_view
from projections.cursor import decode_cursor, encode_cursor, fingerprint
from projections.job_list import Document, show_jobs
from projections.job_states import JOB_TYPES, Before
from projections.paging import check_limit, check_values, shown_items
from projections.seam import Batch, Rows
from projections.sql import delete_rows, named_statements, statements_of
from projections.states import EntityStates, advanced
from projections.walks import Found

WAITING_SECTION, RUNNING_SECTION, ENDED_SECTION = 0, 1, 2

SECTIONS: Final[Mapping[str, int]] = {
    "waiting": WAITING_SECTION,
    "running": RUNNING_SECTION,
    "recent": ENDED_SECTION,
}
"""What a queue's jobs are shown as."""

_COLUMNS: Final = tuple(QueueState.__dataclass_fields__)
_PAUSED: Final = _COLUMNS.index("paused")
_values = attrgetter(*_COLUMNS)

_Count = tuple[str, str]


class Queues:
    """What is said of each queue, and where each job stands in its queue."""

    name = "queues"
    version = 2
    types = JOB_TYPES | QUEUE_TYPES
    ordered: frozenset[str] = frozenset()

    def schema(self, prefix: str) -> str:
        """Return the DDL of its tables."""
        return named_statements("queues.sql", prefix)["schema"]

    def fold(self, db: apsw.Connection, prefix: str) -> QueuesFold:
        """Return the fold over the tables with this prefix."""
        return QueuesFold(db, prefix)

    def whole_rows(self, batch: Batch) -> Rows:
        """Return the place of each job that is in a queue, the counts, and the queues."""
        jobs = [state for _, _, state, _, _, _ in batch.jobs if state.queue is not None]
        counts: defaultdict[_Count, int] = defaultdict(int)
        for state in jobs:
            counts[_count_of(state)] += 1
        by_queue = batch.of(QUEUE_TYPES).by_entity
        queues = [_row(advanced(advance_queue, None, events)) for events in by_queue.values()]
        return {
            "place_job": [_place(state) for state in jobs],
            "add": [(*key, number) for key, number in sorted(counts.items())],
            "write_queue": queues,
        }

    def whole_statements(self, prefix: str) -> Mapping[str, str]:
        """Return the statements of the rows."""
        return statements_of("queues.sql", prefix, "place_job", "add", "write_queue")


class QueuesFold:
    """Writes the queues of a batch, and the jobs whose place in a queue changed."""

    def __init__(self, db: apsw.Connection, prefix: str) -> None:
        self._db = db
        self._sql = named_statements("queues.sql", prefix)
        self._states = EntityStates(self._load)

    def forget(self) -> None:
        """Drop what is remembered of the rows."""
        self._states.forget()

    def _load(self, queue: int) -> QueueState | None:
        row = self._db.execute(self._sql["load_queue"], (queue,)).fetchone()
        return None if row is None else _state(row)

    def apply(self, batch: Batch) -> None:
        """Fold the events of each queue, and move the jobs."""
        self._apply_jobs(batch)
        queues = batch.of(QUEUE_TYPES)
        states: dict[int, QueueState] = {}
        for queue, state, events in self._states.before(queues):
            states[queue] = advanced(advance_queue, state, events)
        rows = [_row(state) for state in states.values()]
        self._db.executemany(self._sql["write_queue"], rows)
        self._states.keep(states, queues)

    def _apply_jobs(self, batch: Batch) -> None:
        placed = []
        counts: defaultdict[_Count, int] = defaultdict(int)
        delete_rows(self._db, self._sql, ["take_job"], batch.gone)
        for ended in batch.ended_jobs.values():
            if ended.queue is not None:
                counts[_count_of(ended)] -= 1
        for _, before, state, _, _, _ in batch.jobs:
            # A job that is in a queue stays in one: no event takes a field away.
            if state.queue is None or (before is not None and _placing(before) == _placing(state)):
                continue
            placed.append(_place(state))
            counts[_count_of(state)] += 1
            if before is not None and before.queue is not None:
                counts[_count_of(before)] -= 1
        changes = sorted([(*key, number) for key, number in counts.items() if number])
        self._db.executemany(self._sql["place_job"], placed)
        self._db.executemany(self._sql["add"], changes)
        self._db.executemany(self._sql["drop_zero"], [key[:2] for key in changes if key[2] < 0])


_placing = attrgetter("queue", "priority", "status", "status_time", "submitted", "started")


def _count_of(state: JobState | Before) -> _Count:
    return state.queue or "", str(state.status)


def _place(state: JobState) -> tuple[int, str | None, int, int, int]:
    """Return the row of a job's place."""
    job = state.first_position
    if state.status in WAITING:
        return job, state.queue, WAITING_SECTION, -(state.priority or 0), state.submitted
    if state.status in TERMINAL:
        return job, state.queue, ENDED_SECTION, -(state.status_time or state.updated), -job
    began = state.submitted if state.started is None else state.started
    return job, state.queue, RUNNING_SECTION, began, 0


def _row(state: QueueState) -> tuple[Any, ...]:
    values: tuple[Any, ...] = _values(state)
    return values


def _state(row: Sequence[Any]) -> QueueState:
    values = list(row)
    values[_PAUSED] = bool(values[_PAUSED])
    return QueueState(*values)


_SQL = named_statements("queues.sql")


def find_queue(
    db: apsw.Connection, name: str, limit: int, document: Document
) -> dict[str, Any] | None:
    """Return a queue with the first jobs of each section, None when nothing tells of it.

    A section may hold fewer jobs than asked for and than there are, where they are large.
    """
    check_limit(limit)
    check_values({"name": name})
    summary = _summary(db, name)
    if summary is None:
        return None
    for section, number in SECTIONS.items():
        keys: Any = db.execute(_SQL["jobs_of_section"], (name, number, limit)).fetchall()
        found = Found(list(keys))
        summary[section], _ = shown_items(
            found, limit, lambda numbers: show_jobs(db, numbers, document)
        )
    return summary


def list_queues(
    db: apsw.Connection, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Return the queues of one page by name, each with its counts, and the cursor of the next.

    Raises:
        Invalid: the limit cannot be used.
        InvalidCursor: the cursor belongs to another list.

    """
    check_limit(limit)
    bound_to = fingerprint("queues")
    after = decode_cursor(bound_to, cursor, (str,))[0] if cursor else ""
    names = [row[0] for row in db.execute(_SQL["list_names"], (after, limit + 1))]
    items = [summary for name in names[:limit] if (summary := _summary(db, name)) is not None]
    return items, encode_cursor(bound_to, (names[limit - 1],)) if len(names) > limit else None


def ids_in_section(db: apsw.Connection, name: str, section: int, limit: int) -> list[str]:
    """Return the ids of the first jobs of a section, in its order."""
    return [row[0] for row in db.execute(_SQL["ids_of_section"], (name, section, limit))]


def _summary(db: apsw.Connection, name: str) -> dict[str, Any] | None:
    """Return what is said of a queue, and how many jobs of it there are."""
    row = db.execute(_SQL["find_queue"], (name,)).fetchone()
    counted: Any = db.execute(_SQL["count_jobs"], (name,)).fetchall()
    counts: dict[str, int] = dict(counted)
    if row is None and not counts:
        return None
    state = QueueState(name, 0) if row is None else _state(row)
    return {
        **queue_view(state),
        "counts": counts,
        "waiting_total": sum(counts.get(status, 0) for status in WAITING),
        "running_total": counts.get(JobStatus.RUNNING, 0),
        "recent_total": sum(counts.get(status, 0) for status in TERMINAL),
    }
