"""What is asked of the service inside the booted system; runs there, as root, without pytest.

Each check is a function; its outcome goes to /probe.json under its name.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

SOCKET = Path("/run/chronicled/chronicled.sock")
HELD_SOCKET = Path("/run/chronicled.socket.d/chronicled.sock")
DATA = Path("/var/lib/private/chronicled")
CREDENTIAL = Path("/etc/credstore/chronicled.secrets.toml")
CONFIGURATION = Path("/etc/chronicled/chronicled.toml")
DROP_IN = Path("/run/systemd/system/chronicled.service.d/test.conf")
_PAUSE = threading.Event()


def systemctl(*arguments: str, check: bool = True) -> int:
    """Run systemctl."""
    return subprocess.run(["systemctl", *arguments], check=check).returncode


def show(name: str) -> str:
    """Return a property of the service."""
    command = ["systemctl", "show", "chronicled.service", "--value", "-p", name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def journal() -> list[dict[str, Any]]:
    """Return what the service and systemd said about it."""
    command = ["journalctl", "-u", "chronicled.service", "-o", "json", "--no-pager"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 20) -> None:
    """Wait for a condition until a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        _PAUSE.wait(0.02)


def client(path: Path = SOCKET) -> httpx.Client:
    """Return a client on a Unix socket."""
    transport = httpx.HTTPTransport(uds=str(path))
    return httpx.Client(transport=transport, base_url="http://localhost", timeout=30)


def event(key: str) -> dict[str, Any]:
    """Return an event of a job."""
    return {
        "specversion": "1.0",
        "id": key,
        "source": "/probe",
        "type": "job.submitted",
        "subject": f"job-{key}",
        "data": {"kind": "probe"},
    }


def post(over: httpx.Client, events: list[dict[str, Any]]) -> httpx.Response:
    """Send a batch."""
    headers = {"content-type": "application/cloudevents-batch+json"}
    return over.post("/api/events", content=json.dumps(events), headers=headers)


def recorded(over: httpx.Client) -> dict[int, str]:
    """Return the id of every event in the log by its position."""
    found: dict[int, str] = {}
    address: str | None = "/api/events?limit=1000"
    while address:
        answer = over.get(address).raise_for_status()
        found |= {item["position"]: item["id"] for item in answer.json()["items"]}
        address = answer.links.get("next", {}).get("url")
    return found


@contextlib.contextmanager
def writer_blocked() -> Iterator[None]:
    """Hold the log's write lock from outside: the writer hangs in the middle of its work."""
    holder = sqlite3.connect(DATA / "log.db", isolation_level=None)
    try:
        holder.execute("BEGIN EXCLUSIVE")
        yield
        holder.execute("ROLLBACK")
    finally:
        holder.close()


def starts_without_the_credential() -> None:
    """See READY come with neither credential nor configuration, and events taken at once."""
    assert not CREDENTIAL.exists()
    systemctl("start", "chronicled")
    assert show("ActiveState") == "active"
    assert show("StatusText").startswith("ready"), show("StatusText")
    with client() as over:
        assert post(over, [event("first")]).status_code == 201
    assert DATA.stat().st_mode & 0o777 == 0o700
    assert (DATA / "log.db").stat().st_mode & 0o777 == 0o600


def journal_has_priorities() -> None:
    """See the daemon's lines arrive with their priority as a field, not as text."""
    ready = [entry for entry in journal() if ": ready " in str(entry["MESSAGE"])]
    assert ready, "no line says ready"
    assert all(entry["PRIORITY"] == "6" for entry in ready)
    assert not any("<6>" in str(entry["MESSAGE"]) for entry in journal())


def only_the_group_may_use_the_socket() -> None:
    """See a member of the group connect to the 0660 socket, and anyone else refused."""
    status = SOCKET.stat()
    assert status.st_mode & 0o777 == 0o660
    program = f"import socket; socket.socket(socket.AF_UNIX).connect({str(SOCKET)!r})"
    for group, refused in ((status.st_gid, False), (65534, True)):
        command = ["setpriv", "--reuid=65534", f"--regid={group}", "--clear-groups"]
        command += ["/usr/bin/python3", "-c", program]
        assert (subprocess.run(command, capture_output=True).returncode != 0) is refused


def killed_under_load_loses_nothing() -> None:
    """See it started again after kill -9 amid writes, with every acknowledged event there once."""
    acknowledged: dict[int, str] = {}
    enough, end = threading.Event(), threading.Event()

    def produce(number: int) -> None:
        serial = 0
        while not end.is_set():
            batch = [event(f"{number}-{serial}-{part}") for part in range(5)]
            try:
                with client() as over:
                    answer = post(over, batch)
            except httpx.TransportError:
                _PAUSE.wait(0.02)
                continue
            if answer.status_code in (200, 201):
                acknowledged.update((e["position"], e["id"]) for e in answer.json()["events"])
                serial += 1
            if serial == 30:
                enough.set()

    producers = [threading.Thread(target=produce, args=(number,)) for number in range(4)]
    for producer in producers:
        producer.start()
    assert enough.wait(30)
    before = len(acknowledged)
    os.kill(int(show("MainPID")), signal.SIGKILL)
    wait_until(lambda: len(acknowledged) > before + 200, "more events after the restart", 30)
    end.set()
    for producer in producers:
        producer.join()
    assert show("NRestarts") == "1"
    with client() as over:
        there = recorded(over)
    assert {position: there.get(position) for position in acknowledged} == acknowledged
    assert len(set(there.values())) == len(there), "an event is there twice"


def ready_only_when_ready() -> None:
    """See the unit activating while the writer cannot commit, and READY as soon as it can."""
    systemctl("stop", "chronicled")
    with writer_blocked():
        systemctl("start", "--no-block", "chronicled")
        wait_until(SOCKET.exists, "the sockets are bound")
        try:
            with client() as over:
                answer = over.get("/healthz", timeout=2)
            raise AssertionError(f"it answered before it was ready: {answer}")
        except httpx.ReadTimeout:
            assert show("ActiveState") == "activating"
    wait_until(lambda: show("ActiveState") == "active", "active")
    with client() as over:
        assert post(over, [event("after-ready")]).status_code == 201


def a_hung_writer_is_killed() -> None:
    """See the watchdog end a daemon whose writer hangs, although its HTTP server answers."""
    DROP_IN.parent.mkdir(parents=True, exist_ok=True)
    DROP_IN.write_text("[Service]\nWatchdogSec=3\n")
    systemctl("daemon-reload")
    systemctl("restart", "chronicled")
    first = show("MainPID")
    with writer_blocked():
        with client() as over:
            assert over.get("/healthz").status_code == 200
        wait_until(lambda: show("MainPID") != first, "the watchdog ends it")
    wait_until(lambda: show("ActiveState") == "active", "active")
    assert any("Watchdog timeout" in str(entry["MESSAGE"]) for entry in journal())
    assert show("NRestarts") == "1"
    with client() as over:
        assert post(over, [event("after-the-watchdog")]).status_code == 201


def stops_with_a_stream_open() -> None:
    """See a clean stop that no open event stream holds up, and that takes the socket away."""
    with client() as over, over.stream("GET", "/api/events/stream") as stream:
        assert stream.status_code == 200
        began = time.monotonic()
        systemctl("stop", "chronicled")
        assert time.monotonic() - began < 20
    assert show("Result") == "success"
    assert show("ExecMainStatus") == "0"
    assert not SOCKET.exists()
    assert (DATA / "chronicled.lock").read_bytes() == b""


def a_bad_configuration_is_not_tried_again() -> None:
    """See exit code 2 leave the unit failed, with the nearest known key in the journal."""
    CONFIGURATION.write_text("[server]\nlistn = '127.0.0.1:1'\n")
    assert systemctl("start", "chronicled", check=False) != 0
    assert show("ExecMainStatus") == "2"
    assert (show("ActiveState"), show("NRestarts")) == ("failed", "0")
    assert any("server.listen" in str(entry["MESSAGE"]) for entry in journal())
    CONFIGURATION.unlink()
    systemctl("reset-failed", "chronicled")


def the_credential_is_read() -> None:
    """See settings in the credential store take effect."""
    CREDENTIAL.parent.mkdir(exist_ok=True)
    CREDENTIAL.write_text("[server]\nbatch_events = 2\n")
    systemctl("start", "chronicled")
    with client() as over:
        assert post(over, [event(f"credential-{n}") for n in range(3)]).status_code == 413
    systemctl("stop", "chronicled")
    CREDENTIAL.unlink()


def the_socket_unit_starts_the_service() -> None:
    """See a request to systemd's socket start the daemon, which answers it; the socket stays."""
    systemctl("start", "chronicled.socket")
    status = HELD_SOCKET.stat()
    assert status.st_mode & 0o777 == 0o660
    assert show("ActiveState") == "inactive"
    with client(HELD_SOCKET) as over:
        assert post(over, [event("by-activation")]).status_code == 201
    assert not SOCKET.exists()
    systemctl("stop", "chronicled.service")
    assert HELD_SOCKET.exists()
    with client(HELD_SOCKET) as over:
        assert over.get("/healthz").status_code == 200
    systemctl("stop", "chronicled.socket", "chronicled.service")


CHECKS = (
    starts_without_the_credential,
    journal_has_priorities,
    only_the_group_may_use_the_socket,
    killed_under_load_loses_nothing,
    ready_only_when_ready,
    a_hung_writer_is_killed,
    stops_with_a_stream_open,
    a_bad_configuration_is_not_tried_again,
    the_credential_is_read,
    the_socket_unit_starts_the_service,
)


def main() -> None:
    """Run every check, in order, and write down how each went."""
    os.environ["SYSTEMD_PAGER"] = ""
    subprocess.run(["systemd-sysusers"], check=True)
    systemctl("daemon-reload")
    outcomes = {}
    for check in CHECKS:
        began = time.monotonic()
        try:
            check()
            outcomes[check.__name__] = "ok"
        except Exception:  # noqa: BLE001
            outcomes[check.__name__] = traceback.format_exc()
        sys.stdout.write(f"{check.__name__}: {time.monotonic() - began:.1f} s\n")
        Path("/probe.json").write_text(json.dumps(outcomes))
    log = subprocess.run(["journalctl", "--no-pager"], capture_output=True, text=True, check=False)
    Path("/journal.log").write_text(log.stdout)


if __name__ == "__main__":
    main()
