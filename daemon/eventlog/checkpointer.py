"""Copies the write-ahead log into the database beside the writer, so that no caller waits for it.

SQLite lets one connection copy while another writes, but only the writer can begin the write-ahead
log anew, and only when all of it is copied. So the work is shared: the checkpointer copies what is
there, and then the writer copies the little that came meanwhile, and begins anew.
"""

from __future__ import annotations

import threading
from contextlib import suppress

import apsw

from daemon.eventlog.connection import close


class Checkpointer:
    """A service that copies when it is asked to; one thread asks, one thread copies."""

    name = "checkpointer"

    def __init__(self, path: str, vfs: str | None = None) -> None:
        self.woken = threading.Event()
        self.asked = False
        self.copied = False
        self._path = path
        self._vfs = vfs
        self._connection: apsw.Connection | None = None

    def ask(self) -> None:
        """Have the write-ahead log copied; `copied` says when that is done."""
        self.asked = True
        self.woken.set()

    def rest(self) -> None:
        """Take the copying as done with."""
        self.asked = self.copied = False

    def step(self, now: int) -> float | None:  # noqa: ARG002
        """Copy, if that was asked for and not done yet."""
        if self.asked and not self.copied:
            # Whatever fails here is met again, and told, by the writer.
            with suppress(apsw.Error):
                self._writable().wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self.copied = True
        return None

    def _writable(self) -> apsw.Connection:
        if self._connection is None:
            flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI
            self._connection = apsw.Connection(self._path, flags=flags, vfs=self._vfs)
            # A checkpoint has to sync as the writer does.
            self._connection.pragma("synchronous", "FULL")
            self._connection.wal_autocheckpoint(0)
        return self._connection

    def close(self) -> None:
        """Close the connection; when nobody drives the steps any more."""
        if self._connection is not None:
            close(self._connection)
