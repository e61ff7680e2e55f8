"""How answers leave the daemon."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from starlette.responses import Response
from uvicorn.server import ServerState

from daemon.api.answers import Receipts
from daemon.protocol import Protocol

REQUEST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n%b\r\n"


class Recorder(asyncio.Transport):
    """A transport that keeps what is written, call by call."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        """Keep what is written."""
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        """Return whether it was closed."""
        return self.closed

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True


def written(answer: Response, *headers: bytes) -> Recorder:
    """Return the transport of a connection as it was after one request was answered."""

    async def run() -> Recorder:
        config = uvicorn.Config(answer, http=Protocol, ws="none", lifespan="off", log_config=None)
        config.load()
        state, transport = ServerState(), Recorder()
        protocol = Protocol(config, state, {}, asyncio.get_running_loop())
        protocol.connection_made(transport)
        protocol.data_received(REQUEST % b"".join(header + b"\r\n" for header in headers))
        await asyncio.gather(*state.tasks)
        closed = transport.closed
        protocol.connection_lost(None)
        transport.closed = closed
        return transport

    return asyncio.run(run())


def receipts() -> Receipts:
    """Return an answer to events."""
    return Receipts({"events": [], "as_of": 7}, status_code=201, as_of=7)


def test_receipts_are_written_at_once() -> None:
    """Head and body of receipts are one call, with the bytes that two would have been."""
    same = receipts()
    plain = Response(same.body, status_code=201)
    plain.raw_headers = same.raw_headers
    transport = written(same)
    assert transport.writes == [b"".join(written(plain).writes)]
    assert not transport.closed


@pytest.mark.parametrize("header", [b"Connection: close", b"Connection: x, close"])
def test_receipts_on_a_connection_that_ends_say_so(header: bytes) -> None:
    """Where the client asked for it, the answer says that the connection closes, and it does."""
    transport = written(receipts(), header)
    assert b"connection: close\r\n" in b"".join(transport.writes)
    assert transport.closed
