"""The daemon under measurement: a child process on a directory of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from daemon.lock import Running, find_daemon

DEADLINE_SECONDS = 300.0
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Return once the condition holds; it is asked every 5 ms.

    Raises:
        TimeoutError: it did not hold in time.

    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        pause.wait(0.005)


class Service:
    """A running daemon, and what can be seen of it from outside."""

    def __init__(self, running: Running) -> None:
        """Open a client on its Unix socket."""
        self._running = running
        transport = httpx.HTTPTransport(uds=running.socket)
        self.http = httpx.Client(transport=transport, base_url="http://localhost", timeout=60)

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return httpx.URL(self._running.url or "").port or 0

    def cpu_seconds(self) -> float:
        """Return the processor time it has used so far."""
        stat = Path(f"/proc/{self._running.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND

    def caught_up(self) -> bool:
        """Return whether every projection has been at the head once since the start."""
        return self.http.get("/readyz").status_code == 200

    def wait_visible(self, head: int) -> None:
        """Wait until the views show everything up to ``head``."""

        def visible() -> bool:
            answer = self.http.get("/api/jobs", params={"limit": 1})
            return answer.status_code == 200 and int(answer.json()["as_of"]) >= head

        wait_for(visible, f"the views at {head}")

    def rebuild(self) -> None:
        """Build every projection again, and wait until it is done."""
        answer = self.http.post("/api/operations", json={"kind": "rebuild"})
        answer.raise_for_status()
        place = f"/api/operations/{answer.json()['id']}"
        wait_for(lambda: self.http.get(place).json()["state"] != "running", "the rebuild")
        final = self.http.get(place).json()
        if final["state"] != "succeeded":
            raise RuntimeError(str(final))


@contextmanager
def serving(data: Path) -> Iterator[Service]:
    """Run the daemon on ``data``; it is stopped after, and has then checkpointed its files."""
    command = [sys.executable, "-m", "daemon", "serve", "--data", str(data)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CHRONICLED_")}
    data.mkdir(parents=True, exist_ok=True)
    with (data / "stderr").open("ab") as stderr:
        process = subprocess.Popen(
            [*command, "--listen", "127.0.0.1:0"], stderr=stderr, env=environment
        )
    try:
        wait_for(lambda: process.poll() is not None or _answers(data), "the daemon")
        if process.poll() is not None:
            raise RuntimeError((data / "stderr").read_text())
        running = find_daemon(data)
        assert running is not None
        service = Service(running)
        yield service
        service.http.close()
    finally:
        process.terminate()
        process.wait(DEADLINE_SECONDS)


def _answers(data: Path) -> bool:
    running = find_daemon(data)
    return bool(running and running.url)


def remove_views(data: Path) -> None:
    """Delete the views; the daemon builds them again from the log."""
    for path in data.glob("views.db*"):
        path.unlink()


def log_bytes(data: Path) -> int:
    """Return the size of the log after a stop, when its write-ahead log is in it."""
    wal = data / "log.db-wal"
    assert not wal.exists() or wal.stat().st_size == 0, "not checkpointed"
    return (data / "log.db").stat().st_size


def fresh(directory: Path) -> Path:
    """Return the directory, emptied."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory
