"""The single writer: a bounded queue, and one transaction for everything that waits in it.

Group commit: every step drains the queue up to the group's bounds, does all requests in one
``BEGIN IMMEDIATE`` .. ``COMMIT`` and answers each caller only then. A request that fails is undone
alone. When the disk fails, everything of the group is undone and every caller of it gets the error.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from traceback import clear_frames
from typing import Final

import apsw

from daemon.eventlog.checkpointer import Checkpointer
from daemon.eventlog.connection import BUSY_TIMEOUT_MS, close, free_bytes, translate
from daemon.eventlog.copying import Copying
from daemon.eventlog.known import Known
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
from daemon.eventlog.transaction import Transaction
from daemon.eventlog.weight import weight_of
from domain.errors import ChronicledError, NotReady, QueueFull, StorageFailed, VersionConflict
from domain.timestamps import MICROSECONDS

PROBE_SECONDS: Final = 1.0
"""How often a log whose disk failed is tried again while nobody writes."""
CHECKPOINT_PAGES: Final = 4000
"""How long the write-ahead log may be before it is checkpointed (pages)."""
CHECKPOINT_WAIT_MS: Final = 200
"""How long a checkpoint that empties the write-ahead log waits for readers (milliseconds)."""
EMPTY_WAIT_MS: Final = 20
"""The same where it is emptied for what was removed, which can be tried again."""
FREE_BYTES_MIN: Final = 1024 * 1024
"""How much must be free before a log whose disk failed is tried again (bytes)."""
CAREFUL_GROUPS: Final = 100
"""For how many groups repeats are looked for after one came: who sends again sends much again."""
_PAGE_BYTES: Final = 4096
_DISK: Final = (
    apsw.FullError,
    apsw.IOError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.NoMemError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.ProtocolError,
)
"""Failures of the disk or the file: no request of the group is to blame, and all of it failed."""

_logger = logging.getLogger(__name__)
Answer = Callable[[Outcome], None]
_Waiting = tuple[Request, Answer, int, int]


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
        self._seen_version = -1
        self._careful_groups = 0
        self._wal_pages = 0
        self._checkpoint_pages = CHECKPOINT_PAGES
        self.checkpointer: Checkpointer | None = None
        """Who copies the write-ahead log beside the writer, where somebody does."""
        self._copying: Copying | None = None
        self._emptying = False
        self._tried = -1
        """When the write-ahead log was last to be emptied for what was removed."""
        self._queue: deque[_Waiting] = deque()
        self._queued = (0, 0)
        # Reentrant: the garbage collector may end a subscription on a thread that is in here.
        self._lock = threading.RLock()
        self._room = threading.Condition(self._lock)
        self._closed = False
        connection.set_wal_hook(self._committed)
        self._listeners: list[Callable[[int], None]] = []
        self._observers: list[Callable[[int], None]] = []
        self._enders: list[Callable[[], None]] = []

    # -- any thread ---------------------------------------------------------------------------

    @property
    def head(self) -> int:
        """The newest committed position."""
        return self._known.head.position

    @property
    def queued_events(self) -> int:
        """How many events wait."""
        return self._queued[0]

    def submit(self, request: Request, answer: Answer, *, wait_seconds: float = 0.0) -> None:
        """Queue a request; `answer` is called on the writer's thread after its commit.

        Where the queue is full, `wait_seconds` says how long to wait for room. An empty queue has
        room for anything.

        Raises:
            QueueFull: the queue is at its bound; nothing was taken.
            NotReady: the log is closing.

        """
        events, size = weight_of(request)
        with self._room:
            if not self._has_room(events, size):
                self._room.wait_for(lambda: self._has_room(events, size), wait_seconds)
            if self._closed:
                raise NotReady("the event log is closing")
            if not self._has_room(events, size):
                raise QueueFull(f"{self._queued[0]} events wait for the writer")
            self._queue.append((request, answer, events, size))
            self._queued = (self._queued[0] + events, self._queued[1] + size)
        self.woken.set()

    def _has_room(self, events: int, size: int) -> bool:
        queued_events, queued_size = self._queued
        fits = queued_events + events <= self.bounds.queue_events
        return (
            self._closed
            or not self._queue
            or (fits and queued_size + size <= self.bounds.queue_bytes)
        )

    def copy(self, copying: Copying) -> None:
        """Take the steps of a copy between commits; it says itself when it has ended.

        Raises:
            NotReady: another copy is being made, or the log is closing.

        """
        with self._lock:
            if self._closed:
                raise NotReady("the event log is closing")
            if self._copying is not None:
                raise NotReady("the event log is being copied already")
            self._copying = copying
        self.woken.set()

    def on_commit(self, callback: Callable[[int], None]) -> Callable[[], None]:
        """Call back with the new head after each commit that moved it; returns the way out."""
        with self._lock:
            self._listeners = [*self._listeners, callback]

        def leave() -> None:
            with self._lock:
                self._listeners = [other for other in self._listeners if other is not callback]

        return leave

    def announce(self) -> None:
        """Call back everybody who asked to hear of commits."""
        for callback in self._listeners:
            _call(callback, self.head)

    def on_group_end(self, callback: Callable[[], None]) -> None:
        """Call back on the writer's thread when every request of a group was answered.

        Also when the group failed or held nothing new: each answer is followed by such a call, so
        that answers may be gathered and handed on at once.
        """
        with self._lock:
            self._enders = [*self._enders, callback]

    def observe_groups(self, callback: Callable[[int], None]) -> None:
        """Call back with the number of events of each commit."""
        with self._lock:
            self._observers = [*self._observers, callback]

    # -- the writer's thread ------------------------------------------------------------------

    def step(self, now: int) -> float | None:
        """Commit one group and copy some pages; 0 when more waits, None when nothing does."""
        delay = self._step_group(now)
        if self._emptying:
            self._empty(now)
            delay = PROBE_SECONDS if delay is None and self._emptying else delay
        return 0.0 if self._step_copy() else delay

    def empty_wal(self) -> None:
        """Have the write-ahead log emptied soon."""
        self._emptying, self._tried = True, -1
        self.woken.set()

    def _empty(self, now: int) -> None:
        """Empty the write-ahead log; readers may be in the way, and intake must not wait often."""
        if 0 <= now - self._tried < PROBE_SECONDS * MICROSECONDS:
            return
        self._tried = now
        self._emptying = not self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE, EMPTY_WAIT_MS)

    def _step_copy(self) -> bool:
        """Take one step of a copy that is asked for; return whether it needs more."""
        copying = self._copying
        if copying is None:
            return False
        if self.health.ok:
            copying.step(self._connection)
        else:
            # It may be the copy that takes the room.
            copying.give_up(StorageFailed(f"the log itself fails: {self.health.error}"))
        if copying.ended.is_set():
            self._copying = None
        return self._copying is not None

    def _step_group(self, now: int) -> float | None:
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
        self._end_group()
        if self.head > before:
            for callback in self._observers:
                _call(callback, self.head - before)
            self.announce()
        self._checkpoint_if_due()
        return 0.0 if self._queue or not self.health.ok else None

    def drain(self) -> None:
        """Take no more, and answer everything that waits; for when the thread has ended.

        A disk that fails now has failed for all of them: nobody waits for one try each.
        """
        with self._room:
            self._closed = True
            self._room.notify_all()
        if self._copying is not None:
            self._copying.give_up(NotReady("the event log is closing"))
            self._copying.remove()
            self._copying = None
        while self._queue:
            self.step(self._clock())
            if not self.health.ok:
                self._refuse_all()

    def _refuse_all(self) -> None:
        with self._lock:
            waiting = list(self._queue)
            self._queue.clear()
            self._queued = (0, 0)
        for _, answer, _, _ in waiting:
            _call(answer, StorageFailed(f"the log closed on a failing disk: {self.health.error}"))
        self._end_group()

    def _end_group(self) -> None:
        for callback in self._enders:
            _call(callback)

    def close(self) -> None:
        """Checkpoint and close the connection. Call after `drain`, when no reader is left."""
        self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
        close(self._connection)

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
            self._room.notify_all()
        return group

    def _commit(self, requests: Sequence[Request], now: int) -> list[Outcome]:
        changes = self._connection.total_changes()
        # A group that is rolled back has SQLite begin a copy anew.
        careful = self._careful_groups > 0 or self._copying is not None
        transaction: Transaction | None = None
        try:
            self._roll_back()
            self._connection.execute("BEGIN IMMEDIATE")
            self._reread_if_changed()
            transaction = Transaction(self._connection, self._known, now, careful=careful)
            outcomes = self._outcomes(transaction, requests)
            transaction.flush()
            self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001  whatever it was, its callers must hear of it
            self._roll_back()
            if isinstance(error, apsw.ConstraintError) and transaction and not careful:
                transaction.undo()
                self._careful_groups = CAREFUL_GROUPS
                return self._commit(requests, now)
            # What was learnt on the way may be of rows that are not there: read it all again.
            self._seen_version = -1
            return self._failed(requests, now, error)
        transaction.committed()
        self._seen_version = self._connection.data_version()
        if transaction.found_repeats:
            self._careful_groups = CAREFUL_GROUPS
        elif self._careful_groups:
            self._careful_groups -= 1
        if self._connection.total_changes() != changes:
            # A commit that wrote nothing says nothing about the disk.
            self._set_health(now, None)
        return outcomes

    def _outcomes(self, transaction: Transaction, requests: Sequence[Request]) -> list[Outcome]:
        """Do the requests: all at once where that makes no difference, which is much cheaper."""
        appends = [request for request in requests if isinstance(request, Append)]
        if len(appends) == len(requests):
            together = transaction.append_together(appends)
            if together is not None:
                return list(together)
        return [self._one(transaction, request) for request in requests]

    def _one(self, transaction: Transaction, request: Request) -> Outcome:
        if isinstance(request, Work):
            return self._work(transaction, request)
        try:
            return transaction.append(request)
        except VersionConflict as error:
            return error

    def _work(self, transaction: Transaction, work: Work) -> Outcome:
        """Run a caller's function in a savepoint; its failure is its own, the disk's is not."""
        transaction.flush()
        # The function goes by its receipts before its rows are written.
        transaction.careful = True
        mark = transaction.mark()
        self._connection.execute("SAVEPOINT work")
        try:
            outcome: Outcome = Done(work.run(transaction))
            transaction.flush()
        except _DISK:
            raise
        except BaseException as error:  # noqa: BLE001  the function may raise anything
            outcome = error
            # A statement it had open would hold a read transaction for as long as the error lives.
            clear_frames(error.__traceback__)
        if self._connection.get_autocommit():
            # SQLite gave up the whole transaction, and the function hid that.
            raise apsw.IOError("the transaction was lost")
        if isinstance(outcome, BaseException):
            self._connection.execute("ROLLBACK TO work")
            transaction.undo(mark)
        self._connection.execute("RELEASE work")
        return outcome

    def _failed(self, requests: Sequence[Request], now: int, error: Exception) -> list[Outcome]:
        if isinstance(error, _DISK):
            self._set_health(now, translate(error))
            # One error for each caller: an exception that several threads raise is not safe.
            return [translate(error) for _ in requests]
        if len(requests) == 1:
            _logger.error("a request failed in the writer", exc_info=error)
            return [error]
        # One of them is to blame: let each meet its fate alone.
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
            if self._wal_path is not None and free_bytes(self._wal_path.parent) < FREE_BYTES_MIN:
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

    def _committed(self, connection: apsw.Connection, name: str, pages: int) -> int:  # noqa: ARG002
        """SQLite's call after each commit; having one turns its own checkpoints off."""
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint_if_due(self) -> None:
        """Move the write-ahead log into the database, after the callers were answered.

        Where there is a checkpointer it copies first, and the writer only what came meanwhile.
        Beyond its cap the write-ahead log is emptied, for which readers have to be waited for. What
        fails is tried again when the write-ahead log has doubled: neither a reader who reads on
        and on nor a bad disk may make every commit wait.
        """
        if self._left_to_checkpointer() or self._wal_pages < self._checkpoint_pages:
            return
        over = self._wal_pages * _PAGE_BYTES >= self.bounds.wal_bytes
        done = self._checkpoint(
            apsw.SQLITE_CHECKPOINT_TRUNCATE if over else apsw.SQLITE_CHECKPOINT_PASSIVE
        )
        self._checkpoint_pages = CHECKPOINT_PAGES if done else self._wal_pages * 2

    def _left_to_checkpointer(self) -> bool:
        """Have the checkpointer copy first; return whether it does, and has not fallen behind."""
        checkpointer = self.checkpointer
        if checkpointer is None:
            return False
        due = self._wal_pages >= self._checkpoint_pages
        if checkpointer.copied or self._wal_pages >= self._checkpoint_pages * 2:
            # What is still due is little; or nothing is, and SQLite began anew by itself.
            checkpointer.rest()
        elif due and not checkpointer.asked:
            checkpointer.ask()
        return checkpointer.asked

    def _checkpoint(self, mode: int, wait_ms: int = CHECKPOINT_WAIT_MS) -> bool:
        if self._wal_path is None:
            return True
        try:
            self._connection.set_busy_timeout(wait_ms)
            self._connection.wal_checkpoint(mode=mode)
        except apsw.Error as error:
            if wait_ms == CHECKPOINT_WAIT_MS:
                _logger.warning("the write-ahead log could not be checkpointed: %s", error)
            return False
        finally:
            self._connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        return True


def _call(callback: Callable[..., None], *values: object) -> None:
    """Call back; a caller's failure is its own and must not stop the writer."""
    try:
        callback(*values)
    except Exception:
        _logger.exception("a callback of the writer failed")
