"""A full copy of a log, made some pages at a time while the log is written.

SQLite's online backup goes through the writer's own connection: what that connection writes
meanwhile to pages that are copied already, SQLite writes into the copy too. So the copy always
ends, holds no read transaction between two steps, and is the log as it is at its last step.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw

from daemon.eventlog.connection import close, database_size, translate
from daemon.eventlog.known import Known
from daemon.eventlog.statements import SQL
from domain.errors import ChronicledError, DiskFull, NotReady, StorageFailed

ROOM_BYTES: Final = 256 * 1024 * 1024
"""How much must stay free beside a copy (bytes)."""
STEP_SECONDS: Final = 0.003
"""How much processor time a step should take: about so long does a commit wait for it."""
PAGES_MIN: Final = 128
PAGES_FIRST: Final = 512
PAGES_MAX: Final = 2048
"""How many pages a step copies: the fewest, those of the first step, and the most."""
BEGINNINGS_MAX: Final = 10
"""How often a copy is begun anew by commits that fail, before it is given up."""
_PAGE_BYTES: Final = 4096
_PROGRESS_SECONDS: Final = 0.2

Progress = Callable[[int, int], None]
"""Called with the bytes that are copied so far and the bytes there are."""


@dataclass(frozen=True, slots=True)
class Copy:
    """What a finished copy holds: the newest position and its digest, and how large it is."""

    position: int
    digest: bytes
    size: int
    pages: int


class Copying:
    """A copy under way: one thread makes it and waits for it, one thread takes the steps.

    The file is there for as long as the copy may still succeed: whatever ends it otherwise
    removes it. Its content is not synced.
    """

    def __init__(
        self,
        target: Path,
        size: int,
        *,
        stop: threading.Event | None = None,
        processor: Callable[[], float] = time.thread_time,
    ) -> None:
        """Make the file of a copy of a log of ``size`` bytes.

        Raises:
            DiskFull: there is no room for it.
            StorageFailed: the file is there already, or cannot be made.

        """
        self.ended = threading.Event()
        self.error: ChronicledError | None = None
        """Why there is no copy, once it has ended."""
        self.pages = self.pages_done = 0
        self._path = target
        self._stop = stop or threading.Event()
        self._abandoned = False
        self._processor = processor
        self._step_pages = PAGES_FIRST
        self._beginnings = 1
        self._growth = 0
        self._backup: apsw.Backup | None = None
        self._target = _new_database(target, size)

    # -- the thread that takes the steps ----------------------------------------------------------

    def step(self, source: apsw.Connection) -> None:
        """Copy some pages from the connection that writes the log, which is in no transaction.

        The copy has `ended` after the last one. Whatever fails is the copy's alone.
        """
        try:
            self._require_wanted()
            if self._backup is None:
                self._backup = self._target.backup("main", source, "main")
            if self._copied_all(self._backup):
                self._backup.finish()
                self.ended.set()
        except Exception as error:  # noqa: BLE001  it must not get into the way of the log
            self.give_up(_told(error))

    def _require_wanted(self) -> None:
        if self._stop.is_set() or self._abandoned:
            raise NotReady("the copy of the log was stopped")

    def _copied_all(self, backup: apsw.Backup) -> bool:
        # Twice what was written since the step before: so the end comes nearer under any load.
        count = max(self._step_pages, 2 * self._growth)
        before, pages = self.pages_done, self.pages
        begun = self._processor()
        done = backup.step(count)
        took = self._processor() - begun
        self.pages, self.pages_done = backup.page_count, backup.page_count - backup.remaining
        self._growth = max(0, self.pages - pages) if pages else 0
        if count == self._step_pages:
            self._adapt(took)
        if self.pages_done < before:
            self._beginnings += 1
            if self._beginnings > BEGINNINGS_MAX:
                raise StorageFailed(f"the copy of the log was begun anew {BEGINNINGS_MAX} times")
        return done

    def _adapt(self, took: float) -> None:
        if took > STEP_SECONDS:
            self._step_pages = max(PAGES_MIN, self._step_pages // 2)
        elif took < STEP_SECONDS / 2:
            self._step_pages = min(PAGES_MAX, self._step_pages + PAGES_MIN)

    def give_up(self, error: ChronicledError) -> None:
        """End the copy without one; its file is removed by who waits, or by `remove`."""
        if self.ended.is_set():
            return
        if self._backup is not None:
            self._backup.close(force=True)
        self.error = error
        self.ended.set()

    # -- the thread that waits --------------------------------------------------------------------

    def result(self, progress: Progress | None = None) -> Copy:
        """Wait until somebody has taken all the steps; return what the copy holds.

        Raises:
            DiskFull, StorageFailed, NotReady: there is none.

        """
        try:
            while not self.ended.wait(_PROGRESS_SECONDS):
                self._tell(progress)
            copy = self._made()
            self._tell(progress)
        except BaseException:
            self._abandoned = True
            self.ended.wait()
            self.remove()
            raise
        return copy

    def _made(self) -> Copy:
        if self.error is not None:
            raise self.error
        close(self._target)
        return _whole(self._path)

    def _tell(self, progress: Progress | None) -> None:
        if progress is not None:
            progress(self.pages_done * _PAGE_BYTES, self.pages * _PAGE_BYTES)

    def remove(self) -> None:
        """Remove the file of a copy that was given up."""
        close(self._target)
        self._path.unlink(missing_ok=True)


def copy_log(
    source: Path,
    target: Path,
    *,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Copy:
    """Copy a log that nobody writes.

    Raises:
        DiskFull, StorageFailed: there is no room, or a disk refuses.
        LogDamaged: it cannot be read.
        NotReady: it was stopped.

    """
    try:
        with closing(apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            copying = Copying(target, database_size(db), stop=stop)
            stepping = threading.Thread(target=_all_steps, args=(copying, db), name="copy-log")
            stepping.start()
            try:
                return copying.result(progress)
            finally:
                stepping.join()
    except apsw.Error as error:
        raise translate(error) from error


def _all_steps(copying: Copying, source: apsw.Connection) -> None:
    while not copying.ended.is_set():
        copying.step(source)


def _new_database(path: Path, size: int) -> apsw.Connection:
    """Make the file of a copy, and open it."""
    try:
        missing = size + ROOM_BYTES - shutil.disk_usage(path.parent).free
        if missing > 0:
            raise DiskFull(
                f"there is no room for a copy of the log in {path.parent}: it takes {size:,} bytes "
                f"with {ROOM_BYTES:,} to spare, and {missing:,} are missing"
            )
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise StorageFailed(f"the copy of the log could not be made: {error}") from error
    connection: apsw.Connection | None = None
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        # A copy is whole when it is finished, or it is removed: nothing of it has to be safe.
        connection.pragma("journal_mode", "off")
        connection.pragma("synchronous", "off")
    except apsw.Error as error:
        if connection is not None:
            close(connection)
        path.unlink()
        raise _told(error) from error
    return connection


def _whole(path: Path) -> Copy:
    """Return what a finished copy holds: as it says itself."""
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    try:
        # Opened as what nobody can change, it gets no write-ahead log beside it.
        name = f"{path.resolve().as_uri()}?immutable=1"
        with closing(apsw.Connection(name, flags=flags)) as db:
            log_id = str(db.execute(SQL["find_meta"], ("log_id",)).get)
            head = Known.read(db, log_id).head
            size, pages = path.stat().st_size, db.pragma("page_count")
            if size != database_size(db):
                raise StorageFailed(f"the copy of the log has {size} bytes for {pages} pages")
            return Copy(head.position, head.digest, size, pages)
    except (apsw.Error, OSError) as error:
        raise _told(error) from error


def _told(error: Exception) -> ChronicledError:
    """Return our error for one that ended a copy."""
    if isinstance(error, ChronicledError):
        return error
    if isinstance(error, apsw.FullError):
        return DiskFull("the disk that the log is copied to is full")
    return StorageFailed(f"the log could not be copied: {error}")
