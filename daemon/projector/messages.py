"""What the daemon and its projector say to each other: one JSON object a line, over a socket."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Settings:
    """What the projector works on, and how; the first line that it is told."""

    log: str
    views: str
    batch_events: int
    synchronous: str
    level: str
    style: str


class Line:
    """One end of the connection. Anybody may send; one thread receives."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = connection.makefile("rb")
        self._sending = threading.Lock()

    def send(self, message: Any) -> None:
        """Send a message: anything that orjson writes.

        Raises:
            OSError: the other side has gone.

        """
        line = orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE)
        with self._sending:
            self._connection.sendall(line)

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yield what comes, until the other side has gone (also in the middle of a line)."""
        try:
            for line in self._reader:
                if line.endswith(b"\n"):
                    yield orjson.loads(line)
        except ConnectionError:
            return

    def close(self) -> None:
        """Close this end; whoever receives on it is woken."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._reader.close()
        self._connection.close()
