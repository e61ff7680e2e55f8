"""The backup over HTTP: how it stands, what there is, its operations, and what shows elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from api_server import ApiServer, event
from pydantic import TypeAdapter
from standing_backup import MOMENT, StandingBackup, removal, snapshot
from waiting import wait_until

from daemon.api import backup_shapes
from daemon.backup.errors import NotTheWriter, StoreRefused, StoreUnavailable
from daemon.backup.status import Kind, State

SHIPPING = {
    "epoch": 1,
    "shipped": 1,
    "shipped_at": MOMENT - 3_000_000,
    "behind_since": MOMENT - 1_500_000,
    "snapshot_at": MOMENT - 60_000_000,
    "snapshot_position": 1,
    "failures": {"proof": 2},
    "bytes": {"segment": 500},
}


@pytest.fixture
def backup() -> StandingBackup:
    """Return a backup that is two events behind, where the log has three."""
    return StandingBackup(**SHIPPING)


@pytest.fixture
def backed(servers: Callable[..., ApiServer], backup: StandingBackup) -> ApiServer:
    """Return a server with that backup, whose clock stands."""
    server = servers(backup=backup, clock=lambda: MOMENT)
    server.post(*[event("job.submitted", f"j{number}") for number in range(3)])
    return server


def ended(server: ApiServer, **asked: Any) -> Any:
    """Start an operation and return it when it has ended."""
    with server.client(unix=True) as client:
        response = client.post("/api/operations", json=asked)
        assert response.status_code == 202, response.text
        path = response.headers["location"]
        wait_until(lambda: client.get(path).json()["state"] != "running", "it has ended")
        return client.get(path).json()


def test_the_status_says_how_far_the_store_is_behind(backed: ApiServer) -> None:
    """What is shipped, since when the oldest event waits, and never is null."""
    with backed.client() as client:
        answer = client.get("/api/backup").json()
    TypeAdapter(backup_shapes.BackupShape).validate_python(answer)
    assert (answer["state"], answer["shipped"], answer["as_of"]) == ("shipping", 1, 3)
    assert (answer["lag_events"], answer["lag_seconds"]) == (2, 1.5)
    assert answer["shipped_at"] == "2026-02-04T06:12:44Z"
    assert (answer["proved_at"], answer["detail"]) == (None, None)


def test_without_a_backup_its_state_is_off(client: httpx.Client) -> None:
    """No lag is told, since nothing could be behind; a list is 404 and says what to do."""
    answer = client.get("/api/backup").json()
    TypeAdapter(backup_shapes.BackupShape).validate_python(answer)
    assert (answer["state"], answer["lag_events"], answer["lag_seconds"]) == ("off", None, None)
    refused = client.get("/api/backup/snapshots")
    assert (refused.status_code, refused.json()["code"]) == (404, "no_backup")
    assert "[backup] url" in refused.json()["hint"]
    assert client.get("/readyz").json()["backup"] == {"state": "off"}


def test_snapshots_are_listed_the_newest_first(backed: ApiServer) -> None:
    """Each with its proof and its events, gaps left out; segments and epochs are beside them."""
    with backed.client() as client:
        answer = client.get("/api/backup/snapshots").json()
    TypeAdapter(backup_shapes.SnapshotsShape).validate_python(answer)
    assert [each["position"] for each in answer["items"]] == [30, 10]
    assert [each["events"] for each in answer["items"]] == [22, 10]
    assert [each["proof"] for each in answer["items"]] == ["failed", "proved"]
    assert [each["finding"] for each in answer["items"]] == ["chain at position 3", None]
    assert [each["proved"] for each in answer["items"]] == [None, "2026-02-04T06:12:48Z"]
    assert (answer["segments"]["last"], answer["as_of"]) == (31, 3)


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [(StoreUnavailable("no answer"), 503, "10"), (StoreRefused("no such bucket"), 502, None)],
)
def test_a_store_that_fails_is_told_of(
    backed: ApiServer, backup: StandingBackup, error: Any, status: int, retry: str | None
) -> None:
    """One that is away says when to ask again; one that refuses says what to check."""
    backup.error = error
    with backed.client() as client:
        answer = client.get("/api/backup/snapshots")
    assert (answer.status_code, answer.json()["code"]) == (status, error.code)
    assert answer.headers.get("retry-after") == retry
    failed = ended(backed, kind="backup")
    assert (failed["state"], failed["error"]["code"]) == ("failed", error.code)


@pytest.mark.parametrize(
    ("asked", "task", "arguments"),
    [
        ({"kind": "backup"}, Kind.CREATE, {"snapshot": None, "dry_run": False}),
        (
            {"kind": "prove", "snapshot": "snapshots/x"},
            Kind.PROVE,
            {"snapshot": "snapshots/x", "dry_run": False},
        ),
        ({"kind": "prune", "dry_run": True}, Kind.PRUNE, {"snapshot": None, "dry_run": True}),
    ],
)
def test_its_work_is_an_operation(
    backed: ApiServer, backup: StandingBackup, asked: Any, task: Kind, arguments: Any
) -> None:
    """Creating, proving and pruning are started, watched and told of as every long work."""
    operation = ended(backed, **asked)
    assert operation["state"] == "succeeded", operation
    assert operation["progress"] == {"done": 1, "total": 2}
    assert backup.asked == [(task, arguments)]
    if task is Kind.PRUNE:
        assert operation["result"] == removal(dry_run=True)
    else:
        assert operation["result"]["snapshot"]["name"] == snapshot(1, 10)["name"]
        assert operation["result"]["snapshot"]["proved"] == "2026-02-04T06:12:48Z"


def test_its_work_without_a_backup_is_refused(server: ApiServer) -> None:
    """Nothing is started where no backup is configured."""
    with server.client(unix=True) as client:
        refused = client.post("/api/operations", json={"kind": "backup"})
        assert (refused.status_code, refused.json()["code"]) == (404, "no_backup")
        assert client.get("/api/operations").json()["items"] == []


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (State.STARTING, "ready"),
        (State.SHIPPING, "ready"),
        (State.UNAVAILABLE, "degraded"),
        (State.REFUSED, "degraded"),
    ],
)
def test_a_backup_that_cannot_go_on_is_degraded(
    servers: Callable[..., ApiServer], state: State, status: str
) -> None:
    """The daemon is ready all the same, 200, and says why shipping does not go on."""
    detail = NotTheWriter("another daemon ships there").detail
    server = servers(backup=StandingBackup(state=state, detail=detail))
    with server.client() as client:
        wait_until(lambda: client.get("/readyz").status_code == 200, "the views are built")
        answer = client.get("/readyz").json()
    assert answer["status"] == status
    assert answer["backup"] == {"state": state, "detail": "another daemon ships there"}


def test_the_metrics_of_a_backup(backed: ApiServer) -> None:
    """Positions, lag, times and failures by step; a step that never failed is there with 0."""
    with backed.client() as client:
        lines = client.get("/metrics").text.splitlines()
    for line in (
        "chronicled_backup_configured 1.0",
        "chronicled_backup_shipping 1.0",
        "chronicled_backup_position 1.0",
        "chronicled_backup_lag_events 2.0",
        "chronicled_backup_lag_seconds 1.5",
        f"chronicled_backup_last_success_timestamp_seconds {MOMENT / 1e6 - 3}",
        f"chronicled_snapshot_last_success_timestamp_seconds {MOMENT / 1e6 - 60}",
        "chronicled_snapshot_last_proved_timestamp_seconds 0.0",
        "chronicled_snapshots_missed 0.0",
        'chronicled_snapshot_failures_total{step="proof"} 2.0',
        'chronicled_snapshot_failures_total{step="upload"} 0.0',
        'chronicled_backup_stored_bytes_total{kind="segment"} 500.0',
        'chronicled_backup_stored_bytes_total{kind="snapshot"} 0.0',
    ):
        name = line.split()[0]
        found = [each for each in lines if each.startswith(f"{name} ")]
        assert [float(each.split()[1]) for each in found] == [float(line.split()[1])], line


def test_the_metrics_without_a_backup(client: httpx.Client) -> None:
    """Configured is 0, which an alert can see; a lag is not told."""
    lines = client.get("/metrics").text.splitlines()
    assert "chronicled_backup_configured 0.0" in lines
    assert not [line for line in lines if line.startswith("chronicled_backup_lag")]
