"""SQLite connections to the log and to the views: how a file is made, checked and opened.

The order at creation matters: `auto_vacuum` stays 0 when it is set after WAL mode. Each setting is
read back, because SQLite ignores what it cannot do.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import apsw

from domain.errors import ChronicledError, DiskFull, LogDamaged, NewerSchema, StorageFailed

APPLICATION_ID: Final = 0x6368726E
"""`application_id` of a log file: "chrn"."""
SCHEMA_VERSION: Final = 2
"""`user_version` of the log's present schema."""
BUSY_TIMEOUT_MS: Final = 10_000
"""How long a connection waits for a lock held elsewhere (milliseconds)."""

_SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")
_MEMORY = ":memory:"
_MEMORY_PAUSE_SECONDS = 0.001
_SCHEMA = Path(__file__).with_name("schema.sql")
TABLES_OF_REMOVAL: Final = ("removed_runs", "removals", "removed_keys")
"""The tables that schema 2 has beside those of schema 1."""
_DAMAGED = (apsw.CorruptError, apsw.NotADBError)


def translate(error: apsw.Error) -> ChronicledError:
    """Return our error for one of SQLite's."""
    if isinstance(error, apsw.FullError):
        return DiskFull("the disk of the event log is full")
    if isinstance(error, _DAMAGED):
        return LogDamaged(f"SQLite reports damage in the event log: {error}")
    return StorageFailed(f"the event log could not be read or written: {error}")


def memory_uri(name: str) -> str:
    """Return the URI of a database in memory that several connections of this process share."""
    return f"file:/{name}?vfs=memdb"


def is_memory(path: str) -> bool:
    """Return whether a path names a database in memory rather than a file."""
    return path == _MEMORY or (path.startswith("file:/") and "vfs=memdb" in path)


def wait_for_locks(connection: apsw.Connection, path: str, milliseconds: int) -> None:
    """Have a connection wait for locks that others hold.

    A log in memory has no write-ahead log: readers and the writer take turns, thousands of times a
    second, and SQLite's own waiting, of up to 100 ms at a time, would be most of what they do.
    """
    if not is_memory(path):
        connection.set_busy_timeout(milliseconds)
        return
    attempts_max = int(milliseconds / 1000 / _MEMORY_PAUSE_SECONDS)
    pause = threading.Event()

    def wait(attempts: int) -> bool:
        pause.wait(_MEMORY_PAUSE_SECONDS)
        return attempts < attempts_max

    connection.set_busy_handler(wait)


def _pragma(connection: apsw.Connection, name: str, value: str | int) -> None:
    """Set a pragma and fail unless it reads back as set."""
    connection.pragma(name, value)
    present = connection.pragma(name)
    if str(present).lower() != str(value).lower():
        raise StorageFailed(f"SQLite kept {name} = {present!r}, wanted {value!r}")


def open_writer(path: str, *, synchronous: str = "FULL", vfs: str | None = None) -> apsw.Connection:
    """Open the log for writing, making it first where there is none.

    ``vfs`` names the SQLite file system to go through, None for the default one.

    Raises:
        NewerSchema: the file was written by a newer version of this program.
        LogDamaged: the file is not an event log.
        StorageFailed, DiskFull: the disk refused.

    """
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
    level = _SYNCHRONOUS.index(synchronous.upper())
    connection: apsw.Connection | None = None
    try:
        connection = apsw.Connection(path, flags=flags, vfs=vfs)
        wait_for_locks(connection, path, BUSY_TIMEOUT_MS)
        connection.pragma("foreign_keys", 0)
        _create_or_check(connection, path)
        if not is_memory(path):
            _pragma(connection, "journal_mode", "wal")
        _pragma(connection, "synchronous", level)
        _pragma(connection, "secure_delete", 1)
        connection.pragma("journal_size_limit", 16 * 1024 * 1024)
    except (apsw.Error, ChronicledError) as error:
        if connection is not None:
            close(connection)
        if isinstance(error, apsw.Error):
            raise translate(error) from error
        raise
    return connection


def close(connection: apsw.Connection) -> None:
    """Close a connection.

    The last one to close a file checkpoints it; where the disk refuses, the next opening does.
    """
    with suppress(apsw.Error):
        connection.close()


def database_size(db: apsw.Connection) -> int:
    """Return how large a database is with what its write-ahead log adds (bytes)."""
    pages, page_bytes = db.pragma("page_count"), db.pragma("page_size")
    return int(pages * page_bytes)


def free_bytes(directory: Path) -> int:
    """Return how much room the file system of a directory has for this process (bytes)."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize


def _create_or_check(connection: apsw.Connection, path: str) -> None:
    if _is_fresh(connection):
        _create(connection, path)
    application, version = connection.pragma("application_id"), connection.pragma("user_version")
    if application != APPLICATION_ID:
        raise LogDamaged(
            f"{path} is not an event log (application_id {application})",
            hint="Point --data at the directory of an event log, or at an empty one.",
        )
    if version > SCHEMA_VERSION:
        raise NewerSchema(f"{path} has schema {version}; this program knows {SCHEMA_VERSION}")
    if connection.pragma("auto_vacuum") != 2:
        raise StorageFailed(f"{path} was made without incremental auto_vacuum")
    if version < SCHEMA_VERSION:
        _migrate(connection)


def _is_fresh(connection: apsw.Connection) -> bool:
    marks = connection.pragma("application_id"), connection.pragma("user_version")
    return marks == (0, 0) and connection.execute("SELECT count(*) FROM sqlite_schema").get == 0


def _create(connection: apsw.Connection, path: str) -> None:
    _pragma(connection, "page_size", 4096)
    _pragma(connection, "auto_vacuum", 2)
    if not is_memory(path):
        _pragma(connection, "journal_mode", "wal")
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Somebody else may have made it since we looked.
        if _is_fresh(connection):
            connection.execute(_SCHEMA.read_text())
            _pragma(connection, "application_id", APPLICATION_ID)
            _pragma(connection, "user_version", SCHEMA_VERSION)
        connection.execute("COMMIT")
    finally:
        if not connection.get_autocommit():
            connection.execute("ROLLBACK")


def _migrate(connection: apsw.Connection) -> None:
    """Add what a log of schema 1 lacks, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Somebody else may have done it since we looked.
        if connection.pragma("user_version") < SCHEMA_VERSION:
            for statement in removal_tables():
                connection.execute(statement)
            _pragma(connection, "user_version", SCHEMA_VERSION)
        connection.execute("COMMIT")
    finally:
        if not connection.get_autocommit():
            connection.execute("ROLLBACK")


def complete_schema(connection: apsw.Connection) -> None:
    """Have a connection that only reads see the tables that a log of schema 1 lacks, empty."""
    if connection.pragma("user_version") == 1:
        for statement in removal_tables():
            connection.execute(statement.replace("CREATE TABLE", "CREATE TEMP TABLE", 1))


def removal_tables() -> list[str]:
    """Return the statements that make the tables which schema 1 lacks."""
    wanted = rf"CREATE TABLE (?:{'|'.join(TABLES_OF_REMOVAL)}) \(.*?;"
    return re.findall(wanted, _SCHEMA.read_text(), re.DOTALL)


class ReadPool:
    """Read-only connections, one for each reader at work; idle ones are used again."""

    def __init__(self, path: str, *, idle_max: int = 8, vfs: str | None = None) -> None:
        self._path = path
        self._vfs = vfs
        self._idle_max = idle_max
        self._idle: list[apsw.Connection] = []
        self._busy: set[apsw.Connection] = set()
        self._lock = threading.Condition()
        self._closed = False

    @contextmanager
    def connection(self) -> Iterator[apsw.Connection]:
        """Lend a connection; SQLite's errors come out as ours."""
        connection = self._take()
        try:
            yield connection
        except apsw.Error as error:
            raise translate(error) from error
        finally:
            self._give_back(connection)

    @contextmanager
    def snapshot(self) -> Iterator[apsw.Connection]:
        """Lend a connection inside one read transaction: every statement sees the same log."""
        with self.connection() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if not connection.get_autocommit():
                    connection.execute("ROLLBACK")

    def _take(self) -> apsw.Connection:
        with self._lock:
            if self._closed:
                raise StorageFailed("the event log is closed")
            connection = self._idle.pop() if self._idle else self._open()
            self._busy.add(connection)
            return connection

    def _open(self) -> apsw.Connection:
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        try:
            connection = apsw.Connection(self._path, flags=flags, vfs=self._vfs)
            wait_for_locks(connection, self._path, BUSY_TIMEOUT_MS)
            complete_schema(connection)
        except apsw.Error as error:
            raise translate(error) from error
        return connection

    def _give_back(self, connection: apsw.Connection) -> None:
        # A statement that is still open, for one in an error's frames, keeps its old snapshot: the
        # next reader would not see what was committed since.
        reads = connection.txn_state() != apsw.SQLITE_TXN_NONE
        with self._lock:
            self._busy.discard(connection)
            if reads or self._closed or len(self._idle) >= self._idle_max:
                close(connection)
            else:
                self._idle.append(connection)
            self._lock.notify_all()

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Interrupt readers still at work, wait for them, and close every connection."""
        with self._lock:
            self._closed = True
            for connection in self._busy:
                with suppress(apsw.Error):
                    connection.interrupt()
            self._lock.wait_for(lambda: not self._busy, timeout_seconds)
            for connection in self._idle:
                close(connection)
            self._idle.clear()
