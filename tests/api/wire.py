"""Connections without sockets or threads: a test says when bytes come and commits end."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from daemon.api.app import create_app
from daemon.api.context import Context
from daemon.api.direct import Direct
from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import WriterBounds
from daemon.lifecycle import system_clock
from daemon.protocol import Protocol
from projections.runner import ProjectionRunner
from projections.views import Views

SECONDS = 20


class Wire(asyncio.Transport):
    """One end of a connection: keeps what is written to it, call by call."""

    def __init__(self, protocol: Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.writes: list[bytes] = []
        self.closed = False
        self.reading = True
        self._extra = {"sockname": ("127.0.0.1", 8321), "peername": ("127.0.0.1", 50000)}
        protocol.connection_made(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Say where it leads to."""
        return self._extra.get(name, default)

    def write(self, data: Any) -> None:
        """Keep what is written."""
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        """Return whether it was closed."""
        return self.closed

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    def pause_reading(self) -> None:
        """Give no more bytes."""
        self.reading = False

    def resume_reading(self) -> None:
        """Give bytes again."""
        self.reading = True

    def drop(self) -> None:
        """End it from the client's side."""
        self.closed = True
        self.protocol.connection_lost(None)

    @property
    def answers(self) -> list[Answer]:
        """What was answered so far."""
        return list(answers_in(b"".join(self.writes)))


Answer = tuple[int, dict[str, str], Any]
"""Status, headers and document of an answer."""


def answers_in(data: bytes) -> Iterator[Answer]:
    """Yield each answer in what came over a connection."""
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers["content-length"])
        body, data = rest[:length], rest[length:]
        yield int(status.split()[1]), headers, json.loads(body) if b"{" in body else body


class Bench:
    """The parts behind the connections; nothing is committed until `commit`."""

    def __init__(
        self, directory: Path, *, short: bool = True, bounds: WriterBounds | None = None
    ) -> None:
        directory.mkdir()
        self.log = EventLog.open(directory / "log.db", bounds=bounds)
        self.runner = ProjectionRunner(directory / "views.db", self.log)
        self.views = Views(directory / "views.db", timeout_seconds=5.0)
        self.context = Context(log=self.log, views=self.views, runner=self.runner)
        app = create_app(self.context)
        self.direct = Direct(self.context, app) if short else None
        self._config = uvicorn.Config(
            app, http=Protocol, ws="none", lifespan="off", log_config=None
        )  # type: ignore[arg-type]
        self._config.load()
        self.state = ServerState()

    def connect(self) -> Wire:
        """Open a connection."""
        loop = asyncio.get_running_loop()
        return Wire(Protocol(self._config, self.state, {}, loop, self.direct))

    async def settle(self) -> None:
        """Wait until nothing happens any more before something new comes in or is committed."""
        # Each turn of the loop carries on what goes on; nothing takes more of them.
        for _ in range(10):
            await asyncio.sleep(0)

    async def commit(self) -> None:
        """Let the writer write what it has, until nothing is left."""
        await self.settle()
        while self.log.writer.queued_events:
            self.log.writer.step(system_clock())
            await self.settle()

    async def answer(self, wire: Wire, count: int) -> None:
        """Commit until a connection has so many answers, and see that no more come."""
        async with asyncio.timeout(SECONDS):
            while len(wire.answers) < count:
                await self.commit()
        await self.commit()
        assert len(wire.answers) == count

    def counts(self) -> set[str]:
        """Return the lines of the metrics that count requests and events."""
        text = self.context.metrics.exposition("text/plain")[0].decode()
        counted = r"(?m)^chronicled_(?:events_|dead_|http_|append_)\w*(?:_total|_count)\b.*$"
        return set(re.findall(counted, text))

    def close(self) -> None:
        """Close the files."""
        self.context.close()
        self.views.close()
        self.runner.close()
        self.log.close()


@contextmanager
def bench(directory: Path, **options: Any) -> Iterator[Bench]:
    """Open a bench, and close it at the end."""
    opened = Bench(directory, **options)
    try:
        yield opened
    finally:
        opened.close()
