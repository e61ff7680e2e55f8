"""The daemon under measurement: a child process on a directory of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from benchmarks.children import (
    PYTHON,
    arguments,
    child,
    clean_environment,
    cpu_seconds,
    end,
    tree,
    wait_for,
)
from daemon.lock import find_daemon


class Service:
    """A running daemon, and what can be seen of it from outside."""

    def __init__(self, process: subprocess.Popen[bytes], data: Path, ready_seconds: float) -> None:
        """Find it by its lock file, and open a client on its Unix socket."""
        running = find_daemon(data)
        assert running is not None
        self.process, self.data, self.ready_seconds = process, data, ready_seconds
        self.port = httpx.URL(running.url or "").port or 0
        self.socket = running.socket or ""
        transport = httpx.HTTPTransport(uds=self.socket)
        self.http = httpx.Client(transport=transport, base_url="http://localhost", timeout=60)

    def pids(self) -> list[int]:
        """Return the daemon's processes, itself first."""
        return tree(self.process.pid)

    def cpu_seconds(self) -> float:
        """Return the processor time that its processes have used so far."""
        return cpu_seconds(self.pids())

    def get(self, path: str, **parameters: Any) -> Any:
        """Return a JSON answer."""
        answer = self.http.get(path, params=parameters)
        answer.raise_for_status()
        return answer.json()

    def head(self) -> int:
        """Return the newest position of its log."""
        return int(self.get("/api/metrics")["log"]["position"])

    def position(self) -> int:
        """Return the position that every projection has reached."""
        return slowest(self.get("/api/metrics"))

    def wait_visible(self) -> None:
        """Wait until the views show everything there is."""
        head = self.head()
        wait_for(lambda: self.position() >= head, f"the views at {head}", 0.02)

    def wait_ready(self) -> None:
        """Wait until every projection has been at the head once since the start."""
        wait_for(lambda: self.http.get("/readyz").status_code == 200, "readiness", 0.02)

    def commits(self) -> tuple[float, float]:
        """Return how many commits there were, and how many events they held."""
        text = self.http.get("/metrics").text
        found = [
            re.search(rf"^chronicled_commit_events_{name} (\S+)", text, re.MULTILINE)
            for name in ("count", "sum")
        ]
        count, events = (float(each[1]) if each else 0.0 for each in found)
        return count, events

    def rebuild(self) -> None:
        """Build every projection again, and wait until it is done."""
        answer = self.http.post("/api/operations", json={"kind": "rebuild"})
        answer.raise_for_status()
        place = f"/api/operations/{answer.json()['id']}"
        wait_for(lambda: self.get(place)["state"] != "running", "the rebuild", 0.02)
        final = self.get(place)
        if final["state"] != "succeeded":
            raise RuntimeError(str(final))

    def kill(self) -> None:
        """Kill all its processes where they stand."""
        end(self.process, signal.SIGKILL)

    @contextmanager
    def projections_stopped(self) -> Iterator[None]:
        """Let the process of the projections stand still."""
        stopped = [pid for pid in self.pids() if b"daemon.projector" in arguments(pid)]
        assert stopped, "the daemon has no projector"
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


def slowest(numbers: dict[str, Any]) -> int:
    """Return the position of the projection that is furthest behind, out of /api/metrics."""
    return min((int(each["position"]) for each in numbers["projections"]), default=0)


@contextmanager
def serving(data: Path, settings: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Run the daemon on ``data`` from its start to READY; it is stopped after.

    ``settings`` are variables of its environment.
    """
    data.mkdir(parents=True, exist_ok=True)
    place = data / "notify"
    place.unlink(missing_ok=True)
    log = data.with_name(f"{data.name}.stderr")
    command = [PYTHON, "-m", "daemon", "serve", "--data", data, "--listen", "127.0.0.1:0"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
        notifications.bind(str(place))
        notifications.settimeout(0.1)
        environment = clean_environment() | {"NOTIFY_SOCKET": str(place), **(settings or {})}
        started = time.perf_counter()
        with child(command, log=log, environment=environment) as process:
            wait_for(lambda: _said_ready(notifications, process, log), "READY", 0)
            service = Service(process, data, time.perf_counter() - started)
            try:
                yield service
            finally:
                service.http.close()


def _said_ready(notifications: socket.socket, process: subprocess.Popen[bytes], log: Path) -> bool:
    with suppress(TimeoutError):
        return b"READY=1" in notifications.recv(4096)
    if process.poll() is not None:
        raise RuntimeError(log.read_text(errors="replace")[-2000:])
    return False


def remove_views(data: Path) -> None:
    """Delete the views; the daemon builds them again from the log."""
    for path in data.glob("views.db*"):
        path.unlink()


def database_bytes(data: Path, name: str) -> int:
    """Return the size of a database after a stop, when its write-ahead log is in it."""
    wal = data / f"{name}-wal"
    assert not wal.exists() or wal.stat().st_size == 0, "not checkpointed"
    return (data / name).stat().st_size


def fresh(directory: Path) -> Path:
    """Return the directory, emptied."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory
