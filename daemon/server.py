"""uvicorn as this daemon runs it: on sockets that are bound already, under its own life cycle."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Iterable, Iterator
from functools import partial
from typing import Any, Final

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from daemon.api.answers import WHOLE
from daemon.api.problems import problem_response
from domain.errors import NotReady

ANSWER_SECONDS: Final = 5
"""How long requests at work may take to end when the daemon stops."""
FLUSH_SECONDS: Final = 0.5
"""How long clients have, when the daemon stops, to read the rest of what was answered."""
IDLE_SECONDS: Final = 60
"""How long a connection without a request is kept."""


class Server(uvicorn.Server):
    """One HTTP server; ``stop`` ends it, signals are the daemon's business."""

    def __init__(self, app: ASGIApp, sockets: Iterable[socket.socket]) -> None:
        config = uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=ANSWER_SECONDS,
        )
        super().__init__(config)
        self._listening = asyncio.Event()
        self.task = asyncio.create_task(self.serve(list(sockets)))

    async def listening(self) -> None:
        """Wait until requests are taken; if the server fails before, raise what it failed of."""
        waiting = asyncio.create_task(self._listening.wait())
        await asyncio.wait({waiting, self.task}, return_when=asyncio.FIRST_COMPLETED)
        if self.task.done():
            waiting.cancel()
            self.task.result()

    async def stop(self) -> None:
        """Take no more requests, let those at work end, and close the sockets."""
        self.should_exit = True
        at_work = True
        while not self.task.done():
            await asyncio.wait({self.task}, timeout=FLUSH_SECONDS)
            if not at_work and not self.server_state.tasks:
                # All is answered, and whoever does not read the rest holds up nobody.
                for connection in list(self.server_state.connections):
                    connection.transport.abort()
            at_work = bool(self.server_state.tasks)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self._listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


class Protocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it, except that a `WHOLE` answer is one system call, not two."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        super()._start_asgi_task(cycle, partial(_serve, app, cycle))


def _serve(
    app: ASGIApp, cycle: RequestResponseCycle, scope: Scope, receive: Receive, send: Send
) -> Awaitable[None]:
    """Serve a request, and keep the head of a whole answer back until its body comes."""
    head: Message | None = None

    async def answer(message: Message) -> None:
        nonlocal head
        if WHOLE in message:
            head = message
            return
        if head is not None:
            if cycle.keep_alive and not (cycle.disconnected or cycle.flow.write_paused):
                _write(cycle, head, message["body"])
                return
            await send(head)
        await send(message)

    return app(scope, receive, answer)


def _write(cycle: RequestResponseCycle, head: Message, body: bytes) -> None:
    """Write an answer, and leave the cycle as it is after one."""
    lines = [STATUS_LINE[head["status"]]]
    for name, value in (*cycle.default_headers, *head["headers"]):
        lines += (name, b": ", value, b"\r\n")
    cycle.response_started = cycle.response_complete = True
    cycle.transport.write(b"".join((*lines, b"\r\n", body)))
    cycle.message_event.set()
    cycle.on_response()


class ClosedDoor:
    """What answers while the disk keeps the daemon from opening its log: alive, but not ready."""

    def __init__(self) -> None:
        self.reason = NotReady("The daemon is starting.")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 200 to the question for life, 503 to everything else."""
        alive = scope["path"] == "/healthz"
        answer = JSONResponse({"status": "alive"}) if alive else problem_response(self.reason)
        await answer(scope, receive, send)
