"""One HTTP connection: uvicorn's, with a shorter way for small requests with events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Iterable
from functools import partial
from time import perf_counter
from typing import Any, Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from daemon.api.answers import WHOLE, Receipts
from daemon.api.direct import Direct, Taken, is_beginning
from daemon.api.guard import by_socket
from daemon.api.problems import BadRequestError, problem_response
from daemon.patience import REQUEST_SECONDS, Patience
from domain.errors import RequestTimeout

_UNREADABLE: Final = "This is no HTTP request, or its target is longer than 64 KiB."

PIPELINE_MAX: Final = 256
"""How many requests of one connection may wait for their answers the short way."""


class Protocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it; what is plain goes by `Direct` and past uvicorn's parser.

    The bytes of a connection are whole requests for either way, in turn: the parser sees none of
    what went directly, and nothing goes directly while the parser is inside a request or one of
    its requests is unanswered. So answers keep the order of their requests: those of one commit,
    and of one commit after another, come in the order in which they were handed in.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        direct: Direct | None = None,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.late: RequestResponseCycle | None = None
        """The request that did not come in whole within its time, and is not answered."""
        self._patience = Patience(self.loop, request_seconds, self._excused, self._refuse_late)
        self.unanswered: deque[Taken] = deque()
        """The requests that went directly and wait for their answers."""
        self._direct = direct
        self._local = False
        self._flushing = False
        self._parsing = False
        self._headed = False
        self._ending = False
        self._quiet_since = 0.0
        # What came and is not served yet: the beginning of a request, or what has to wait.
        self._held: list[bytes] = []
        self._missing = 0
        self._since = 0.0
        self._waits = False

    # -- what comes in --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self._local = by_socket({"server": self.server, "client": self.client})
        self._quiet_since = perf_counter()
        self._watch(self.timeout_keep_alive)

    def data_received(self, data: bytes) -> None:
        """Serve what came."""
        cycle = self.cycle
        if self._direct is None or self._parsing or (cycle and not cycle.response_complete):
            super().data_received(data)
        elif not self._held:
            self._serve(self._direct, data, perf_counter())
        else:
            self._held.append(data)
            self._missing -= len(data)
            if self._missing <= 0 and not self._waits:
                self._serve(self._direct, self._release(), self._since, begun=True)
        if self._parsing or self._held:
            self._patience.more(len(data))
        elif self.timeout_keep_alive_task is None and self._is_idle():
            # Line breaks that begin no request: they do not keep a connection.
            self._watch(max(0.0, self._quiet_since + self.timeout_keep_alive - perf_counter()))

    def _is_idle(self) -> bool:
        busy = self.unanswered or (self.cycle and not self.cycle.response_complete)
        return not busy and not self.transport.is_closing()

    def _serve(self, direct: Direct, data: bytes, started: float, *, begun: bool = False) -> None:
        """Serve the requests in these bytes until one is not plain, or not complete.

        ``begun``: the clock of the first one runs already.
        """
        while data:
            plan = direct.plan(data, local=self._local)
            if plan is None:
                if is_beginning(data):
                    self._hold(data, 1, started, begun=begun)
                    return
                break
            start, end, _ = plan
            if len(data) < end:
                self._hold(data, end - len(data), started, begun=begun)
                return
            if len(self.unanswered) >= PIPELINE_MAX or self.flow.write_paused:
                break
            if not direct.take(plan, data[start:end], started, self):
                break
            data, begun = data[end:], False
        else:
            return
        if self.unanswered:
            self._hold(data, 0, started)
            self._waits = True
            self.flow.pause_reading()
        else:
            super().data_received(data)

    def _hold(self, data: bytes, missing: int, started: float, *, begun: bool = False) -> None:
        self._held.append(data)
        self._missing, self._since = missing, started
        if not begun:
            self._patience.begin()

    def _release(self) -> bytes:
        data = b"".join(self._held)
        self._held.clear()
        return data

    def _give_way(self) -> None:
        """Leave to the ordinary way what is not complete: it knows how a connection ends."""
        if self._held and not self._waits:
            super().data_received(self._release())

    def on_message_begin(self) -> None:
        """Note that the parser is inside a request."""
        self._parsing, self._headed = True, False
        self._patience.begin()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that the request has its head, and is served."""
        self._headed = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that it is not any more."""
        self._parsing = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note that the connection is quiet from now on, or that the next request has its turn."""
        self._quiet_since = perf_counter()
        if self._parsing and not (self._headed and self.cycle.response_complete):
            self._patience.begin()
        super().on_response_complete()

    # -- what goes out --------------------------------------------------------------------------

    def settled(self) -> None:
        """Send the answer to a request that went directly, together with those that come now."""
        if len(self.unanswered) == 1:
            self._flush()
        elif not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Send the answers that are there, as far as they are next."""
        self._flushing = False
        unanswered, parts = self.unanswered, []
        while unanswered and (response := unanswered[0].response) is not None:
            unanswered.popleft()
            parts.append(self._encoded(response))
        self.server_state.total_requests += len(parts)
        if not parts or self.transport.is_closing():
            return
        self.transport.write(parts[0] if len(parts) == 1 else b"".join(parts))
        self._quiet_since = perf_counter()
        if self.timeout_keep_alive_task is None:
            self._watch(self.timeout_keep_alive)
        if not unanswered and self._held:
            self._patience.begin()  # It waited for these.
        if not unanswered and (self._waits or self._ending):
            self._go_on()

    def _encoded(self, response: Response) -> bytes:
        lines = [STATUS_LINE[response.status_code], *_lines(self.server_state.default_headers)]
        if isinstance(response, Receipts):
            lines.append(response.head)
        else:
            lines += _lines(response.raw_headers)
        if self._ending and not self.unanswered and not self._held:
            lines.append(b"connection: close\r\n")
        return b"".join((*lines, b"\r\n", response.body))

    def _go_on(self) -> None:
        """Serve what had to wait for the answers before it, or end the connection after them."""
        if self._waits and self._direct is not None:
            self._waits = False
            self.flow.resume_reading()
            self._serve(self._direct, self._release(), self._since)
        if self._ending:
            self.shutdown()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the library's words
        """Refuse what cannot be read, as everything is refused here; the connection ends."""
        refusal = problem_response(BadRequestError(_UNREADABLE), {"connection": "close"})
        lines = [*_lines(self.server_state.default_headers), *_lines(refusal.raw_headers)]
        status = STATUS_LINE[refusal.status_code]
        self.transport.write(b"".join((status, *lines, b"\r\n", refusal.body)))
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._ending:
            cycle.keep_alive = False
        super()._start_asgi_task(cycle, partial(_run, app, cycle, self))

    # -- how it ends ----------------------------------------------------------------------------

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it was quiet for long; answers do not set the timer anew."""
        self.timeout_keep_alive_task = None
        if self.unanswered or self._held:
            return
        left = self._quiet_since + self.timeout_keep_alive - perf_counter()
        if left > 0:
            self._watch(left)
        else:
            super().timeout_keep_alive_handler()

    def _watch(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            seconds, self.timeout_keep_alive_handler
        )

    def _excused(self) -> bool | None:
        """Return whether the request that is coming waits for us; None where none is coming."""
        if not (self._parsing or (self._held and not self._waits)):
            return None
        # Its head may come while the request before it is at work.
        behind = not self._headed and self.cycle is not None and not self.cycle.response_complete
        return self.flow.read_paused or bool(self.unanswered) or (self._parsing and behind)

    def _refuse_late(self) -> None:
        """End a request that does not come in whole: answer it if nobody did, and close."""
        self._give_way()
        cycle = self.cycle
        if self._parsing and self._headed and not cycle.response_complete:
            # Whoever waits for its body hears of it; whoever does not, answers as ever.
            cycle.keep_alive = False
            self.late = cycle
            cycle.message_event.set()
            return
        if not self._headed and not self.transport.is_closing():
            self._ending = True
            self.transport.write(self._encoded(problem_response(too_late())))
        self.transport.close()

    def shutdown(self) -> None:
        """Close the connection, after the answers to what it sent."""
        self._ending = True
        if not self.unanswered:
            self._give_way()
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """End; what was not complete is refused as ever."""
        self._give_way()
        self._patience.end()
        super().connection_lost(exc)
        # Also where it was reset: a timer would keep all of it for a minute.
        self._unset_keepalive_if_required()


def too_late() -> RequestTimeout:
    """Return what is said to a request that does not come in whole."""
    return RequestTimeout("The request did not come in whole within its time.")


def _run(
    app: ASGIApp,
    cycle: RequestResponseCycle,
    protocol: Protocol,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> Awaitable[None]:
    """Serve a request, and keep the head of a whole answer back until its body comes."""
    head: Message | None = None

    async def incoming() -> Message:
        message = await receive()
        if protocol.late is cycle:
            raise too_late()
        return message

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

    return app(scope, incoming, answer)


def _write(cycle: RequestResponseCycle, head: Message, body: bytes) -> None:
    """Write an answer, and leave the cycle as it is after one."""
    cycle.response_started = cycle.response_complete = True
    lines = _lines([*cycle.default_headers, *head["headers"]])
    cycle.transport.write(b"".join((STATUS_LINE[head["status"]], *lines, b"\r\n", body)))
    cycle.message_event.set()
    cycle.on_response()


def _lines(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    return [b"%b: %b\r\n" % header for header in headers]
