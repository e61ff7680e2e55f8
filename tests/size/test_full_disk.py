"""A real disk that fills up beside a real daemon: refused in time, outlived, nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from daemon_process import DaemonProcess
from sizes import MIB, event, size_settings
from waiting import wait_until

from daemon.eventlog.log import EventLog
from daemon.eventlog.removal import mark
from daemon.eventlog.requests import Work
from daemon.eventlog.transaction import Transaction
from daemon.eventlog.truncation import Bound, Truncation
from daemon.lifecycle import Service, ServiceThread, system_clock
from daemon.size.board import SizeBoard
from daemon.size.gate import Gate
from daemon.size.guard import DiskGuard
from daemon.size.measure import Files
from daemon.size.watch import SizeWatch
from domain.errors import DiskFull
from domain.events import NewEvent

Daemons = Callable[..., DaemonProcess]
MARKER = b'{"replaces":1}'
DISK_BYTES = 256 * MIB
REFUSE_BYTES = DISK_BYTES // 20
RESERVE_BYTES = DISK_BYTES // 10


@pytest.fixture
def disk(tmp_path: Path, needs: Callable[..., None]) -> Iterator[Path]:
    """Return an empty disk that is the data directory of the daemons."""
    needs("root", "mount")
    path = tmp_path / "data"
    path.mkdir(mode=0o700)
    options = f"size={DISK_BYTES},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=True)
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def free(disk: Path) -> int:
    """Return what is free on a disk."""
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def leave(disk: Path, size: int) -> Path:
    """Take all room but so much from a disk; return the file that does."""
    filler = disk / "filler"
    with filler.open("ab") as file:
        piece = DISK_BYTES
        while (room := free(disk) - size) > 0:
            piece = min(piece, room)
            try:
                os.posix_fallocate(file.fileno(), filler.stat().st_size, piece)
            except OSError:
                # The daemon took some meanwhile.
                piece = max(piece // 2, 1)
    return filler


def fill(disk: Path) -> Path:
    """Take all room of a disk, until the daemon has given up its reserve."""
    reserve = disk / "reserve"
    wait_until(lambda: not reserve.exists() or not leave(disk, 0), "the reserve is given up")
    return disk / "filler"


def submitted(key: str, size: int = 20_000) -> dict[str, Any]:
    """Return an event as it is posted."""
    return {
        "specversion": "1.0",
        "id": key,
        "source": "/disk",
        "type": "job.submitted",
        "subject": key,
        "data": {"kind": "k", "extra": {"filler": "x" * size}},
    }


def post(client: httpx.Client, key: str, size: int = 20_000) -> httpx.Response:
    """Send one event."""
    headers = {"content-type": "application/cloudevents+json"}
    content = json.dumps(submitted(key, size))
    return client.post("/api/events", content=content, headers=headers)


def state(client: httpx.Client) -> str:
    """Return how the disk stands."""
    return str(client.get("/readyz").json()["disk"]["state"])


def wait_for(client: httpx.Client, wanted: str) -> None:
    """Wait until the disk stands so."""
    wait_until(lambda: state(client) == wanted, f"the disk is {wanted}")


def ids(client: httpx.Client) -> set[str]:
    """Return the ids of all events that clients sent."""
    found: set[str] = set()
    params: dict[str, Any] = {"limit": 1000, "source": "/disk"}
    while True:
        page = client.get("/api/events", params=params).json()
        found |= {event["id"] for event in page["items"]}
        if page["next"] is None:
            return found
        params["cursor"] = page["next"]


def alerts(client: httpx.Client) -> list[tuple[str, str]]:
    """Return what the log says of sizes: types and what is over."""
    params = {"stream": "alert/chronicled:size"}
    items = client.get("/api/events", params=params).json()["items"]
    return [(e["type"], e["data"].get("labels", {}).get("over", "")) for e in items]


class Appending(threading.Thread):
    """Sends events one after another until it is told to end; knows which were taken."""

    def __init__(self, daemon: DaemonProcess, name: str) -> None:
        super().__init__(name=name)
        self.taken: set[str] = set()
        self.refused: list[tuple[int, str]] = []
        self.ended = threading.Event()
        self._client = daemon.client()

    def run(self) -> None:
        """Send until told to end; what is refused is sent again."""
        with self._client as client:
            number = 0
            while not self.ended.is_set():
                answer = post(client, f"{self.name}-{number}", size=2_000)
                if answer.status_code == 201:
                    self.taken.add(f"{self.name}-{number}")
                    number += 1
                else:
                    self.refused.append((answer.status_code, answer.json()["code"]))
                    self.ended.wait(0.02)

    def end(self) -> None:
        """Have it end, and wait for that."""
        self.ended.set()
        self.join()


def test_events_are_refused_before_the_disk_is_full(daemons: Daemons, disk: Path) -> None:
    """While clients append: 507 with room left, nothing acknowledged is lost, and back again."""
    daemon = daemons(disk).start().wait_caught_up()
    with daemon.client() as client:
        leave(disk, REFUSE_BYTES + 8 * MIB)
        wait_for(client, "low")
        appending = [Appending(daemon, f"client{number}") for number in range(3)]
        for each in appending:
            each.start()
        wait_until(lambda: all(each.refused for each in appending), "they are refused")
        least = free(disk)
        assert least > 2 * MIB, "it was refused before the disk was full"
        assert client.get("/readyz").json()["log"]["code"] == "disk_full"
        metrics = client.get("/metrics").text
        assert "chronicled_intake_refused 1.0" in metrics
        assert "chronicled_log_writable 0.0" in metrics
        wait_until(lambda: alerts(client)[-1][1] == "disk_refusing", "the alert says so")
        (disk / "filler").unlink()
        before = {each.name: len(each.taken) for each in appending}
        wait_until(
            lambda: all(len(each.taken) > before[each.name] + 3 for each in appending),
            "they are taken again",
        )
        for each in appending:
            each.end()
            assert set(each.refused) == {(507, "disk_full")}
        assert ids(client) == set().union(*(each.taken for each in appending))
        wait_until(lambda: alerts(client)[-1] == ("alert.resolved", ""), "it is over")
        assert client.get("/readyz").json()["log"]["ok"]
    assert daemon.stop() == 0
    assert "cannot be written" not in daemon.stderr()


def test_decisions_and_deletes_go_on_below_the_line(daemons: Daemons, disk: Path) -> None:
    """Somebody acknowledges the alert, and a file is deleted, while events are refused."""
    daemon = daemons(disk).start().wait_caught_up()
    with daemon.client() as client:
        filler = leave(disk, REFUSE_BYTES // 2)
        wait_for(client, "refusing")
        assert post(client, "refused", size=10).status_code == 507
        wait_until(lambda: alerts(client), "the alert is recorded below the line")
        path = "/api/alerts/chronicled:size/acknowledge"
        assert client.post(path, json={"by": "mara"}).status_code == 201
        with daemon.client(unix=True) as local:
            operation = local.post("/api/operations", json={"kind": "measure"}).json()
            address = f"/api/operations/{operation['id']}"
            ended = wait_until(lambda: _ended(local.get(address).json()), "the operation has ended")
            assert ended["state"] == "succeeded", ended
        filler.unlink()
        wait_for(client, "ok")
        assert post(client, "taken", size=10).status_code == 201
    assert daemon.stop() == 0


def _ended(operation: Any) -> Any:
    return operation if operation["state"] != "running" else None


def test_a_full_disk_has_a_reserve_for_a_clean_stop_and_a_start(
    daemons: Daemons, disk: Path
) -> None:
    """Not one byte is free: the daemon lives, answers, stops cleanly, and starts again."""
    daemon = daemons(disk).start().wait_caught_up()
    reserve = disk / "reserve"
    assert reserve.stat().st_size == RESERVE_BYTES
    with daemon.client() as client:
        for number in range(50):
            assert post(client, f"before-{number}").status_code == 201
        filler = fill(disk)
        wait_for(client, "refusing")
        answer = post(client, "refused")
        assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
        assert int(answer.headers["retry-after"]) > 0
        wait_until(lambda: ("alert.raised", "disk_refusing") in alerts(client), "the alert")
        assert len(ids(client)) == 50
    assert daemon.stop() == 0
    daemon.start()
    with daemon.client() as client:
        wait_for(client, "refusing")
        assert post(client, "refused").status_code == 507
        assert len(ids(client)) == 50
        filler.unlink()
        wait_for(client, "ok")
        assert wait_until(reserve.exists, "the reserve is taken again")
        assert post(client, "after").status_code == 201
    assert daemon.stop() == 0


def test_deletes_alone_make_room_on_a_full_disk(disk: Path) -> None:
    """Not one byte is free, and nobody else deletes: the reserve is enough for the daemon's own."""
    settings = size_settings(disk_warn_bytes=0)
    with closing(EventLog.open(disk / "log.db")) as log, ExitStack() as stack:
        log.start()
        count = 400
        for number in range(count):
            log.append([event(number, size=200_000)])
        gate = Gate()
        guard = DiskGuard(disk, settings, gate)
        board = SizeBoard(Files(disk / "log.db", disk / "views.db"), settings, system_clock)
        truncation = Truncation(log, lambda: Bound(1 << 62))
        run(stack, SizeWatch(log, guard, board))
        wait_until((disk / "reserve").exists, "the reserve is taken")
        fill(disk)
        wait_until(lambda: gate.shut, "events are refused")
        for number in range(count):
            purged = NewEvent("job.purged", f"s{number}", "/test", f"p{number}", MARKER, None)
            work = Work(partial(_mark, purged._replace(expected_version=1)))
            wait_until(partial(done, log, work), "the purge is recorded")
        run(stack, truncation)
        wait_until(lambda: not gate.shut, "there is room again", seconds=60)
        assert (disk / "reserve").stat().st_size == RESERVE_BYTES
        assert truncation.board.events == count
        assert log.verify() == []


def _mark(marker: NewEvent, transaction: Transaction) -> None:
    mark(transaction, marker)


def done(log: EventLog, work: Work) -> bool:
    """Return whether the log did this; on a full disk it does not, and may next time."""
    try:
        log.work(work)
    except DiskFull:
        return False
    return True


def run(stack: ExitStack, service: Service) -> None:
    """Run a service until the end of the stack."""
    thread = ServiceThread(service, system_clock, backoff_seconds=0.05)
    thread.start()
    stack.callback(thread.stop)


def test_a_source_holds_back_while_the_disk_is_low(daemons: Daemons, disk: Path) -> None:
    """What is written to a followed file meanwhile is read when there is room, each line once."""
    followed = disk.parent / "followed.ndjson"
    followed.write_text("")
    config = disk.parent / "chronicled.toml"
    config.write_text(
        f'[[sources]]\nname = "s"\nkind = "file"\npath = "{followed}"\nformat = "cloudevents"\n'
    )
    daemon = daemons(disk, arguments=["--config", str(config)]).start().wait_caught_up()
    with daemon.client() as client, followed.open("a") as lines:

        def write(key: str) -> None:
            lines.write(json.dumps(submitted(key, 10)) + "\n")
            lines.flush()

        write("first")
        wait_until(lambda: ids(client) == {"first"}, "it is read")
        filler = leave(disk, REFUSE_BYTES // 2)
        wait_for(client, "refusing")
        write("second")

        def detail() -> str:
            [source] = client.get("/api/sources").json()["items"]
            return str(source["detail"] or source["last_error"])

        wait_until(lambda: "no events are taken" in detail(), "the source says why it waits")
        assert ids(client) == {"first"}
        filler.unlink()
        wait_until(lambda: ids(client) == {"first", "second"}, "it is read when there is room")
    assert daemon.stop() == 0
