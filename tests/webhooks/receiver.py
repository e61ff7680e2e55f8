"""A receiver of webhooks on loopback, which answers as a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self


class Received(NamedTuple):
    """One request."""

    headers: dict[str, str]
    body: bytes
    status: int


class Receiver:
    """Keeps what came; ``faults`` says with which status the nth request is answered.

    0 closes the connection without an answer, -1 gives none until the receiver ends.
    """

    def __init__(self, faults: Callable[[int], int] = lambda _: 200) -> None:
        self.faults = faults
        self.requests: list[Received] = []
        self.retry_after = "0"
        self.ended = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                """Keep the request and answer it."""
                length = int(self.headers["content-length"])
                body = self.rfile.read(length)
                if len(body) < length:  # The sender was killed in the middle.
                    self.close_connection = True
                    return
                status = receiver.faults(len(receiver.requests))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.requests.append(Received({**headers, ":path": self.path}, body, status))
                if status <= 0:
                    if status < 0:
                        receiver.ended.wait(30)
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("location", "/elsewhere")
                self.send_header("retry-after", receiver.retry_after)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook?token=hushhush"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        """Start to serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the server."""
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def taken(self) -> list[int]:
        """Return the positions of the events taken, each once, in the order in which they came."""
        positions: dict[int, None] = {}
        for request in self.requests:
            if request.status == 200:
                found = json.loads(request.body)
                for event in found if isinstance(found, list) else [found]:
                    positions[event["position"]] = None
        return list(positions)
