"""Followers of the live stream: each reads on a thread of its own until it is closed."""

from __future__ import annotations

import threading
from typing import Self

import httpx


class Follower:
    """One that reads ``/api/events/stream``; ``last`` is the newest position it was told of.

    ``fault`` says what was wrong with what it was told; empty where nothing was.
    """

    def __init__(self, socket: str, query: str = "") -> None:
        transport = httpx.HTTPTransport(uds=socket)
        self._http = httpx.Client(transport=transport, base_url="http://localhost", timeout=None)
        self._path = f"/api/events/stream{query}"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.last = 0
        self.events = 0
        self.fault = ""

    def __enter__(self) -> Self:
        """Begin to follow."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End with the next line that comes; a heartbeat is one."""
        self._ended.set()
        self._http.close()

    def _read(self) -> None:
        try:
            with self._http.stream("GET", self._path) as answer:
                answer.raise_for_status()
                for line in answer.iter_lines():
                    if self._ended.is_set():
                        return
                    if line.startswith("id:"):
                        self._take(int(line.removeprefix("id:")))
        except (httpx.HTTPError, RuntimeError, OSError) as error:
            if not self._ended.is_set():
                self.fault = f"{self._path} ended: {error!r}"

    def _take(self, position: int) -> None:
        if position <= self.last and not self.fault:
            self.fault = f"{self._path} told of {position} after {self.last}"
        self.last = position
        self.events += 1
