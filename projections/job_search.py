"""The keys of a page of jobs that are searched for by words, newest first.

The full-text index finds the jobs that hold all words at a tenth of a microsecond a job, so only
what is looked up beside it is counted: the rows of jobs that have to fit other conditions too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import apsw

from projections.cursor import Key
from projections.search import match_expression
from projections.walks import (
    Condition,
    Found,
    Order,
    Way,
    fewest_rows,
    fitting_keys,
    merged,
    select_keys,
    where_clause,
)

FOUND: Final = Order(("search.rowid",), descending=True)
"""The order of what is found: the newest job has the greatest number."""
CHECKED: Final = 200
"""How many jobs are looked up in the full-text index one by one for a page, at the most."""

_BY_NUMBER: Final = Order(("+job",), descending=True)


def find_by_words(
    db: apsw.Connection,
    q: str,
    ways: Sequence[Way],
    others: Sequence[Condition],
    after: Key | None,
    limit: int,
) -> Found:
    """Return the numbers of the next jobs that hold all words and fit all other conditions.

    ``ways`` are those by which the other conditions find jobs. The words lead, unless they are
    frequent and one of those ways has few rows.
    """
    match = Condition("search MATCH ?", (match_expression(q),))
    where = [match, *FOUND.stretches(after)[0]]
    if not others:
        return Found(select_keys(db, "search", where, FOUND, limit))
    if select_keys(db, "search", where, FOUND, 1, offset=CHECKED):
        few = fewest_rows(db, "jobs", ways)
        if few is not None:
            checks = max(CHECKED // len(few.walks), 1)
            found = [
                _checked_keys(db, match, [*walk, *few.others], after, limit, checks)
                for walk in few.walks
            ]
            return merged(FOUND, found, limit)
    tables = "search CROSS JOIN jobs ON jobs.job = search.rowid"
    return fitting_keys(db, tables, where, others, FOUND, limit)


def _checked_keys(
    db: apsw.Connection,
    match: Condition,
    where: Sequence[Condition],
    after: Key | None,
    limit: int,
    checks: int,
) -> Found:
    """Return which of the next jobs that fit conditions hold the words; few jobs fit them."""
    where = [*where, *_BY_NUMBER.stretches(after)[0]]
    clause, values = where_clause(where)
    sql = (
        f"SELECT job FROM (SELECT job FROM jobs{clause} {_BY_NUMBER.clause()} LIMIT ?) "
        f"CROSS JOIN search ON search.rowid = job WHERE {match.sql} LIMIT ?"
    )
    keys: Any = db.execute(sql, (*values, checks, *match.values, limit)).fetchall()
    end = None
    if len(keys) < limit:
        end = select_keys(db, "jobs", where, _BY_NUMBER, 1, offset=checks - 1)
    return Found(keys, end[0] if end else None)
