"""What is asked of the jobs: the list with its filters, and a single job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import apsw
import orjson

from domain.job import TERMINAL, JobStatus
from domain.suggest import did_you_mean
from domain.timestamps import MICROSECONDS, format_optional, format_timestamp
from projections.cursor import Key, decode_cursor, encode_cursor, fingerprint
from projections.entities import entity_number
from projections.job_search import FOUND, find_by_words
from projections.jobs import DOCUMENTS
from projections.paging import Shown, check_limit, check_values, invalid, shown_items, text_size
from projections.sql import named_statements
from projections.walks import Found, Order, Value, Way, between, find_keys, is_any

SORTS: Final = {
    "-submitted": Order(("submitted", "job"), descending=True),
    "submitted": Order(("submitted", "job"), descending=False),
    "-updated": Order(("updated", "job"), descending=True),
    "updated": Order(("updated", "job"), descending=False),
}
"""The orders of the job list; a ``-`` means newest first."""


Document = Callable[[str], Any]
"""What to make of JSON text: `orjson.loads`, or `orjson.Fragment` for who encodes it again."""

_SQL = named_statements("job_list.sql")
_FIELDS: Final = (
    "id", "kind", "name", "owner", "queue", "priority", "workflow", "phase", "parent",
    "correlation", "status", "native_status", "stage", "progress", "attempt", "attempts", "worker",
    "params", "input", "result", "message", "warning", "error", "next", "links",
)  # fmt: skip
"""The fields of a job's view that are stored as they are shown, in the order of both."""
_TERMINAL: Final = frozenset(map(str, TERMINAL))
_WITH_ERROR: Final = _TERMINAL - {"succeeded"}


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs a list shows: all conditions hold; ``since`` and ``until`` are inclusive.

    ``status`` holds canonical statuses, any of which fits; the times are of the submission,
    microseconds; ``q`` is words that all occur in name, error or message.
    """

    status: Sequence[str] = ()
    kind: str | None = None
    name: str | None = None
    owner: str | None = None
    queue: str | None = None
    workflow: str | None = None
    parent: str | None = None
    correlation: str | None = None
    since: int | None = None
    until: int | None = None
    q: str | None = None


_EQUAL: Final = tuple(
    each.name for each in fields(JobFilter) if each.name not in ("status", "since", "until", "q")
)


def list_jobs(
    db: apsw.Connection,
    wanted: JobFilter,
    sort: str,
    limit: int,
    cursor: str | None,
    document: Document = orjson.loads,
) -> tuple[list[dict[str, Any]], str | None]:
    """Return the items of one page, and the cursor of the next.

    ``document`` makes what is shown of the JSON text of params, input, result and error.

    Raises:
        Invalid: a value, the order or the limit cannot be used.
        InvalidCursor: the cursor belongs to another list.

    """
    check_limit(limit)
    given = check_values({name: getattr(wanted, name) for name in (*_EQUAL, "since", "until", "q")})
    filters: dict[str, Sequence[Value]] = {name: (given[name],) for name in _EQUAL if name in given}
    if wanted.status:
        filters["status"] = _statuses(wanted.status)
    order = _order(sort, wanted.q)
    rest = (wanted.since, wanted.until, wanted.q)
    bound_to = fingerprint("jobs", sorted(filters.items()), sort, rest)
    after = decode_cursor(bound_to, cursor, [int] * len(order.columns)) if cursor else None
    found = _find(db, wanted, filters, order, after, limit + 1)
    items, last = shown_items(found, limit, lambda numbers: show_jobs(db, numbers, document))
    return items, encode_cursor(bound_to, last) if last else None


def _order(sort: str, q: str | None) -> Order:
    order = SORTS.get(sort)
    if order is None:
        raise invalid("sort", f"unknown order {sort!r}; {did_you_mean(sort, SORTS)}")
    if q is None:
        return order
    if sort != "-submitted":
        raise invalid("sort", "a search by words is listed newest first, and in no other order")
    return FOUND


def _statuses(given: Sequence[str]) -> tuple[str, ...]:
    known = {str(status) for status in JobStatus}
    for status in given:
        if status not in known:
            raise invalid("status", f"unknown status {status!r}; {did_you_mean(status, known)}")
    return tuple(sorted({str(status) for status in given}))


def _find(
    db: apsw.Connection,
    wanted: JobFilter,
    filters: Mapping[str, Sequence[Value]],
    order: Order,
    after: Key | None,
    limit: int,
) -> Found:
    """Return the keys of the next jobs of a list."""
    by_submitted = order.columns[0] == "submitted"
    span = between("jobs.submitted", wanted.since, wanted.until)
    ways = []
    for column, values in filters.items():
        walks = [[is_any(column, [value], driving=True), *span] for value in values]
        others = [is_any(f"jobs.{each}", filters[each]) for each in filters if each != column]
        ways.append(Way(walks, others, ordered=by_submitted))
    if not filters and (by_submitted or span):
        ways.append(Way([span], ordered=by_submitted))
    if by_submitted:
        return find_keys(db, "jobs", order, ways, after, limit)
    others = [is_any(f"jobs.{each}", filters[each]) for each in filters]
    others += between("+jobs.submitted", wanted.since, wanted.until)
    if wanted.q is not None:
        return find_by_words(db, wanted.q, ways, others, after, limit)
    # No job is updated before it is submitted, so the walk begins (or ends) with the range.
    ways.append(Way([between("updated", wanted.since, None)], others))
    return find_keys(db, "jobs", order, ways, after, limit)


def show_jobs(db: apsw.Connection, numbers: str, document: Document) -> Iterator[Shown]:
    """Yield jobs by their numbers (a JSON array), as `domain.job.job_view` shows them.

    Straight from the columns: a page of many spends most of its time here.
    """
    for row in db.execute(_SQL["show_jobs"], (numbers,)):
        (number, *fields, submitted, started, status_time, updated, last_position, events, pinned,
         pinned_time, archived_time) = row  # fmt: skip
        job: dict[str, Any] = dict(zip(_FIELDS, fields, strict=True))
        status = job["status"]
        for name in DOCUMENTS:
            if job[name] is not None:
                job[name] = document(job[name])
        if status not in _WITH_ERROR:
            job["error"] = None
        links = job["links"]
        job["links"] = [] if links == "[]" else [
            {"to": to, "role": role} for to, role in orjson.loads(links)
        ]  # fmt: skip
        ended = status_time if status in _TERMINAL else None
        job["submitted"] = format_timestamp(submitted)
        job["started"] = format_optional(started)
        job["ended"] = format_optional(ended)
        job["updated"] = format_timestamp(updated)
        job["queue_seconds"] = _seconds(submitted, started)
        job["run_seconds"] = _seconds(started, ended)
        job["last_position"] = last_position
        job["events"] = events
        job["pinned"] = bool(pinned)
        job["pinned_time"] = format_optional(pinned_time)
        job["archived"] = archived_time is not None
        job["archived_time"] = format_optional(archived_time)
        yield number, job, text_size(fields)


def _seconds(start: int | None, end: int | None) -> float | None:
    if start is None or end is None or end < start:
        return None
    return (end - start) / MICROSECONDS


def find_job(
    db: apsw.Connection, job_id: str, document: Document = orjson.loads
) -> dict[str, Any] | None:
    """Return one job by its id, None when it is not known."""
    number = entity_number(db, f"job/{job_id}")
    if number is None:
        return None
    return next((job for _, job, _ in show_jobs(db, f"[{number}]", document)), None)
