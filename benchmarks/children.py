"""Processes of their own: the one way to start, read and end them, and what they use."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

DEADLINE_SECONDS = 600.0
REPOSITORY = Path(__file__).parents[1]
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_pause = threading.Event()

Command = Sequence[object]
"""A program and its arguments; what is no text becomes one."""


def wait_for(condition: Callable[[], bool], what: str, every_seconds: float = 0.005) -> None:
    """Return once the condition holds.

    Raises:
        TimeoutError: it did not hold in time.

    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        rest(every_seconds)


def rest(seconds: float) -> None:
    """Let time pass."""
    _pause.wait(seconds)


def clean_environment() -> dict[str, str]:
    """Return this environment without settings of a daemon."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("CHRONICLED_", "NOTIFY_"))}


@contextmanager
def child(
    command: Command,
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    piped: bool = False,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process in a session of its own; it and all it started are ended after."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else output,
            stderr=output,
            env=dict(environment or clean_environment()),
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


def run(command: Command, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a child to its end, and return what it said.

    Raises:
        RuntimeError: it failed.

    """
    done = subprocess.run(
        [str(part) for part in command], cwd=REPOSITORY, text=True, check=False, **options
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {(done.stderr or '')[-2000:]}")
    return done


def end(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
    """Signal a child and all it started, and wait for its end."""
    if process.poll() is None:
        family = tree(process.pid) if number == signal.SIGKILL else [process.pid]
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        end(process, signal.SIGKILL)


def lines_of(process: subprocess.Popen[bytes]) -> IO[bytes]:
    """Return what a piped child writes."""
    assert process.stdout is not None
    return process.stdout


def say(process: subprocess.Popen[bytes], text: bytes) -> None:
    """Write to a piped child."""
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.flush()


def outcome(command: Command, log: Path) -> dict[str, Any]:
    """Run a child to its end; return the JSON of its last line.

    Raises:
        RuntimeError: it failed; with the end of what it said.

    """
    with child(command, log=log, piped=True) as process:
        said = lines_of(process).read()
        if process.wait(DEADLINE_SECONDS) or not said.strip():
            raise RuntimeError(log.read_text(errors="replace")[-2000:])
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


# -- what processes use ---------------------------------------------------------------------------


def tree(pid: int) -> list[int]:
    """Return a process and everything below it."""
    parents: dict[int, list[int]] = {}
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            with suppress(OSError):
                parent = int(_stat(int(place.name))[1])
                parents.setdefault(parent, []).append(int(place.name))
    found = [pid]
    for each in found:
        found += parents.get(each, ())
    return found


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def arguments(pid: int) -> list[bytes]:
    """Return what a process was started with; nothing when it has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the processor time that processes have used so far."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            fields = _stat(pid)
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_A_SECOND


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident bytes of some processes: all that each maps, and with shared pages split."""

    rss: int = 0
    pss: int = 0


def memory(pids: Sequence[int]) -> Memory:
    """Return what is resident of processes now."""
    sizes = {"Rss": 0, "Pss": 0}
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, _, rest_of_line = line.partition(":")
                if name in sizes:
                    sizes[name] += int(rest_of_line.split()[0]) * 1024
    return Memory(sizes["Rss"], sizes["Pss"])


PYTHON = Path(sys.executable)
