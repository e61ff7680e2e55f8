"""What the tables of a database take, found in short looks at its pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import apsw

from daemon.eventlog.statements import named_statements
from daemon.size.figures import Database, Table

SQL: Final = named_statements(Path(__file__).with_name("measure.sql"))
PAGES_MAX: Final = 10_000
"""How many pages of a tree are looked at; a larger one is reckoned from these."""
COUNT_STEPS: Final = 50
"""How many rows are counted for each of these pages before a count is given up."""
HAS_DBSTAT: Final = "ENABLE_DBSTAT_VTAB" in apsw.compile_options


def map_pages(pages: int, page_bytes: int) -> int:
    """Return how many pages of a file say where the others belong, and so belong to no table.

    With auto_vacuum every such page has 5 bytes for each of those that follow it.
    """
    return 0 if pages < 2 else 1 + (pages - 2) // (page_bytes // 5 + 1)


@dataclass(slots=True)
class _Tree:
    name: str
    table: str
    kind: str
    without_rowid: bool
    pages: int = 0
    bytes: int = 0
    entries: int = 0
    whole: bool = True


@dataclass(slots=True)
class Trees:
    """The trees of one database; `steps` looks at one after another."""

    connection: apsw.Connection
    pages_max: int = PAGES_MAX
    known_rows: dict[str, int] = field(default_factory=dict)
    """The rows of tables that were counted elsewhere."""
    _trees: list[_Tree] = field(default_factory=list)

    def steps(self) -> Iterator[None]:
        """Look at the trees, one in each step."""
        rows: list[Any] = self.connection.execute(SQL["tables"]).fetchall()
        self._trees = [_Tree(name, table, kind, bool(wr)) for name, table, kind, wr in rows]
        yield
        for tree in self._trees:
            self._look(tree)
            yield
            if tree.kind == "table" and not tree.whole and tree.name not in self.known_rows:
                self._count(tree)
                yield

    def _look(self, tree: _Tree) -> None:
        if not HAS_DBSTAT:
            tree.whole = False
            return
        given = (tree.name, self.pages_max + 1)
        row: Any = self.connection.execute(SQL["pages"], given).fetchone() or (0, 0, 0, 0)
        tree.pages, tree.bytes = row[0], row[1]
        inner = tree.without_rowid or tree.kind == "index"
        tree.entries = row[2] if inner else row[3]
        tree.whole = tree.pages <= self.pages_max

    def _count(self, tree: _Tree) -> None:
        """Count the rows of a large table; one that takes too long is not counted."""
        quoted = tree.name.replace('"', '""')
        steps = 0

        def over() -> bool:
            nonlocal steps
            steps += 1
            return steps > COUNT_STEPS * 1000

        self.connection.set_progress_handler(over, 1000)
        try:
            self.known_rows[tree.name] = self.connection.execute(
                f'SELECT count(*) FROM "{quoted}"'
            ).get
        except apsw.InterruptError:
            pass
        finally:
            self.connection.set_progress_handler(None)

    def database(self, file_bytes: int) -> Database:
        """Return what was found; what was not seen whole has the rest of the file by its share."""
        room: Any = self.connection.execute(SQL["room"]).fetchone() or (0, 0, 0)
        page, pages, unused = room
        used = (pages - unused) * page
        weights = {tree.name: self._weight(tree) for tree in self._trees if not tree.whole}
        seen = sum(tree.bytes for tree in self._trees if tree.whole)
        rest = max(0, used - map_pages(pages, page) * page - seen)
        total = sum(weights.values())
        for tree in self._trees:
            if not tree.whole:
                tree.bytes = int(rest * weights[tree.name] / total) if total else 0
        found = [self._table(tree) for tree in self._trees if tree.kind == "table"]
        found.sort(key=lambda table: (-table.bytes, table.name))
        return Database(bytes=file_bytes, used=used, free=unused * page, tables=tuple(found))

    def _weight(self, tree: _Tree) -> float:
        """Return what a tree takes as its first pages go, or as its rows go without them."""
        rows = self.known_rows.get(tree.table)
        if not tree.pages:
            return rows or 0
        if rows is None or not tree.entries:
            return tree.bytes
        return tree.bytes * max(1.0, rows / tree.entries)

    def _table(self, table: _Tree) -> Table:
        own = [tree for tree in self._trees if tree.table == table.name and tree.kind == "index"]
        indexes = sum(tree.bytes for tree in own)
        rows = self.known_rows.get(table.name, table.entries if table.whole else None)
        whole = table.whole and all(tree.whole for tree in own)
        total = table.bytes + indexes
        return Table(
            name=table.name, rows=rows, bytes=total, index_bytes=indexes, estimated=not whole
        )
