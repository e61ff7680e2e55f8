"""The write-ahead log of a database that others may be using: emptying it, and syncing it."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Final

import apsw

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
    wal = path.with_name(f"{path.name}-wal")
    for there in (wal, wal.parent):
        try:
            descriptor = os.open(there, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
