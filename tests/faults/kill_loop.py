"""Killing a daemon under load, again and again, and how long it takes to be back."""

from __future__ import annotations

import http.client
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from daemon_process import DaemonProcess
from waiting import wait_until

START_SECONDS_MAX = 1.0
"""How long one lives at the most that is killed while it starts."""
EARLY = 6
"""Every so many kills, one comes while the daemon starts."""

_CLIENT = Path(__file__).with_name("load_client.py")


@dataclass
class Times:
    """Seconds from each start to READY, and to the views at the head (/readyz)."""

    ready: list[float] = field(default_factory=list)
    caught_up: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return "; ".join(
            f"{name}: median {median(seconds):.2f} s, max {max(seconds):.2f} s of {len(seconds)}"
            for name, seconds in (("READY", self.ready), ("/readyz", self.caught_up))
        )


@contextmanager
def load(daemon: DaemonProcess, port: int, ledgers: Path, seed: str) -> Iterator[None]:
    """Let the clients send meanwhile."""
    ledgers.mkdir(exist_ok=True)
    command = [sys.executable, str(_CLIENT), str(port), str(daemon.socket_path)]
    process = subprocess.Popen([*command, str(ledgers), seed], stdin=subprocess.PIPE)
    try:
        yield
        assert process.poll() is None, "the load has ended"
    finally:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 0


def size(ledgers: Path) -> int:
    """Return how many bytes the ledgers have."""
    return sum(ledger.stat().st_size for ledger in ledgers.iterdir())


def kill_loop(
    daemon: DaemonProcess,
    port: int,
    ledgers: Path,
    kills: int,
    chance: random.Random,
    *,
    alive_seconds_max: float,
    told: Callable[[str], None] = lambda _: None,
) -> Times:
    """Start the daemon, kill it ``kills`` times under load, and start it once more.

    After it was ready it lives for ``alive_seconds_max`` at the most, but not before it has
    acknowledged something. Every so many times it is killed while it starts.
    """
    times = Times()
    with load(daemon, port, ledgers, f"{chance.random()}"):
        for number in range(1, kills + 1):
            if number % EARLY == 0:
                daemon.launch()
                rest(chance.uniform(0, START_SECONDS_MAX))
            else:
                timed_start(daemon, port, times)
                said = size(ledgers)
                rest(chance.uniform(0, alive_seconds_max))
                wait_until(lambda said=said: size(ledgers) > said, "something is acknowledged")
            daemon.kill()
            daemon.forget_notified()
            told(f"{number} kills; {times}")
        timed_start(daemon, port, times)
    return times


def timed_start(daemon: DaemonProcess, port: int, times: Times) -> None:
    """Start the daemon, and note how long it takes until it is ready and has caught up."""
    begun = time.monotonic()
    daemon.start()
    times.ready.append(time.monotonic() - begun)
    wait_until(lambda: _status(port) == 200, "/readyz is 200", seconds=60)
    times.caught_up.append(time.monotonic() - begun)


def _status(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status
    finally:
        connection.close()


def rest(seconds: float) -> None:
    """Let the daemon run for so long: it is to be killed at any moment."""
    threading.Event().wait(seconds)
