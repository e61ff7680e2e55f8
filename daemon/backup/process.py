"""The daemon's side of the backup: starts its process, watches it, and passes on what is asked."""

from __future__ import annotations

import contextlib
import itertools
import logging
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from daemon.backup.errors import BackupError
from daemon.backup.errors_sent import error_of, message_of
from daemon.backup.settings import Settings
from daemon.backup.status import BackupStatus, Kind, Progress, State, unwatched
from daemon.child_process import start_child
from daemon.projector.messages import Line
from daemon.replay.checkpoints import remove_database
from domain.errors import ChronicledError, NotReady, StorageFailed

REST_SECONDS: Final = 1.0
REST_SECONDS_MAX: Final = 30.0
"""The first and the longest rest before a process that keeps ending is started again."""
STEADY_SECONDS: Final = 60.0
"""One that worked for this long is started again at once."""
KILL_SECONDS: Final = 5.0
"""How much longer than it was given the process may take to finish."""
_POLL_SECONDS: Final = 0.2

Copy = Callable[[Path], None]
"""Copies the log to a file; raises what speaks against it."""
Record = Callable[[str, str, dict[str, Any]], None]
"""Records an event of the daemon's own: its type, its subject and its payload."""

_logger = logging.getLogger(__name__)


class BackupProcess:
    """The backup, made by a child process that is started again when it ends.

    ``inherited`` are descriptors that the child keeps open for as long as it lives.
    """

    def __init__(self, settings: Settings, inherited: Sequence[int] = ()) -> None:
        self._settings = settings
        self._inherited = tuple(inherited)
        self._status = BackupStatus(state=State.STARTING, url=settings.url)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._line: Line | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._copy: Copy | None = None
        self._record: Record | None = None
        self._copying = threading.Lock()
        self._closing = threading.Event()
        self._draining = threading.Event()
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._run, name="backup", daemon=True)

    # -- life -----------------------------------------------------------------------------------

    def recover(
        self,
        *,
        allow_empty: bool,
        progress: Progress,
        stopping: Callable[[], bool] = lambda: False,
    ) -> dict[str, Any]:
        """Start the process, and have it bring the log back where that is needed.

        Raises:
            RestoreRefused: starting would lose events.
            NotReady: ``stopping`` says that the daemon is told to stop.
            StorageFailed: the process cannot be started, or ended meanwhile.
            ChronicledError: it could not be done.

        """
        self._start()
        self._thread.start()
        arguments = {"allow_empty": allow_empty}
        try:
            return self._asked("recover", arguments, progress, stopping)
        except NotReady as error:
            if stopping():
                raise
            raise StorageFailed("the backup's process ended while it looked at the log") from error

    def run(self, copy: Copy, record: Record) -> None:
        """Ship the log, which is open now, and take snapshots of it."""
        self._copy, self._record = copy, record
        self._tell({"run": True})

    @property
    def pid(self) -> int | None:
        """The child's process id, None while there is none."""
        process = self._process
        return process.pid if process and process.returncode is None else None

    def drain(self) -> None:
        """Let who waits for something that was asked for wait no more; the daemon stops."""
        self._draining.set()

    def close(self, seconds: float = 0.0) -> None:
        """End the process; within so many seconds it ships the rest of a log that is closed."""
        self.drain()
        self._closing.set()
        with self._lock:
            process = self._process
        if process is not None and self._copy is not None and seconds > 0:
            self._tell({"finish": seconds})
            self._finished.wait(seconds + KILL_SECONDS)
        if process is not None:
            process.kill()
        if self._thread.ident is not None:
            self._thread.join()

    # -- what the rest of the daemon asks -------------------------------------------------------

    def status(self) -> BackupStatus:
        """Return how it stands."""
        return self._status

    def perform(
        self, kind: Kind, arguments: Mapping[str, Any], progress: Progress = unwatched
    ) -> dict[str, Any]:
        """Do what is asked for, and return what came of it.

        Raises:
            BackupError, NotReady: it could not be done.

        """
        return self._asked(kind, dict(arguments), progress, self._draining.is_set)

    def _asked(
        self,
        kind: str,
        arguments: dict[str, Any],
        progress: Progress,
        stopping: Callable[[], bool],
    ) -> dict[str, Any]:
        number = next(self._numbers)
        answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        with self._lock:
            if self._line is None:
                raise NotReady("The backup's process is not running.")
            self._waiting[number] = answers
        try:
            self._tell({"ask": number, "kind": kind, "arguments": arguments})
            while True:
                if stopping():
                    raise NotReady("The daemon is stopping.")
                try:
                    message = answers.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    continue
                if "progress" in message:
                    progress(message["done"], message["total"])
                elif "error" in message:
                    raise error_of(message)
                else:
                    result: dict[str, Any] = message["result"]
                    return result
        finally:
            with self._lock:
                self._waiting.pop(number, None)

    # -- the process ----------------------------------------------------------------------------

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        line = Line(ours)
        try:
            with theirs:
                descriptors = (theirs.fileno(),)
                process = start_child(
                    "daemon.backup.child", descriptors, (*descriptors, *self._inherited)
                )
        except OSError as error:
            line.close()
            raise StorageFailed(f"the backup's process cannot be started: {error}") from error
        with self._lock:
            self._line, self._process = line, process
            self._finished.clear()
        if self._closing.is_set():
            # It was closed between the decision to start one and now.
            process.kill()
        self._tell(self._settings.message())

    def _run(self) -> None:
        rest = REST_SECONDS
        while True:
            started = time.monotonic()
            self._hear()
            if self._closing.is_set():
                return
            _logger.warning("the backup's process ended; it is started again")
            failures = {**self._status.failures}
            failures["process"] = failures.get("process", 0) + 1
            self._status = replace(
                self._status, state=State.STARTING, failures=failures, working=""
            )
            rest = REST_SECONDS if time.monotonic() - started > STEADY_SECONDS else rest
            if self._closing.wait(rest):
                return
            rest = min(rest * 2, REST_SECONDS_MAX)
            self._start_again()

    def _start_again(self) -> None:
        try:
            self._start()
        except StorageFailed as error:
            _logger.warning("the backup cannot go on", extra={"error": error.detail})
            return
        if self._copy is not None:
            self._tell({"run": True})

    def _hear(self) -> None:
        """Hear the process until it has ended."""
        line, process = self._line, self._process
        if line is None or process is None:
            return
        with contextlib.suppress(ValueError, OSError):
            for message in line.messages():
                try:
                    self._heard(message)
                except Exception:
                    _logger.exception("a message of the backup's process was not understood")
        # It has ended, or cannot be heard any more.
        process.kill()
        process.wait()
        with self._lock:
            self._line = None
            waiting = list(self._waiting.values())
        line.close()
        for each in waiting:
            each.put(message_of(NotReady("The backup's process ended; ask again.")))
        self._finished.set()

    def _heard(self, message: dict[str, Any]) -> None:
        number = message.get("answer", message.get("progress"))
        if number is not None:
            with self._lock:
                answers = self._waiting.get(number)
            if answers is not None:
                answers.put(message)
        elif "status" in message:
            self._status = self._continued(BackupStatus.of(message["status"]))
        elif "copy" in message:
            threading.Thread(
                target=self._copied,
                args=(Path(message["copy"]), message["number"], self._line),
                name="copy",
                daemon=True,
            ).start()
        elif "event" in message:
            self._recorded(message)
        elif "finished" in message:
            self._finished.set()

    def _continued(self, status: BackupStatus) -> BackupStatus:
        """Count on from what the processes before this one had counted."""
        ended = self._status.failures.get("process", 0)
        return replace(status, failures={**status.failures, "process": ended}) if ended else status

    def _copied(self, path: Path, number: str, line: Line | None) -> None:
        """Copy the log for the process that asked, unless that has ended; one copy at a time."""
        answer: dict[str, Any] = {"copied": number}
        with self._copying:
            if self._line is not line:
                return
            try:
                self._copied_to(path)
            except ChronicledError as error:
                answer |= message_of(error)
            except Exception:
                _logger.exception("the log could not be copied")
                answer |= message_of(BackupError("the log could not be copied"))
        self._tell(answer)

    def _copied_to(self, path: Path) -> None:
        if self._copy is None:
            raise NotReady("The log is not open yet.")
        # What was copied for a process that has ended meanwhile.
        remove_database(path)
        self._copy(path)

    def _recorded(self, message: dict[str, Any]) -> None:
        if self._record is None:
            return
        try:
            self._record(message["event"], message["subject"], message["payload"])
        except ChronicledError as error:
            _logger.warning(
                "an event of the backup was not recorded", extra={"error": error.detail}
            )

    def _tell(self, message: dict[str, Any]) -> None:
        with self._lock:
            line = self._line
        if line is not None:
            # One that has just ended is told again when it starts.
            with contextlib.suppress(OSError):
                line.send(message)
