"""The load: a process of its own that posts prepared requests and times each answer.

It reads the events from a file, prepares every request, writes ``ready``, and starts when a
line comes in. What it measured goes to stdout as JSON. Each connection sends its next request
when the answer to the last one has come.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import uvloop


class Connection(asyncio.Protocol):
    """One keep-alive connection that posts requests one after the other."""

    def __init__(self, requests: Iterator[bytes], seconds: list[float]) -> None:
        """Take requests from the iterator shared by all connections; add each one's time."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._seconds = seconds
        self._answer = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; ``send`` begins."""
        self._transport = cast("asyncio.Transport", transport)

    def send(self) -> None:
        """Send the next request; end where there is none."""
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            self.ended.set_result(None)
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Collect one answer; anything but 201 ends the run."""
        self._answer += data
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if not found or len(body) < _content_length(head):
            return
        if not head.startswith(b"HTTP/1.1 201"):
            self.ended.set_exception(RuntimeError(self._answer.decode(errors="replace")))
            return
        self._seconds.append(time.perf_counter() - self._sent_at)
        self._answer = b""
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report a connection that the daemon closed."""
        if not self.ended.done():
            self.ended.set_exception(exc or ConnectionError("the daemon closed the connection"))


def _content_length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0])


def prepare(events: list[bytes], batch: int) -> list[bytes]:
    """Return whole HTTP requests of ``batch`` events each; single events go alone."""
    kind = b"application/cloudevents" + (b"-batch" if batch > 1 else b"") + b"+json"
    requests = []
    for at in range(0, len(events), batch):
        part = events[at : at + batch]
        body = b"[" + b",".join(part) + b"]" if batch > 1 else part[0]
        requests.append(
            b"POST /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %s\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (kind, len(body), body)
        )
    return requests


async def post(port: int, connections: int, requests: list[bytes]) -> list[float]:
    """Post every request over so many connections; return the seconds that each took."""
    loop = asyncio.get_running_loop()
    shared, seconds = iter(requests), list[float]()
    opened = [
        (await loop.create_connection(lambda: Connection(shared, seconds), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    started = time.perf_counter()
    for connection in opened:
        connection.send()
    await asyncio.gather(*(connection.ended for connection in opened))
    return [time.perf_counter() - started, *sorted(seconds)]


def main() -> None:
    """Read the arguments, post, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--events", type=Path, required=True, help="NDJSON, one event a line")
    options = parser.parse_args()
    requests = prepare(options.events.read_bytes().splitlines(), options.batch)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        elapsed, *seconds = runner.run(post(options.port, options.connections, requests))
    report = {
        "seconds": elapsed,
        "requests": len(seconds),
        "p50_ms": seconds[len(seconds) // 2] * 1000,
        "p99_ms": seconds[len(seconds) * 99 // 100] * 1000,
    }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
