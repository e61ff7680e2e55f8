"""From the event loop to the writer's thread and back: every answer comes after its commit."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from daemon.eventlog.requests import Append, Appended, Done, Outcome, Work
from daemon.metrics import Metrics
from domain.errors import NotReady
from domain.events import Receipt

if TYPE_CHECKING:
    from daemon.api.context import Context
    from daemon.eventlog.log import EventLog

DECIDED: Final = "api"
"""The kind of what somebody decides about what is there: it is recorded also on a disk that is low.
"""
_logger = logging.getLogger(__name__)


class Waiting(ABC):
    """A request that waits for its commit: since when, and the format it came in."""

    __slots__ = ("kind", "started")

    def __init__(self, started: float, kind: str) -> None:
        self.started = started
        self.kind = kind

    @abstractmethod
    def answer(self, outcome: Any) -> None:
        """Take what was appended, or the error; called on the event loop."""


class _Awaited(Waiting):
    """One that a coroutine waits for."""

    __slots__ = ("future",)

    def __init__(self, started: float, kind: str) -> None:
        super().__init__(started, kind)
        self.future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()

    def answer(self, outcome: Any) -> None:
        if self.future.done():  # The client has gone.
            return
        if isinstance(outcome, BaseException):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class Appends:
    """Gives requests to the writer, and brings its answers back: all those of a commit at once."""

    def __init__(self, log: EventLog, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics
        self._answered: list[tuple[Waiting, Outcome]] = []
        self._gathered: list[tuple[Append | Work, Waiting]] = []
        self._handed_over = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        log.on_group_end(self._bring)

    async def append(self, request: Append | Work, started: float, kind: str) -> Appended:
        """Wait for the commit of a request."""
        waiting = _Awaited(started, kind)
        self.submit(request, waiting)
        return await waiting.future

    def submit(self, request: Append | Work, waiting: Waiting) -> None:
        """Give a request to the writer, from the event loop; it is answered after its commit.

        While the writer has nothing, it gets the request at once. Else what comes in one turn of
        the loop is handed over together: a writer that is woken by each takes the first alone.
        """
        if self._loop is None:
            # Asked once: to ask is a system call.
            self._loop = asyncio.get_running_loop()
        self._gathered.append((request, waiting))
        if not self._handed_over:
            self._hand_over()
        elif len(self._gathered) == 1:
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        gathered, self._gathered = self._gathered, []
        for request, waiting in gathered:
            try:
                self._log.submit(request, partial(self._note, waiting))
                self._handed_over += 1
            except Exception as error:  # noqa: BLE001  whatever it is, it is the answer
                waiting.answer(error)

    def _note(self, waiting: Waiting, outcome: Outcome) -> None:
        """On the writer's thread: keep an answer until the others of the commit are there."""
        self._answered.append((waiting, outcome))

    def _bring(self) -> None:
        """On the writer's thread: pass on what was answered."""
        answered, self._answered = self._answered, []
        if answered and self._loop is not None:
            # Nobody waits on a loop that has closed.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._settle, answered, perf_counter())

    def _settle(self, answered: list[tuple[Waiting, Outcome]], committed: float) -> None:
        self._handed_over -= len(answered)
        outcomes = [
            (waiting, outcome.value if isinstance(outcome, Done) else outcome)
            for waiting, outcome in answered
        ]
        self._metrics.appended(
            (outcome, waiting.kind, committed - waiting.started)
            for waiting, outcome in outcomes
            if isinstance(outcome, Appended)
        )
        for waiting, outcome in outcomes:
            try:
                waiting.answer(outcome)
            except Exception:
                # The others of the commit must hear of it.
                _logger.exception("an answer failed")


async def append(
    context: Context, request: Append | Work, *, started: float, kind: str
) -> Appended:
    """Append events and wait for their commit.

    New events are refused while the disk has too little room; what is decided is not.
    ``started`` is when the request began (`time.perf_counter`), ``kind`` the format it came in.
    A `Work` has to return an `Appended`.

    Raises:
        VersionConflict: a stream is not at its expected version; nothing was recorded.
        QueueFull, DiskFull, StorageFailed, NotReady: nothing was recorded.

    """
    if context.draining:
        raise NotReady("The daemon is stopping and takes no more events.")
    if kind != DECIDED:
        context.gate.check()
    return await context.appends.append(request, started, kind)


def receipt_document(receipt: Receipt) -> dict[str, Any]:
    """Return a receipt as JSON; ``differs`` is there only when it says something."""
    id_, position, stream, version, duplicate, differs = receipt
    document = {
        "id": id_,
        "position": position,
        "stream": stream,
        "version": version,
        "duplicate": duplicate,
    }
    return document | {"differs": True} if differs else document
