"""A verification beside the daemon: in a process of its own, which gives way to everyone.

In the daemon's own process it would share the interpreter's lock with intake. The child says how
far it is twice a second, also while SQLite checks the file and there is nothing new to say: so each
side soon notices that the other has gone.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from daemon.child_process import start_child
from daemon.projector.courtesy import be_last
from daemon.projector.messages import Line
from daemon.replay.verify import FOLDER, verify
from domain.errors import ChronicledError, NotReady, StorageFailed

_LOCK: Final = threading.Lock()
_AT_WORK: Final[set[Path]] = set()
"""The views beside which this process has a verification at work."""

BEAT_SECONDS: Final = 0.5
"""How often the child says how far it is."""


def verify_apart(
    log: Path, views: Path, quick: bool, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """Verify in a child process; return the document of the report.

    What ``progress`` raises ends the child. There is one verification of a log at a time: each
    writes beside the views.

    Raises:
        NotReady: another verification of the same log is at work.
        StorageFailed: the child could not do it.

    """
    with alone(views):
        return _verify_apart(log, views, quick, progress)


@contextmanager
def alone(views: Path) -> Iterator[None]:
    """Be the only verification of these views."""
    with _LOCK:
        if views in _AT_WORK:
            raise NotReady("Another verification of this log is at work; ask again when it ends.")
        _AT_WORK.add(views)
    try:
        yield
    finally:
        with _LOCK:
            _AT_WORK.discard(views)


def _verify_apart(
    log: Path, views: Path, quick: bool, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            process = start_child("daemon.replay.verifier", [theirs.fileno()], [theirs.fileno()])
    except OSError as error:
        ours.close()
        raise StorageFailed(f"the verification could not be started: {error}") from error
    line = Line(ours)
    try:
        line.send({"log": str(log), "views": str(views), "quick": quick})
        for message in line.messages():
            if "report" in message:
                report: dict[str, Any] = message["report"]
                return report
            if "error" in message:
                raise StorageFailed(message["error"])
            progress(message["done"], message["total"])
        raise StorageFailed("the verification ended without a result")
    finally:
        process.kill()
        process.wait()
        line.close()
        shutil.rmtree(views.with_name(FOLDER), ignore_errors=True)


def main() -> int:
    """Verify for the daemon at the other end of the socket that is named as argument."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    line = Line(socket.socket(fileno=int(sys.argv[1])))
    asked = next(line.messages(), None)
    if asked is None:
        return 0
    log, views = Path(asked["log"]), Path(asked["views"])
    told = [0, 0]
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            try:
                line.send({"done": told[0], "total": told[1]})
            except OSError:
                # Nobody waits for the result any more.
                shutil.rmtree(views.with_name(FOLDER), ignore_errors=True)
                os._exit(1)

    def progress(done: int, total: int) -> None:
        told[:] = done, total

    be_last()
    threading.Thread(target=beat, name="beat", daemon=True).start()
    try:
        report = verify(log, views, quick=asked["quick"], progress=progress)
    except ChronicledError as error:
        answer: dict[str, Any] = {"error": error.detail}
    else:
        answer = {"report": report.document()}
    ended.set()
    line.send(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
