"""The daemon's system calls fail, hang or kill it, each at an exact one (strace injects it)."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from clients import post, recorded, taken, verify
from daemon_process import DaemonProcess
from waiting import wait_until

Daemons = Callable[..., DaemonProcess]
LONG = os.environ.get("CHRONICLED_FAULTS") == "long"
SYNCS = (1, 2, 3, 5, 8, 13, 21) if LONG else (4,)
DELAY_SECONDS = 0.3

pytestmark = pytest.mark.needs("strace")


@contextmanager
def injected(daemon: DaemonProcess, calls: str, fault: str) -> Iterator[Path]:
    """Inject a fault into system calls of a running daemon (its main process) for a while.

    Yields the file with the trace, which says INJECTED, DELAYED or "killed" where it was done.
    """
    trace = daemon.data.with_name("trace")
    command = ["strace", "--follow-forks", "--quiet=all", f"--output={trace}"]
    command += [f"--trace={calls}", f"--inject={calls}:{fault}", f"--attach={daemon.pid}"]
    with subprocess.Popen(command) as tracer:
        try:
            wait_until(lambda: is_traced(daemon.pid), "every thread is traced")
            yield trace
        finally:
            tracer.terminate()


def is_traced(pid: int) -> bool:
    """Return whether every thread of a process is traced."""
    threads = Path(f"/proc/{pid}/task").glob("*/status")
    return all("TracerPid:\t0\n" not in status.read_text() for status in threads)


@pytest.mark.parametrize("sync", SYNCS)
def test_killed_at_an_exact_sync(daemons: Daemons, sync: int) -> None:
    """It dies as it asks the disk to make a commit safe: all before it is there, and whole."""
    daemon = daemons().start()
    with daemon.client() as client:
        # The first commit of a log has one sync more, for the beginning of its file.
        positions, _ = taken(client, ["e0"])
        with injected(daemon, "fdatasync", f"signal=SIGKILL:when={sync}") as trace:
            more, killed = taken(client, [f"e{number}" for number in range(1, 2 * sync + 1)])
            assert daemon.wait() == -signal.SIGKILL
    assert "killed by SIGKILL" in trace.read_text()
    assert killed == f"e{sync}", "every event has a sync of its own"
    positions |= more
    found = recorded(daemon.data)
    assert list(found) in (list(positions), [*positions, killed])
    assert {key: found[key] for key in positions} == positions
    daemon.start()
    with daemon.client() as client:
        # Whether it was recorded or not: once it is acknowledged it is there once.
        assert post(client, killed).status_code in (200, 201)
    assert daemon.wait_caught_up().stop() == 0
    assert list(recorded(daemon.data)) == [*positions, killed]
    verify(daemon)


@pytest.mark.parametrize(("call", "when"), [("fdatasync", "3..5"), ("pwrite64", "7..9")])
def test_a_call_that_fails_refuses_what_needed_it(daemons: Daemons, call: str, when: str) -> None:
    """EIO: 503 for these events and nothing of them recorded; the others are taken."""
    daemon = daemons().start().wait_caught_up()
    answers = {}
    with daemon.client() as client, injected(daemon, call, f"error=EIO:when={when}") as trace:
        for number in range(20):
            answer = post(client, f"e{number}")
            answers[f"e{number}"] = (answer.status_code, answer.json().get("code"))
    assert "(INJECTED)" in trace.read_text()
    assert daemon.wait_caught_up().stop() == 0
    refused = {key for key, answer in answers.items() if answer != (201, None)}
    assert refused
    assert {answers[key] for key in refused} == {(503, "storage_failed")}
    assert answers["e19"] == (201, None), "it has recovered"
    assert list(recorded(daemon.data)) == [key for key in answers if key not in refused]
    verify(daemon)


def test_a_slow_disk_delays_answers_and_nothing_else(daemons: Daemons) -> None:
    """No answer comes before its sync has; many wait for one together, and reads go on."""
    daemon = daemons().start().wait_caught_up()
    delay = f"delay_enter={int(DELAY_SECONDS * 1_000_000)}"
    keys = [f"together-{number}" for number in range(24)]
    with daemon.client() as client, ThreadPoolExecutor(len(keys)) as pool:
        with injected(daemon, "fdatasync", delay) as trace:
            begun = time.monotonic()
            assert post(client, "alone").status_code == 201
            assert time.monotonic() - begun >= DELAY_SECONDS
            together = [pool.submit(post, client, key) for key in keys]
            assert client.get("/healthz").status_code == 200
            assert client.get("/api/jobs/alone?wait_for=1").status_code == 200
            assert {each.result().status_code for each in together} == {201}
        syncs = trace.read_text().count("(DELAYED)")
    assert 2 <= syncs < len(keys), "they share syncs"
    assert daemon.wait_caught_up().stop() == 0
    assert set(recorded(daemon.data)) == {"alone", *keys}
    verify(daemon)
