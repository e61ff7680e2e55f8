"""Server-Sent Events: framing, a bound on clients, and an end when the daemon stops.

A stream never queues anything for its client: it holds a position, reads on from there when it is
woken, and waits in ``send`` while the client is slow.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from daemon.api.edge import is_head
from daemon.api.signals import Signal
from domain.errors import ChronicledError, Unavailable

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 15.0
"""How long a stream may be silent before a comment shows that it is alive (seconds)."""
CLIENTS_MAX: Final = 64
"""How many streams are open at once; beyond, the answer is 503."""
HEARTBEAT: Final = b": alive\n\n"

_FAREWELL_SECONDS: Final = 0.5


def frame(data: bytes, *, kind: str, id: int | None = None) -> bytes:  # noqa: A002 - SSE's name
    """Return one event of a stream; line breaks in the data become lines of the event."""
    lines = [b"data: " + line for line in data.splitlines() or [b""]]
    if id is not None:
        lines.insert(0, b"id: %d" % id)
    return b"event: %b\n%b\n\n" % (kind.encode(), b"\n".join(lines))


async def wait_or_heartbeat(woken: asyncio.Event, seconds: float) -> bytes:
    """Wait until woken; return what to send: nothing, or a comment after a silence."""
    try:
        async with asyncio.timeout(seconds):
            await woken.wait()
    except TimeoutError:
        return HEARTBEAT
    return b""


class Clients:
    """Counts the open streams; used on the event loop only."""

    def __init__(self, limit: int = CLIENTS_MAX) -> None:
        self._limit = limit
        self.open = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Count one more client while its stream is open.

        Raises:
            Unavailable: there are as many as there may be.

        """
        if self.open >= self._limit:
            raise Unavailable(f"{self.open} streams are open already.")
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1


class EventStream(Response):
    """Sends the chunks of an iterator until it ends, the client goes, or ``stop`` fires."""

    media_type = "text/event-stream"

    def __init__(
        self, chunks: AsyncGenerator[bytes, None], *, clients: Clients, stop: Signal
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._chunks = chunks
        self._clients = clients
        self._stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        with self._clients.enter(), self._stop.listen() as stopped:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if not is_head(scope):
                await self._send_until(send, _disconnected(receive), stopped.wait())
        with suppress(TimeoutError):
            # A client that does not read keeps even the end from being sent.
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await send({"type": "http.response.body", "body": b""})

    async def _send_until(self, send: Send, *ends: Coroutine[Any, Any, object]) -> None:
        sender = asyncio.ensure_future(self._send_all(send))
        others = [asyncio.ensure_future(end) for end in ends]
        await asyncio.wait([sender, *others], return_when=asyncio.FIRST_COMPLETED)
        for task in (sender, *others):
            task.cancel()
        outcome, *_ = await asyncio.gather(sender, *others, return_exceptions=True)
        if isinstance(outcome, ChronicledError):
            # The client comes back by itself, with the position it has.
            logger.warning("a stream ended early: %s", outcome.detail)
        elif isinstance(outcome, Exception):
            raise outcome

    async def _send_all(self, send: Send) -> None:
        async with aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                if chunk:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
