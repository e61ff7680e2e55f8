"""The daemon's side of the projector: starts its process, watches it, and passes on what is asked.

The projections have a process of their own so that they do not share the interpreter's lock with
intake: a thread that folds makes every acknowledgement wait. The process inherits the lock of the
data directory, so no other daemon comes near the views while it lives.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from daemon.child_process import start_child
from daemon.projector.messages import Line, Settings
from domain.errors import NotFound
from domain.suggest import did_you_mean
from projections.progress import Projector
from projections.registry import PROJECTIONS
from projections.seam import ProjectionStatus
from projections.store import statuses

STOP_SECONDS: Final = 15.0
"""How long the projector may take to end its transaction; then it is killed: nothing is lost."""
REST_SECONDS_MAX: Final = 30.0
"""The longest rest before a projector that keeps ending is started again."""
STEADY_SECONDS: Final = 60.0
"""One that worked for this long is started again at once."""

_logger = logging.getLogger(__name__)


class ProjectorProcess(Projector):
    """The projections, brought on by a child process that is started again when it ends.

    ``inherited`` are descriptors that the child keeps open for as long as it lives.
    """

    def __init__(self, settings: Settings, inherited: Sequence[int] = ()) -> None:
        super().__init__(projection.name for projection in PROJECTIONS)
        self._settings = settings
        self._inherited = tuple(inherited)
        self._line: Line | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._wakes, self._woken = socket.socketpair()
        self._wakes.setblocking(False)
        self._told = statuses(PROJECTIONS, [], 0)
        self._handled = self._number = 0
        self._wanted: dict[str, int] = {}
        self._heard = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)
        self._show(self._statuses)

    def start(self) -> None:
        """Start the process, which loads its modules first."""
        self._thread.start()

    def opened(self, timeout_seconds: float) -> bool:
        """Wait until the process has opened the views, or for so long; return whether it has."""
        return self._heard.wait(timeout_seconds)

    @property
    def pid(self) -> int | None:
        """The child's process id, None while there is none."""
        process = self._process
        return process.pid if process and process.returncode is None else None

    def wake(self) -> None:
        """Say that there may be new events."""
        # A full buffer holds wakes enough, and a closed socket has nobody to wake.
        with contextlib.suppress(OSError):
            self._wakes.send(b"\0")

    def request_rebuild(self, name: str | None = None) -> None:
        """Ask for a projection (default: all of them) to be built again from the log.

        Raises:
            NotFound: there is no such projection.

        """
        if name is not None and name not in self._names:
            hint = did_you_mean(name, self._names)
            raise NotFound(f"there is no projection {name!r}; {hint}")
        with self._published:
            self._number += 1
            self._wanted |= dict.fromkeys({name} if name else self._names, self._number)
            request = {"rebuild": name, "number": self._number}
        self._show(self._statuses)
        self._tell(request)

    def distrust(self) -> None:
        """Say that a reader found the file damaged: it is moved away, and built afresh."""
        self._tell({"distrust": True})

    def close(self) -> None:
        """End the process after the transaction it is in."""
        self._closing.set()
        if self._thread.ident is not None:
            self._tell({"stop": True})
            self._thread.join(STOP_SECONDS)
            if self._thread.is_alive() and self._process is not None:
                _logger.warning("the projector does not end and is killed")
                self._process.kill()
                self._thread.join()
        self._end()
        for end in (self._wakes, self._woken):
            end.close()

    def _tell(self, message: dict[str, Any]) -> None:
        line = self._line
        if line is not None:
            # One that has just ended is told again when it starts.
            with contextlib.suppress(OSError):
                line.send(message)

    def _statuses(self) -> list[ProjectionStatus]:
        """Return what the child said, with what it was asked for and does not know yet."""
        return [
            replace(each, state="rebuilding")
            if self._wanted.get(each.name, 0) > self._handled and each.state in ("live", "failed")
            else each
            for each in self._told
        ]

    # -- the thread that watches the child -------------------------------------------------------

    def _run(self) -> None:
        rest = 0.0
        while not self._closing.is_set():
            started = time.monotonic()
            try:
                code: int | str = self._live()
            except OSError as error:
                code = str(error)
            if self._closing.is_set():
                return
            steady = time.monotonic() - started > STEADY_SECONDS
            rest = 0.0 if steady else min(max(1.0, rest * 2), REST_SECONDS_MAX)
            _logger.error(
                "the projector ended; it is started again", extra={"exit": code, "seconds": rest}
            )
            self._heard.set()
            if rest:
                self._fail(f"the projector ended ({code})")
                self._closing.wait(rest)

    def _live(self) -> int:
        """Run one child from its start to its end; return its exit code."""
        ours, theirs = socket.socketpair()
        descriptors = (theirs.fileno(), self._woken.fileno())
        try:
            process = start_child("daemon.projector", descriptors, (*descriptors, *self._inherited))
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        line = Line(ours)
        with self._published:
            self._process, self._line, self._handled = process, line, 0
            requests = [(number, name) for name, number in self._wanted.items()]
        try:
            with contextlib.suppress(OSError):
                line.send(asdict(self._settings))
                for number, name in sorted(requests):
                    line.send({"rebuild": name, "number": number})
                if self._closing.is_set():
                    line.send({"stop": True})
            for message in line.messages():
                self._hear(message)
        finally:
            self._line = None
            line.close()
            code = process.wait()
        return code

    def _hear(self, message: dict[str, Any]) -> None:
        with self._published:
            self._handled = message["handled"]
            self._told = [ProjectionStatus(**each) for each in message["status"]]
            self._caught_up = self._caught_up or message["caught_up"]
            for each in self._told:
                if each.state in ("live", "failed") and (
                    self._wanted.get(each.name, self._number + 1) <= self._handled
                ):
                    del self._wanted[each.name]
        self._show(self._statuses)
        self._heard.set()

    def _fail(self, why: str) -> None:
        """Say that nothing brings the projections on now; what they show stays."""
        with self._published:
            self._told = [replace(each, state="failed", error=why) for each in self._told]
        self._show(self._statuses)
