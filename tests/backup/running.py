"""Real daemons that back up their logs: how they are set up, fed, asked, and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import httpx
from daemon_process import DaemonProcess
from waiting import wait_until

from daemon.backup.manifest import require
from daemon.backup.places import open_place
from daemon.backup.restore import Restoring
from daemon.backup.store import Place
from daemon.eventlog.proof import prove_log
from daemon.lock import LOG_FILE

Daemons = Callable[..., DaemonProcess]
BATCH = 10_000
HEADERS = {"content-type": "application/cloudevents-batch+json"}


class Target(NamedTuple):
    """Where daemons back up to, and what their environment says of it."""

    url: str
    environment: Mapping[str, str]


class Receipt(NamedTuple):
    """What is known of an event that was acknowledged."""

    position: int
    id: str


def configured(folder: Path, target: Target, **settings: Any) -> tuple[str, ...]:
    """Write a configuration, and return the arguments that name it."""
    told = {"segment_seconds": 1, "timeout_seconds": 2, "snapshot": "off", "prove": False}
    told |= {"snapshot_on_stop": False, **settings, "url": target.url}
    lines = [f"{name} = {json.dumps(value)}" for name, value in told.items()]
    file = folder / "chronicled.toml"
    file.write_text("\n".join(["[backup]", *lines]) + "\n")
    return ("--config", str(file))


def events(count: int, word: str = "job") -> Iterator[bytes]:
    """Yield batches of events: jobs of three events each."""
    types = ("job.submitted", "job.started", "job.succeeded")
    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        batch = [
            {
                "specversion": "1.0",
                "id": f"{word}-{number}",
                "source": "/backed",
                "type": types[number % 3],
                "subject": f"{word}-{number // 3}",
                "data": {"kind": "k"} if number % 3 == 0 else {},
            }
            for number in numbers
        ]
        yield json.dumps(batch).encode()


def append(client: httpx.Client, count: int, word: str = "job") -> list[Receipt]:
    """Append events, and return what was acknowledged."""
    receipts = []
    for batch in events(count, word):
        answer = client.post("/api/events", content=batch, headers=HEADERS).raise_for_status()
        receipts += [Receipt(item["position"], item["id"]) for item in answer.json()["events"]]
    return receipts


def standing(client: httpx.Client) -> dict[str, Any]:
    """Return how the backup stands."""
    return dict(client.get("/api/backup").raise_for_status().json())


def wait_shipped(client: httpx.Client, position: int, *, seconds: float = 60.0) -> dict[str, Any]:
    """Wait until everything up to a position is in the store."""
    wait_until(
        lambda: standing(client)["shipped"] >= position, f"{position} is shipped", seconds=seconds
    )
    return standing(client)


def wait_state(client: httpx.Client, state: str, *, seconds: float = 60.0) -> dict[str, Any]:
    """Wait until shipping stands like that."""
    wait_until(lambda: standing(client)["state"] == state, f"it is {state}", seconds=seconds)
    return standing(client)


def operate(client: httpx.Client, kind: str) -> Mapping[str, Any]:
    """Ask for an operation."""
    answer = client.post("/api/operations", json={"kind": kind}).raise_for_status()
    return dict(answer.json())


def ended(client: httpx.Client, kind: str) -> Mapping[str, Any]:
    """Ask for an operation, and return what it says when it has ended."""
    asked = operate(client, kind)

    def told() -> Mapping[str, Any] | None:
        found = client.get(f"/api/operations/{asked['id']}").raise_for_status().json()
        return None if found["state"] == "running" else dict(found)

    return wait_until(told, f"{kind} has ended", seconds=60) or {}


def succeeds(client: httpx.Client, kind: str) -> None:
    """Fail unless an operation succeeds."""
    found = ended(client, kind)
    assert found["state"] == "succeeded", found


def children(daemon: DaemonProcess, module: str = "") -> list[int]:
    """Return the processes that a daemon has started, or those that run a module."""
    assert daemon.process is not None
    found, parent = [], daemon.process.pid
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes().decode()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(stat[1]) == parent and stat[0] != "Z" and module in command.split("\0"):
                found.append(int(entry.name))
    return found


def backup_child(daemon: DaemonProcess) -> int:
    """Return the process that makes the backup, as soon as there is one."""
    found = wait_until(lambda: children(daemon, "daemon.backup.child"), "it has a backup's process")
    return found[0]


def kill_all(daemon: DaemonProcess) -> None:
    """End a daemon and all its processes at once, as a power cut would."""
    pids = children(daemon)
    daemon.signal(signal.SIGSTOP)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    daemon.kill()


def chain(data: Path) -> dict[int, tuple[str, str]]:
    """Return the id and the digest of every event of a log at rest, or of a running daemon."""
    uri = f"file:{data / LOG_FILE}?mode=ro"
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    with closing(apsw.Connection(uri, flags=flags)) as db:
        rows: Any = db.execute("SELECT position, id, digest FROM events")
        return {position: (id_, digest.hex()) for position, id_, digest in rows}


def wait_viewed(client: httpx.Client, position: int, *, seconds: float = 120.0) -> None:
    """Wait until the views of jobs have reached a position."""
    told = {"wait_for": position, "timeout": 5, "limit": 1}

    def reached() -> bool:
        return client.get("/api/jobs", params=told).status_code == 200

    wait_until(reached, f"the views are at {position}", seconds=seconds)


def restored(client: httpx.Client) -> dict[str, Any]:
    """Return the newest event that began an epoch."""
    answer = client.get("/api/events?type=log.restored&order=desc&limit=1")
    return dict(answer.raise_for_status().json()["items"][0])


def run(daemon: DaemonProcess, *arguments: str) -> str:
    """Run a command on the daemon's data and return what it printed; it must succeed."""
    command = [sys.executable, "-m", "daemon", *arguments, "--data", str(daemon.data)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def place_at(target: Target) -> Place:
    """Return the place that daemons back up to."""
    return open_place(target.url, data=Path("/nowhere"), environment=target.environment)


def restored_chain(target: Target, folder: Path) -> dict[int, tuple[str, str]]:
    """Restore what the manifest names into a folder, and return what is in it."""
    folder.mkdir()
    place = place_at(target)
    Restoring(place.objects, require(place.register)[0], folder).run()
    assert not prove_log(folder / LOG_FILE, at_rest=True).findings
    return chain(folder)
