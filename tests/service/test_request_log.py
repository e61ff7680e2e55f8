"""What is logged of a request that fails."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from daemon.api.edge import Edge
from daemon.api.guard import Guard
from domain.errors import NotFound, StorageFailed


async def ask(error: Exception, times: int) -> None:
    """Send a request, some times, to an app that fails."""

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        raise error

    async def send(_message: Any) -> None:
        pass

    edge = Edge(app, guard=Guard(), methods_of=lambda _: [], observe=lambda *_: None)
    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": "GET", "path": "/x", "query_string": b"", "headers": headers}
    for _ in range(times):
        await edge(scope, send, send)


@pytest.mark.parametrize(
    ("error", "level", "least", "most"),
    [(StorageFailed("disk"), logging.WARNING, 1, 50), (NotFound("job"), logging.DEBUG, 100, 100)],
)
def test_only_the_daemons_own_failures_are_warnings_and_never_a_flood(
    error: Exception, level: int, least: int, most: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A hundred failures at once are few warnings; a client's mistake is a line at debug."""
    with caplog.at_level(logging.DEBUG, "daemon.api.edge"):
        asyncio.run(ask(error, 100))
    found = [record for record in caplog.records if record.levelno == level]
    assert least <= len(found) <= most
    assert {record.getMessage() for record in found} == {"request"}
