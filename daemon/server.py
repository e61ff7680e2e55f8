"""uvicorn as this daemon runs it: on sockets that are bound already, under its own life cycle."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.api.problems import problem_response
from daemon.patience import REQUEST_SECONDS
from daemon.protocol import Protocol
from domain.errors import NotReady

if TYPE_CHECKING:
    from daemon.api.direct import Direct

ANSWER_SECONDS: Final = 5
"""How long requests at work may take to end when the daemon stops."""
FLUSH_SECONDS: Final = 0.5
"""How long clients have, when the daemon stops, to read the rest of what was answered."""
IDLE_SECONDS: Final = 60
"""How long a connection without a request is kept."""


class Server(uvicorn.Server):
    """One HTTP server; ``stop`` ends it, signals are the daemon's business."""

    def __init__(
        self,
        app: ASGIApp,
        sockets: Iterable[socket.socket],
        direct: Direct | None = None,
        *,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        config = uvicorn.Config(
            app,
            # It is called, not subclassed.
            http=partial(  # type: ignore[arg-type]
                Protocol, direct=direct, request_seconds=request_seconds
            ),
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
            if not at_work and not self._at_work():
                # All is answered, and whoever does not read the rest holds up nobody.
                for connection in list(self.server_state.connections):
                    connection.transport.abort()
            at_work = self._at_work()

    def _at_work(self) -> bool:
        waiting = (getattr(one, "unanswered", 0) for one in self.server_state.connections)
        return bool(self.server_state.tasks) or any(waiting)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self._listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


class ClosedDoor:
    """What answers while the disk keeps the daemon from opening its log: alive, but not ready."""

    def __init__(self) -> None:
        self.reason = NotReady("The daemon is starting.")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 200 to the question for life, 503 to everything else."""
        alive = scope["path"] == "/healthz"
        answer = JSONResponse({"status": "alive"}) if alive else problem_response(self.reason)
        await answer(scope, receive, send)
