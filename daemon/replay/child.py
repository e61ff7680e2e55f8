"""``python -m daemon.replay.child``: does one task, says how far it is, and ends."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from daemon import logs
from daemon.eventlog.log_file import LogFile
from daemon.lifecycle import settle_collector
from daemon.lock import LOG_FILE, VIEWS_FILE
from daemon.projector.courtesy import be_last
from daemon.projector.messages import Line
from daemon.replay.checkpoints import Checkpoints, remove_database
from daemon.replay.folding import FoldingChildren
from daemon.replay.replay import Base, Progress, replay
from daemon.replay.tasks import Task
from domain.errors import ChronicledError

_logger = logging.getLogger(__name__)


def main() -> int:
    """Work for the daemon at the other end of the socket that is named as argument."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # A signal to the whole group is for the daemon, which then closes the line.
        signal.signal(number, signal.SIG_IGN)
    line = Line(socket.socket(fileno=int(sys.argv[1])))
    messages = line.messages()
    first = next(messages, None)
    if first is None:
        return 0
    task = Task.of(first)
    logs.configure(task.level, task.style)  # type: ignore[arg-type]
    threading.Thread(target=_end_with, args=(messages,), name="line", daemon=True).start()
    settle_collector()
    try:
        for answer in work(task, lambda done, goal: line.send({"done": done, "goal": goal})):
            line.send(answer)
    except ChronicledError as error:
        line.send({"error": error.code, "detail": error.detail})
    except OSError:
        # The daemon has gone, and nobody waits.
        return 1
    return 0


def _end_with(messages: Iterator[Any]) -> None:
    """End the process when the daemon has: what is half done is removed at the next start."""
    for _ in messages:
        pass
    os._exit(0)


def work(task: Task, progress: Progress) -> Iterator[dict[str, Any]]:
    """Do a task; yield what the daemon is to know as soon as it is so."""
    data = Path(task.data)
    log = LogFile(data / LOG_FILE)
    try:
        checkpoints = Checkpoints(data, log, task.checkpoints)
        if task.kind == "moment":
            yield from _moment(task, log, checkpoints, progress)
        else:
            with be_last().working():
                if task.kind == "copy":
                    saved = checkpoints.save(data / VIEWS_FILE, log.head())
                    yield {"saved": saved and saved.position}
                else:
                    _fill(task, log, checkpoints, progress)
                    yield {"saved": task.position}
    finally:
        log.close()


def _moment(
    task: Task, log: LogFile, checkpoints: Checkpoints, progress: Progress
) -> Iterator[dict[str, Any]]:
    target = Path(task.target)
    bases = [Base(position, Path(path)) for position, path in task.bases]
    replay(
        log,
        target,
        task.position,
        checkpoints=checkpoints,
        bases=bases,
        folding=partial(FoldingChildren.start, Path(log.path)),
        progress=progress,
    )
    yield {"built": task.position}
    # Whoever asked has the answer; the next who asks for a moment near it need not wait as long.
    if checkpoints.is_wanted(task.position, log.head()):
        with be_last().working():
            checkpoints.save(target, log.head())


def _fill(task: Task, log: LogFile, checkpoints: Checkpoints, progress: Progress) -> None:
    checkpoints.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = checkpoints.folder / f"{os.getpid()}.fill.part"
    try:
        replay(log, scratch, task.position, checkpoints=checkpoints, progress=progress)
        checkpoints.save(scratch, log.head())
    finally:
        remove_database(scratch)


if __name__ == "__main__":
    sys.exit(main())
