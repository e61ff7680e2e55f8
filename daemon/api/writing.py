"""From the event loop to the writer's thread and back: every answer comes after its commit."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from daemon.eventlog.requests import Append, Appended, Done, Outcome, Work
from daemon.metrics import Metrics
from domain.errors import NotReady
from domain.events import Receipt

if TYPE_CHECKING:
    from daemon.api.context import Context
    from daemon.eventlog.log import EventLog


class _Waiting(NamedTuple):
    """A request that waits for its commit: since when, and the format it came in."""

    answer: asyncio.Future[Appended]
    started: float
    kind: str


class Appends:
    """Gives requests to the writer, and brings its answers back: all those of a commit at once."""

    def __init__(self, log: EventLog, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics
        self._answered: list[tuple[_Waiting, Outcome]] = []
        log.on_group_end(self._bring)

    async def append(self, request: Append | Work, started: float, kind: str) -> Appended:
        """Wait for the commit of a request."""
        waiting = _Waiting(asyncio.get_running_loop().create_future(), started, kind)
        self._log.submit(request, lambda outcome: self._answered.append((waiting, outcome)))
        return await waiting.answer

    def _bring(self) -> None:
        """On the writer's thread: pass on what was answered."""
        answered, self._answered = self._answered, []
        if answered:
            loop = answered[0][0].answer.get_loop()
            # Nobody waits on a loop that has closed.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._settle, answered, perf_counter())

    def _settle(self, answered: list[tuple[_Waiting, Outcome]], committed: float) -> None:
        for (answer, started, kind), outcome in answered:
            value = outcome.value if isinstance(outcome, Done) else outcome
            if isinstance(value, Appended):
                self._metrics.appended(value, kind, committed - started)
            if answer.done():  # The client has gone.
                continue
            if isinstance(value, BaseException):
                answer.set_exception(value)
            elif isinstance(value, Appended):
                answer.set_result(value)


async def append(
    context: Context, request: Append | Work, *, started: float, kind: str
) -> Appended:
    """Append events and wait for their commit.

    ``started`` is when the request began (`time.perf_counter`), ``kind`` the format it came in.
    A `Work` has to return an `Appended`.

    Raises:
        VersionConflict: a stream is not at its expected version; nothing was recorded.
        QueueFull, DiskFull, StorageFailed, NotReady: nothing was recorded.

    """
    if context.draining:
        raise NotReady("The daemon is stopping and takes no more events.")
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
