"""The housekeeping of the real daemon: asked for, by schedule, stopped and killed in a run."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from daemon_process import DaemonProcess
from waiting import wait_until

from daemon.maintenance.runs import FINISHED, STARTED

Daemons = Callable[..., DaemonProcess]


def chronicled(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command."""
    command = [sys.executable, "-m", "daemon", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def runs(daemon: DaemonProcess) -> list[tuple[str, str, Any]]:
    """Return task, verb and outcome (or reason) of what is recorded about runs."""
    with daemon.client() as client:
        params: dict[str, Any] = {"type": [STARTED, FINISHED], "order": "asc"}
        items = client.get("/api/events", params=params).json()["items"]
    return [
        (
            each["subject"],
            each["type"].partition(".")[2],
            each["data"].get("outcome") or each["data"]["reason"],
        )
        for each in items
    ]


def task(daemon: DaemonProcess, name: str) -> Any:
    """Return how a task stands."""
    with daemon.client() as client:
        response = client.get(f"/api/maintenance/{name}")
        assert response.status_code == 200, response.text
        return response.json()


def operation(daemon: DaemonProcess, **asked: Any) -> Any:
    """Start an operation over the socket; return the answer."""
    with daemon.client(unix=True) as client:
        return client.post("/api/operations", json={"kind": "maintenance", **asked})


@pytest.fixture
def slow(daemons: Daemons, tmp_path: Path) -> DaemonProcess:
    """Return a daemon whose scrub reads a result for minutes."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "large").write_bytes(b"x" * 500_000)
    environment = {
        "CHRONICLED_RETENTION__FILES_ROOT": str(tmp_path / "results"),
        "CHRONICLED_MAINTENANCE__BYTES_PER_SECOND": "1000",
    }
    daemon = daemons(environment=environment).start().wait_caught_up()
    result = {
        "specversion": "1.0",
        "id": "r1",
        "source": "/test",
        "type": "result.recorded",
        "subject": "r1",
        "data": {"path": "large"},
    }
    with daemon.client() as client:
        assert client.post("/api/events", json=result).status_code == 201
    return daemon


def begin_scrub(daemon: DaemonProcess) -> None:
    """Have the scrub run, and wait until it does."""
    assert operation(daemon, task="scrub").status_code == 202
    wait_until(lambda: task(daemon, "scrub")["state"] == "running", "the scrub runs")
    wait_until(lambda: runs(daemon), "its start is recorded")


def test_every_task_runs_when_asked(daemon: DaemonProcess) -> None:
    """By command, waiting for the end; each run is in the log, on the board and in the metrics."""
    daemon.wait_caught_up()
    names = ["size", "retention", "scrub", "vacuum", "checkpoints"]
    for name in names:
        done = chronicled(
            "maintenance", "run", name, "--wait", "--by", "mara", "--data", daemon.data
        )
        assert done.stdout.startswith(f"{name}: succeeded; ")
    assert runs(daemon) == [
        each
        for name in names
        for each in ((name, "started", "asked"), (name, "finished", "succeeded"))
    ]
    shown = task(daemon, "scrub")
    assert (shown["state"], shown["last"]["by"]) == ("off", "mara")
    assert [run["outcome"] for run in shown["runs"]] == ["succeeded"]
    with daemon.client() as client:
        exposition = client.get("/metrics").text
    counted = re.findall(
        r'maintenance_runs_total{outcome="succeeded",task="(\w+)"} 1.0', exposition
    )
    assert sorted(counted) == sorted(names)
    listed = chronicled("maintenance", "list", "--data", daemon.data).stdout.splitlines()
    listed_names = [line.split("\t")[0] for line in listed]
    assert sorted(listed_names) == sorted([*names, "overdue", "truncation"])
    text = chronicled("maintenance", "show", "vacuum", "--data", daemon.data).stdout
    assert "Give free pages of log.db back to the disk." in text


def test_a_run_is_asked_for_over_the_socket_only(daemon: DaemonProcess) -> None:
    """A task has to be named, and to be there."""
    with daemon.client() as client:
        asked = {"kind": "maintenance", "task": "vacuum"}
        assert client.post("/api/operations", json=asked).status_code == 403
        assert client.get("/api/maintenance/vacum").status_code == 404
    assert operation(daemon).status_code == 422
    answer = operation(daemon, task="vacum")
    assert answer.status_code == 404
    assert "did you mean 'vacuum'" in answer.json()["detail"]
    done = chronicled("maintenance", "run", "vacum", "--data", daemon.data, code=1)
    assert "did you mean 'vacuum'" in done.stderr
    assert runs(daemon) == []


def test_a_task_is_caught_up_at_the_start(daemons: Daemons) -> None:
    """A log that was not kept for long is, once, as soon as a daemon runs."""
    daemon = daemons().start()
    daemon.stop()
    with apsw.Connection(str(daemon.data / "log.db")) as db:
        db.execute("UPDATE log_meta SET value = 1000000 WHERE key = 'created'")
    settings = {"CHECKPOINTS": "weekly", "JITTER_SECONDS": "0"}
    environment = {f"CHRONICLED_MAINTENANCE__{key}": value for key, value in settings.items()}
    for _ in range(2):
        again = daemons(environment=environment).start()
        wait_until(lambda: len(runs(again)) == 2, "it is caught up")  # noqa: B023
        assert runs(again)[0] == ("checkpoints", "started", "catch-up")
        again.stop()


def test_a_stop_ends_a_long_run(slow: DaemonProcess) -> None:
    """The daemon stops at once, and the run is interrupted, as its own last word."""
    begin_scrub(slow)
    assert slow.stop() == 0
    slow.start()
    assert runs(slow) == [("scrub", "started", "asked"), ("scrub", "finished", "interrupted")]
    assert "stop" in task(slow, "scrub")["last"]["message"]


def test_a_kill_in_a_run_is_told_by_the_next_daemon(slow: DaemonProcess) -> None:
    """The run is recorded as interrupted, no other begins, and the log is whole."""
    begin_scrub(slow)
    slow.signal(signal.SIGKILL)
    slow.wait()
    slow.start().wait_caught_up()
    wait_until(lambda: len(runs(slow)) == 2, "the end is recorded")
    assert runs(slow)[1] == ("scrub", "finished", "interrupted")
    shown = task(slow, "scrub")
    assert (shown["state"], shown["last"]["outcome"]) == ("off", "interrupted")
    assert "the daemon ended before" in shown["last"]["message"]
    assert slow.stop() == 0
    chronicled("verify", "--data", slow.data)


def test_snapshots_are_listed_and_asked_for(daemons: Daemons, tmp_path: Path) -> None:
    """The backup's own schedule is shown; asked for, the backup takes one, where there is news."""
    settings = {"URL": f"file://{tmp_path}/store", "SNAPSHOT": "weekly", "PROVE": "false"}
    environment = {f"CHRONICLED_BACKUP__{key}": value for key, value in settings.items()}
    daemon = daemons(environment=environment).start().wait_caught_up()
    shown = task(daemon, "snapshots")
    assert (shown["schedule"], shown["next"]) == ("weekly (by the backup)", None)
    with daemon.client() as client:
        wait_until(lambda: client.get("/api/backup").json()["state"] == "shipping", "it ships")
    done = chronicled("maintenance", "run", "snapshots", "--wait", "--data", daemon.data)
    assert done.stdout.startswith("snapshots: succeeded; ")
    with daemon.client() as client:
        assert client.get("/api/backup/snapshots").json()["items"]
