"""What is asked of the jobs: the list with its filters, and a single job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import apsw

from domain.job import JobStatus, job_view
from domain.suggest import did_you_mean
from projections.cursor import Key, decode_cursor, encode_cursor, fingerprint
from projections.jobs import state_of
from projections.paging import (
    FEW,
    Condition,
    Order,
    Value,
    between,
    check_limit,
    check_values,
    driven_keys,
    invalid,
    is_any,
    narrowest,
    select_keys,
    shown_items,
    text_size,
)
from projections.search import match_expression
from projections.sql import named_statements
from projections.store import entity_number

SORTS: Final = {
    "-submitted": Order(("submitted", "job"), descending=True),
    "submitted": Order(("submitted", "job"), descending=False),
    "-updated": Order(("updated", "job"), descending=True),
    "updated": Order(("updated", "job"), descending=False),
}
"""The orders of the job list; a ``-`` means newest first."""

_FOUND: Final = Order(("search.rowid",), descending=True)
_SQL = named_statements("jobs.sql")


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
    db: apsw.Connection, wanted: JobFilter, sort: str, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Return the items of one page, and the cursor of the next.

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
    if wanted.q is not None:
        keys = _found(db, wanted, filters, after, limit + 1)
    else:
        keys = _listed(db, wanted, filters, order, after, limit + 1)
    items, last = shown_items(keys, limit, lambda job: _item(db, job))
    return items, encode_cursor(bound_to, last) if last else None


def _order(sort: str, q: str | None) -> Order:
    order = SORTS.get(sort)
    if order is None:
        raise invalid("sort", f"unknown order {sort!r}; {did_you_mean(sort, SORTS)}")
    if q is None:
        return order
    if sort != "-submitted":
        raise invalid("sort", "a search by words is listed newest first, and in no other order")
    return _FOUND


def _statuses(given: Sequence[str]) -> tuple[str, ...]:
    known = {str(status) for status in JobStatus}
    for status in given:
        if status not in known:
            raise invalid("status", f"unknown status {status!r}; {did_you_mean(status, known)}")
    return tuple(sorted({str(status) for status in given}))


def _listed(
    db: apsw.Connection,
    wanted: JobFilter,
    filters: dict[str, Sequence[Value]],
    order: Order,
    after: Key | None,
    limit: int,
) -> list[tuple[Any, ...]]:
    driver = next(iter(filters), None)
    by_updated = order.columns[0] == "updated"
    if len(filters) > 1 or (filters and by_updated):
        driver, count = narrowest(db, "jobs", filters)
        if by_updated and count >= FEW:
            # Too many to sort: walk the jobs by `updated`, where such a frequent value comes soon.
            driver = None
    # With an order by `updated` the range must not tempt the planner to walk and sort by it.
    where = between("+submitted" if by_updated else "submitted", wanted.since, wanted.until)
    return driven_keys(db, "jobs", filters, driver, where, order, after, limit)


def _found(
    db: apsw.Connection,
    wanted: JobFilter,
    filters: dict[str, Sequence[Value]],
    after: Key | None,
    limit: int,
) -> list[tuple[Any, ...]]:
    """Return the numbers of jobs with the words, newest first, filtered as they come."""
    match = Condition("search MATCH ?", (match_expression(wanted.q or ""),))
    others = [is_any(f"jobs.{column}", filters[column]) for column in filters]
    bounds = between("+jobs.submitted", wanted.since, wanted.until)
    tables = "search CROSS JOIN jobs ON jobs.job = search.rowid" if others or bounds else "search"
    return select_keys(db, tables, [match, *others, *bounds], _FOUND, after, limit)


def _item(db: apsw.Connection, job: int | None) -> tuple[dict[str, Any], int] | None:
    """Return the view of a job by its number, and its size."""
    row = db.execute(_SQL["load_job"], (job,)).fetchone()
    return None if row is None else (job_view(state_of(row)), text_size(row))


def find_job(db: apsw.Connection, job_id: str) -> dict[str, Any] | None:
    """Return one job by its id, None when it is not known."""
    found = _item(db, entity_number(db, f"job/{job_id}"))
    return None if found is None else found[0]
