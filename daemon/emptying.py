"""The write-ahead log of a database that others may be using: emptying it, and syncing it."""

from __future__ import annotations

import os
import threading
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
    return _move(path, cut=True)


def _move(path: Path, *, cut: bool) -> bool:
    """Move all of a write-ahead log into the database, and sync that; return whether it is there.

    Only to cut the log a writer has to wait.
    """
    try:
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as db:
            db.pragma("synchronous", "FULL")
            db.wal_autocheckpoint(0)
            db.set_busy_timeout(_READERS_MS)
            # A connection that has read nothing knows of no write-ahead log.
            db.execute("SELECT 1 FROM sqlite_schema").fetchall()
            frames, moved = db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            if cut:
                frames, moved = db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.Error:
        return False
    return frames == moved


class Syncing:
    """Has what was committed to a database survive a power cut, and knows whether it does.

    A database whose commits are not synced each (``synchronous=NORMAL``) loses the newest of them
    with the power, but what is in its write-ahead log on disk. After a sync that failed the kernel
    takes pages for written that are not there, and the next sync goes well (fsync(2), NOTES):
    then, only what has gone into the file itself is safe. SQLite does not tell of a sync that
    failed in a checkpoint; but whoever had the file open meanwhile is told, once. So it stays open.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._suspect = True
        """Whether a sync may have failed, and the file itself does not have all of it since."""

    def __call__(self) -> str | None:
        """Sync; return why what was committed before may not be on the disk, None where it is."""
        with self._lock:
            try:
                self._sync()
            except OSError as error:
                self._suspect = True
                return error.strerror
            if self._suspect and not _move(self._path, cut=False):
                return "an earlier sync may have failed, and others are at work on it"
            self._suspect = False
        return None

    def _sync(self) -> None:
        """Sync the write-ahead log; the checkpoint that removed one has synced everything."""
        wal = wal_of(self._path)
        try:
            there = wal.stat()
        except FileNotFoundError:
            self._release()
            return
        if self._descriptor is None or not os.path.samestat(os.fstat(self._descriptor), there):
            self._release()
            self._suspect = True
            self._descriptor = os.open(wal, os.O_RDONLY | os.O_CLOEXEC)
        os.fsync(self._descriptor)
        sync(wal.parent)

    def _release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._release()


def renew_wal(path: Path) -> None:
    """Sync a write-ahead log where an earlier sync may have failed, in a process that has ended.

    All of it is written again, as it is, or what that one left behind would not reach the disk.
    Nobody may write to the database meanwhile.

    Raises:
        OSError: the disk refuses.

    """
    with suppress(FileNotFoundError), wal_of(path).open("r+b") as wal:
        while chunk := wal.read(_CHUNK_BYTES):
            wal.seek(-len(chunk), os.SEEK_CUR)
            wal.write(chunk)
        wal.flush()
        os.fsync(wal.fileno())
        sync(wal_of(path).parent)


def make_durable(path: Path) -> None:
    """Sync what a process wrote to a database that ended before it had, or whose sync failed.

    Raises:
        StorageFailed: the disk refuses.

    """
    try:
        renew_wal(path)
    except OSError as error:
        raise StorageFailed(f"the write-ahead log cannot be synced: {error.strerror}") from error


def wal_of(path: Path) -> Path:
    """Return where SQLite has the write-ahead log of a database: beside the file itself."""
    real = path.resolve()
    return real.with_name(f"{real.name}-wal")
