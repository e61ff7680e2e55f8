"""Processes that fold whole streams for a build, and whoever starts them.

Each child opens the log's file for itself, folds every n-th range of streams, and sends the rows;
it is some parts ahead of who writes them, and no more. One whose parent has gone ends.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from daemon.child_process import start_child
from projections.whole import Part, ranges_of_streams

CHILDREN_MAX: Final = 2
"""How many children fold at once: one process writes, and more would wait for it."""

EVENTS_MIN: Final = 100_000
"""A shorter log is folded sooner than a process has started."""


class FoldingFailedError(Exception):
    """A child could not fold the streams, or has ended."""


@dataclass
class _Child:
    process: subprocess.Popen[bytes]
    line: Connection


class FoldingChildren:
    """The parts of a build as children fold them, in the order of the streams."""

    def __init__(self, children: list[_Child], last: int) -> None:
        self._children = children
        self._left = sum(1 for _ in ranges_of_streams(last))
        self._turn = 0

    @classmethod
    def start(cls, log: Path, names: Sequence[str], last: int, upto: int) -> FoldingChildren | None:
        """Start the children; none if that is not worth it, or not possible."""
        count = min(CHILDREN_MAX, len(os.sched_getaffinity(0)))
        if count == 1 or upto < EVENTS_MIN or not log.is_file():
            return None
        parts = cls([], last)
        try:
            for share in range(count):
                child = _started()
                parts._children.append(child)
                work = (str(log), list(names), last, upto, share, count)
                child.line.send_bytes(marshal.dumps(work))
        except OSError:
            parts.close()
            return None
        return parts

    @property
    def pids(self) -> list[int]:
        """The process ids of the children."""
        return [child.process.pid for child in self._children]

    @property
    def ended(self) -> bool:
        """Whether there are no more parts."""
        return self._left == 0

    def take(self, seconds: float) -> Part | None:
        """Return the next part, if it comes in time.

        Raises:
            FoldingFailedError: the child whose turn it is failed.

        """
        line = self._children[self._turn].line
        try:
            if not line.poll(seconds):
                return None
            message = marshal.loads(line.recv_bytes())  # noqa: S302  from our own child
        except (EOFError, OSError) as error:
            raise FoldingFailedError("a process that folds has ended") from error
        if isinstance(message, str):
            raise FoldingFailedError(message)
        if message is None:
            self._left -= 1
            self._turn = (self._turn + 1) % len(self._children)
            return None
        return Part(*message)

    def close(self) -> None:
        """End the children, whatever they do."""
        for child in self._children:
            child.line.close()
            child.process.kill()
            child.process.wait()
        self._children = []


def _started() -> _Child:
    ours, theirs = socket.socketpair()
    with theirs, contextlib.ExitStack() as stack:
        stack.callback(ours.close)
        number = theirs.fileno()
        process = start_child("daemon.replay.folding_child", [number], [number])
        stack.pop_all()
    return _Child(process, Connection(ours.detach()))
