"""A process that dies, or whose system calls fail: what it acknowledged is in the log."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from log_driving import event, one

from daemon.eventlog.log import EventLog

APPENDER = Path(__file__).with_name("appending_process.py")
KILLS = 20
SEED = 20


def start(path: Path, first: int, count: int, *wrapper: str) -> subprocess.Popen[str]:
    """Start a process that appends events."""
    command = [*wrapper, sys.executable, str(APPENDER), str(path), str(first), str(count)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def acknowledged(lines: list[str]) -> dict[int, int]:
    """Return the position of each acknowledged event; a line cut short by a kill is none."""
    words = [line.split() for line in lines if line.endswith("\n")]
    return {int(number): int(position) for word, number, position in words if word == "ack"}


def check(log: EventLog, receipts: dict[int, int]) -> None:
    """Assert that every acknowledged event is there, once, where it was said to be, in order."""
    found: dict[int, int] = {}
    while page := log.read(max(found.values(), default=0), 1000):
        for recorded in page:
            assert int(recorded.id[1:]) not in found
            found[int(recorded.id[1:])] = recorded.position
    assert {number: found.get(number) for number in receipts} == receipts
    assert list(found) == sorted(found)
    assert log.verify() == []


def test_killed_at_any_moment(path: Path, opened) -> None:
    """Twenty times in the midst of appending: nothing acknowledged is lost, doubled or moved."""
    chance = random.Random(SEED)
    receipts: dict[int, int] = {}
    following = 0
    for _ in range(KILLS):
        with start(path, following, 100_000) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(chance.randrange(1, 60))]
            process.kill()
            lines += process.stdout.readlines()
        assert process.returncode == -signal.SIGKILL
        receipts.update(acknowledged(lines))
        log = opened()
        log.verify_tail()
        check(log, receipts)
        following = int(log.read(log.head() - 1, 1)[0].id[1:]) + 1
        log.close()
    assert len(receipts) > KILLS


@pytest.mark.needs("strace")
@pytest.mark.parametrize("sync", [1, 2, 5, 9])
def test_killed_at_an_exact_sync(path: Path, opened, tmp_path: Path, sync: int) -> None:
    """Killed as it asks the disk to make a commit safe: what was acknowledged before is there."""
    opened().close()
    trace = tmp_path / "trace"
    strace = (
        "strace", "-f", "-qq", "-o", str(trace), "-e", "trace=fdatasync",
        "-e", f"inject=fdatasync:signal=SIGKILL:when={sync}",
    )  # fmt: skip
    with start(path, 0, 100, *strace) as process:
        assert process.stdout is not None
        lines = process.stdout.readlines()
    assert "killed by SIGKILL" in trace.read_text()
    receipts = acknowledged(lines)
    assert len(receipts) < 100
    log = opened()
    check(log, receipts)
    assert log.head() in (len(receipts), len(receipts) + 1)
    assert one(log, [event(1000)]).head == log.head()


@pytest.mark.needs("strace")
def test_a_sync_that_fails(path: Path, opened, tmp_path: Path) -> None:
    """EIO from the kernel: those callers get the error, the process lives and goes on."""
    opened().close()
    trace = tmp_path / "trace"
    strace = (
        "strace", "-f", "-qq", "-o", str(trace), "-e", "trace=fdatasync",
        "-e", "inject=fdatasync:error=EIO:when=4..6",
    )  # fmt: skip
    with start(path, 0, 20, *strace) as process:
        assert process.stdout is not None
        lines = process.stdout.readlines()
    assert process.returncode == 0
    assert "INJECTED" in trace.read_text()
    failed = [line.split()[1] for line in lines if line.startswith("error")]
    assert failed
    assert {line.split()[2] for line in lines if line.startswith("error")} == {"storage_failed"}
    receipts = acknowledged(lines)
    assert len(receipts) + len(failed) == 20
    log = opened()
    check(log, receipts)
    assert log.head() == len(receipts)
