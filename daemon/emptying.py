"""The write-ahead log of a database that others may be using: emptying it, and syncing it."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import apsw

from daemon.syncing import sync
from domain.errors import StorageFailed

_CHUNK_BYTES: Final = 1 << 20
_READERS_MS: Final = 20
"""How long readers are waited for, during which a writer may have to wait (milliseconds)."""


def empty_wal(path: Path) -> bool:
    """Move what is in the write-ahead log of a database into it, and cut the file to nothing.

    What is long is copied first while others write. Returns whether that could be done: where
    readers or a writer are in the way, or the disk refuses, it stays.
    """
    try:
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as db:
            db.pragma("synchronous", "FULL")
            db.wal_autocheckpoint(0)
            db.set_busy_timeout(_READERS_MS)
            # A connection that has read nothing knows of no write-ahead log.
            db.execute("SELECT 1 FROM sqlite_schema").fetchall()
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.Error:
        return False
    return True


def sync_wal(path: Path) -> None:
    """Have what was committed to a database up to now survive a power cut.

    A database whose commits are not synced each (``synchronous=NORMAL``) loses the newest of them
    with the power, but what is in its write-ahead log on disk. Where there is no such log, the
    checkpoint that removed it has synced everything.

    Raises:
        OSError: the disk refuses.

    """
    wal = _wal_of(path)
    with suppress(FileNotFoundError):
        sync(wal)
        sync(wal.parent)


def renew_wal(path: Path) -> None:
    """Do the same where an earlier sync may have failed, in a process that has ended.

    After a sync that failed the kernel takes pages for written that are not on the disk, and no
    later sync writes them (fsync(2), NOTES): so all of it is written again, as it is. Nobody may
    write to the database meanwhile.

    Raises:
        OSError: the disk refuses.

    """
    with suppress(FileNotFoundError), _wal_of(path).open("r+b") as wal:
        while chunk := wal.read(_CHUNK_BYTES):
            wal.seek(-len(chunk), os.SEEK_CUR)
            wal.write(chunk)
    sync_wal(path)


def make_durable(path: Path) -> None:
    """Sync what a process wrote to a database that ended before it had, or whose sync failed.

    Raises:
        StorageFailed: the disk refuses.

    """
    try:
        renew_wal(path)
    except OSError as error:
        raise StorageFailed(f"the write-ahead log cannot be synced: {error.strerror}") from error


def _wal_of(path: Path) -> Path:
    """Return where SQLite has the write-ahead log of a database: beside the file itself."""
    real = path.resolve()
    return real.with_name(f"{real.name}-wal")
