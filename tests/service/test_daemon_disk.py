"""A disk that is full, read-only or failing: refused events, a living daemon, and its recovery."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from daemon_process import DaemonProcess
from waiting import wait_until

Daemons = Callable[..., DaemonProcess]


def post(client: httpx.Client, key: str) -> httpx.Response:
    """Send one event."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": key,
        "source": "/disk",
        "type": "job.submitted",
        "subject": key,
        "data": {"kind": "k", "extra": {"filler": "x" * 2000}},
    }
    headers = {"content-type": "application/cloudevents+json"}
    return client.post("/api/events", content=json.dumps(event), headers=headers)


def ids(client: httpx.Client) -> list[str]:
    """Return the ids of all events."""
    return [event["id"] for event in client.get("/api/events?limit=1000").json()["items"]]


def mount(*arguments: str) -> None:
    """Mount something."""
    subprocess.run(["mount", *arguments], check=True)


@pytest.fixture
def disk(tmp_path: Path, needs: Callable[..., None]) -> Iterator[Path]:
    """Return an empty disk of 32 MB that is the data directory of the daemons."""
    needs("root", "mount")
    path = tmp_path / "data"
    path.mkdir(mode=0o700)
    mount("-t", "tmpfs", "-o", "size=32m,mode=700", "tmpfs", str(path))
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Leave no room on a disk for a while."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            with suppress(OSError):
                while True:
                    file.write(b"\0" * size)
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def refused(daemon: DaemonProcess, error: str) -> Iterator[None]:
    """Let every write to the daemon's files fail for a while."""
    calls = "pwrite64,fdatasync,fsync"
    command = ["strace", "--follow-forks", "--quiet=all", "--output=/dev/null"]
    command += [f"--trace={calls}", f"--inject={calls}:error={error}", f"--attach={daemon.pid}"]
    with subprocess.Popen(command) as tracer:
        try:
            yield
        finally:
            tracer.terminate()


def refusal(client: httpx.Client) -> httpx.Response:
    """Send events, each a new one, until one is refused; return that answer."""
    keys = (f"during-{number}" for number in count())

    def refused() -> httpx.Response | None:
        answer = post(client, next(keys))
        return None if answer.is_success else answer

    answer = wait_until(refused, "an event is refused")
    assert answer is not None
    return answer


def writable(client: httpx.Client) -> bool:
    """Return whether the metrics say that the log can be written."""
    return "chronicled_log_writable 1.0" in client.get("/metrics").text


def readiness(client: httpx.Client) -> tuple[int, str | None]:
    """Return the status and the code of the log's fault of /readyz."""
    answer = client.get("/readyz")
    return answer.status_code, answer.json()["log"]["code"]


def test_a_full_disk_is_said_and_outlived(daemons: Daemons, disk: Path) -> None:
    """507 and /readyz 503 while it is full, nothing lost, and taken again once there is room."""
    daemon = daemons(disk).start().wait_caught_up()
    with daemon.client() as client:
        assert post(client, "before").status_code == 201
        with filled(disk):
            answer = refusal(client)
            assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
            assert readiness(client) == (503, "disk_full")
            assert not writable(client)
            assert client.get("/healthz").status_code == 200
            assert "before" in ids(client)
        wait_until(lambda: readiness(client) == (200, None), "it has recovered by itself")
        assert writable(client)
        assert post(client, "after").status_code == 201
        assert {"before", "after"} <= set(ids(client))
        assert wait_until(lambda: client.get("/api/jobs/after").is_success, "the views go on")
    assert daemon.stop() == 0


@pytest.mark.needs("root", "strace")
@pytest.mark.parametrize("error", ["EROFS", "EIO"])
def test_a_failing_disk_is_said_and_outlived(error: str, daemons: Daemons) -> None:
    """503 and /readyz 503 while every write fails, and taken again once they succeed."""
    daemon = daemons().start().wait_caught_up()
    with daemon.client() as client:
        assert post(client, "before").status_code == 201
        with refused(daemon, error):
            assert refusal(client).status_code == 503
            assert readiness(client) == (503, "storage_failed")
            assert post(client, "refused").json()["code"] == "storage_failed"
            assert "before" in ids(client)
        wait_until(lambda: readiness(client) == (200, None), "it has recovered by itself")
        assert "refused" not in ids(client)
        assert post(client, "after").status_code == 201
    assert daemon.stop() == 0


def test_a_start_on_a_read_only_disk_waits_for_it(daemons: Daemons, disk: Path) -> None:
    """It lives, says what it waits for, and is ready by itself once the disk can be written."""
    daemon = daemons(disk).start()
    with daemon.client() as client:
        assert post(client, "before").status_code == 201
    assert daemon.stop() == 0
    mount("-o", "remount,ro", str(disk))
    daemon.launch()
    daemon.wait_notified("STATUS=waiting for the disk")
    with daemon.client(unix=True) as client:
        assert client.get("/healthz").status_code == 200
        for path in ("/readyz", "/api/jobs"):
            answer = client.get(path)
            assert answer.status_code == 503
            assert answer.json()["code"] == "not_ready"
            assert "retry-after" in answer.headers
    mount("-o", "remount,rw", str(disk))
    daemon.wait_notified("READY=1", seconds=60)
    with daemon.client(unix=True) as client:
        assert post(client, "after").status_code == 201
        assert ids(client) == ["before", "after"]


def test_a_start_on_a_full_disk_waits_for_room(daemons: Daemons, disk: Path) -> None:
    """It lives, says what it waits for, and is ready by itself once there is room."""
    daemon = daemons(disk).start()
    assert daemon.stop() == 0
    with filled(disk):
        daemon.launch()
        daemon.wait_notified("STATUS=waiting for the disk")
        with daemon.client(unix=True) as client:
            assert client.get("/healthz").status_code == 200
            assert client.get("/readyz").status_code == 503
    daemon.wait_notified("READY=1", seconds=60)
    with daemon.client() as client:
        assert post(client, "after").status_code == 201


def test_a_stop_while_it_waits_for_the_disk(daemons: Daemons, disk: Path) -> None:
    """A daemon that waits for its disk can be stopped."""
    daemon = daemons(disk).start()
    assert daemon.stop() == 0
    mount("-o", "remount,ro", str(disk))
    daemon.launch()
    daemon.wait_notified("STATUS=waiting for the disk")
    assert daemon.stop() == 0
