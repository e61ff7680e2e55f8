"""A daemon's parts behind a real HTTP server on loopback and on a Unix socket, in this process."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import httpx
import uvloop
from waiting import patiently

from daemon.api.app import create_app
from daemon.api.context import Context
from daemon.api.direct import Direct
from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import WriterBounds
from daemon.lifecycle import Clock, ServiceThread, system_clock
from daemon.patience import REQUEST_SECONDS
from daemon.replay.history import moments_at_rest
from daemon.server import Server
from projections.runner import ProjectionRunner
from projections.views import Views

_numbers = iter(range(1_000_000_000))


def event(type_: str, subject: str, data: Mapping[str, Any] | None = None, **more: Any) -> Any:
    """Return a structured CloudEvent; its id is one that no other has, unless given."""
    return {
        "specversion": "1.0",
        "id": f"e{next(_numbers)}",
        "source": "/tests",
        "type": type_,
        "subject": subject,
        "data": dict(data or {}),
        **more,
    }


class ApiServer:
    """The log, the projections and the HTTP interface of a daemon on ``directory``.

    ``options`` go to the `Context`. With ``projecting`` false the projections stand still until
    ``runner.step`` is called; without ``replaying`` no list answers as of the past.
    """

    def __init__(
        self,
        directory: Path,
        *,
        bounds: WriterBounds | None = None,
        clock: Clock = system_clock,
        projecting: bool = True,
        writing: bool = True,
        replaying: bool = True,
        request_seconds: float = REQUEST_SECONDS,
        **options: Any,
    ) -> None:
        """Open the parts."""
        self.log = EventLog.open(directory / "log.db", clock=clock, bounds=bounds)
        self.runner = ProjectionRunner(directory / "views.db", self.log)
        self.views = Views(directory / "views.db", timeout_seconds=5.0)
        self._at_rest = moments_at_rest(self.log, self.views.path, None)
        self.moments = self._at_rest.__enter__()
        if replaying:
            options["moments"] = self.moments
        self.context = Context(
            log=self.log, views=self.views, runner=self.runner, clock=clock, **options
        )
        self.log.on_commit(lambda _: self.runner.wake())
        self._projector = ServiceThread(self.runner, clock)
        self._projecting = projecting
        self._writing = writing
        self._request_seconds = request_seconds
        self._directory = Path(tempfile.mkdtemp(prefix="chronicled-"))
        self.socket_path = self._directory / "http"
        self._listening = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="http")
        self.address = ("127.0.0.1", 0)

    def __enter__(self) -> Self:
        """Start the writer, the projections and the server."""
        if self._writing:
            self.log.start()
        if self._projecting:
            self._projector.start()
        self._thread.start()
        self._listening.wait()
        if self._failure is not None:
            raise self._failure
        if self._projecting:
            assert self.runner.wait_for(self.log.head(), 20)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop as the daemon does: drain, end the server, close the parts."""
        self.context.drain()
        self.end_server()
        self.context.close()
        self._projector.stop()
        self._at_rest.__exit__(None, None, None)
        self.views.close()
        self.runner.close()
        self.log.close()
        shutil.rmtree(self._directory)

    def end_server(self) -> None:
        """End the server and wait for its end."""
        if self._thread.is_alive() and self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001
            self._failure = error
        finally:
            self._listening.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        by_tcp = socket.create_server(self.address)
        self.address = by_tcp.getsockname()
        by_path = socket.socket(socket.AF_UNIX)
        by_path.bind(os.fspath(self.socket_path))
        by_path.listen()
        app = create_app(self.context)
        direct = Direct(self.context, app)
        server = Server(app, (by_tcp, by_path), direct, request_seconds=self._request_seconds)
        await server.listening()
        self._listening.set()
        await self._stop.wait()
        await server.stop()
        by_tcp.close()
        by_path.close()

    @property
    def url(self) -> str:
        """The base URL of the TCP listener."""
        return f"http://127.0.0.1:{self.address[1]}"

    def client(self, *, unix: bool = False, **options: Any) -> httpx.Client:
        """Return an HTTP client, by TCP or by the Unix socket."""
        if unix:
            options["transport"] = httpx.HTTPTransport(uds=str(self.socket_path), verify=False)
        options.setdefault("event_hooks", {"request": [patiently]})
        base = "http://localhost" if unix else self.url
        # There is no TLS here, and loading the certificates of its authorities takes long.
        return httpx.Client(base_url=base, timeout=30, trust_env=False, verify=False, **options)

    def post(self, *events: Any) -> int:
        """Append structured events and return the head, which the views have reached."""
        with self.client() as client:
            response = client.post("/api/events", json=list(events))
            assert response.status_code in (200, 201), response.text
        head = int(response.json()["as_of"])
        if self._projecting:
            assert self.runner.wait_for(head, 20)
        return head

    def raw(self, request: bytes) -> bytes:
        """Send bytes over TCP and return all that comes until the server closes."""
        with socket.create_connection(self.address, timeout=20) as connection:
            connection.sendall(request)
            parts: Sequence[bytes] = list(iter(lambda: connection.recv(65536), b""))
        return b"".join(parts)
