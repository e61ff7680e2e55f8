"""Fixtures of the HTTP interface's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import ApiServer


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Callable[..., ApiServer]]:
    """Return a maker of running servers, each on a directory of its own."""
    with ExitStack() as stack:

        def make(**options: Any) -> ApiServer:
            directory = tmp_path / f"data{len(list(tmp_path.iterdir()))}"
            directory.mkdir()
            return stack.enter_context(ApiServer(directory, **options))

        yield make


@pytest.fixture
def server(servers: Callable[..., ApiServer]) -> ApiServer:
    """Return a running server on an empty directory."""
    return servers()


@pytest.fixture
def client(server: ApiServer) -> Iterator[httpx.Client]:
    """Return a client of the server, over TCP."""
    with server.client() as client:
        yield client
