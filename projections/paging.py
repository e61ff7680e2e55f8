"""Lists page by page: by keyset, along an index, never by offset.

A list is ordered by columns that an index holds after the filtered one, so that a page costs what
it shows. Of several filters one drives (its index is walked), the others are looked at row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from typing import Any, Final

import apsw

from domain.errors import Fault, Invalid

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 1_000
"""Most items of one page."""
PAGE_BYTES: Final = 8 * 1024 * 1024
"""A page ends early once its rows hold this much text."""
FEW: Final = 1_000
"""How many rows of a filter are counted to find the one with the fewest."""

Value = int | str
_INTEGERS: Final = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: its items, the cursor of the next page, and the position it shows."""

    items: list[dict[str, Any]]
    next: str | None
    as_of: int


def invalid(name: str, detail: str) -> Invalid:
    """Return the error about one parameter of a query."""
    return Invalid(detail, errors=[Fault(detail, f"/{name}")])


def check_limit(limit: int) -> None:
    """Raise unless a page may have this many items."""
    if not 1 <= limit <= LIMIT_MAX:
        raise invalid("limit", f"limit has to be 1 to {LIMIT_MAX}, not {limit}")


def check_values(values: Mapping[str, Value | None]) -> dict[str, Value]:
    """Return the filters that are given, or raise for a value that SQLite cannot hold."""
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in given.items():
        if isinstance(value, int):
            if value not in _INTEGERS:
                raise invalid(name, f"{name} is out of range")
        elif not _is_unicode(value):
            raise invalid(name, f"{name} is not text that can be written in UTF-8")
    return given


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Order:
    """What a list is ordered by: columns that together are unique, all in one direction."""

    columns: tuple[str, ...]
    descending: bool

    def clause(self) -> str:
        """Return the ORDER BY clause."""
        direction = "DESC" if self.descending else "ASC"
        return "ORDER BY " + ", ".join(f"{column} {direction}" for column in self.columns)


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of a WHERE clause, with its parameters."""

    sql: str
    values: tuple[Value, ...] = ()


def is_any(column: str, values: Sequence[Value], *, driving: bool = False) -> Condition:
    """Return ``column IN values``; where it does not drive, its index is kept out of the plan."""
    marks = ", ".join("?" * len(values))
    test = "= ?" if len(values) == 1 else f"IN ({marks})"
    return Condition(f"{'' if driving else '+'}{column} {test}", tuple(values))


def between(column: str, since: Value | None, until: Value | None) -> list[Condition]:
    """Return the bounds of a range, both inclusive."""
    bounds = ((">=", since), ("<=", until))
    return [Condition(f"{column} {sign} ?", (at,)) for sign, at in bounds if at is not None]


def select_keys(
    db: apsw.Connection,
    tables: str,
    where: Iterable[Condition],
    order: Order,
    after: Sequence[Value] | None,
    limit: int,
) -> list[tuple[Any, ...]]:
    """Return the keys of the next rows of a list: the columns of its order."""
    conditions = list(where)
    if after is not None:
        marks = ", ".join("?" * len(after))
        sign = "<" if order.descending else ">"
        key = Condition(f"({', '.join(order.columns)}) {sign} ({marks})", tuple(after))
        conditions.append(key)
    clause = " AND ".join(condition.sql for condition in conditions)
    sql = (
        f"SELECT {', '.join(order.columns)} FROM {tables}{' WHERE ' if clause else ''}{clause} "
        f"{order.clause()} LIMIT ?"
    )
    values = [value for condition in conditions for value in condition.values]
    return db.execute(sql, (*values, limit)).fetchall()


def driven_keys(
    db: apsw.Connection,
    table: str,
    filters: Mapping[str, Sequence[Value]],
    driver: str | None,
    where: Sequence[Condition],
    order: Order,
    after: Sequence[Value] | None,
    limit: int,
) -> list[tuple[Any, ...]]:
    """Return the keys of the next rows, walking the index of the driving filter.

    A driver of several values is walked once a value, and the walks are merged.
    """
    others = [is_any(column, filters[column]) for column in filters if column != driver]
    walks = [
        select_keys(db, table, [*drive, *where, *others], order, after, limit)
        for drive in (
            [[is_any(driver, [value], driving=True)] for value in filters[driver]]
            if driver is not None
            else [[]]
        )
    ]
    return list(islice(merge(*walks, reverse=order.descending), limit))


def shown_items(
    keys: Sequence[tuple[Any, ...]],
    limit: int,
    load: Callable[[int], tuple[dict[str, Any], int] | None],
) -> tuple[list[dict[str, Any]], tuple[Any, ...] | None]:
    """Return the items of a page, and the key after which the next one begins, if there is one.

    ``keys`` are those of ``limit`` rows and one more. ``load`` gives the item of a number (the last
    part of a key) and its size; None leaves it out. A page holds at least one item.
    """
    items: list[dict[str, Any]] = []
    size = 0
    for place, key in enumerate(keys[:limit], 1):
        loaded = load(key[-1])
        if loaded is not None:
            items.append(loaded[0])
            size += loaded[1]
        if size > PAGE_BYTES or place == limit:
            return items, key if place < len(keys) else None
    return items, None


def text_size(row: Iterable[Any]) -> int:
    """Return how much text a row holds."""
    return sum(len(value) for value in row if isinstance(value, str))


def narrowest(
    db: apsw.Connection, table: str, filters: Mapping[str, Sequence[Value]]
) -> tuple[str | None, int]:
    """Return the filter that leaves the fewest rows, and how many: `FEW` for that many or more."""
    best, least = None, FEW + 1
    for column, values in filters.items():
        condition = is_any(column, values, driving=True)
        sql = f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {condition.sql} LIMIT {FEW})"
        count = db.execute(sql, condition.values).get
        if count < least:
            best, least = column, count
    return best, least
