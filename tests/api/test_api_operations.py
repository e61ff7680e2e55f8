"""Long work over HTTP: who may start it, how it is watched, how it ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from api_server import ApiServer, event
from sse_client import received
from waiting import wait_until

from daemon.api.operations import KEPT, Kind, Operations, Progress
from daemon.lifecycle import system_clock
from daemon.replay.verifier import verify_apart
from domain.errors import NotFound, NotReady
from projections.registry import PROJECTIONS


def start(server: ApiServer, **asked: Any) -> Any:
    """Start an operation over the Unix socket and return it when it has ended."""
    with server.client(unix=True) as client:
        response = client.post("/api/operations", json=asked)
        assert response.status_code == 202, response.text
        address = response.headers["location"]
        assert address == f"/api/operations/{response.json()['id']}"
        return wait_until(lambda: _ended(client.get(address).json()), "the operation has ended")


def _ended(operation: Any) -> Any:
    return operation if operation["state"] != "running" else None


def test_verify_finds_nothing_wrong(server: ApiServer) -> None:
    """A log that is as it was recorded, and views that are its replay."""
    server.post(*[event("job.submitted", f"j{number}") for number in range(20)])
    operation = start(server, kind="verify")
    assert operation["state"] == "succeeded", operation
    result = operation["result"]
    assert (result["ok"], result["position"], result["events"]) == (True, 20, 20), result
    assert {each["ok"] for each in result["projections"]} == {True}
    quick = start(server, kind="verify", quick=True)["result"]
    assert (quick["ok"], quick["quick"], quick["position"]) == (True, True, 20), quick
    assert operation["ended"] >= operation["started"]


def test_rebuild_builds_the_tables_again(server: ApiServer) -> None:
    """All projections, or one; the answers are the same afterwards."""
    server.post(*[event("job.submitted", f"j{number}") for number in range(20)])
    with server.client() as client:
        before = client.get("/api/jobs").json()
        everything = start(server, kind="rebuild")
        assert everything["state"] == "succeeded", everything
        assert len(everything["result"]["projections"]) == len(PROJECTIONS)
        one = start(server, kind="rebuild", projection="jobs")
        assert one["result"] == {"ok": True, "projections": ["jobs"]}
        assert client.get("/api/jobs").json() == before


def test_an_operation_is_watched_by_a_stream(server: ApiServer) -> None:
    """The stream sends each change and ends with the operation."""
    server.post(*[event("job.submitted", f"j{number}") for number in range(20)])
    with server.client(unix=True) as client:
        operation = client.post("/api/operations", json={"kind": "rebuild"}).json()
        path = f"/api/operations/{operation['id']}/stream"
        with client.stream("GET", path) as response:
            seen = [json.loads(one.data) for one in received(response)]
        assert seen[-1]["state"] == "succeeded"
        assert {one["id"] for one in seen} == {operation["id"]}
        listed = client.get("/api/operations").json()["items"]
        assert listed == [client.get(f"/api/operations/{operation['id']}").json()]


def test_operations_are_started_over_the_socket_only(server: ApiServer) -> None:
    """Over TCP it is 403; looking is allowed."""
    with server.client() as client:
        response = client.post("/api/operations", json={"kind": "verify"})
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")
        assert client.get("/api/operations").json()["items"] == []


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        ('{"kind":"vacuum"}', {"content-type": "application/json"}, 422, "invalid"),
        ('{"projection":"jobs"}', {"content-type": "application/json"}, 422, "invalid"),
        ('{"kind":"verify","force":1}', {"content-type": "application/json"}, 422, "invalid"),
        ("verify", {"content-type": "application/json"}, 400, "undecodable"),
        ('{"kind":"verify"}', {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        (
            '{"kind":"rebuild","projection":"job"}',
            {"content-type": "application/json"},
            404,
            "not_found",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(
    server: ApiServer, body: str, headers: dict[str, str], status: int, code: str
) -> None:
    """Unknown kinds, fields and projections start nothing."""
    with server.client(unix=True) as client:
        response = client.post("/api/operations", content=body, headers=headers)
        assert (response.status_code, response.json()["code"]) == (status, code), response.text
        assert client.get("/api/operations").json()["items"] == []


def test_one_operation_runs_at_a_time(servers: Callable[..., ApiServer]) -> None:
    """While one runs another is 409; the running one ends early when the daemon stops."""
    server = servers()
    begun, blocked = threading.Event(), threading.Event()

    def work(progress: Progress) -> dict[str, Any]:
        begun.set()
        blocked.wait(20)
        progress(1, 2)
        return {}

    running = server.context.operations.start(Kind.VERIFY, work)
    assert begun.wait(20)
    with server.client(unix=True) as client:
        response = client.post("/api/operations", json={"kind": "rebuild"})
        assert (response.status_code, response.json()["code"]) == (409, "operation_running")
        assert running.id in response.json()["detail"]
        server.context.drain()
        blocked.set()
        path = f"/api/operations/{running.id}"
        ended = wait_until(lambda: _ended(client.get(path).json()), "it has ended")
        assert (ended["state"], ended["error"]["code"]) == ("failed", "not_ready")
        response = client.post("/api/operations", json={"kind": "rebuild"})
        assert (response.status_code, response.json()["code"]) == (503, "not_ready")


def test_a_failing_operation_says_so_without_its_insides() -> None:
    """An exception nobody foresaw ends the operation as an internal error."""
    operations = Operations(system_clock)

    def work(_progress: Progress) -> dict[str, Any]:
        raise ZeroDivisionError("secret")

    started = operations.start(Kind.VERIFY, work)
    operations.close()
    ended = operations.find(started.id)
    assert ended.state == "failed"
    assert ended.error is not None
    assert ended.error["code"] == "internal"
    assert "secret" not in str(ended.error)
    with pytest.raises(NotReady):
        operations.start(Kind.VERIFY, work)


def test_only_so_many_operations_are_remembered() -> None:
    """The oldest ones are forgotten."""
    operations = Operations(system_clock)
    started = []
    for _ in range(KEPT + 2):
        started.append(operations.start(Kind.VERIFY, lambda _: {}))
        wait_until(lambda: operations.recent()[0].state == "succeeded", "it has ended")
    operations.close()
    assert len(operations.recent()) == KEPT
    with pytest.raises(NotFound):
        operations.find(started[0].id)
    assert operations.find(started[-1].id).state == "succeeded"


def test_a_verification_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    """Stopped at a sign of progress, while it waits for a lock, it leaves no folder behind."""
    (tmp_path / "verify").mkdir()

    def progress(_done: int, _total: int) -> None:
        raise NotReady("stopped")

    held = apsw.Connection(str(tmp_path / "log.db"))
    held.execute("CREATE TABLE t (x); BEGIN EXCLUSIVE")
    try:
        with pytest.raises(NotReady, match="stopped"):
            verify_apart(tmp_path / "log.db", tmp_path / "views.db", False, progress)
    finally:
        held.close()
    assert not (tmp_path / "verify").exists()
