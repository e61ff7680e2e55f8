"""The system's clock jumps a day ahead and back under a running daemon (libfaketime)."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from clients import post, recorded, verify
from daemon_process import DaemonProcess
from waiting import wait_until

DAY = 86_400 * 1_000_000


def library() -> Path:
    """Return the library that stands between a program and the clock."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


class Clock:
    """The clock of a daemon, as a file says; what measures durations is left alone."""

    def __init__(self, file: Path) -> None:
        """Begin at the true time."""
        self._file = file
        self.jump("+0d")
        self.environment = {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def jump(self, offset: str) -> None:
        """Set it to so far from the true time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset}\n")
        new.rename(self._file)


def ran(client: httpx.Client) -> int:
    """Return how often the task that is due each hour has run; another is made to run first."""
    before = _runs(client, "checkpoints")
    asked = {"kind": "maintenance", "task": "checkpoints"}
    assert client.post("/api/operations", json=asked).status_code == 202
    wait_until(
        lambda: _runs(client, "checkpoints") > before,
        "the other task has run, and the scheduler has looked at the clock",
    )
    size = "/api/maintenance/size"
    wait_until(lambda: client.get(size).json()["state"] == "waiting", "no run goes on")
    return _runs(client, "size")


def _runs(client: httpx.Client, task: str) -> int:
    ran = rf'(?m)^chronicled_maintenance_runs_total{{.*task="{task}".*}} (\S+)$'
    return int(sum(map(float, re.findall(ran, client.get("/metrics").text))))


def recorded_times(data: Path) -> list[int]:
    """Return when each event was recorded, by rising position."""
    with closing(sqlite3.connect(f"file:{data / 'log.db'}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT recordedtime FROM events ORDER BY position").fetchall()
    return [time for (time,) in rows]


@pytest.mark.needs("faketime")
def test_a_clock_that_jumps_a_day_ahead_and_back(
    daemons: Callable[..., DaemonProcess], tmp_path: Path
) -> None:
    """Events keep their order and times never fall; what is due runs once; waits are as long."""
    clock = Clock(tmp_path / "clock")
    hourly = {"CHRONICLED_MAINTENANCE__SIZE": "0 * * * *"}
    hourly["CHRONICLED_MAINTENANCE__JITTER_SECONDS"] = "0"
    watched = {"WATCHDOG_USEC": "1000000"}
    daemon = daemons(environment={**clock.environment, **hourly, **watched})
    daemon.start().wait_caught_up(seconds=90)
    with daemon.client(unix=True) as client, ThreadPoolExecutor(1) as pool:
        positions = [post(client, "before").json()["as_of"]]
        first = ran(client)
        awaited = f"/api/jobs?wait_for={positions[0] + 1}"
        waiting = pool.submit(client.get, awaited)
        clock.jump("+1d")
        # A day of due times was missed: that is one run, not twenty-four.
        assert wait_until(lambda: ran(client) - first, "the missed runs are made up for") == 1
        positions.append(post(client, "ahead").json()["as_of"])
        assert waiting.result().status_code == 200
        ahead = daemon_time(daemon)
        clock.jump("+0d")
        positions += [post(client, f"back-{number}").json()["as_of"] for number in range(3)]
        assert ran(client) == first + 1, "the same due time does not come twice"
        daemon.forget_notified().wait_notified("WATCHDOG=1")
    assert positions == sorted(set(positions))
    assert daemon.wait_caught_up().stop() == 0
    assert list(recorded(daemon.data)) == ["before", "ahead", "back-0", "back-1", "back-2"]
    times = recorded_times(daemon.data)
    assert all(one <= other for one, other in pairwise(times))
    assert times[-1] - times[0] > DAY - 3_600_000_000
    assert times[-1] >= ahead
    verify(daemon)


def daemon_time(daemon: DaemonProcess) -> int:
    """Return the newest time at which an event was recorded."""
    return recorded_times(daemon.data)[-1]
