"""The real daemon as a child process on a data directory of its own."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from waiting import patiently, wait_until

from daemon.schedule import OFF
from daemon.settings import SCHEDULES

START_SECONDS = 90.0
STOP_SECONDS = 30.0
QUIET = {f"CHRONICLED_MAINTENANCE__{name.upper()}": OFF for name in SCHEDULES}
"""Nothing is due at the hour: tests count the events of the log."""


def children(pid: int) -> list[int]:
    """Return the ids of the processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def _stands_still(pid: int) -> bool:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    # The state comes after the name, which may hold anything.
    return all((task / "stat").read_text().rpartition(") ")[2][0] == "T" for task in tasks)


class NotifySocket:
    """The service manager's end of the notification protocol: collects what a daemon says."""

    def __init__(self, directory: Path) -> None:
        """Listen on a socket in ``directory``."""
        self.path = directory / "notify"
        self.messages: queue.Queue[str] = queue.Queue()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while message := self._socket.recv(65536):
            for line in message.decode().splitlines():
                self.messages.put(line)

    def forget(self) -> None:
        """Drop what was said so far, by whoever said it."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"FORGET=1", str(self.path))
        # What was sent before comes before.
        while self.messages.get(timeout=START_SECONDS) != "FORGET=1":
            pass

    def close(self) -> None:
        """End the reader (an empty datagram tells it to) and close the socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", str(self.path))
        self._reader.join()
        self._socket.close()


class DaemonProcess:
    """One ``chronicled serve`` on ``data``; TCP on a free loopback port, and a Unix socket.

    ``arguments`` are added to the command, ``environment`` to the child's environment (which
    has none of the ``CHRONICLED_`` settings of this process), ``wrapper`` goes before the
    command (for example strace). The sockets are in a short directory of their own, because
    the path of a Unix socket is limited to 107 bytes.
    """

    def __init__(
        self,
        data: Path,
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
        listen: str = "127.0.0.1:0",
    ) -> None:
        """Prepare the command; ``start`` runs it."""
        self.data = data
        self.stderr_path = data.with_name(data.name + ".stderr")
        self._sockets = Path(tempfile.mkdtemp(prefix="chronicled-"))
        self.socket_path = self._sockets / "http"
        self.notify: NotifySocket | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self._environment = dict(environment or {})
        self._wrapped = bool(wrapper)
        self.command = [
            *wrapper,
            *(sys.executable, "-m", "daemon", "serve", "--data", str(data)),
            *("--listen", listen, "--socket", str(self.socket_path)),
            *arguments,
        ]

    def launch(self) -> Self:
        """Run the command and return at once."""
        assert self.process is None, "already started"
        if self.notify is None:
            self.notify = NotifySocket(self._sockets)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CHRONICLED_")}
        environment |= {"NOTIFY_SOCKET": str(self.notify.path), **QUIET, **self._environment}
        with self.stderr_path.open("ab") as stderr:
            self.process = subprocess.Popen(
                self.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
            )
        return self

    def start(self) -> Self:
        """Run the command; wait until it says READY, and its views have caught up or cannot."""
        self.launch().wait_notified("READY=1")
        with self.client(unix=not self.lock()["url"]) as client:
            wait_until(
                lambda: client.get("/readyz").json()["status"] != "starting",
                "the views have caught up",
                seconds=START_SECONDS,
            )
        return self

    def wait_notified(self, wanted: str, *, seconds: float = START_SECONDS) -> str:
        """Return the first notification that starts with ``wanted``."""
        assert self.notify is not None
        assert self.process is not None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                message = self.notify.messages.get(timeout=0.1)
            except queue.Empty:
                if self.process.poll() is None:
                    continue
                pytest.fail(f"ended with {self.process.returncode}:\n{self.stderr()}")
            if message.startswith(wanted):
                return message
        pytest.fail(f"no {wanted} within {seconds:g} s:\n{self.stderr()}")

    def forget_notified(self) -> Self:
        """Drop the notifications of a daemon that is gone: the next one has to say them anew."""
        assert self.notify is not None
        self.notify.forget()
        return self

    def wait_caught_up(self, *, seconds: float = START_SECONDS) -> Self:
        """Wait until ``/readyz`` answers 200: the projections have caught up once."""
        with self.client() as client:
            wait_until(
                lambda: client.get("/readyz").status_code == 200, "/readyz is 200", seconds=seconds
            )
        return self

    def lock(self) -> dict[str, Any]:
        """Return what the lock file says: pid, url, socket."""
        return dict(json.loads((self.data / "chronicled.lock").read_text()))

    @property
    def url(self) -> str:
        """The base URL of the TCP listener, with the port it was given."""
        return str(self.lock()["url"])

    @property
    def pid(self) -> int:
        """The process id of the daemon itself (not of a wrapper)."""
        return int(self.lock()["pid"])

    def client(self, *, unix: bool = False) -> httpx.Client:
        """Return an HTTP client of this daemon, by TCP or by its Unix socket."""
        # There is no TLS here, and loading the certificates of its authorities takes long.
        options: dict[str, Any] = {"timeout": 30, "trust_env": False, "verify": False}
        options["event_hooks"] = {"request": [patiently]}
        if unix:
            options["transport"] = httpx.HTTPTransport(uds=str(self.socket_path), verify=False)
        return httpx.Client(base_url="http://localhost" if unix else self.url, **options)

    def stderr(self) -> str:
        """Return everything the daemon has written to its terminal."""
        return self.stderr_path.read_text(errors="replace") if self.stderr_path.exists() else ""

    def wait(self, *, seconds: float = STOP_SECONDS) -> int:
        """Wait for the process to end by itself; return its exit code."""
        assert self.process is not None
        code = self.process.wait(seconds)
        self.process = None
        return code

    def stop(self) -> int:
        """Ask the daemon to stop (SIGTERM) and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the daemon itself."""
        assert self.process is not None
        os.kill(self.pid if self._wrapped else self.process.pid, number)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Have the daemon and its children stand still (SIGSTOP) inside."""
        family = [self.pid, *children(self.pid)]
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        try:
            wait_until(lambda: all(map(_stands_still, family)), "every thread has stopped")
            yield
        finally:
            for pid in family:
                os.kill(pid, signal.SIGCONT)

    def kill(self) -> None:
        """End the daemon at once (SIGKILL), as a crash would."""
        self.signal(signal.SIGKILL)
        self.wait()

    def close(self) -> None:
        """End the process if it runs, and remove the sockets."""
        if self.process is not None:
            self.process.kill()
            self.wait()
        if self.notify is not None:
            self.notify.close()
        shutil.rmtree(self._sockets, ignore_errors=True)
