"""The tasks of flowlord among the jobs: the projection `tasks`, and the list in its own shape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, TypeAlias

import apsw
import orjson

from domain.clock import effective_time
from domain.events import RecordedEvent
from domain.job import TERMINAL, WITH_ERROR, JobState, fold_job
from domain.lives import is_marker, last_life
from domain.timestamps import MICROSECONDS, format_optional, format_timestamp
from projections.cursor import decode_cursor, encode_cursor, fingerprint
from projections.job_history import ENTRY_RANKS
from projections.job_states import COURSE_TYPES, JOB_TYPES, Before
from projections.paging import Shown, check_limit, check_values, shown_items, text_size
from projections.seam import Batch, Rows
from projections.sql import delete_rows, named_statements, statements_of
from projections.walks import Order, Way, between, find_keys, is_any

RUNNING: Final = "running"
"""What the list calls a task without a result."""
TIMES: Final = ("created", "started", "ended")
"""The times of a message; what of them cannot be used as a time is kept as text."""

SHOWN_PARAMS: Final = ("info", "cron")
"""The parameters that the list shows."""

_filters = attrgetter("submitted", "kind", "name", "correlation")
_Told: TypeAlias = tuple[str, str, int, int]
"""What the last message says: ``meta``, times and parameters as JSON, and its place in the life."""
_NOTHING_TOLD: Final[_Told] = ("", "{}", -1, 0)


class Tasks:
    """Each job that began as a task of flowlord: what its list filters by, and its ``meta``."""

    name = "tasks"
    version = 2
    types = JOB_TYPES
    ordered: frozenset[str] = frozenset()

    def schema(self, prefix: str) -> str:
        """Return the DDL of its tables."""
        return named_statements("tasks.sql", prefix)["schema"]

    def fold(self, db: apsw.Connection, prefix: str) -> TasksFold:
        """Return the fold over the tables with this prefix."""
        return TasksFold(db, prefix)

    def whole_rows(self, batch: Batch) -> Rows:
        """Return a row for each job that is a task."""
        rows = [
            (*_filters(state), _result(state), *told, job)
            for job, _, state, _, events, _ in batch.jobs
            if (told := _told_of(events)) is not None
        ]
        return {"insert_task": rows}

    def whole_statements(self, prefix: str) -> Mapping[str, str]:
        """Return the statement of the rows."""
        return statements_of("tasks.sql", prefix, "insert_task")


class TasksFold:
    """Writes the tasks of a batch."""

    def __init__(self, db: apsw.Connection, prefix: str) -> None:
        self._db = db
        self._sql = named_statements("tasks.sql", prefix)

    def forget(self) -> None:
        """Nothing is remembered here."""

    def apply(self, batch: Batch) -> None:
        """Write what changed of each task."""
        inserts, updates, told = [], [], []
        delete_rows(self._db, self._sql, ["delete_task"], batch.gone)
        for job, before, state, _, events, _ in batch.jobs:
            if state.phase is None:
                continue
            if before is None:
                known = _told_of(events)
                if known is not None:
                    inserts.append((*_filters(state), _result(state), *known, job))
                continue
            if _is_moved(before, state, events):
                updates.append((*_filters(state), _result(state), job))
            said = _said(events)
            if said is not _NOTHING_TOLD:
                told.append((*said, job))
        for name, rows in (("insert_task", inserts), ("update_task", updates), ("tell_task", told)):
            if rows:
                self._db.executemany(self._sql[name], rows)


def is_task(first: RecordedEvent) -> bool:
    """Return whether a job whose first event this is came as a task of flowlord.

    Its id is made of what the event says too, in a way that no other producer has: the source may
    be any, as who sends the messages can name it.
    """
    said = first.payload.get
    kind, name = said("kind"), said("name")
    if first.type != "job.submitted" or not isinstance(kind, str):
        return False
    if said("phase") != (f"{kind}:{name}" if name else kind):
        return False
    run = first.extensions.get("correlationid", "")
    parts = [str(part).replace("%", "%25").replace(":", "%3A") for part in (kind, name or "", run)]
    return first.subject.startswith(":".join([*parts, ""]))


def _is_moved(before: Before, state: JobState, events: Sequence[RecordedEvent]) -> bool:
    """Return whether a column of an index may have another value than before."""
    if before.status is not state.status and (before.status in TERMINAL or _has_ended(state)):
        return True
    return _filters(before) != _filters(state) or any(
        "native_status" in event.payload for event in events
    )


def _has_ended(state: JobState) -> bool:
    return state.status in TERMINAL


def _result(state: JobState) -> str:
    if not _has_ended(state):
        return ""
    return state.native_status or str(state.status)


def _said(events: Iterable[RecordedEvent], last: _Told = _NOTHING_TOLD) -> _Told:
    """Return what the message says that comes last in the life of the task, and its place there."""
    for event in events:
        extra = event.payload.get("extra")
        if not isinstance(extra, dict) or event.type not in COURSE_TYPES:
            continue
        meta = extra.get("meta_raw")
        times = {name: extra[name] for name in TIMES if isinstance(extra.get(name), str)}
        place = (ENTRY_RANKS[event.type], effective_time(event))
        if (times or isinstance(meta, str)) and place >= last[2:]:
            text = meta if isinstance(meta, str) else ""
            last = (text, orjson.dumps(times).decode(), *place)
    return last


def _told_of(events: Sequence[RecordedEvent]) -> _Told | None:
    """Return what is told of a job that begins with these events, None where it is no task."""
    first = events[0]
    if not is_marker(first):
        return _said(events) if is_task(first) else None
    task, row = (first.payload.get(name) or {} for name in ("task", "row"))
    if not task or row.get("phase") is None:
        return None
    told = orjson.dumps(task.get("told") or {}).decode()
    last = (task.get("meta") or "", told, task.get("rank", -1), task.get("time", 0))
    return _said(events[1:], last)


def task_of(events: Iterable[RecordedEvent]) -> dict[str, Any] | None:
    """Return what the list needs of a task beside its row when its events are gone.

    Of all events of its stream; None for a job that is no task.
    """
    life = last_life(events)
    said = _told_of(life) if life else None
    if said is None:
        return None
    params = fold_job(None, life).params or {}
    shown = {name: params[name] for name in SHOWN_PARAMS if isinstance(params.get(name), str)}
    meta, told, rank, time = said
    return {"meta": meta, "told": {**shown, **orjson.loads(told)}, "rank": rank, "time": time}


_SQL = named_statements("tasks.sql")
_ORDER: Final = Order(("created", "job"), descending=True)


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks a list shows: all conditions hold; ``since`` and ``until`` are inclusive.

    ``results`` holds words of the producer, any of which fits, or `RUNNING`; the times are those
    of the creation, microseconds.
    """

    type: str | None = None
    job: str | None = None
    id: str | None = None
    results: Sequence[str] = ()
    since: int | None = None
    until: int | None = None


def list_tasks(
    db: apsw.Connection, wanted: TaskFilter, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Return the tasks of one page, the newest first, and the cursor of the next.

    Raises:
        Invalid: a value or the limit cannot be used.
        InvalidCursor: the cursor belongs to another list.

    """
    check_limit(limit)
    names = ("type", "job", "id", "since", "until")
    given = check_values({name: getattr(wanted, name) for name in names})
    columns = (("type", "type"), ("name", "job"), ("run", "id"))
    filters = {column: [given[name]] for column, name in columns if name in given}
    if wanted.results:
        results = {"" if word == RUNNING else word for word in wanted.results}
        filters["result"] = sorted(results)
    bound_to = fingerprint("tasks", sorted(filters.items()), (wanted.since, wanted.until))
    after = decode_cursor(bound_to, cursor, [int, int]) if cursor else None
    span = between("created", wanted.since, wanted.until)
    ways = [Way([span])] if not filters else []
    for column, values in filters.items():
        walks = [[is_any(column, [value], driving=True), *span] for value in values]
        others = [is_any(each, filters[each]) for each in filters if each != column]
        ways.append(Way(walks, others))
    found = find_keys(db, "tasks", _ORDER, ways, after, limit + 1)
    items, last = shown_items(found, limit, lambda numbers: _shown(db, numbers))
    return items, encode_cursor(bound_to, last) if last else None


def _shown(db: apsw.Connection, numbers: str) -> Iterator[Shown]:
    """Yield tasks by their numbers (a JSON array), as flowlord writes them, and what we know."""
    for row in db.execute(_SQL["show_tasks"], (numbers,)):
        (number, job_id, kind, name, run, result, meta, told, phase, workflow, attempt, params,
         message, warning, error, status, *times) = row  # fmt: skip
        created, started, status_time = times
        ended = status_time if status in TERMINAL else None
        said = orjson.loads(params) if params else {}
        shown = zip(TIMES, map(format_optional, (created, started, ended)), strict=True)
        failed = orjson.loads(error) if error and status in WITH_ERROR else {}
        item = {
            "type": kind,
            "job": name or "",
            **{name: said.get(name, "") for name in SHOWN_PARAMS},
            "id": run or "",
            "meta": meta,
            "result": result,
            "msg": failed.get("message") or message or warning or "",
            **dict(shown),
            **orjson.loads(told),
            "workflow": workflow,
            "phase": phase,
            "attempt": attempt,
            "queue_seconds": _seconds(created, started),
            "task_seconds": _seconds(started, ended),
            "job_id": job_id,
            "updated": format_timestamp(max(time for time in times if time is not None)),
        }
        yield number, item, text_size(row)


def _seconds(start: int | None, end: int | None) -> float | None:
    if start is None or end is None or end < start:
        return None
    return (end - start) / MICROSECONDS
