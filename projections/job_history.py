"""What happened to each job: the projection `job_history`, and the history of a chain of jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from heapq import merge
from operator import itemgetter
from typing import Any, Final, TypeAlias

import apsw

from domain.errors import NotFound
from domain.history import HistoryEntry, history_values, history_view
from domain.job import RANKS, STATUS_OF, JobStatus
from projections.cursor import Key, decode_cursor, encode_cursor, fingerprint
from projections.entities import entity_number
from projections.job_states import JOB_TYPES, NOTE_TYPES
from projections.paging import PAGE_BYTES, check_limit, text_size
from projections.seam import Batch, Rows
from projections.sql import delete_rows, named_statements, statements_of

CHAIN_MAX: Final = 1_000
"""How many attempts of a chain are shown, at the most."""

ENTRY_RANKS: Final[Mapping[str, int]] = (
    {type_: RANKS[status] for type_, status in STATUS_OF.items()}
    | {"job.progressed": RANKS[JobStatus.RUNNING]}
    | dict.fromkeys(NOTE_TYPES, max(RANKS.values()) + 1)
)
"""The ranks of entries among those of one time: what is noted about a job comes last."""


def entry_rank(entry: HistoryEntry) -> int:
    """Return the rank of an entry among those of its time."""
    return ENTRY_RANKS.get(entry.type, RANKS[entry.to_status])


class JobHistory:
    """Every transition of every job, and its progress by whole percents."""

    name = "job_history"
    version = 3
    types = JOB_TYPES
    ordered = frozenset({"insert_new_entry"})

    def schema(self, prefix: str) -> str:
        """Return the DDL of its tables."""
        return named_statements("job_history.sql", prefix)["schema"]

    def fold(self, db: apsw.Connection, prefix: str) -> JobHistoryFold:
        """Return the fold over the tables with this prefix."""
        return JobHistoryFold(db, prefix)

    def whole_rows(self, batch: Batch) -> Rows:
        """Return the entries of the events, of progress the first of each percent."""
        entries = []
        for job, _, _, _, events, courses in batch.jobs:
            seen = set()
            for course, event in zip(courses, events, strict=True):
                entry = history_values(course, event)
                if event.type == "job.progressed":
                    percent = entry[7:10]
                    if percent in seen:
                        continue
                    seen.add(percent)
                was, now = entry[5:7]
                entries.append(
                    (*entry[:5], was and str(was), str(now), *entry[7:], job,
                     ENTRY_RANKS[event.type])
                )  # fmt: skip
        return {"insert_new_entry": entries}

    def whole_statements(self, prefix: str) -> Mapping[str, str]:
        """Return the statement of the entries."""
        return statements_of("job_history.sql", prefix, "insert_new_entry")


class JobHistoryFold:
    """Writes an entry for each event."""

    def __init__(self, db: apsw.Connection, prefix: str) -> None:
        self._db = db
        self._sql = named_statements("job_history.sql", prefix)

    def forget(self) -> None:
        """Nothing is remembered here."""

    def apply(self, batch: Batch) -> None:
        """Write the entries of the events; a marker drops those of the life that it ends."""
        entries = [
            (*history_values(course, event), job, ENTRY_RANKS[event.type])
            for job, _, _, _, events, courses in batch.jobs
            for course, event in zip(courses, events, strict=True)
        ]
        entries.sort(key=itemgetter(0))
        delete_rows(self._db, self._sql, ["delete_entries"], batch.gone)
        self._db.executemany(self._sql["insert_entry"], entries)


_SQL = named_statements("job_history.sql")
_SHAPE: Final = (int, int, int, int, int, int)
_START: Final = (-(2**63), 0, 0)


Earlier: TypeAlias = Callable[[str], list[HistoryEntry]]
"""Returns what happened to a job, by its id, and is not in the views any more."""


def nothing_earlier(_job_id: str) -> list[HistoryEntry]:
    """Return nothing: all that is known of a job is in the views."""
    return []


def list_history(
    db: apsw.Connection,
    job_id: str,
    attempts_all: bool,
    limit: int,
    cursor: str | None,
    earlier: Earlier = nothing_earlier,
) -> tuple[list[dict[str, Any]], str | None]:
    """Return entries of one page and the cursor of the next: of a job, or of its whole chain.

    A chain is the jobs with the same correlation, kind and name, in the order of (attempt,
    submitted); entries within a job are in the order of (time, rank, position).

    Raises:
        NotFound: there is no such job.
        Invalid, InvalidCursor: the limit or the cursor cannot be used.

    """
    check_limit(limit)
    bound_to = fingerprint("history", job_id, attempts_all)
    start = decode_cursor(bound_to, cursor, _SHAPE) if cursor else None
    items: list[dict[str, Any]] = []
    size = 0
    last: Key = ()
    for attempt in _attempts(db, job_id, attempts_all):
        place, shown_id = attempt[:3], attempt[3]
        if start is not None and place < start[:3]:
            continue
        after: Key = start[3:] if start is not None and place == start[:3] else _START
        rows = db.execute(_SQL["list_entries"], (place[2], *after, limit + 1 - len(items)))
        for row in _merged(rows, earlier(shown_id or job_id), after):
            if len(items) == limit or size > PAGE_BYTES:
                return items, encode_cursor(bound_to, last)
            items.append(_item(row, shown_id))
            size += text_size(row)
            last = (*place, row[3], row[15], row[0])
    return items, None


def _merged(rows: Any, earlier: list[HistoryEntry], after: Key) -> Iterable[tuple[Any, ...]]:
    """Return rows of entries, and those of earlier entries after a place, in their order."""
    if not earlier:
        return rows  # type: ignore[no-any-return]
    archived = sorted(
        (row for entry in earlier if _order(row := (*entry, entry_rank(entry))) > after),
        key=_order,
    )
    known = {row[0] for row in archived}
    # Until the views have passed the event that stands for them, they have them too.
    return merge(archived, (row for row in rows if row[0] not in known), key=_order)


def _order(row: tuple[Any, ...]) -> Key:
    return row[3], row[15], row[0]


def list_chain(db: apsw.Connection, job_id: str) -> list[str]:
    """Return the ids of the chain of attempts that a job belongs to, in their order.

    Raises:
        NotFound: there is no such job.

    """
    return [attempt[3] for attempt in _attempts(db, job_id, True) if attempt[3] is not None]


def _attempts(
    db: apsw.Connection, job_id: str, attempts_all: bool
) -> list[tuple[int, int, int, str | None]]:
    """Return (attempt, submitted, number, id) of the jobs whose history is asked for."""
    number = entity_number(db, f"job/{job_id}")
    if not attempts_all:
        if number is None or not db.execute(_SQL["has_entries"], (number,)).get:
            raise NotFound(f"there is no job {job_id!r}")
        return [(0, 0, number, None)]
    found: Any = db.execute(_SQL["find_attempt"], (number,)).fetchone()
    if found is None:
        raise NotFound(f"there is no job {job_id!r}")
    if found[4] is None:
        return [found[:4]]
    chain: Any = db.execute(_SQL["list_chain"], (*found[4:], CHAIN_MAX)).fetchall()
    return list(chain)


def _item(row: tuple[Any, ...], job_id: str | None) -> dict[str, Any]:
    values = list(row[:15])
    values[13], values[14] = bool(values[13]), bool(values[14])
    return history_view(HistoryEntry(*values), job=job_id)
