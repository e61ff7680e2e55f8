"""The event log: one file, one writer, any number of readers."""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import apsw

from daemon.emptying import make_durable
from daemon.eventlog.checkpointer import Checkpointer
from daemon.eventlog.connection import (
    ReadPool,
    close,
    database_size,
    is_memory,
    memory_uri,
    open_writer,
    translate,
)
from daemon.eventlog.copying import Copy, Copying
from daemon.eventlog.copying import Progress as CopyProgress
from daemon.eventlog.deadletters import EVERY_LETTER, KeptLetter, LetterFilter
from daemon.eventlog.reader import PAGE_BYTES, Reader
from daemon.eventlog.removal import PendingRemoval, pending_removals
from daemon.eventlog.requests import (
    Append,
    Appended,
    DeadLetter,
    Done,
    EventPage,
    EventQuery,
    Finding,
    Follow,
    Followed,
    LogHealth,
    Outcome,
    Request,
    Work,
    WriterBounds,
)
from daemon.eventlog.statements import SQL
from daemon.eventlog.structure import verify_structure
from daemon.eventlog.verify import TAIL_EVENTS, Progress, verify_rows
from daemon.eventlog.writer import Answer, Writer
from daemon.lifecycle import Clock, ServiceThread, system_clock
from daemon.release import PROGRAM_VERSION, release_order
from domain.epochs import LostStretch
from domain.errors import LogDamaged, NotReady
from domain.events import NewEvent, RecordedEvent

APPEND_SECONDS: float = 30.0
"""How long a blocking append waits for its commit unless told otherwise."""


class EventLog:
    """Appends events durably and reads them back in order.

    Made by `EventLog.open`. Writing needs `start`, which runs the writer on a thread of its own;
    a simulation drives ``log.writer.step`` itself instead.
    """

    def __init__(
        self, path: str, writer: Writer, pool: ReadPool, clock: Clock, vfs: str | None
    ) -> None:
        self.path = path
        self.writer = writer
        self._pool = pool
        self._reader = Reader(pool)
        self._thread = ServiceThread(writer, clock)
        self._checkpoints: ServiceThread | None = None
        self._vfs = vfs
        self._clock = clock
        self._closed = False
        self._kept_for: list[str] = []
        with pool.connection() as db:
            self.log_id: str = db.execute("SELECT value FROM log_meta WHERE key = 'log_id'").get
            self.epoch: int = db.execute("SELECT value FROM log_meta WHERE key = 'epoch'").get

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        clock: Clock = system_clock,
        synchronous: str = "FULL",
        bounds: WriterBounds | None = None,
        vfs: str | None = None,
    ) -> EventLog:
        """Open a log, making it first where there is none; ``:memory:`` for one in memory.

        ``vfs`` names the SQLite file system to go through, None for the default one.

        Raises:
            NewerSchema, LogDamaged, StorageFailed, DiskFull: it cannot be used.

        """
        name = str(path)
        if name == ":memory:":
            name = memory_uri(f"chronicled-{uuid.uuid4().hex}")
        connection = open_writer(name, synchronous=synchronous, vfs=vfs)
        wal_path = None if is_memory(name) else Path(f"{name}-wal")
        pool = ReadPool(name, vfs=vfs)
        try:
            log_id = _introduce(connection, clock())
            if wal_path is not None:
                # From now on it is read, acknowledged to whoever sends it again, and what is
                # committed next lies behind it: no power cut may take it.
                make_durable(Path(name))
            writer = Writer(connection, log_id, wal_path, bounds or WriterBounds(), clock)
            return cls(name, writer, pool, clock, vfs)
        except BaseException as error:
            pool.close()
            close(connection)
            if isinstance(error, apsw.Error):
                raise translate(error) from error
            raise

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Run the writer on its thread, and beside it what copies the write-ahead log of a file."""
        if not is_memory(self.path):
            checkpointer = self.writer.checkpointer = Checkpointer(self.path, self._vfs)
            self._checkpoints = ServiceThread(checkpointer, self._clock)
            self._checkpoints.start()
        self._thread.start()

    def close(self) -> None:
        """Commit what waits, checkpoint, and close every connection; twice does no harm.

        The last thing that `on_commit` callbacks hear is a call at the end, so that whoever waits
        for a commit finds the log closed.
        """
        if self._thread.current:
            # The garbage collector may have chosen the writer's thread to end an application on.
            threading.Thread(target=self.close, name="close-log").start()
            return
        if self._closed:
            return
        self._closed = True
        self._thread.stop()
        self.writer.drain()
        if self._checkpoints is not None and self.writer.checkpointer is not None:
            self._checkpoints.stop()
            self.writer.checkpointer.close()
        self._pool.close()
        self.writer.close()
        self.writer.announce()

    @property
    def health(self) -> LogHealth:
        """Whether the log can be written."""
        return self.writer.health

    # -- writing ------------------------------------------------------------------------------

    def submit(self, request: Request, done: Answer) -> None:
        """Queue a request; `done` is called on the writer's thread with the outcome.

        Raises:
            QueueFull: nothing was taken; try again later.
            NotReady: the log is closing.

        """
        self.writer.submit(request, done)

    def append(
        self,
        events: Sequence[NewEvent],
        *,
        dead_letters: Sequence[DeadLetter] = (),
        follow: Follow | None = None,
        timeout_seconds: float = APPEND_SECONDS,
    ) -> Appended:
        """Append events, all or none, and return their receipts after the commit.

        Raises:
            VersionConflict: a stream is not at its expected version.
            QueueFull, DiskFull, StorageFailed, NotReady: nothing was recorded.

        """
        outcome = self._wait(Append(events, dead_letters, follow), timeout_seconds)
        return cast("Appended", outcome)

    def work(self, work: Work, *, timeout_seconds: float = APPEND_SECONDS) -> Any:
        """Run a function inside the writer's transaction and return what it returned.

        What the function raises is raised here. Waits for room where the queue is full.
        """
        return cast("Done", self._wait(work, timeout_seconds, timeout_seconds)).value

    def ping(self, done: Callable[[], None]) -> None:
        """Call back when the writer has gone through a transaction: it is alive."""
        self.submit(Work(lambda _: None), lambda _: done())

    def _wait(self, request: Request, timeout_seconds: float, room_seconds: float = 0.0) -> Outcome:
        future: Future[Outcome] = Future()
        self.writer.submit(request, future.set_result, wait_seconds=room_seconds)
        try:
            outcome = future.result(timeout_seconds)
        except TimeoutError:
            raise NotReady(f"no commit within {timeout_seconds:g} s; ask again") from None
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def on_commit(self, callback: Callable[[int], None]) -> Callable[[], None]:
        """Call back with the new head after each commit; returns how to stop that."""
        return self.writer.on_commit(callback)

    def on_group_end(self, callback: Callable[[], None]) -> None:
        """Call back on the writer's thread when every request of a commit was answered."""
        self.writer.on_group_end(callback)

    def empty_wal(self) -> None:
        """Have the write-ahead log emptied soon: of what was removed nothing shall stay in it."""
        self.writer.empty_wal()

    def pending_removals(self, *, outside: bool, limit: int = 1000) -> list[PendingRemoval]:
        """Return removals that are asked for and not done, in the order of their streams.

        With ``outside`` those that wait until something elsewhere is gone.
        """
        with self._pool.connection() as db:
            return pending_removals(db, outside=outside, limit=limit)

    @contextmanager
    def keeping(self, why: str) -> Iterator[None]:
        """Have nothing removed meanwhile: for who reads a long stretch, all of it."""
        self._kept_for.append(why)
        try:
            yield
        finally:
            self._kept_for.remove(why)

    @property
    def kept_for(self) -> str:
        """For what nothing is removed now; empty where something may be."""
        return self._kept_for[0] if self._kept_for else ""

    # -- copying ------------------------------------------------------------------------------

    def copy_to(
        self,
        path: Path,
        *,
        progress: CopyProgress | None = None,
        stop: threading.Event | None = None,
    ) -> Copy:
        """Copy the log into a new file while it is written; one copy at a time.

        Needs the writer at work. The copy holds what was written up to its end, also meanwhile. It
        is not synced; there is no file where it fails.

        Raises:
            DiskFull, StorageFailed: there is no room, a disk refuses, or the file is there already.
            NotReady: the log is being copied or closing, or `stop` is set.

        """
        if self._closed:
            raise NotReady("the event log is closing")
        with self._pool.connection() as db:
            size = database_size(db)
        copying = Copying(path, size, stop=stop)
        try:
            self.writer.copy(copying)
        except NotReady:
            copying.remove()
            raise
        return copying.result(progress)

    # -- reading ------------------------------------------------------------------------------

    @property
    def streams(self) -> Reader:
        """The log as whole streams."""
        return self._reader

    def head(self) -> int:
        """Return the newest committed position, 0 when the log is empty."""
        return self.writer.head

    def read(self, after: int, limit: int) -> list[RecordedEvent]:
        """Return up to `limit` events after a position, oldest first; none when it has no more."""
        return self._reader.read(after, limit)

    def read_stream(
        self, stream: str, *, after_version: int = 0, upto: int | None = None, limit: int = 1000
    ) -> list[RecordedEvent]:
        """Return events of one stream after a version, up to and with position `upto`.

        Fewer than `limit` where they are large, none when there are no more.
        """
        return self._reader.read_stream(stream, after_version=after_version, upto=upto, limit=limit)

    def streams_met(
        self, category: str, after: int, upto: int, since: int, limit: int
    ) -> list[tuple[int, str]]:
        """Return streams of a category by their first event after position ``since``."""
        return self._reader.streams_met(category, after, upto, since, limit)

    def streams_of(self, category: str) -> list[str]:
        """Return every stream of a category, by name; for categories that have few."""
        return self._reader.streams_of(category)

    def find_ids(
        self, ids: Iterable[str], after: int, before: int, limit: int
    ) -> list[tuple[int, str, str]]:
        """Return (position, stream, id) of the events with these ids, the newest first."""
        return self._reader.find_ids(ids, after, before, limit)

    def select(self, query: EventQuery, limit: int, bytes_max: int = PAGE_BYTES) -> EventPage:
        """Return one page of the events that match."""
        return self._reader.select(query, limit, bytes_max)

    def lost_stretches(self) -> tuple[LostStretch, ...]:
        """Return the stretches of positions that epochs left empty, the oldest first."""
        return self._reader.lost_stretches()

    def removed_upto(self, stream: str) -> int:
        """Return up to which version the events of a stream are removed or are to be, else 0."""
        return self._reader.removed_upto(stream)

    def position_after(self, position: int) -> int | None:
        """Return the position of the next event, None where there is none."""
        return self._reader.position_after(position)

    def position_upto(self, position: int) -> int:
        """Return the position of the newest event up to one, 0 where there is none."""
        return self._reader.position_upto(position)

    def first_position(self) -> int:
        """Return the oldest position that is kept, 0 when the log holds no event."""
        return self._reader.first_position()

    def recorded_at(self, position: int) -> int | None:
        """Return when the newest event up to a position was recorded, None before the first."""
        return self._reader.recorded_at(position)

    def position_at(self, moment: int) -> int:
        """Return the last position recorded at or before a moment."""
        return self._reader.position_at(moment)

    def digest_at(self, position: int) -> bytes | None:
        """Return the chain's digest as of a position."""
        return self._reader.digest_at(position)

    def list_dead_letters(
        self, after: int, limit: int, wanted: LetterFilter = EVERY_LETTER
    ) -> list[KeptLetter]:
        """Return dead letters after an id, oldest first; none when there are no more."""
        return self._reader.list_dead_letters(after, limit, wanted)

    def dead_letter(self, letter_id: int) -> KeptLetter | None:
        """Return one dead letter, None where there is none of this id."""
        return self._reader.dead_letter(letter_id)

    def dead_letter_counts(self) -> dict[str, tuple[int, int]]:
        """Return, by format, how many dead letters there are and how often they came."""
        return self._reader.dead_letter_counts()

    def follow_offset(self, name: str) -> int:
        """Return how far a followed file or pipe was read."""
        return self._reader.follow_offset(name)

    def follow_offsets(self, prefix: str, after: str = "", limit: int = 100) -> list[Followed]:
        """Return how far each file was read whose name starts so, by name, after a name."""
        return self._reader.follow_offsets(prefix, after, limit)

    def reading(self) -> ReadPool:
        """Return the read connections, for recorders that have queries of their own."""
        return self._pool

    # -- proof --------------------------------------------------------------------------------

    def verify(self, *, after: int = 0, progress: Progress | None = None) -> list[Finding]:
        """Verify chain, gaps, keys and structure; an empty list means all is well."""
        with self._pool.connection() as db:
            findings = verify_rows(db, self.log_id, after=after, progress=progress)
            return findings + verify_structure(db)

    def verify_tail(self) -> None:
        """Verify the newest events, as at every start.

        Raises:
            LogDamaged: with what is wrong and where.

        """
        with self._pool.connection() as db:
            findings = verify_rows(db, self.log_id, after=max(0, self.head() - TAIL_EVENTS))
        if findings:
            first = findings[0]
            raise LogDamaged(f"{first.kind} at position {first.position}: {first.detail}")


def _introduce(connection: apsw.Connection, now: int) -> str:
    """Return the log's id; a log that has none yet gets one.

    The log remembers the newest release that wrote it: who meets an event of a newer one can then
    be told which release knows it.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        log_id = connection.execute("SELECT value FROM log_meta WHERE key = 'log_id'").get
        if log_id is None:
            log_id = str(uuid.uuid4())
            connection.executemany(
                "INSERT INTO log_meta (key, value) VALUES (?, ?)",
                [("log_id", log_id), ("epoch", 1), ("created", now)],
            )
        release = connection.execute(SQL["find_meta"], ("release",)).get
        if release is None or release_order(release) < release_order(PROGRAM_VERSION):
            connection.execute(SQL["set_meta"], ("release", PROGRAM_VERSION))
        connection.execute("COMMIT")
    finally:
        if not connection.get_autocommit():
            connection.execute("ROLLBACK")
    if not isinstance(log_id, str):
        raise LogDamaged("the event log has no id")
    return log_id


class SharedLogs:
    """One open log for each real path of this process, counted by its users.

    Users may be dropped by the garbage collector, at any moment and on any thread, also on one
    that is in here already. So leaving only notes the log; whoever holds the lock does the rest.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logs: dict[str, tuple[EventLog, int]] = {}
        self._leaving: deque[EventLog] = deque()

    def acquire(self, path: str, **options: Any) -> EventLog:
        """Join the log at a path; the first to come opens it, with these options, and starts it.

        Each ``:memory:`` is a log of its own.
        """
        name = path if is_memory(path) else str(Path(path).resolve())
        with self._lock:
            log, users = self._logs.get(name, (None, 0))
            if log is None or name == ":memory:":
                log, users = EventLog.open(name, **options), 0
                log.start()
            self._logs[log.path] = (log, users + 1)
        self._settle()
        return log

    def release(self, log: EventLog) -> None:
        """Leave a log; the last one to leave closes it."""
        self._leaving.append(log)
        self._settle()

    def _settle(self) -> None:
        while self._leaving and self._lock.acquire(blocking=False):
            try:
                self._leave(self._leaving.popleft())
            finally:
                self._lock.release()

    def _leave(self, log: EventLog) -> None:
        _, users = self._logs.get(log.path, (log, 1))
        if users > 1:
            self._logs[log.path] = (log, users - 1)
        else:
            self._logs.pop(log.path, None)
            log.close()


LOGS: Final = SharedLogs()
"""The logs that are open in this process, for those who do not own theirs."""
