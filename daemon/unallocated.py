"""The unallocated space of a database's pages, which SQLite does not clear.

`secure_delete` overwrites what is deleted where it is. But rows that move to another page, as pages
are balanced, are left as they were in the unallocated space of the page that they come from
(https://www.sqlite.org/fileformat2.html, 1.6), and stay there when the row itself is deleted or
replaced later. So that space is overwritten here, when something has to be gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import apsw

from daemon.emptying import empty_wal, wal_of

_READ_PAGES: Final = 32
"""So many pages are read at a time, during which no other thread of this process runs."""
_PAGES_AT_ONCE: Final = 64
"""Of so many pages the space is cleared while nobody else writes."""
_TRIES: Final = 20
_ROUNDS: Final = 2
"""A page may move to another place in the file while it is looked for."""
_BUSY_MS: Final = 1_000
_HEADER_BYTES: Final = 100
_HEADS: Final = {2: 12, 5: 12, 10: 8, 13: 8}
"""How long the head of a b-tree page is, by its first byte."""
_PAGES_MAX: Final = 0x0200_0000
"""In a longer file other pages, which begin with the number of a page, may look like these."""


def clear_unallocated(path: Path, stopping: Callable[[], bool] = lambda: False) -> bool:
    """Overwrite the unallocated space of a database that others may be using.

    Nothing that SQLite reads is changed, and its write-ahead log is emptied. Returns whether that
    could be done: where others are in the way, the disk refuses, or who asked is ``stopping``,
    something may be left.
    """
    try:
        if not empty_wal(path):
            return False
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as db:
            db.set_busy_timeout(_BUSY_MS)
            db.wal_autocheckpoint(0)
            for _ in range(_ROUNDS):
                with _opened(path) as file:
                    found = list(_uncleared(file, stopping))
                # At least once: a process that was killed may have cleared, and not synced.
                for at in range(0, len(found) or 1, _PAGES_AT_ONCE):
                    part = found[at : at + _PAGES_AT_ONCE]
                    if stopping() or not any(_cleared(db, path, part) for _ in range(_TRIES)):
                        return False
    except (apsw.Error, OSError):
        return False
    return not stopping() and empty_wal(path)


@contextmanager
def _opened(path: Path) -> Iterator[apsw.VFSFile]:
    """Open the file as SQLite does: to close it otherwise would end the locks of this process."""
    flags = [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READWRITE, 0]
    file = apsw.VFSFile("", str(path), flags)
    try:
        yield file
    finally:
        file.xClose()


def _cleared(db: apsw.Connection, path: Path, numbers: Sequence[int]) -> bool:
    """Clear pages, counted from 0, if all of them are in the file itself, and not in its log.

    Others read every page anew from then on, as somebody else has written; and what was written
    here is synced with that. Where it cannot be, all of it has to be written again.
    """
    if not empty_wal(path):
        return False
    db.execute("BEGIN IMMEDIATE")
    try:
        wal = wal_of(path)
        if wal.exists() and wal.stat().st_size:
            return False
        with _opened(path) as file:
            size = _page_bytes(file)
            for number in numbers:
                page = file.xRead(size, number * size)
                if len(page) == size and (space := _space(page)):
                    file.xWrite(bytes(space[1] - space[0]), number * size + space[0])
        version = db.pragma("user_version")
        db.execute(f"PRAGMA user_version = {version:d}")
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
    return empty_wal(path)


def _uncleared(file: apsw.VFSFile, stopping: Callable[[], bool]) -> Iterator[int]:
    """Yield the numbers, counted from 0, of pages with something in their unallocated space."""
    size = _page_bytes(file)
    pages = file.xFileSize() // size
    if pages >= _PAGES_MAX:
        return
    # With `auto_vacuum` each so many pages there is one that maps those behind it.
    mapped = size // 5 + 1
    for start in range(0, pages, _READ_PAGES):
        if stopping():
            return
        read = memoryview(file.xRead(min(_READ_PAGES, pages - start) * size, start * size))
        for at in range(0, len(read) - size + 1, size):
            number, page = start + at // size, read[at : at + size]
            space = _space(page) if number and (number - 1) % mapped else None
            if space and bytes(page[slice(*space)]).strip(b"\0"):
                yield number


def _page_bytes(file: apsw.VFSFile) -> int:
    header = file.xRead(_HEADER_BYTES, 0)
    return int.from_bytes(header[16:18]) if header[16:18] != b"\x00\x01" else 65_536


def _space(page: bytes | memoryview) -> tuple[int, int] | None:
    """Return where the unallocated space of a b-tree page begins and ends, None for other pages."""
    head = _HEADS.get(page[0])
    if head is None:
        return None
    first = head + 2 * int.from_bytes(page[3:5])
    last = int.from_bytes(page[5:7]) or 65_536
    return (first, last) if first <= last <= len(page) else None
