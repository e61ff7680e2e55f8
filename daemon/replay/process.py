"""The daemon's side of a replay's process: starts it, hears it, and ends it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from daemon.child_process import start_child
from daemon.projector.messages import Line
from daemon.replay.replay import Progress, ReplayFailed
from daemon.replay.tasks import Task
from domain.errors import (
    ChronicledError,
    DiskFull,
    LogDamaged,
    NewerEvent,
    NewerSchema,
    NotReady,
    StorageFailed,
)

_KNOWN: Final = {
    each.code: each
    for each in (DiskFull, LogDamaged, NewerEvent, NewerSchema, ReplayFailed, StorageFailed)
}
_END_SECONDS: Final = 30.0
"""How long a process whose line is closed may take to end."""

Perform = Callable[[Task, Progress], dict[str, Any]]
"""Does a task and returns what came of it."""


class ReplayProcesses:
    """Performs tasks, each in a process of its own; any number of threads may ask at once.

    ``inherited`` are descriptors that the processes keep open for as long as they live.
    """

    def __init__(self, inherited: Sequence[int] = ()) -> None:
        self._inherited = tuple(inherited)
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._running: dict[Line, threading.Thread | None] = {}
        self._closed = False
        self._held = 0

    def perform(self, task: Task, progress: Progress) -> dict[str, Any]:
        """Do a task; return what came of it as soon as that is known.

        Raises:
            NotReady: the daemon stops, or the process ended without a word.
            ReplayFailed, StorageFailed, DiskFull, LogDamaged, NewerEvent: it could not be done.

        """
        line, process = self._start()
        answer: dict[str, Any] | None = None
        try:
            with contextlib.suppress(OSError):
                line.send(task.message())
            # A line that is closed meanwhile cannot be read.
            with contextlib.suppress(ValueError):
                for message in line.messages():
                    if "done" not in message:
                        answer = message
                        break
                    progress(message["done"], message["goal"])
        finally:
            # It may have something left to do, for which nobody waits.
            self._watch(line, process)
        if answer is None:
            raise NotReady("The replay ended early.")
        if "error" in answer:
            known: type[ChronicledError] = _KNOWN.get(answer["error"], ReplayFailed)
            raise known(answer["detail"])
        return answer

    def close(self) -> None:
        """End every process, and wait for them."""
        with self._lock:
            self._closed = True
            self._ended.notify_all()
            watching = [each for each in self._running.values() if each is not None]
            for line in list(self._running):
                line.close()
        for each in watching:
            each.join()

    @contextmanager
    def held(self) -> Iterator[None]:
        """End every process, and start none meanwhile; whoever asks waits.

        Raises:
            NotReady: one does not end.

        """
        with self._lock:
            self._held += 1
        try:
            with self._lock:
                for line in list(self._running):
                    line.close()
                if not self._ended.wait_for(lambda: not self._running, _END_SECONDS):
                    raise NotReady("A replay does not end.")
            yield
        finally:
            with self._lock:
                self._held -= 1
                self._ended.notify_all()

    def _start(self) -> tuple[Line, subprocess.Popen[bytes]]:
        ours, theirs = socket.socketpair()
        line = Line(ours)
        descriptors = (theirs.fileno(),)
        try:
            with theirs, self._lock:
                self._wait_for_leave()
                process = start_child(
                    "daemon.replay.child", descriptors, (*descriptors, *self._inherited)
                )
                self._running[line] = None
        except BaseException as error:
            line.close()
            if isinstance(error, OSError):
                raise StorageFailed(f"a replay cannot be started: {error}") from error
            raise
        return line, process

    def _wait_for_leave(self) -> None:
        self._ended.wait_for(lambda: self._closed or not self._held)
        if self._closed:
            raise NotReady("The daemon is stopping.")

    def _watch(self, line: Line, process: subprocess.Popen[bytes]) -> None:
        thread = threading.Thread(
            target=self._until_ended, args=(line, process), name="replay-end", daemon=True
        )
        with self._lock:
            self._running[line] = thread
        thread.start()

    def _until_ended(self, line: Line, process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ValueError, OSError):
            # A closed line cannot be read: then the process ends by itself.
            for _ in line.messages():
                pass
        process.wait()
        with self._lock:
            del self._running[line]
            self._ended.notify_all()
        line.close()
