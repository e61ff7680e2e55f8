"""A daemon that is killed while it applies a plan: what it did is done, and the rest is due."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from daemon_process import DaemonProcess
from waiting import wait_until

JOBS = 900
SETTINGS = {
    "CHRONICLED_RETENTION__PRESET": "flowlord",
    "CHRONICLED_RETENTION__APPLY": "false",
    "CHRONICLED_RETENTION__BATCH": "1",
}


def test_a_killed_run_is_gone_on_with(daemons: Callable[..., DaemonProcess]) -> None:
    """After kills at some moments of the run every job is purged once, and all is sound."""
    daemon = daemons(environment=SETTINGS).start()
    base = {"specversion": "1.0", "source": "/test", "time": "2020-01-01T00:00:00Z"}
    events: list[dict[str, Any]] = [
        {**base, "id": type_, "type": type_, "subject": f"job-{number}", "data": {}}
        for number in range(JOBS)
        for type_ in ("job.submitted", "job.succeeded")
    ]
    with daemon.client() as client:
        assert client.post("/api/events", json=events).status_code == 201
    wait_until(lambda: due(daemon) == JOBS, "the views know the jobs")
    left = []
    for _ in range(3):
        daemon.wait_caught_up()
        start(daemon)
        before = JOBS - sum(left[-1:] or [JOBS])
        wait_until(partial(more_purged, daemon, before), "some are purged")
        daemon.kill()
        daemon = daemons(environment=SETTINGS).start()
        left.append(JOBS - purged(daemon))
        if not left[-1]:
            break
    assert left[0], "the run was over before the first kill"
    daemon.wait_caught_up()
    start(daemon)
    wait_until(lambda: not running(daemon), "the last run ends")
    daemon.wait_caught_up()
    wait_until(lambda: due(daemon) == 0, "nothing is due")
    assert purged(daemon) == JOBS
    with daemon.client(unix=True) as client:
        asked = client.post("/api/operations", json={"kind": "verify"}).json()
        path = f"/api/operations/{asked['id']}"
        wait_until(lambda: client.get(path).json()["state"] != "running", "it is verified")
        assert client.get(path).json()["result"]["findings"] == []
    daemon.stop()


def more_purged(daemon: DaemonProcess, before: int) -> bool:
    """Return whether there are more tombstones than before."""
    return purged(daemon) > before


def start(daemon: DaemonProcess) -> None:
    """Have a new plan applied."""
    with daemon.client(unix=True) as client:
        answer = client.post("/api/operations", json={"kind": "retention-apply"})
        assert answer.status_code == 202, answer.text


def running(daemon: DaemonProcess) -> bool:
    """Return whether the newest operation has not ended."""
    with daemon.client() as client:
        newest = client.get("/api/operations").json()["items"][0]
        assert newest["state"] != "failed", newest
        return bool(newest["state"] == "running")


def purged(daemon: DaemonProcess) -> int:
    """Return how many tombstones there are."""
    with daemon.client() as client:
        params = {"type": "job.purged", "limit": "1000"}
        found = [
            each["subject"] for each in client.get("/api/events", params=params).json()["items"]
        ]
    assert len(found) == len(set(found))
    return len(found)


def due(daemon: DaemonProcess) -> int:
    """Return how many entities are due, -1 while nobody knows."""
    with daemon.client() as client:
        answer = client.get("/api/retention")
    return int(answer.json()["entities"]) if answer.is_success else -1
