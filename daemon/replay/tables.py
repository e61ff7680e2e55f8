"""Comparing the tables of two files row by row, in the order of their keys."""

from __future__ import annotations

import marshal
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from typing import Any, Final

import apsw

_PAGE: Final = 1000
_SHOWN_MAX: Final = 80
_BUILD: Final = re.compile(r'"?\bg\d+_(\w+)"?')


@dataclass
class Compared:
    """What a comparison saw: the rows of the first file, their digest, and what differs."""

    rows: int = 0
    differing: int = 0
    first: str = ""
    hash: Any = field(default_factory=lambda: blake2b(digest_size=16))


def compare(
    here: apsw.Connection, there: apsw.Connection, table: str, upto: int | None = None
) -> Compared:
    """Compare a table of two files; ``upto`` is for the numbers of entities: those of a position.

    Of lives that ended the files may keep some for sets of tables that are behind.

    A page of rows is compared by its encoding, which tells 1 from 1.0; only a page that differs is
    looked at row by row.
    """
    key, columns = key_and_columns(there, table)
    if upto is not None:
        columns.remove("ended")
    chosen = ", ".join(f'"{column}"' for column in columns)
    order = ", ".join(f'"{column}"' for column in key)
    bound = ""
    if upto is not None:
        bound = f' WHERE "{key[0]}" <= {upto:d} AND (ended IS NULL OR ended > {upto:d})'
    sql = f'SELECT {chosen} FROM "{table}"{bound} ORDER BY {order}'
    left, right = _pages(here, sql), _pages(there, sql)
    seen = Compared()
    ours: list[Any] = []
    others: list[Any] = []
    while True:
        page, other = next(left, []), next(right, [])
        if not page and not other and not ours and not others:
            return seen
        encoded = marshal.dumps(page, 2)
        seen.hash.update(encoded)
        seen.rows += len(page)
        if not ours and not others and encoded == marshal.dumps(other, 2):
            continue
        last = not page and not other
        ours, others = _merge(seen, key, columns, ours + page, others + other, last)


def _pages(db: apsw.Connection, sql: str) -> Iterator[list[Any]]:
    cursor = db.execute(sql)
    while page := list(islice(cursor, _PAGE)):
        yield page


def _merge(
    seen: Compared,
    key: list[str],
    columns: list[str],
    ours: list[Any],
    others: list[Any],
    last: bool,
) -> tuple[list[Any], list[Any]]:
    """Compare rows in the order of their keys as far as both sides are known; return the rest."""
    places = [columns.index(column) for column in key]
    at = to = 0
    while at < len(ours) or to < len(others):
        if not last and (at == len(ours) or to == len(others)):
            break
        here = _key(ours[at], places) if at < len(ours) else None
        there = _key(others[to], places) if to < len(others) else None
        if there is None or (here is not None and here < there):
            _note(seen, key, ours[at], places, "is not in the replay")
            at += 1
        elif here is None or there < here:
            _note(seen, key, others[to], places, "is only in the replay")
            to += 1
        else:
            if marshal.dumps(ours[at], 2) != marshal.dumps(others[to], 2):
                _note(seen, key, ours[at], places, _changed(columns, ours[at], others[to]))
            at, to = at + 1, to + 1
    return ours[at:], others[to:]


def _key(row: Any, places: list[int]) -> list[tuple[int, Any]]:
    """Return the key of a row as SQLite orders keys: nothing, numbers, texts, bytes."""
    return [_ordered(row[place]) for place in places]


def _ordered(value: Any) -> tuple[int, Any]:
    if value is None:
        return 0, 0
    if isinstance(value, int | float):
        return 1, value
    return (2, value) if isinstance(value, str) else (3, value)


def _note(seen: Compared, key: list[str], row: Any, places: list[int], what: str) -> None:
    seen.differing += 1
    if not seen.first:
        shown = ", ".join(
            f"{column} {_shown(row[place])}" for column, place in zip(key, places, strict=True)
        )
        seen.first = f"{shown} {what}"


def _changed(columns: list[str], ours: Any, others: Any) -> str:
    changes = [
        f"{column} is {_shown(one)}, in the replay {_shown(other)}"
        for column, one, other in zip(columns, ours, others, strict=True)
        if marshal.dumps(one, 2) != marshal.dumps(other, 2)
    ]
    return "has other values: " + "; ".join(changes[:5])


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}..."


def key_and_columns(db: apsw.Connection, table: str) -> tuple[list[str], list[str]]:
    """Return the columns of a table's key, and all of them."""
    rows: Any = db.execute(
        "SELECT name, pk FROM pragma_table_xinfo(?) WHERE hidden = 0 ORDER BY cid", (table,)
    ).fetchall()
    key = [name for name, place in sorted(rows, key=lambda row: row[1]) if place]
    columns = [name for name, _ in rows]
    # A full-text table has no key but its rowid.
    return (key, columns) if key else (["rowid"], ["rowid", *columns])


def schema_differences(here: apsw.Connection, there: apsw.Connection) -> Iterator[str]:
    """Yield what one file lacks or has beside the tables and indexes of the other.

    The tables of builds are nobody's yet; indexes keep the names that they had in a build.
    """
    present, wanted = _objects(here), _objects(there)
    for name, definition in wanted.items():
        if name not in present:
            yield f"{name} is missing"
        elif present[name] != definition:
            yield f"{name} is defined otherwise"
    for name in present.keys() - wanted.keys():
        yield f"{name} does not belong to the views"


def _objects(db: apsw.Connection) -> dict[str, str]:
    rows = db.execute("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema")
    return {
        f"{kind} {_BUILD.sub(lambda found: found[1], name)}": _plain(sql)
        for kind, name, table, sql in rows
        if not _BUILD.match(table)
    }


def _plain(sql: str) -> str:
    return " ".join(_BUILD.sub(lambda found: found[1], sql).replace('"', "").split())
