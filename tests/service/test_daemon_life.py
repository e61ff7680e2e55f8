"""A daemon's life as its service manager and its operator see it: start, stop, and refusals."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from daemon_process import DaemonProcess
from waiting import wait_until

from daemon.lock import find_daemon

Daemons = Callable[..., DaemonProcess]


def job(key: str) -> dict[str, Any]:
    """Return an event of a job."""
    return {
        "specversion": "1.0",
        "id": key,
        "source": "/test",
        "type": "job.submitted",
        "subject": key,
        "data": {"kind": "k", "name": key},
    }


def post(client: httpx.Client, *events: dict[str, Any]) -> httpx.Response:
    """Send a batch of events."""
    headers = {"content-type": "application/cloudevents-batch+json"}
    return client.post("/api/events", content=json.dumps(events), headers=headers)


def contents(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Return the time of change and the bytes of every file."""
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in directory.iterdir()}


def errors(daemon: DaemonProcess) -> list[dict[str, Any]]:
    """Return the daemon's log lines at error level."""
    lines = [json.loads(line) for line in daemon.stderr().splitlines() if line.startswith("{")]
    return [line for line in lines if line["level"] == "error"]


def test_ready_means_that_events_are_taken(daemons: Daemons) -> None:
    """READY comes with both sockets open and the writer at work; before, STATUS says why not."""
    daemon = daemons().launch()
    assert daemon.wait_notified("STATUS=") == "STATUS=opening the log"
    assert daemon.wait_notified("STATUS=") == "STATUS=waiting for the writer"
    daemon.wait_notified("READY=1")
    with daemon.client() as tcp, daemon.client(unix=True) as unix:
        assert post(tcp, job("a")).status_code == 201
        assert post(unix, job("b")).status_code == 201


def test_the_status_says_when_the_projections_have_caught_up(daemons: Daemons) -> None:
    """The status line ends as plain `ready`."""
    daemon = daemons().start()
    wait_until(lambda: daemon.wait_notified("STATUS=") == "STATUS=ready", "the status is ready")


def test_a_stop_is_clean(daemons: Daemons) -> None:
    """SIGTERM: STOPPING is said, the exit code is 0, lock text, socket and write-ahead log go."""
    daemon = daemons().start()
    with daemon.client() as client:
        assert post(client, job("a")).status_code == 201
    assert find_daemon(daemon.data) is not None
    daemon.signal(signal.SIGTERM)
    daemon.wait_notified("STOPPING=1")
    assert daemon.wait() == 0
    assert find_daemon(daemon.data) is None
    assert (daemon.data / "chronicled.lock").read_bytes() == b""
    assert not daemon.socket_path.exists()
    assert sorted(path.name for path in daemon.data.iterdir()) == [
        "chronicled.lock",
        "log.db",
        "reserve",
        "views.db",
    ]


def test_an_interrupt_is_a_stop(daemons: Daemons) -> None:
    """SIGINT, as from the keyboard, does the same as SIGTERM."""
    daemon = daemons().start()
    daemon.signal(signal.SIGINT)
    assert daemon.wait() == 0


def test_everything_is_for_the_owner_alone(daemon: DaemonProcess) -> None:
    """The data directory is 0700, its files 0600, and the socket 0660."""
    assert daemon.data.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in daemon.data.iterdir()}
    assert set(modes.values()) == {0o600}, modes
    assert daemon.socket_path.stat().st_mode & 0o777 == 0o660


def test_a_second_daemon_is_refused_and_touches_nothing(daemons: Daemons, tmp_path: Path) -> None:
    """Exit 3, a message that names the first one, and not a byte of the directory changed."""
    first = daemons().start()
    second = daemons(first.data, arguments=["--config", str(empty_file(tmp_path))])
    first_log = first.stderr()
    # What the first one does meanwhile, as a reader of its views, would look like the second's.
    with first.paused():
        before = contents(first.data)
        assert second.launch().wait() == 3
        assert contents(first.data) == before
    said = second.stderr().removeprefix(first_log)
    assert f"process {first.pid}" in said
    assert first.url in said
    assert not second.socket_path.exists()
    with first.client() as client:
        assert post(client, job("still-there")).status_code == 201


def empty_file(directory: Path) -> Path:
    """Return an empty configuration file."""
    file = directory / "empty.toml"
    file.touch()
    return file


def test_an_address_in_use_is_said_before_anything_is_opened(daemons: Daemons) -> None:
    """Exit 1 with the address; no log was made and the lock is free."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        daemon = daemons(listen=address).launch()
        assert daemon.wait() == 1
    assert f"cannot listen on {address}: Address already in use" in errors(daemon)[0]["message"]
    assert [path.name for path in daemon.data.iterdir()] == ["chronicled.lock"]
    assert find_daemon(daemon.data) is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--socket", "/tmp/" + "x" * 120], "longer than 107 bytes"),
        (["--listen", "nowhere"], "HOST:PORT"),
    ],
)
def test_an_unusable_setting_ends_the_start(
    arguments: list[str], said: str, daemons: Daemons
) -> None:
    """Exit 2, and the message says what is wrong."""
    daemon = daemons(arguments=arguments).launch()
    assert daemon.wait() == 2
    assert said in daemon.stderr()


def test_an_unknown_key_ends_the_start(daemons: Daemons, tmp_path: Path) -> None:
    """Exit 2 with the nearest known key; not even the data directory is made."""
    file = tmp_path / "c.toml"
    file.write_text("[log]\nsynchronos = 'FULL'\n")
    daemon = daemons(arguments=["--config", str(file)]).launch()
    assert daemon.wait() == 2
    assert "log.synchronous" in daemon.stderr()
    assert not daemon.data.exists()


def test_a_damaged_log_is_not_served(daemons: Daemons) -> None:
    """Exit 5, naming the place and the command that helps; the file stays as it is."""
    daemon = daemons().start()
    with daemon.client() as client:
        assert post(client, *(job(f"j{n}") for n in range(5))).status_code == 201
    assert daemon.stop() == 0
    log = daemon.data / "log.db"
    log.write_bytes(log.read_bytes().replace(b'"name":"j3"', b'"name":"j9"'))
    before = log.read_bytes()
    assert daemon.launch().wait() == 5
    (said,) = errors(daemon)
    assert said["code"] == "log_damaged"
    assert "position 4" in said["message"]
    assert f"chronicled verify --data {daemon.data}" in said["hint"]
    assert log.read_bytes() == before


def test_a_newer_log_is_not_touched(daemons: Daemons) -> None:
    """Exit 5 on a schema that this program does not know."""
    daemon = daemons().start()
    assert daemon.stop() == 0
    with closing(sqlite3.connect(daemon.data / "log.db")) as db:
        db.execute("PRAGMA user_version = 999")
        db.commit()
    assert daemon.launch().wait() == 5
    assert errors(daemon)[0]["code"] == "newer_schema"


def test_an_open_stream_does_not_hold_up_a_stop(daemon: DaemonProcess) -> None:
    """The stream ends and the process with it, far within the time that requests would get."""
    with daemon.client() as client, client.stream("GET", "/api/events/stream") as stream:
        assert stream.status_code == 200
        reader = threading.Thread(target=lambda: list(stream.iter_bytes()))
        reader.start()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(seconds=10) == 0
        reader.join(10)
        assert not reader.is_alive()


def unsent_bytes(port: int) -> int:
    """Return what the kernel holds for the clients of a port, because they do not read."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[4].split(":")[0], 16) for row in rows if row[1].endswith(f":{port:04X}"))


def test_a_stream_that_nobody_reads_does_not_hold_up_a_stop(daemon: DaemonProcess) -> None:
    """What a deaf client has not taken is dropped, before the time of requests at work is over."""
    host, _, port = daemon.url.removeprefix("http://").rpartition(":")
    with daemon.client() as client, socket.socket() as deaf:
        for key in range(60):
            note = {**job(str(key)), "data": {"extra": {"text": "x" * 200_000}}}
            assert post(client, note).status_code == 201
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((host, int(port)))
        deaf.sendall(b"GET /api/events/stream?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: unsent_bytes(int(port)) > 500_000, "the stream stands still")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(seconds=10) == 0
    assert "timeout graceful shutdown exceeded" not in daemon.stderr()


def unfinished_request(daemon: DaemonProcess) -> socket.socket:
    """Return a connection whose request has begun and does not come to its end."""
    host, _, port = daemon.url.removeprefix("http://").rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.sendall(
        b"POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
        b"Content-Type: application/cloudevents+json\r\nExpect: 100-continue\r\n\r\n"
    )
    assert b"100" in connection.recv(4096)
    return connection


def test_a_request_that_never_ends_does_not_hold_up_a_stop(daemon: DaemonProcess) -> None:
    """A stalled upload gets its time and is cut off; a second signal cuts it at once."""
    with unfinished_request(daemon):
        daemon.signal(signal.SIGTERM)
        wait_until(lambda: '"message": "stopping"' in daemon.stderr(), "it stops")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(seconds=15) == 0
    assert "signalled again" in daemon.stderr()


def test_the_watchdog_hears_from_the_writer(daemons: Daemons) -> None:
    """With a watchdog, life signs come again and again."""
    daemon = daemons(environment={"WATCHDOG_USEC": "200000"}).start()
    for _ in range(3):
        daemon.wait_notified("WATCHDOG=1")


@pytest.mark.needs("systemd-socket-activate")
def test_sockets_of_the_service_manager_are_served(
    daemons: Daemons, tmp_path: Path, sockets: Path
) -> None:
    """With socket activation the daemon answers on what it was given, and leaves its file alone."""
    held = sockets / "held"
    daemon = daemons(wrapper=["systemd-socket-activate", "-l", str(held), "-E", "NOTIFY_SOCKET"])
    daemon.launch()
    wait_until(held.exists, "the activator listens")
    transport = httpx.HTTPTransport(uds=str(held))
    with httpx.Client(transport=transport, base_url="http://localhost", timeout=30) as client:
        assert post(client, job("a")).status_code == 201
        assert daemon.lock()["socket"] == str(held)
    assert not daemon.socket_path.exists()
    assert daemon.stop() == 0
    assert held.exists()


@pytest.fixture
def sockets() -> Iterator[Path]:
    """Return a short directory: the path of a Unix socket is limited."""
    with tempfile.TemporaryDirectory(prefix="chr-") as path:
        yield Path(path)


def test_python_m_daemon_is_the_command() -> None:
    """``python -m daemon`` runs the same program as ``chronicled``."""
    command = [sys.executable, "-m", "daemon", "--version"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.startswith("chronicled ")


def test_each_request_is_a_line_at_debug(daemons: Daemons) -> None:
    """The line has method, path, route, status and time; neither query nor body is in it."""
    daemon = daemons(environment={"CHRONICLED_LOGGING__LEVEL": "debug"}).start()
    with daemon.client() as client:
        client.get("/api/jobs/some-job?token=hunter2")
    # The line may come after the answer.
    said = wait_until(
        lambda: [line for line in daemon.stderr().splitlines() if "some-job" in line],
        "the line is written",
    )
    (line,) = map(json.loads, said)
    assert line["message"] == "request"
    assert line["level"] == "debug"
    assert (line["method"], line["path"], line["status"]) == ("GET", "/api/jobs/some-job", 422)
    assert line["route"].startswith("/api/jobs/{")
    assert line["milliseconds"] > 0
    assert "hunter2" not in daemon.stderr()
