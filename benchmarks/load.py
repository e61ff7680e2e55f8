"""Runs the load client against a daemon, and reads what it measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.children import PYTHON, child, lines_of, say


@dataclass(frozen=True, slots=True)
class Measured:
    """What one load saw; ``events`` is how many were acknowledged."""

    seconds: float
    requests: int
    events: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    cpu_us: float

    @property
    def rate(self) -> float:
        """Acknowledged events a second (answers, where nothing was posted)."""
        return self.events / self.seconds


class Load:
    """A client that is ready to send."""

    def __init__(self, process: Any, batch: int, log: Path) -> None:
        self._process, self._batch, self._log = process, batch, log

    def go(self) -> None:
        """Begin."""
        say(self._process, b"go\n")

    def result(self) -> Measured:
        """Wait for the end, and return what was measured.

        Raises:
            RuntimeError: an answer was not the expected one.

        """
        said = lines_of(self._process).read()
        if self._process.wait() or not said:
            raise RuntimeError(self._log.read_text(errors="replace")[-2000:])
        found = json.loads(said)
        return Measured(events=found["requests"] * self._batch, **found)


@contextmanager
def client(at: str | int, scratch: Path, **options: Any) -> Iterator[Load]:
    """Start a client with these options of `benchmarks.client`, and wait until it is ready."""
    command = [PYTHON, "-m", "benchmarks.client", "--at", str(at)]
    for name, value in options.items():
        if value is True:
            command.append(f"--{name}")
        elif value not in (None, False):
            command += [f"--{name}", str(value)]
    log = scratch / "client.log"
    with child(command, log=log, piped=True) as process:
        if lines_of(process).readline() != b"ready\n":
            process.wait()
            raise RuntimeError(log.read_text(errors="replace")[-2000:])
        yield Load(process, options.get("batch", 1), log)


def send(at: str | int, scratch: Path, **options: Any) -> Measured:
    """Run one load to its end."""
    with client(at, scratch, **options) as load:
        load.go()
        return load.result()


@contextmanager
def trivial_server(scratch: Path) -> Iterator[str]:
    """Run a server that answers every request alike; yields its Unix socket."""
    place = scratch / "trivial.sock"
    place.unlink(missing_ok=True)
    command = [PYTHON, "-m", "benchmarks.client", "--trivial", "--at", place]
    with child(command, log=scratch / "trivial.log", piped=True) as server:
        lines_of(server).readline()
        yield str(place)


def calibrate(scratch: Path, events: Path, seconds: float) -> Measured:
    """Measure the client itself: 64 connections against a server that does nothing."""
    with trivial_server(scratch) as place:
        return send(place, scratch, clients=64, events=events, seconds=seconds)
