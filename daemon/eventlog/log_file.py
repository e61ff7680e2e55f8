"""The log's file for those who only read it, in a process that does not have it open to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from daemon.eventlog.connection import APPLICATION_ID, SCHEMA_VERSION, ReadPool
from daemon.eventlog.reader import Reader
from daemon.eventlog.statements import SQL
from domain.errors import LogDamaged, NewerSchema


class LogFile(Reader):
    """A log, read-only. With ``skip_unknown`` it lacks the events of newer releases.

    Raises:
        NewerSchema, LogDamaged, StorageFailed: this program cannot read it.

    """

    def __init__(self, path: Path, *, skip_unknown: bool = False) -> None:
        self.pool = ReadPool(str(path))
        super().__init__(self.pool, skip_unknown=skip_unknown)
        self.path = str(path)
        try:
            self._introduce()
        except BaseException:
            self.pool.close()
            raise

    def _introduce(self) -> None:
        with self.pool.connection() as db:
            if db.pragma("application_id") != APPLICATION_ID:
                raise LogDamaged(f"{self.path} is not an event log")
            if (version := db.pragma("user_version")) > SCHEMA_VERSION:
                raise NewerSchema(f"{self.path} has schema {version}")
            self.log_id: str = db.execute("SELECT value FROM log_meta WHERE key = 'log_id'").get
            self.epoch: int = db.execute("SELECT value FROM log_meta WHERE key = 'epoch'").get

    def meta(self) -> dict[str, Any]:
        """Return what the log says of itself, by name."""
        with self.pool.connection() as db:
            rows: Any = db.execute("SELECT key, value FROM log_meta")
            return dict(rows)

    def reading(self) -> ReadPool:
        """Return the read connections, for those who have queries of their own."""
        return self.pool

    def head(self) -> int:
        """Return the newest position that was ever used, as the writer does."""
        with self.pool.snapshot() as db:
            newest = db.execute(SQL["newest_event"]).fetchone()
            used: int = db.execute(SQL["last_used_position"]).get or 0
            return max(newest[0], used) if newest else used

    def close(self) -> None:
        """Close the connections."""
        self.pool.close()
