"""The short way of a small request with events: no scope, no task, no coroutine.

A plain ``POST /api/events`` means the same each time its head is the same, byte for byte. So a head
is read once, by the parser that reads all others, and what it means is remembered: whether the
guard lets it in, how long its body is, and what decodes that. Then a request is a slice of bytes
that is decoded and handed to the writer, and its answer is written when the commit's answers come.

Only what goes well goes this way. Whatever is refused before it is in the writer's queue has
changed nothing, and is served anew by the ordinary way, which knows how to say why.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from time import perf_counter
from typing import Any, Final, NamedTuple, Protocol

import httptools
from starlette.responses import Response

from daemon.api.bodies import SMALL_BODY_BYTES, Headers
from daemon.api.context import Context
from daemon.api.edge import Edge
from daemon.api.ingest import CLOUDEVENTS, Decode, decoder, receipts
from daemon.api.writing import Waiting
from daemon.eventlog.requests import Append, Appended
from domain.errors import ChronicledError

METHOD: Final = "POST"
PATH: Final = "/api/events"
BEGINNING: Final = f"{METHOD} {PATH} ".encode()
"""What every head begins with that may go the short way."""
HEAD_BYTES_MAX: Final = 2048
"""The longest head that is looked at."""
_HEADS_MAX: Final = 2048
_HEAD_END: Final = b"\r\n\r\n"


class Plan(NamedTuple):
    """What a head says about its request: where the body begins and ends, and what decodes it."""

    start: int
    end: int
    decode: Decode


class Connection(Protocol):
    """A connection that sends requests, and is sent their answers in the same order."""

    unanswered: deque[Taken]
    """What it waits for; a new one is put at the end."""

    def settled(self) -> None:
        """Hear that one of them has its answer."""


class Direct:
    """Takes small requests with events from the connections, and answers them there."""

    def __init__(self, context: Context, edge: Edge) -> None:
        self._context = context
        self._edge = edge
        self._body_bytes_max = min(SMALL_BODY_BYTES, context.limits.batch_bytes)
        self._plan = lru_cache(_HEADS_MAX)(self._make_plan)

    def plan(self, data: bytes, *, local: bool) -> Plan | None:
        """Return what the head means that the data begins with; None where it is not plain.

        ``local`` is whether the connection came over the Unix socket.
        """
        if not data.startswith(BEGINNING):
            return None
        end = data.find(_HEAD_END, 0, HEAD_BYTES_MAX)
        return self._plan(data[: end + len(_HEAD_END)], local) if end > 0 else None

    def take(self, plan: Plan, body: bytes, started: float, connection: Connection) -> bool:
        """Give the events of a request to the writer, for its connection to answer.

        Returns whether they were taken. If not, nothing has happened, and nothing was counted.
        """
        context = self._context
        if context.draining or context.gate.shut:
            return False
        size = len(body)
        try:
            context.bodies.take(size)
        except ChronicledError:
            return False
        try:
            request = Append(plan.decode(body), size=size)
        except Exception:  # noqa: BLE001  the ordinary way meets it again, and deals with it
            context.bodies.give_back(size)
            return False
        taken = Taken(self, started, size, connection)
        connection.unanswered.append(taken)
        context.appends.submit(request, taken)
        return True

    def respond(self, outcome: Any, size: int, started: float) -> Response:
        """Return the answer to a request with what was appended or why it was not, and count it."""
        self._context.bodies.give_back(size)
        response: Response
        if isinstance(outcome, Appended):
            response = receipts(outcome)
        else:
            if isinstance(outcome, ChronicledError):
                self._context.metrics.rejected(outcome)
            response = self._edge.problem(outcome, METHOD, PATH)
        seconds = perf_counter() - started
        self._edge.measure(METHOD, PATH, PATH, response.status_code, seconds)
        return response

    def _make_plan(self, head: bytes, local: bool) -> Plan | None:
        headers = _read(head)
        if headers is None:
            return None
        length = int(dict(headers)[b"content-length"])
        if length > self._body_bytes_max:
            return None
        try:
            self._edge.guard.check_headers(headers, local=local)
            decode = decoder(Headers(headers), self._context.limits)
        except ChronicledError:
            return None
        return Plan(len(head), len(head) + length, decode)


class Taken(Waiting):
    """One that its connection waits for."""

    __slots__ = ("_connection", "_direct", "_size", "response")

    def __init__(self, direct: Direct, started: float, size: int, connection: Connection) -> None:
        self.started = started
        self.kind = CLOUDEVENTS
        self.response: Response | None = None
        """The answer, when there is one."""
        self._direct, self._size, self._connection = direct, size, connection

    def answer(self, outcome: Any) -> None:
        """Make the answer."""
        self.response = self._direct.respond(outcome, self._size, self.started)
        self._connection.settled()


def is_beginning(data: bytes) -> bool:
    """Return whether the data is the beginning of a head that may yet be plain.

    What the parser would refuse already is none: its sender may wait to be told.
    """
    begins = data.startswith(BEGINNING) or BEGINNING.startswith(data)
    if not begins or len(data) >= HEAD_BYTES_MAX or _HEAD_END in data:
        return False
    try:
        httptools.HttpRequestParser(_Head()).feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return False
    return True


class _Head:
    """What the parser finds in a head."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        self.beyond = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True

    def on_body(self, _body: bytes) -> None:
        self.beyond = True

    def on_message_complete(self) -> None:
        self.beyond = True


def _read(head: bytes) -> list[tuple[bytes, bytes]] | None:
    """Return the headers of a head after which so many bytes of body come, and nothing else.

    None where the connection would close or change after it, or the client waits to be asked for
    the body.
    """
    found = _Head()
    parser = httptools.HttpRequestParser(found)
    try:
        parser.feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    if not found.complete or found.beyond:
        return None
    if parser.get_http_version() != "1.1" or not parser.should_keep_alive():
        return None
    names = {name for name, _ in found.headers}
    if b"content-length" not in names or names & {b"transfer-encoding", b"expect", b"upgrade"}:
        return None
    return found.headers
