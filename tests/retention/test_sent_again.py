"""What producers send again after a purge or an archive makes no new events."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from daemon_process import DaemonProcess
from waiting import wait_until

TASKS = [
    {
        "type": "load",
        "info": f"s3://in/{n}?table=t",
        "created": "2026-02-04T10:00:00Z",
        "id": f"r{n}",
    }
    | more
    for n in range(5)
    for more in (
        {},
        {
            "result": "error" if n % 2 else "complete",
            "started": "2026-02-04T10:01:00Z",
            "ended": "2026-02-04T10:02:00Z",
            "msg": "done",
        },
    )
]
FILES = [
    {"path": f"gs://bucket/{n}.json", "size": 7, "created": "2026-02-04T10:00:00Z", "checksum": "c"}
    for n in range(3)
]
ARCHIVE = [
    {"category": "job", "age": "ended", "archive_after": "30d"},
    {"category": "file", "age": "last_event", "purge_after": "30d"},
]


def send(client: httpx.Client, name: str, messages: list[dict[str, object]]) -> list[bool]:
    """Send messages of a producer; return which of their events were known."""
    lines = "\n".join(json.dumps(message) for message in messages)
    headers = {"content-type": "application/x-ndjson"}
    answer = client.post(f"/api/intake/{name}", content=lines, headers=headers)
    assert answer.is_success, answer.text
    return [bool(event["duplicate"]) for event in answer.json()["events"]]


@pytest.mark.parametrize("how", ["purged", "archived"])
def test_messages_of_flowlord_that_come_again_are_known(
    how: str, daemons: Callable[..., DaemonProcess], tmp_path: Path
) -> None:
    """Tasks, results and files of long ago, redelivered after they went: nothing is recorded."""
    settings = {"CHRONICLED_RETENTION__APPLY": "false"}
    if how == "purged":
        settings["CHRONICLED_RETENTION__PRESET"] = "flowlord"
    else:
        settings["CHRONICLED_RETENTION__POLICIES"] = json.dumps(ARCHIVE)
        settings["CHRONICLED_RETENTION__ARCHIVE"] = (tmp_path / "archive").as_uri()
    daemon = daemons(environment=settings).start()
    with daemon.client(unix=True) as client:
        send(client, "flowlord-task", TASKS)
        assert not any(send(client, "flowlord-file", FILES))
        sent = client.get("/api/metrics").json()["log"]["position"]
        for path in ("/api/jobs", "/api/files"):
            assert client.get(path, params={"wait_for": sent, "timeout": 20}).is_success
        client.post("/api/operations", json={"kind": "retention-apply"}).raise_for_status()
        wait_until(lambda: is_removed(client), "the events are removed")
        jobs = client.get("/api/jobs").json()["items"]
        assert len(jobs) == (0 if how == "purged" else 5)
        head = client.get("/api/metrics").json()["log"]["position"]
        for _ in range(3):
            assert all(send(client, "flowlord-task", TASKS) + send(client, "flowlord-file", FILES))
        assert client.get("/api/metrics").json()["log"]["position"] == head
    assert daemon.stop() == 0


def is_removed(client: httpx.Client) -> bool:
    """Return whether the plan was applied, and all its rows are gone."""
    newest = client.get("/api/operations").json()["items"][0]
    assert newest["state"] != "failed", newest
    left = client.get("/api/events", params={"type": "job.submitted"}).json()["items"]
    return newest["state"] == "succeeded" and not left
