"""The load of the kill loop: a process of its own that keeps a ledger of what was acknowledged.

``load_client.py PORT SOCKET LEDGERS SEED`` sends until its standard input ends. Each client has a
connection and a ledger file of its own (`ledger`). A client sends its events in order, and the next
request only when the one before was answered or given up; the daemon may die at any moment.
"""

from __future__ import annotations

import io
import json
import os
import random
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

STYLES: Final = ("single", "batch", "pipelined", "local")
"""One event a request; batches; several requests sent at once; batches over the Unix socket."""
BATCH_MAX: Final = 60
WINDOW: Final = 8
"""How many requests a pipelined client sends before it reads an answer."""
AGAIN: Final = 3
"""How many acknowledged requests are sent again after each death of the daemon."""
PAUSE_SECONDS_MAX: Final = 0.02
"""How long a client waits at the most before it sends again: a few thousand events a second."""
SOURCE: Final = "/kill-loop"
TYPES: Final = ("job.submitted", "job.started", "job.progressed", "job.succeeded")


def event(client: str, serial: int) -> dict[str, Any]:
    """Return an event of a client; the same one for the same serial number."""
    return {
        "specversion": "1.0",
        "id": str(serial),
        "source": f"{SOURCE}/{client}",
        "type": TYPES[serial % len(TYPES)],
        "subject": f"{client}-{serial // len(TYPES)}",
        "data": {"extra": {"text": f"{client} {serial}"}},
    }


class Client(threading.Thread):
    """One producer on one connection."""

    def __init__(
        self, name: str, connect: Callable[[], socket.socket], ledgers: Path, seed: str
    ) -> None:
        """Begin a ledger; ``connect`` opens a connection, or raises an `OSError`."""
        super().__init__(name=name, daemon=True)
        self.ended = threading.Event()
        self._connect = connect
        self._chance = random.Random(f"{seed} {name}")
        self._ledger = os.open(ledgers / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._connection: socket.socket | None = None
        self._answers: BinaryIO = io.BytesIO()
        self._requests = self._serials = self._windows = 0
        self._acknowledged: deque[tuple[int, int, list[int]]] = deque(maxlen=AGAIN)

    def run(self) -> None:
        """Send until told to end."""
        while not self.ended.is_set():
            self._pause()
            self._windows += 1
            window = [self._next() for _ in range(WINDOW if self.name == "pipelined" else 1)]
            self._deliver(window)

    def _pause(self) -> None:
        self.ended.wait(self._chance.uniform(0, PAUSE_SECONDS_MAX))

    def _next(self) -> tuple[int, int, int]:
        """Return number, first serial and count of a new request, and write it down."""
        whole = self.name in ("single", "pipelined")
        count = 1 if whole else self._chance.randint(2, BATCH_MAX)
        request = (self._requests, self._serials, count)
        self._requests += 1
        self._serials += count
        self._write("sent", self._windows, *request)
        return request

    def _deliver(self, window: list[tuple[int, int, int]]) -> None:
        """Send requests until all are answered; where the daemon dies, half of the time give up."""
        while window and not self.ended.is_set():
            sent = False
            try:
                self._reach()
                sent = True
                self._send(window)
                while window and self._answered(window[0]):
                    window.pop(0)
            except (OSError, ValueError):
                # A half answer is none: what it says cannot be trusted.
                self._disconnect()
                self._pause()
                if sent and self._chance.random() < 0.5:
                    return

    def _reach(self) -> None:
        """Have a connection; on a new one, send acknowledged requests again first."""
        if self._connection is not None:
            return
        self._connection = self._connect()
        self._connection.settimeout(30)
        self._answers = self._connection.makefile("rb")
        for number, first, positions in self._acknowledged:
            self._send([(number, first, len(positions))])
            status, told = self._receive()
            if status == 503:
                continue
            same = [item["position"] for item in told] == positions
            if not (status == 200 and same and all(item["duplicate"] for item in told)):
                self._write("wrong", number, "again", status, json.dumps(told))

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._answers.close()
            self._connection.close()
            self._connection = None

    def _send(self, requests: list[tuple[int, int, int]]) -> None:
        assert self._connection is not None
        self._connection.sendall(b"".join(self._encoded(each) for each in requests))

    def _encoded(self, request: tuple[int, int, int]) -> bytes:
        _, first, count = request
        events = [event(self.name, serial) for serial in range(first, first + count)]
        single = count == 1
        body = json.dumps(events[0] if single else events).encode()
        kind = b"" if single else b"-batch"
        return (
            b"POST /api/events HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/cloudevents%b+json\r\nContent-Length: %d\r\n\r\n%b"
            % (kind, len(body), body)
        )

    def _receive(self) -> tuple[int, list[dict[str, Any]]]:
        """Return status and receipts of the next answer."""
        status, length = self._line().split()[1], 0
        while (line := self._line()) != b"\r\n":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = self._answers.read(length)
        if len(body) < length:
            raise ConnectionAbortedError
        return int(status), json.loads(body).get("events", [])

    def _line(self) -> bytes:
        line = self._answers.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionAbortedError
        return line

    def _answered(self, request: tuple[int, int, int]) -> bool:
        """Read the answer to a request; False when it has to be sent again."""
        number, first, count = request
        status, told = self._receive()
        if status == 503:
            # What follows in the window may be taken: all of it is sent again, on another one.
            raise ConnectionAbortedError
        ids = [item["id"] for item in told]
        expected = [str(serial) for serial in range(first, first + count)]
        # An event is a duplicate here where its first acknowledgement was lost: all or none.
        halves = len({item["duplicate"] for item in told}) != 1
        if status not in (200, 201) or ids != expected or halves:
            self._write("wrong", number, "answer", status, json.dumps(told))
        positions = [int(item["position"]) for item in told]
        self._write("acknowledged", number, *positions)
        self._acknowledged.append((number, first, positions))
        return True

    def _write(self, *words: object) -> None:
        os.write(self._ledger, " ".join(map(str, words)).encode() + b"\n")


def clients(port: int, path: str, ledgers: Path, seed: str) -> Iterator[Client]:
    """Yield one client of each style."""

    def by_tcp() -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), timeout=30)

    def by_path() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        return connection

    for style in STYLES:
        yield Client(style, by_path if style == "local" else by_tcp, ledgers, seed)


def main() -> None:
    """Send until standard input ends."""
    port, path, ledgers, seed = sys.argv[1:]
    running = list(clients(int(port), path, Path(ledgers), seed))
    for client in running:
        client.start()
    sys.stdin.read()
    for client in running:
        client.ended.set()
    for client in running:
        client.join()


if __name__ == "__main__":
    main()
