"""The data directory, and the lock that keeps a second daemon out of it.

The lock is a ``flock`` on ``chronicled.lock``: the kernel drops it when its holder dies, however
it dies, so a lock file that was left behind means nothing by itself. Its text names the holder
(pid, URL, Unix socket) for people, for the error of a second daemon, and for the command line,
which finds the running daemon by it.

The log itself is locked too: a second name of ``log.db``, in another directory, would have a
write-ahead log of its own there, and two daemons that write through both destroy the log.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import orjson

from domain.errors import DirectoryLocked, StorageFailed

LOCK_FILE: Final = "chronicled.lock"
LOG_FILE: Final = "log.db"
VIEWS_FILE: Final = "views.db"

# `find_daemon` holds a shared lock for some microseconds while it looks; a start that meets just
# this must not take it for another daemon.
_ATTEMPTS: Final = 10
_PAUSE_SECONDS: Final = 0.03

# A daemon that was killed leaves processes that hold the lock until they notice; on a busy machine
# they are the last to be given time.
_ORPHANS_SECONDS: Final = 15.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """The holder of a data directory's lock; url and socket are None until it takes requests."""

    pid: int
    started: int = 0
    url: str | None = None
    socket: str | None = None

    def __str__(self) -> str:
        ways = " and ".join(way for way in (self.url, self.socket) if way)
        return f"process {self.pid}" + (f" at {ways}" if ways else "")


class DataDirectory:
    """A data directory that this process holds the lock of.

    Open with `DataDirectory.acquire`; ``release`` (or leaving the ``with`` block) lets it go.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._log_descriptor = -1

    @classmethod
    def acquire(cls, path: Path | str) -> DataDirectory:
        """Create the directory where it is missing (0700), and take its lock.

        Nothing in the directory is written before the lock is held.

        Raises:
            DirectoryLocked: another process holds it; the message names that process.
            StorageFailed: the directory cannot be made, or its lock file cannot be opened.

        """
        directory = Path(path).absolute()
        # Opened for reading only, which is all a flock needs, so that it works on a read-only disk.
        flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(directory / LOCK_FILE, flags, 0o600)
        except OSError as error:
            raise StorageFailed(f"{directory} cannot be used: {error.strerror}") from error
        if not _lock(descriptor) and not _outlast(descriptor, directory):
            holder = _read(descriptor)
            os.close(descriptor)
            raise DirectoryLocked(f"{directory} is in use by {holder or 'another process'}")
        held = cls(directory, descriptor)
        try:
            held.claim_log()
        except DirectoryLocked:
            held._close()
            raise
        held.announce()
        return held

    def claim_log(self) -> None:
        """Lock the log's file, where there is one: once before it is opened, and once it is new.

        The file stays open for as long as the directory is held: closing it would drop the locks
        that SQLite has on it in this process.

        Raises:
            DirectoryLocked: the file is in use under another name.

        """
        try:
            found = self.log_path.stat()
        except OSError:
            return
        if self._log_descriptor >= 0:
            if os.path.samestat(found, os.fstat(self._log_descriptor)):
                return
            # It was brought back from the backup: the one that is locked is no log any more.
            os.close(self._log_descriptor)
            self._log_descriptor = -1
        try:
            descriptor = os.open(self.log_path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return  # Whoever opens the log says why it cannot be read.
        if not _lock(descriptor):
            os.close(descriptor)
            raise DirectoryLocked(
                f"{self.log_path} is in use by another process, under another name",
                hint="It is the same file as the log of another directory, by a link. Use that "
                "directory, or make this one a copy.",
            )
        self._log_descriptor = descriptor

    @property
    def descriptor(self) -> int:
        """What holds the lock; the directory stays locked while any process has it open."""
        return self._descriptor

    @property
    def log_path(self) -> Path:
        """The event log, the only truth."""
        return self.path / LOG_FILE

    @property
    def views_path(self) -> Path:
        """The projections' tables."""
        return self.path / VIEWS_FILE

    def announce(
        self, *, url: str | None = None, socket: str | None = None, started: int = 0
    ) -> None:
        """Write into the lock file who holds it and where it answers.

        A disk that is full or read-only does not stop this: the lock holds without its text.
        """
        running = Running(pid=os.getpid(), started=started, url=url, socket=socket)
        self._write(orjson.dumps(running, option=orjson.OPT_APPEND_NEWLINE))

    def release(self) -> None:
        """Empty the lock file and let the lock go; the file stays, as removing it would race."""
        if self._descriptor >= 0:
            self._write(b"")
            self._close()

    def _close(self) -> None:
        for descriptor in (self._log_descriptor, self._descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._log_descriptor = self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _write(self, text: bytes) -> None:
        # One write, then the cut: a reader never meets an empty file in between.
        path = self.path / LOCK_FILE
        with contextlib.suppress(OSError), path.open("r+b", buffering=0) as lock:
            lock.write(text)
            lock.truncate()


def find_daemon(path: Path | str) -> Running | None:
    """Return who holds the lock of a data directory; None when nobody does. Writes nothing."""
    try:
        descriptor = os.open(Path(path) / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor) or Running(pid=0)
    else:
        return None
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_SECONDS)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def _outlast(descriptor: int, directory: Path) -> bool:
    """Wait for the processes of a daemon that died; return whether the lock is held then."""
    deadline = time.monotonic() + _ORPHANS_SECONDS
    told = False
    while (holder := _read(descriptor)) and _is_dead(holder.pid) and time.monotonic() < deadline:
        if not told:
            told = True
            fields = {"data": str(directory), "pid": holder.pid}
            _logger.warning("waiting for the processes of a daemon that died", extra=fields)
        if _lock(descriptor):
            return True
    return False


def _is_dead(pid: int) -> bool:
    """Return whether a process is gone, or nothing is left of it but its exit code."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return True
    except OSError:
        return False
    return state in "ZX"


def _read(descriptor: int) -> Running | None:
    """Return what a lock file says; None where it is not what a daemon writes."""
    try:
        said = orjson.loads(os.pread(descriptor, 65536, 0))
    except orjson.JSONDecodeError:
        return None
    if not isinstance(said, dict) or not isinstance(said.get("pid"), int):
        return None
    started, url, socket = said.get("started"), said.get("url"), said.get("socket")
    return Running(
        said["pid"],
        started=started if isinstance(started, int) else 0,
        url=url if isinstance(url, str) else None,
        socket=socket if isinstance(socket, str) else None,
    )
