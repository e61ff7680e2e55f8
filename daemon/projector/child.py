"""The projector: brings the views up to the log, in a process that does nothing else.

It reads the log's file, writes the views, and tells the daemon how the projections stand. The
daemon wakes it after commits; how soon it looks at the log then is a matter of its `pace`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

from daemon import logs
from daemon.emptying import make_durable
from daemon.eventlog.log_file import LogFile
from daemon.lifecycle import ServiceThread, settle_collector, system_clock
from daemon.projector.courtesy import Courtesy, be_last
from daemon.projector.messages import Line, Settings
from daemon.projector.pace import PacedRunner
from daemon.replay.folding import FoldingChildren
from domain.errors import ChronicledError
from projections.runner import ProjectionRunner

AT_ONCE_EVENTS_MAX: Final = 1_000
"""Views that lack no more than this are brought up to the log before the daemon hears of them."""

_logger = logging.getLogger(__name__)


class Reporter:
    """Tells the daemon how the projections stand, whenever that has changed."""

    def __init__(self, line: Line, runner: ProjectionRunner) -> None:
        self._line = line
        self._runner = runner
        self._lock = threading.Lock()
        self._said: dict[str, Any] = {}
        self.handled = 0
        """The number of the last request for a rebuild that the runner knows."""

    def report(self) -> None:
        """Say it, unless it was said before."""
        with self._lock:
            # The number first: a status that is read after it includes what was asked for.
            message: dict[str, Any] = {"handled": self.handled}
            message["status"] = [asdict(each) for each in self._runner.status()]
            message["caught_up"] = self._runner.caught_up
            if message != self._said:
                self._said = message
                # A daemon that has gone is noticed by whoever receives.
                with contextlib.suppress(OSError):
                    self._line.send(message)


def main() -> int:
    """Work for the daemon at the other end of the two sockets that are named as arguments."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # A signal to the whole group is for the daemon, which then says when to stop.
        signal.signal(number, signal.SIG_IGN)
    line, wakes = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    return work(Line(line), wakes, be_last())


def work(line: Line, wakes: socket.socket, courtesy: Courtesy) -> int:
    """Keep the views up to date until the daemon says stop; return the exit code.

    When the daemon has gone without a word the process ends at once: a transaction that was not
    committed is as if it had not been, and the next daemon must not have to wait.
    """
    messages = line.messages()
    first = next(messages, None)
    if first is None:
        return 0
    settings = Settings(**first)
    logs.configure(settings.level, settings.style)  # type: ignore[arg-type]
    try:
        log = LogFile(Path(settings.log))
    except ChronicledError as error:
        fault = {"error": error.detail}
        _logger.error("the projector cannot read the log", extra=fault)  # noqa: TRY400
        return 1
    runner = ProjectionRunner(
        Path(settings.views),
        log,
        batch_events=settings.batch_events,
        synchronous=settings.synchronous,
        folding=partial(FoldingChildren.start, Path(settings.log)),
        # Nobody waits for tables that take the place of live ones, but everybody for intake.
        folding_beside=False,
        make_durable=make_durable,
    )
    _begin(runner, log)
    reporter = Reporter(line, runner)
    runner.on_progress(reporter.report)
    reporter.report()
    paced = PacedRunner(runner, courtesy)
    thread = ServiceThread(paced, system_clock)
    settle_collector()
    thread.start()
    threading.Thread(target=_heed, args=(wakes, paced), name="wake", daemon=True).start()
    for message in messages:
        if "stop" in message:
            thread.stop()
            runner.close()
            log.close()
            return 0
        if "distrust" in message:
            runner.distrust()
        if "rebuild" in message:
            runner.request_rebuild(message["rebuild"])
            reporter.handled = message["number"]
            reporter.report()
    os._exit(0)


def _begin(runner: ProjectionRunner, log: LogFile) -> None:
    """Bring the views up to the log where that takes milliseconds.

    The daemon is ready after the first report: who asks then finds them built. A long way is gone
    behind it, because events are taken meanwhile.
    """
    # What fails is tried again on the thread, which says so.
    with contextlib.suppress(Exception):
        while not runner.caught_up and log.head() - runner.position <= AT_ONCE_EVENTS_MAX:
            if runner.step(0) is None:
                return


def _heed(wakes: socket.socket, paced: PacedRunner) -> None:
    """Wake the runner when the daemon says so."""
    while wakes.recv(65536):
        paced.wake()
