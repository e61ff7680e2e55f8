"""Requests that come slowly, or never come to their end: refused in time, and harming nobody."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from collections.abc import Callable

import pytest
from api_server import ApiServer
from test_api_connections import HEAD, answers_in, body_of, post

from daemon.patience import BYTES_A_SECOND, Patience

Servers = Callable[..., ApiServer]
SECONDS = 0.2

NEVER_ENDING = {
    "nothing but a method": b"POST",
    "a head of a small request": HEAD,
    "a head of another request": b"GET /api/jobs HTTP/1.1\r\nHost: localhost\r\n",
    "a small body": post(body_of("small"))[:-1],
    "a large body": HEAD + b"Content-Length: 100000\r\n\r\n" + b"{" * 20_000,
    "chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n[    \r\n",
    "a body that is asked for": HEAD + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n",
}


@pytest.fixture
def hasty(servers: Servers) -> ApiServer:
    """Return a server that waits a fifth of a second for a request."""
    return servers(request_seconds=SECONDS)


@pytest.mark.parametrize("begun", NEVER_ENDING.values(), ids=NEVER_ENDING)
def test_a_request_that_never_ends_is_refused(hasty: ApiServer, begun: bytes) -> None:
    """The answer is 408 with the reason, the connection is closed, nothing is recorded."""
    said = hasty.raw(begun).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    [(head, problem)] = answers_in(said)
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in head.lower()
    assert problem["code"] == "request_timeout"
    assert hasty.log.head() == 0


def test_a_request_that_comes_byte_by_byte_is_refused(hasty: ApiServer) -> None:
    """Each byte that comes does not buy it another while."""
    said = dripped(hasty, HEAD + b"Content-Length: 100000\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 408 ")


def test_a_head_that_comes_byte_by_byte_is_refused(hasty: ApiServer) -> None:
    """Also one that may yet be that of a small request, which is looked at again each time."""
    said = dripped(hasty, b"POST /api/events HTTP/1.1\r\nHost: localhost\r\nX-Slow:")
    assert said.startswith(b"HTTP/1.1 408 ")


def dripped(server: ApiServer, begun: bytes) -> bytes:
    """Send the beginning of a request, and a byte after another, until something is answered."""
    with socket.create_connection(server.address, timeout=20) as connection:
        connection.settimeout(0.02)
        connection.sendall(begun)
        for _ in itertools.repeat(None, 1000):
            try:
                return connection.recv(65536)
            except TimeoutError:
                connection.sendall(b" ")
    return b""


@pytest.mark.parametrize("before", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_line_breaks_do_not_keep_a_connection(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, before: bytes
) -> None:
    """They begin no request, and the connection is closed like any other that is idle."""
    monkeypatch.setattr("daemon.server.IDLE_SECONDS", 1)
    with socket.create_connection(servers().address, timeout=30) as connection:
        if before:
            connection.sendall(before)
            answer = connection.recv(65536)
            while not answer.endswith(b"}"):
                answer += connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"\r\n")
        assert connection.recv(65536) == b""


def test_an_answered_request_whose_body_never_ends_is_closed(hasty: ApiServer) -> None:
    """What needs no body is answered at once; the connection does not stay for the rest of it."""
    begun = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"
    [(head, document)] = answers_in(hasty.raw(begun))
    assert head.startswith(b"HTTP/1.1 200 ")
    assert document["status"] == "alive"


def test_a_stream_whose_request_never_ends_is_closed(hasty: ApiServer) -> None:
    """Not even a stream of events keeps a request from having to end."""
    path = b"GET /api/events/stream HTTP/1.1\r\nHost: localhost\r\n"
    said = hasty.raw(path + b"Content-Length: 5\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200 ")
    assert said.endswith(b"0\r\n\r\n")


def test_who_waits_for_an_answer_is_not_hurried(servers: Servers) -> None:
    """The time of a request begins when those before it on its connection are answered."""
    server = servers(request_seconds=SECONDS, writing=False)
    second = post(body_of("two"))
    with socket.create_connection(server.address, timeout=20) as connection:
        connection.sendall(post(body_of("one")) + second[:-1])
        # Another one that began after it has had its time.
        assert server.raw(HEAD).startswith(b"HTTP/1.1 408 ")
        server.log.start()
        assert b" 201 " in connection.recv(65536)
        connection.sendall(second[-1:])
        assert b" 201 " in connection.recv(65536)


class Hours(asyncio.AbstractEventLoop):
    """A loop whose time the test sets, with one timer."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: tuple[float, Callable[[], None]] | None = None

    def time(self) -> float:
        """Return the time that the test has set."""
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Remember the timer."""
        self.due = (self.now + delay, callback)
        return asyncio.TimerHandle(self.now + delay, callback, (), self)

    def get_debug(self) -> bool:
        """Say no."""
        return False

    def go_to(self, now: float) -> None:
        """Let time pass."""
        while self.due is not None and self.due[0] <= now:
            (self.now, callback), self.due = self.due, None
            callback()
        self.now = now


def test_a_large_request_has_more_time() -> None:
    """For each 16 KiB that came it is a second more; what comes slower is too slow."""
    loop, over = Hours(), []
    patience = Patience(loop, 30, lambda: False, lambda: over.append(loop.now))
    patience.begin()
    patience.more(100 * BYTES_A_SECOND)
    loop.go_to(129.9)
    assert not over
    loop.go_to(131)
    assert over == [130]


def test_a_request_that_waits_for_this_side_has_its_time_from_then() -> None:
    """While this side does not read, no time runs; and none where no request is coming."""
    loop, over = Hours(), []
    excused: list[bool | None] = [True]
    patience = Patience(loop, 30, lambda: excused[0], lambda: over.append(loop.now))
    patience.begin()
    loop.go_to(31)
    excused[0] = False
    loop.go_to(59)
    assert not over
    excused[0] = None
    loop.go_to(1000)
    assert not over
    excused[0] = False
    patience.begin()
    loop.go_to(1031)
    assert over == [1030]


def test_json_is_what_an_error_is(hasty: ApiServer) -> None:
    """A refused head is answered as every refusal: problem details, with the hint."""
    head, _, body = hasty.raw(HEAD).partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    assert "request_timeout_seconds" in json.loads(body)["hint"]
