"""The walks behind a page of a list: which index is walked, and how far.

A list is ordered by columns that an index holds after the filtered one, so that a page costs what
it shows. Of several filters one leads (its index is walked), the others are looked at row by row.
A page looks at a bounded number of rows: where few of them fit it is short, or empty, and the next
one goes on from the last row that was looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

import apsw

from projections.cursor import Key

FEW: Final = 1_000
"""Fewer rows than this are sorted, where no index has them in the order of the list."""
LOOKS: Final = 2_000
"""How many rows a walk along an index looks at for one page, at the most."""
PROBED: Final = 200
"""How many rows of each way are passed over to find the one that gets farthest."""

Value = int | str


@dataclass(frozen=True, slots=True)
class Order:
    """What a list is ordered by: columns that together are unique, all in one direction."""

    columns: tuple[str, ...]
    descending: bool

    def clause(self) -> str:
        """Return the ORDER BY clause."""
        direction = "DESC" if self.descending else "ASC"
        return "ORDER BY " + ", ".join(f"{column} {direction}" for column in self.columns)

    def stretches(self, after: Key | None) -> list[list[Condition]]:
        """Return the conditions for what comes after a key, in stretches that follow each other.

        In each an index finds its place at once: with one comparison of all columns SQLite would
        pass over every row that has the first of them in common with the key.
        """
        if after is None:
            return [[]]
        equal = [Condition(f"{column} = ?", (part,)) for column, part in self._parts(after)]
        beyond = [
            Condition(f"{column} {self._sign} ?", (part,)) for column, part in self._parts(after)
        ]
        return [[*equal[:place], beyond[place]] for place in reversed(range(len(after)))]

    def beyond(self, after: Key) -> Condition:
        """Return the condition for what comes after a key, which no index is to be led by."""
        columns = ", ".join(("+" + self.columns[0], *self.columns[1:]))
        marks = ", ".join("?" * len(after))
        return Condition(f"({columns}) {self._sign} ({marks})", tuple(after))

    @property
    def _sign(self) -> str:
        return "<" if self.descending else ">"

    def _parts(self, key: Key) -> Iterable[tuple[str, Value]]:
        return zip(self.columns, key, strict=True)


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


@dataclass(frozen=True, slots=True)
class Way:
    """A way to the rows of a list: which index to walk, and what to look at on the way.

    Each of ``walks`` is what one walk is led by; together they find every row of the list, each
    once. ``ordered``: each walk is in the order of the list. ``others`` are the conditions that
    are looked at row by row.
    """

    walks: Sequence[Sequence[Condition]]
    others: Sequence[Condition] = ()
    ordered: bool = True


class Found(NamedTuple):
    """The keys of the next rows; ``end`` is where the walk was cut before it found enough."""

    keys: list[Key]
    end: Key | None = None


def find_keys(
    db: apsw.Connection,
    table: str,
    order: Order,
    ways: Sequence[Way],
    after: Key | None,
    limit: int,
) -> Found:
    """Return the keys of the next rows of a list, by the best of the ways to them."""
    way = _best_way(db, table, order, ways, after)
    if not way.ordered:
        found = [_sorted_keys(db, table, order, walk, way, after, limit) for walk in way.walks]
        return merged(order, found, limit)
    stretches = order.stretches(after)
    found = [_walked_keys(db, table, order, walk, way, stretches, limit) for walk in way.walks]
    return merged(order, found, limit)


def merged(order: Order, found: Sequence[Found], limit: int) -> Found:
    """Return what several walks found as one; no key beyond the first that was cut."""
    keys = list(islice(merge(*(each.keys for each in found), reverse=order.descending), limit))
    ends = [each.end for each in found if each.end is not None]
    if not ends:
        return Found(keys)
    end = max(ends) if order.descending else min(ends)
    keys = [key for key in keys if (key >= end if order.descending else key <= end)]
    return Found(keys, None if len(keys) == limit else end)


def _best_way(
    db: apsw.Connection, table: str, order: Order, ways: Sequence[Way], after: Key | None
) -> Way:
    """Return the way by which a page looks at the fewest rows, as far as can be told cheaply."""
    ordered = [way for way in ways if way.ordered]
    for way in ordered:
        if not way.others:
            return way
    fewest = fewest_rows(db, table, [way for way in ways if not way.ordered])
    if fewest is not None:
        return fewest
    if len(ordered) == 1:
        return ordered[0]
    return farthest(order, [(way, _reach(db, table, order, way, after)) for way in ordered])


def fewest_rows(db: apsw.Connection, table: str, ways: Sequence[Way]) -> Way | None:
    """Return the way with the fewest rows, None when all have `FEW` or more."""
    best, least = None, FEW
    for way in ways:
        count = 0
        for walk in way.walks:
            where, values = where_clause(walk)
            sql = f"SELECT count(*) FROM (SELECT 1 FROM {table}{where} LIMIT ?)"
            count += db.execute(sql, (*values, least)).get
        if count < least:
            best, least = way, count
    return best


W = TypeVar("W")


def farthest(order: Order, reaches: Sequence[tuple[W, Key | None]]) -> W:
    """Return the way that gets farthest along the list by as many rows; None is its end."""
    for way, reach in reaches:
        if reach is None:
            return way
    choose = min if order.descending else max
    return choose(reaches, key=lambda each: each[1] or ())[0]


def _reach(
    db: apsw.Connection, table: str, order: Order, way: Way, after: Key | None
) -> Key | None:
    """Return the key that a way comes to over `PROBED` rows, None when it ends before."""
    beyond = order.stretches(after)[-1]
    passed = PROBED // len(way.walks)
    ends = [select_keys(db, table, [*walk, *beyond], order, 1, offset=passed) for walk in way.walks]
    reached: list[Key] = [end[0] for end in ends if end]
    if not reached:
        return None
    return max(reached) if order.descending else min(reached)


def _sorted_keys(
    db: apsw.Connection,
    table: str,
    order: Order,
    walk: Sequence[Condition],
    way: Way,
    after: Key | None,
    limit: int,
) -> Found:
    """Return the keys of a walk of few rows that are in another order than the list."""
    key = [] if after is None else [order.beyond(after)]
    return Found(select_keys(db, table, [*walk, *way.others, *key], order, limit))


def _walked_keys(
    db: apsw.Connection,
    table: str,
    order: Order,
    walk: Sequence[Condition],
    way: Way,
    stretches: Sequence[Sequence[Condition]],
    limit: int,
) -> Found:
    """Return the keys of one walk of a way, stretch by stretch."""
    keys: list[Key] = []
    looks = max(LOOKS // len(way.walks), 1)
    for stretch in stretches:
        where, wanted = [*walk, *stretch], limit - len(keys)
        if not way.others:
            keys += select_keys(db, table, where, order, wanted)
        else:
            found = fitting_keys(db, table, where, way.others, order, wanted, looks)
            keys += found.keys
            if found.end is not None:
                return Found(keys, found.end)
        if len(keys) == limit:
            break
    return Found(keys)


def where_clause(conditions: Iterable[Condition]) -> tuple[str, list[Value]]:
    """Return a WHERE clause, or nothing, and its parameters."""
    conditions = list(conditions)
    clause = " AND ".join(condition.sql for condition in conditions)
    values = [value for condition in conditions for value in condition.values]
    return (f" WHERE {clause}" if clause else ""), values


def select_keys(
    db: apsw.Connection,
    tables: str,
    where: Iterable[Condition],
    order: Order,
    limit: int,
    *,
    offset: int = 0,
) -> list[Key]:
    """Return the keys of the rows that fulfil all conditions: the columns of the order."""
    clause, values = where_clause(where)
    sql = (
        f"SELECT {', '.join(order.columns)} FROM {tables}{clause} {order.clause()} LIMIT ? OFFSET ?"
    )
    keys: Any = db.execute(sql, (*values, limit, offset)).fetchall()
    return list(keys)


def fitting_keys(
    db: apsw.Connection,
    table: str,
    where: Sequence[Condition],
    others: Sequence[Condition],
    order: Order,
    limit: int,
    looks: int | None = None,
) -> Found:
    """Return the keys of those of the next ``looks`` rows that fit other conditions too.

    The LIMIT of the inner query keeps SQLite from merging it with the outer one: it runs beside it,
    row by row, and no further than the outer one has to.
    """
    looks = LOOKS if looks is None else looks
    clause, values = where_clause(where)
    fits = " AND ".join(condition.sql for condition in others)
    tested = [value for condition in others for value in condition.values]
    sql = (
        f"SELECT * FROM (SELECT {', '.join(order.columns)}, {fits} AS fits FROM {table}{clause} "
        f"{order.clause()} LIMIT ?) WHERE fits LIMIT ?"
    )
    rows = db.execute(sql, (*tested, *values, looks, limit)).fetchall()
    keys: Any = [row[:-1] for row in rows]
    if len(keys) == limit:
        return Found(keys)
    end = select_keys(db, table, where, order, 1, offset=looks - 1)
    return Found(keys, end[0] if end else None)
