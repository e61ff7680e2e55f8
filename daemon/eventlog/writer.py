"""The single writer: a bounded queue, and one transaction for everything that waits in it.

Group commit: every step drains the queue up to the group's bounds, does all requests in one
``BEGIN IMMEDIATE`` .. ``COMMIT`` and answers each caller only then. A request that fails is undone
alone. When the disk fails, everything of the group is undone and every caller of it gets the error.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import apsw

from daemon.eventlog.connection import translate
from daemon.eventlog.requests import (
    Append,
    Done,
    LogHealth,
    Outcome,
    Request,
    Work,
    WriterBounds,
)
from daemon.eventlog.statements import SQL
from daemon.eventlog.transaction import Known, Transaction
from domain.errors import ChronicledError, NotReady, QueueFull, VersionConflict

PROBE_SECONDS: Final = 1.0
"""How often a log whose disk failed is tried again while nobody writes."""
FREE_BYTES_MIN: Final = 1024 * 1024
"""How much must be free before a log whose disk failed is tried again (bytes)."""
_OVERHEAD_BYTES: Final = 256

_logger = logging.getLogger(__name__)
Answer = Callable[[Outcome], None]
_Waiting = tuple[Request, Answer, int, int]


def _weight(request: Request) -> tuple[int, int]:
    """Return the events and bytes a request holds in the queue."""
    if isinstance(request, Work):
        return 1, _OVERHEAD_BYTES
    size = sum(len(event.data) + _OVERHEAD_BYTES for event in request.events)
    size += sum(len(letter.raw) + _OVERHEAD_BYTES for letter in request.dead_letters)
    return max(len(request.events) + len(request.dead_letters), 1), size


class Writer:
    """Owns the only connection that writes. Its `step` is driven by one thread."""

    name = "writer"

    def __init__(
        self,
        connection: apsw.Connection,
        log_id: str,
        wal_path: Path | None,
        bounds: WriterBounds,
        clock: Callable[[], int],
    ) -> None:
        self.woken = threading.Event()
        self.health = LogHealth(since=clock())
        self.bounds = bounds
        self._connection = connection
        self._log_id = log_id
        self._wal_path = wal_path
        self._clock = clock
        self._known = Known.read(connection, log_id)
        self._seen_version = connection.data_version()
        self._queue: deque[_Waiting] = deque()
        self._queued = (0, 0)
        self._lock = threading.Lock()
        self._closed = False
        self._listeners: list[Callable[[int], None]] = []
        self._observers: list[Callable[[int], None]] = []

    # -- any thread ---------------------------------------------------------------------------

    @property
    def head(self) -> int:
        """The newest committed position."""
        return self._known.head.position

    @property
    def queued_events(self) -> int:
        """How many events wait."""
        return self._queued[0]

    def submit(self, request: Request, answer: Answer) -> None:
        """Queue a request; `answer` is called on the writer's thread after its commit.

        Raises:
            QueueFull: the queue is at its bound; nothing was taken.
            NotReady: the log is closing.

        """
        events, size = _weight(request)
        with self._lock:
            if self._closed:
                raise NotReady("the event log is closing")
            total_events, total_size = self._queued[0] + events, self._queued[1] + size
            over = total_events > self.bounds.queue_events or total_size > self.bounds.queue_bytes
            if over and self._queue:
                raise QueueFull(f"{self._queued[0]} events wait for the writer")
            self._queue.append((request, answer, events, size))
            self._queued = (total_events, total_size)
        self.woken.set()

    def on_commit(self, callback: Callable[[int], None]) -> Callable[[], None]:
        """Call back with the new head after each commit that moved it; returns the way out."""
        with self._lock:
            self._listeners = [*self._listeners, callback]

        def leave() -> None:
            with self._lock:
                self._listeners = [other for other in self._listeners if other is not callback]

        return leave

    def observe_groups(self, callback: Callable[[int], None]) -> None:
        """Call back with the number of events of each commit."""
        with self._lock:
            self._observers = [*self._observers, callback]

    # -- the writer's thread ------------------------------------------------------------------

    def step(self, now: int) -> float | None:
        """Commit one group; 0 when more waits, None when nothing does."""
        group = self._drain()
        if not group:
            if self.health.ok:
                return None
            self._probe(now)
            return None if self.health.ok else PROBE_SECONDS
        before = self.head
        outcomes = self._commit([waiting[0] for waiting in group], now)
        for waiting, outcome in zip(group, outcomes, strict=True):
            _call(waiting[1], outcome)
        if self.head > before:
            for callback in self._observers:
                _call(callback, self.head - before)
            for callback in self._listeners:
                _call(callback, self.head)
        self._cap_wal()
        return 0.0 if self._queue or not self.health.ok else None

    def close(self, reason: str = "the event log is closing") -> None:
        """Take no more, commit what waits, checkpoint. Call after the thread has ended."""
        with self._lock:
            self._closed = True
        while self._queue:
            self.step(self._clock())
        with suppress(apsw.Error):
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self._connection.close()
        _logger.debug("writer closed: %s", reason)

    def _drain(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        events = size = 0
        with self._lock:
            while self._queue:
                waiting = self._queue[0]
                events, size = events + waiting[2], size + waiting[3]
                over = events > self.bounds.group_events or size > self.bounds.group_bytes
                if group and over:
                    break
                group.append(self._queue.popleft())
                self._queued = (self._queued[0] - waiting[2], self._queued[1] - waiting[3])
        return group

    def _commit(self, requests: Sequence[Request], now: int) -> list[Outcome]:
        transaction: Transaction | None = None
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._reread_if_changed()
            transaction = Transaction(self._connection, self._known, now)
            start = transaction.mark()
            outcomes = [self._one(transaction, request) for request in requests]
            transaction.flush()
            self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001  whatever it was, its callers must hear of it
            self._roll_back()
            if transaction is not None:
                transaction.undo(start)
            # Whatever the disk did, the file itself says where the log stands.
            self._seen_version = -1
            return self._failed(requests, now, error)
        transaction.committed()
        self._seen_version = self._connection.data_version()
        self._set_health(now, None)
        return outcomes

    def _one(self, transaction: Transaction, request: Request) -> Outcome:
        if isinstance(request, Append):
            mark = transaction.mark()
            try:
                return transaction.append(request)
            except VersionConflict as error:
                transaction.undo(mark)
                return error
        transaction.flush()
        mark = transaction.mark()
        self._connection.execute("SAVEPOINT work")
        try:
            value = request.run(transaction)
            transaction.flush()
        except (apsw.FullError, apsw.IOError, apsw.ReadOnlyError, apsw.CorruptError):
            raise
        except Exception as error:  # noqa: BLE001  the caller's function may raise anything
            self._connection.execute("ROLLBACK TO work")
            transaction.undo(mark)
            return error
        finally:
            if not self._connection.get_autocommit():
                self._connection.execute("RELEASE work")
        return Done(value)

    def _failed(self, requests: Sequence[Request], now: int, error: Exception) -> list[Outcome]:
        if isinstance(error, apsw.Error):
            reason = translate(error)
            reason.__cause__ = error
            self._set_health(now, reason)
            return [reason] * len(requests)
        if len(requests) == 1:
            _logger.error("a request failed in the writer", exc_info=error)
            return [error]
        # Something nobody foresaw: let each request meet its fate alone.
        return [outcome for request in requests for outcome in self._commit([request], now)]

    def _roll_back(self) -> None:
        with suppress(apsw.Error):
            if not self._connection.get_autocommit():
                self._connection.execute("ROLLBACK")

    def _reread_if_changed(self) -> None:
        """Notice commits of other processes: what was known is stale then."""
        if self._connection.data_version() != self._seen_version:
            self._known = Known.read(self._connection, self._log_id)
            self._seen_version = self._connection.data_version()

    def _probe(self, now: int) -> None:
        """Write a little, to see whether the disk is back."""
        try:
            if self._wal_path is not None and _free_bytes(self._wal_path) < FREE_BYTES_MIN:
                return
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(SQL["probe"], (now,))
            self._connection.execute("COMMIT")
        except OSError:
            return
        except apsw.Error as error:
            self._roll_back()
            self._seen_version = -1
            self._set_health(now, translate(error))
        else:
            self._set_health(now, None)

    def _set_health(self, now: int, error: ChronicledError | None) -> None:
        ok = error is None
        since = self.health.since if ok == self.health.ok else now
        if ok and not self.health.ok:
            _logger.warning("the event log can be written again")
        elif error is not None and self.health.ok:
            _logger.error("the event log cannot be written: %s", error.detail)
        code, detail = ("", "") if error is None else (error.code, error.detail)
        if not ok or not self.health.ok:
            self.health = LogHealth(ok, code, detail, since)

    def _cap_wal(self) -> None:
        """Keep the write-ahead log from growing without end behind a reader."""
        if self._wal_path is None:
            return
        with suppress(OSError, apsw.Error):
            if self._wal_path.stat().st_size > self.bounds.wal_bytes:
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


def _free_bytes(path: Path) -> int:
    disk = os.statvfs(path.parent)
    return disk.f_bavail * disk.f_frsize


def _call(callback: Callable[[Any], None], value: object) -> None:
    """Call back; a caller's failure is its own and must not stop the writer."""
    try:
        callback(value)
    except Exception:
        _logger.exception("a callback of the writer failed")
