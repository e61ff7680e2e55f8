"""From the event loop to the writer's thread and back: every answer comes after its commit."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import perf_counter
from typing import Any

from daemon.api.context import Context
from daemon.eventlog.requests import Append, Appended, Done, Outcome, Work
from domain.errors import NotReady
from domain.events import Receipt


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
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Appended] = loop.create_future()

    def settle(outcome: Outcome) -> None:
        if isinstance(outcome, Done):
            outcome = outcome.value
        if isinstance(outcome, Appended):
            context.metrics.appended(outcome, kind)
        if answer.done():  # The client has gone.
            return
        if isinstance(outcome, BaseException):
            answer.set_exception(outcome)
        elif isinstance(outcome, Appended):
            answer.set_result(outcome)

    def done(outcome: Outcome) -> None:
        if not isinstance(outcome, BaseException):
            context.metrics.append_seconds(perf_counter() - started)
        # Nobody waits on a loop that has closed.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, outcome)

    context.log.submit(request, done)
    return await answer


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
