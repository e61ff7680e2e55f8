"""The load: a process of its own that sends prepared requests and times each answer.

It prepares every request, writes ``ready``, and starts when a line comes in. What it measured goes
to stdout as JSON. In a closed loop each connection sends its next request when an answer has come;
at a ``--rate`` requests are due at fixed times, and a latency counts from that time, not from when
a connection was free. ``--trivial`` answers instead of asking: the most that the client can do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import uvloop

TICK_SECONDS = 0.001
"""How often a paced run looks which requests are due."""
_ANSWER = b"HTTP/1.1 201 Created\r\nchronicled-as-of: 1\r\nContent-Length: 120\r\n\r\n" + b"x" * 120


class Run:
    """What all connections share: the requests, and what came of them."""

    def __init__(self, requests: Iterator[bytes], expected: bytes, seconds: float) -> None:
        self.requests = requests
        self.expected = expected
        self.latencies: list[float] = []
        self.acks: list[tuple[float, int]] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_idle: Callable[[Connection], None] | None = None
        self.at_work = 0
        self._until = time.perf_counter() + seconds

    def next(self) -> bytes | None:
        """Return the next request; None when there is none or the time is up."""
        return next(self.requests, None) if time.perf_counter() < self._until else None

    def finish(self) -> None:
        """Note that nothing is left to do."""
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        """End the run with an error."""
        if not self.done.done():
            self.done.set_exception(error)


class Connection(asyncio.Protocol):
    """One keep-alive connection with up to ``pipeline`` requests in flight."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._buffer = b""
        self._sent: deque[float] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes, due: float) -> None:
        """Send one request; its latency counts from ``due``."""
        self._run.at_work += 1
        self._sent.append(due)
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take every whole answer; one that was not expected ends the run."""
        buffer = self._buffer + data if self._buffer else data
        while True:
            head_end = buffer.find(b"\r\n\r\n")
            if head_end < 0:
                break
            head = buffer[:head_end].lower()
            end = head_end + 4 + _number(head, b"content-length:")
            if len(buffer) < end:
                break
            if head[9:12] != self._run.expected:
                self._run.fail(RuntimeError(buffer[:2000].decode(errors="replace")))
                return
            self._answered(head)
            buffer = buffer[end:]
        self._buffer = buffer

    def _answered(self, head: bytes) -> None:
        run, now = self._run, time.perf_counter()
        run.latencies.append(now - self._sent.popleft())
        run.acks.append((now, _number(head, b"chronicled-as-of:")))
        run.at_work -= 1
        if run.on_idle is not None:
            run.on_idle(self)
        elif (request := run.next()) is not None:
            self.send(request, now)
        elif not run.at_work:
            run.finish()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report a connection that the other side closed."""
        self._run.fail(exc or ConnectionError("the connection was closed"))


def _number(head: bytes, name: bytes) -> int:
    at = head.find(name)
    if at < 0:
        return 0
    at += len(name)
    end = head.find(b"\r", at)
    return int(head[at:] if end < 0 else head[at:end])


class Pace:
    """Sends requests when they are due, on whatever connection is free."""

    def __init__(self, run: Run, idle: list[Connection], rate: float) -> None:
        self._run, self._idle, self._interval = run, deque(idle), 1 / rate
        self._due: deque[float] = deque()
        self._next = time.perf_counter()
        self._waiting: bytes | None = run.next()
        self._ended = False
        run.on_idle = self._freed
        self._tick()

    def _freed(self, connection: Connection) -> None:
        self._idle.append(connection)
        self._send()

    def _tick(self) -> None:
        now = time.perf_counter()
        while self._next <= now and not self._ended:
            self._due.append(self._next)
            self._next += self._interval
        self._send()
        if not self._run.done.done():
            asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def _send(self) -> None:
        while self._due and self._idle and self._waiting is not None:
            self._idle.popleft().send(self._waiting, self._due.popleft())
            self._waiting = self._run.next()
        if self._waiting is None:
            self._ended = True
            if not self._run.at_work:
                self._run.finish()


def post(events: list[bytes], batch: int) -> list[bytes]:
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


def get(path: bytes) -> bytes:
    """Return a whole HTTP request for a path."""
    return b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path


def percentile(ordered: list[float], share: float) -> float:
    """Return the value that this share of the ordered values does not exceed."""
    return ordered[max(0, -(-len(ordered) * int(share * 10_000) // 10_000) - 1)]


async def connect(where: str, protocol: Callable[[], Connection]) -> Connection:
    """Open one connection, to a port or the path of a Unix socket."""
    loop = asyncio.get_running_loop()
    if where.isdecimal():
        return (await loop.create_connection(protocol, "127.0.0.1", int(where)))[1]
    return (await loop.create_unix_connection(protocol, where))[1]


async def measure(options: argparse.Namespace, requests: list[bytes]) -> dict[str, object]:
    """Send the requests and return what was measured."""
    loop = asyncio.get_running_loop()
    idle = Run(iter(()), b"", 0)
    opened = [await connect(options.at, lambda: Connection(idle)) for _ in range(options.clients)]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.readline)
    endless = _repeated(requests) if options.repeat else iter(requests)
    run = Run(endless, b"200" if options.gets else b"201", options.seconds)
    for connection in opened:
        connection._run = run  # noqa: SLF001
    cpu, started = time.process_time(), time.perf_counter()
    if options.rate:
        Pace(run, opened, options.rate / options.batch)
    else:
        for connection in opened * options.pipeline:
            if (request := run.next()) is not None:
                connection.send(request, time.perf_counter())
    await run.done
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    if options.acks:
        options.acks.write_text(json.dumps(run.acks))
    ordered = sorted(run.latencies)
    return {
        "seconds": elapsed,
        "requests": len(ordered),
        "p50_ms": percentile(ordered, 0.5) * 1000,
        "p99_ms": percentile(ordered, 0.99) * 1000,
        "p999_ms": percentile(ordered, 0.999) * 1000,
        "max_ms": ordered[-1] * 1000,
        "cpu_us": cpu / len(ordered) * 1e6,
    }


def _repeated(requests: list[bytes]) -> Iterator[bytes]:
    while True:
        yield from requests


class Trivial(asyncio.Protocol):
    """A server that reads requests and answers each with the same bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        buffer = self._buffer + data if self._buffer else data
        while (head_end := buffer.find(b"\r\n\r\n")) >= 0:
            end = head_end + 4 + _number(buffer[:head_end].lower(), b"content-length:")
            if len(buffer) < end:
                break
            buffer = buffer[end:]
            self._transport.write(_ANSWER)
        self._buffer = buffer


async def answer(where: str) -> None:
    """Serve trivial answers on a Unix socket until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(Trivial, where)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    """Read the arguments, send, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at", required=True, help="a port, or the path of a Unix socket")
    parser.add_argument("--clients", type=int, default=1, help="connections")
    parser.add_argument("--batch", type=int, default=1, help="events a request")
    parser.add_argument("--pipeline", type=int, default=1, help="requests in flight a connection")
    parser.add_argument("--rate", type=float, default=0, help="events a second that are offered")
    parser.add_argument("--seconds", type=float, default=3600, help="how long to send")
    parser.add_argument("--repeat", action="store_true", help="begin again at the end")
    parser.add_argument("--acks", type=Path, help="file for (time, position) of each answer")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--events", type=Path, help="NDJSON to post, one event a line")
    what.add_argument("--gets", type=Path, help="paths to get, one a line")
    what.add_argument("--trivial", action="store_true", help="answer requests, for calibration")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if options.trivial:
            runner.run(answer(options.at))
            return
        lines = (options.events or options.gets).read_bytes().splitlines()
        requests = [get(line) for line in lines] if options.gets else post(lines, options.batch)
        sys.stdout.write(json.dumps(runner.run(measure(options, requests))) + "\n")


if __name__ == "__main__":
    main()
