"""``python -m daemon.backup.child``: the backup of one daemon, in a process of its own.

It talks to the store, compresses and proves, so that none of that shares the interpreter's lock
with intake. What it is told and says are JSON objects, one a line:

    settings first; then {"ask": n, "kind", "arguments"}, {"run"}, {"finish": seconds},
        and, in answer to {"copy": path, "number": n}: {"copied": n}, with an error or without
    {"answer": n, "result"} or an error, {"progress": n, "done", "total"}, {"status"}, {"event"},
        {"copy": path, "number": n}, {"finished"}
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from daemon import logs
from daemon.backup.board import Board
from daemon.backup.errors_sent import error_of, message_of
from daemon.backup.recovery import Recovery
from daemon.backup.settings import Settings
from daemon.backup.snapshots import StepFailed
from daemon.backup.status import BackupStatus, Kind, Progress, State, unwatched
from daemon.backup.store import Place, Register
from daemon.backup.worker import Asked, Worker
from daemon.backup.workshop import Workshop, mark_of, place_of, writer_of
from daemon.eventlog.copying import copy_log
from daemon.lifecycle import ServiceThread, settle_collector, system_clock
from daemon.lock import LOG_FILE
from daemon.projector.courtesy import be_last
from daemon.projector.messages import Line
from daemon.schedule import Schedule
from domain.errors import ChronicledError, NotReady

PACK_BYTES_PER_SECOND: Final = 50 << 20
"""How fast a snapshot is made at the least, to see whether there is time for one at a stop."""
LOOK_SECONDS: Final = 10.0
"""How long a daemon that has a log waits at its start for the store to say what it has."""
_POLL_SECONDS: Final = 0.2

_logger = logging.getLogger(__name__)


def main() -> int:
    """Work for the daemon at the other end of the socket that is named as argument."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # A signal to the whole group is for the daemon, which then says when to finish.
        signal.signal(number, signal.SIG_IGN)
    line = Line(socket.socket(fileno=int(sys.argv[1])))
    messages = line.messages()
    first = next(messages, None)
    if first is None:
        return 0
    settings = Settings(**first)
    logs.configure(settings.level, settings.style)  # type: ignore[arg-type]
    if settings.level != "debug":
        # What a proof builds is nothing to tell about.
        logging.getLogger("projections").setLevel(logging.WARNING)
    be_last()
    settle_collector()
    try:
        child = Child(settings, line)
    except ChronicledError as error:
        _logger.error("the backup cannot work", extra={"error": error.detail})  # noqa: TRY400
        return 1
    for message in messages:
        if "finish" in message:
            # Beside the line, which may say at any time that the daemon has gone.
            threading.Thread(target=child.finish, args=(message["finish"],), name="finish").start()
        else:
            child.hear(message)
    # The daemon has gone: what is half done is removed at the next start.
    os._exit(0)


class Child:
    """The backup at the child's end of the line."""

    def __init__(self, settings: Settings, line: Line) -> None:
        self._settings = settings
        self._line = line
        self._place: Place = place_of(settings)
        self._writer = writer_of(settings)
        self._stopping = threading.Event()
        self._copied = threading.Event()
        self._copy_number = ""
        self._copy_error: ChronicledError | None = None
        self._at_rest = False
        status = BackupStatus(state=State.STARTING, url=self._place.objects.url)
        self._board = Board(status, system_clock, self._tell_status, self._tell_event)
        self._workshop: Workshop | None = None
        self._worker: Worker | None = None
        self._threads: list[ServiceThread] = []

    # -- what the daemon says -------------------------------------------------------------------

    def hear(self, message: dict[str, Any]) -> None:
        """Do what a message says; what takes long goes on beside the line."""
        if "run" in message:
            if self._workshop is None:
                self._run()
        elif "copied" in message:
            # Others were asked for by a process before this one, or not waited for.
            if message["copied"] == self._copy_number:
                self._copy_error = error_of(message) if "error" in message else None
                self._copied.set()
        elif message["kind"] == "recover":
            threading.Thread(
                target=self._recover, args=(message,), name="recovery", daemon=True
            ).start()
        else:
            self._ask(message)

    def _recover(self, message: dict[str, Any]) -> None:
        arguments = message["arguments"]
        try:
            recovery = Recovery(
                Path(self._settings.data),
                self._place,
                self._writer,
                system_clock(),
                self._progress(message["ask"]),
                self._first_look(),
                mark_of(self._settings, self._place),
                self._settings.options,
            )
            outcome = recovery.start(allow_empty=arguments["allow_empty"])
        except ChronicledError as error:
            self._send({"answer": message["ask"], **message_of(error)})
        except Exception:
            _logger.exception("the recovery failed")
            os._exit(1)
        else:
            result = {
                "action": outcome.action, "detail": outcome.detail,
                "position": outcome.position, "epoch": outcome.epoch,
            }  # fmt: skip
            self._send({"answer": message["ask"], "result": result})

    def _first_look(self) -> Register | None:
        """Return a less patient register where there is a log, which can do without an answer."""
        settings = self._settings
        if not (Path(settings.data) / LOG_FILE).exists():
            return None
        seconds = min(settings.timeout_seconds, LOOK_SECONDS)
        return place_of(replace(settings, timeout_seconds=seconds)).register

    def _run(self) -> None:
        workshop = Workshop(
            self._settings, self._place, self._writer, self._board, self._copy, self._stopping,
            system_clock, self._ship,
        )  # fmt: skip
        workshop.clean()
        self._workshop = workshop
        self._worker = Worker(
            workshop,
            self._board,
            Schedule.parse(self._settings.snapshot),
            prove=self._settings.prove,
            clock=system_clock,
        )
        self._threads = [
            ServiceThread(service, system_clock) for service in (workshop.shipper, self._worker)
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, message: dict[str, Any]) -> None:
        number = message["ask"]

        def answer(found: dict[str, Any] | ChronicledError) -> None:
            told = message_of(found) if isinstance(found, ChronicledError) else {"result": found}
            self._send({"answer": number, **told})

        status = self._board.status
        if self._worker is None:
            answer(NotReady("The backup is starting."))
        elif status.state is not State.SHIPPING:
            answer(NotReady(status.detail or "The backup is starting.", hint=status.hint or None))
        else:
            kind, progress = Kind(message["kind"]), self._progress(number)
            self._worker.ask(Asked(kind, message["arguments"], progress, answer))

    def finish(self, seconds: float) -> None:
        """Ship what is left, take a last snapshot if there is time, and end the process.

        It ends when the time is over, wherever it is then.
        """
        deadline = time.monotonic() + seconds
        end = threading.Timer(seconds, os._exit, (0,))
        end.daemon = True
        end.start()
        self._stopping.set()
        try:
            if self._threads and self._board.status.state is not State.REFUSED:
                self._finish(deadline)
        except (ChronicledError, StepFailed) as error:
            told = error.error if isinstance(error, StepFailed) else error
            _logger.warning("the last of the backup failed", extra={"error": told.detail})
        except Exception:
            _logger.exception("the last of the backup failed")
        self._send({"finished": True})
        os._exit(0)

    def _finish(self, deadline: float) -> None:
        workshop = self._workshop
        shipper, worker = self._threads
        if workshop is None or not shipper.stop(deadline - time.monotonic()):
            return
        workshop.shipper.ship_all(system_clock)
        size = (Path(self._settings.data) / LOG_FILE).stat().st_size
        if not (worker.stop(deadline - time.monotonic()) and self._settings.snapshot_on_stop):
            return
        if size < (deadline - time.monotonic()) / 2 * PACK_BYTES_PER_SECOND:
            self._stopping.clear()
            self._at_rest = True
            workshop.create(unwatched)

    # -- what the daemon is told ----------------------------------------------------------------

    def _copy(self, path: Path, progress: Progress) -> None:
        """Have the daemon copy its log, as only its writer can; or copy one at rest."""
        if self._at_rest:
            copy_log(Path(self._settings.data) / LOG_FILE, path)
            return
        self._copied.clear()
        self._copy_number = uuid.uuid4().hex
        self._send({"copy": str(path), "number": self._copy_number})
        while not self._copied.wait(_POLL_SECONDS):
            if self._stopping.is_set():
                raise NotReady("The daemon is stopping.")
        if self._copy_error is not None:
            raise self._copy_error
        progress(1, 1)

    def _ship(self, position: int, seconds: float) -> bool:
        assert self._workshop is not None  # noqa: S101  it asks
        if self._at_rest:
            self._workshop.shipper.ship_all(system_clock)
            return self._workshop.ledger.manifest.shipped >= position
        return self._workshop.shipper.ship_up_to(position, seconds, self._stopping)

    def _progress(self, number: int) -> Progress:
        def tell(done: int, total: int) -> None:
            self._send({"progress": number, "done": done, "total": total})

        return _seldom(tell)

    def _tell_status(self, status: BackupStatus) -> None:
        self._send({"status": status.message()})

    def _tell_event(self, type_: str, subject: str, payload: dict[str, Any]) -> None:
        self._send({"event": type_, "subject": subject, "payload": payload})

    def _send(self, message: dict[str, Any]) -> None:
        # A daemon that has gone is heard of on the line.
        with contextlib.suppress(OSError):
            self._line.send(message)


def _seldom(tell: Callable[[int, int], None]) -> Progress:
    """Return a progress that tells of each hundredth part once."""
    said = -1

    def progress(done: int, total: int) -> None:
        nonlocal said
        part = done * 100 // max(total, 1)
        if part != said:
            said = part
            tell(done, total)

    return progress


if __name__ == "__main__":
    sys.exit(main())
