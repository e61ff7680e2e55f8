"""More connections than there are descriptors, clients that never finish, a thousand that idle."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from clients import event, post, recorded
from daemon_process import DaemonProcess
from kill_loop import rest
from waiting import wait_until

Daemons = Callable[..., DaemonProcess]
DESCRIPTORS = 128
SLOW = 300
STREAMS = 1000
EVENTS = 100
STREAM_BYTES_MAX = 100_000
"""What a daemon may take of memory for each open stream."""


def connect(daemon: DaemonProcess) -> socket.socket:
    """Open a connection."""
    host, _, port = daemon.url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=60)


@contextmanager
def connections(daemon: DaemonProcess, count: int) -> Iterator[list[socket.socket]]:
    """Hold so many connections open."""
    with ExitStack() as stack:
        yield [stack.enter_context(connect(daemon)) for _ in range(count)]


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Return the memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def open_descriptors(pid: int) -> int:
    """Return how many descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_more_connections_than_descriptors(daemons: Daemons) -> None:
    """Who is connected is served on; the others are when there is room again; nothing spins."""
    limited = ["sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$@"', "sh"]
    daemon = daemons(wrapper=limited).start().wait_caught_up()
    with daemon.client() as client:
        assert post(client, "before").status_code == 201
        with connections(daemon, 2 * DESCRIPTORS):
            wait_until(
                lambda: open_descriptors(daemon.pid) >= DESCRIPTORS - 2, "none is left to it"
            )
            used = cpu_seconds(daemon.pid)
            rest(2)
            assert cpu_seconds(daemon.pid) - used < 1, "it does not spin"
            assert post(client, "meanwhile").status_code == 201
            assert client.get("/readyz").status_code == 200
        with daemon.client() as another:
            wait_until(lambda: _is_taken(another), "there is room again")
    assert daemon.stop() == 0
    assert list(recorded(daemon.data)) == ["before", "meanwhile", "after"]
    assert '"level": "error"' not in daemon.stderr()


def _is_taken(client: httpx.Client) -> bool:
    try:
        return post(client, "after").status_code in (200, 201)
    except httpx.TransportError:
        return False


def test_requests_that_never_end(daemons: Daemons) -> None:
    """Hundreds of them hold up nobody, and each is ended in its time, on either socket."""
    daemon = daemons(environment={"CHRONICLED_SERVER__REQUEST_TIMEOUT_SECONDS": "1"}).start()
    head = b"POST /api/events HTTP/1.1\r\nHost: localhost\r\n"
    body = b"Content-Type: application/json\r\nContent-Length: 90000\r\n\r\n[ "
    with daemon.client(unix=True) as client, connections(daemon, SLOW) as slow:
        for number, connection in enumerate(slow):
            connection.sendall(head + body if number % 2 else head)
        for number in range(EVENTS):
            assert post(client, f"e{number}").status_code == 201
        for connection in slow:
            assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")
        assert client.get("/healthz").status_code == 200
    assert daemon.stop() == 0
    assert len(recorded(daemon.data)) == EVENTS


def test_a_thousand_idle_streams(daemons: Daemons) -> None:
    """Memory is bounded, intake costs what it did, the next one is refused, and a stop is soon."""
    environment = {"CHRONICLED_SERVER__STREAMS": str(STREAMS)}
    daemon = daemons(environment=environment).start().wait_caught_up()
    with daemon.client(unix=True) as client:
        alone = _cost(daemon, client, "alone")
        before = resident_bytes(daemon.pid)
        with connections(daemon, STREAMS) as streams:
            for connection in streams:
                connection.sendall(
                    b"GET /api/events/stream?type=alert.raised HTTP/1.1\r\nHost: localhost\r\n\r\n"
                )
            _read_until(streams, b"retry: 2000")
            refused = client.get("/api/events/stream")
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
            beside = _cost(daemon, client, "beside")
            assert resident_bytes(daemon.pid) - before < STREAMS * STREAM_BYTES_MAX
            # A tenth of the time may go to the streams, however long the events take.
            (cpu, seconds), (alone_cpu, _) = beside, alone
            assert cpu < 3 * alone_cpu + 0.25 * seconds + 0.3
            raised = {**event("alert"), "type": "alert.raised"}
            raised["data"] = {"severity": "error", "title": "t"}
            assert client.post("/api/events", json=raised).status_code == 201
            _read_until(streams, b"event: alert.raised")
            assert daemon.stop() == 0
            _read_until(streams, b"0\r\n\r\n")
    assert len(recorded(daemon.data)) == 2 * EVENTS + 1


def _cost(daemon: DaemonProcess, client: httpx.Client, name: str) -> tuple[float, float]:
    """Return what some events take: processor time of the daemon, and time (seconds)."""
    cpu, begun = cpu_seconds(daemon.pid), time.monotonic()
    for number in range(EVENTS):
        assert post(client, f"{name}-{number}").status_code == 201
    return cpu_seconds(daemon.pid) - cpu, time.monotonic() - begun


def _read_until(streams: list[socket.socket], wanted: bytes) -> None:
    """Read from each connection until these bytes have come."""
    for connection in streams:
        found = b""
        while wanted not in found:
            piece = connection.recv(65536)
            assert piece, f"it ended: {found!r}"
            found += piece
