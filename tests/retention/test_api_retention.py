"""Retention over HTTP: plan, preview, policies, and applying a plan."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api.api_server import ApiServer, event
from keeping import DAY, START, policies
from waiting import wait_until

from daemon.api.routes import ROUTES
from daemon.retention.retention import Retention

ENDED = {"category": "job", "age": "ended", "purge_after": "30d"}


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the server."""
    return Clock()


@pytest.fixture
def server(tmp_path: Path, clock: Clock) -> Iterator[ApiServer]:
    """Return a server with one policy and three old jobs."""
    with ApiServer(tmp_path, clock=clock) as found:
        found.context.retention = Retention(found.log, found.views, policies(ENDED))
        for id_ in ("a", "b", "c"):
            found.post(event("job.submitted", id_, {"kind": "work"}))
            found.post(event("job.succeeded", id_))
        clock.now += 30 * DAY
        yield found


def operate(server: ApiServer, **asked: Any) -> dict[str, Any]:
    """Start an operation over the socket, and return it when it has ended."""
    with server.client(unix=True) as client:
        answer = client.post("/api/operations", json={"kind": "retention-apply", **asked})
        assert answer.status_code == 202, answer.text
        path = f"/api/operations/{answer.json()['id']}"

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = client.get(path).json()
            return None if found["state"] == "running" else found

        found = wait_until(ended, "the operation ends")
        assert found is not None
        return found


def get(server: ApiServer, **params: Any) -> httpx.Response:
    """Ask for the plan."""
    with server.client() as client:
        return client.get("/api/retention", params=params)


def test_a_plan_is_paged_as_it_was_made(server: ApiServer) -> None:
    """Its cursors lead through one plan, whatever becomes due or goes meanwhile."""
    first = get(server, limit=2).json()
    assert [item["id"] for item in first["items"]] == ["a", "b"]
    assert (first["entities"], first["events"]) == (3, 6)
    assert first["totals"][0]["rule"] == "job"
    server.post(event("job.pinned", "c"))
    second = get(server, limit=2, cursor=first["next"]).json()
    assert [item["id"] for item in second["items"]] == ["c"]
    assert second["plan"] == first["plan"]
    assert second["next"] is None
    assert get(server).json()["entities"] == 2


def test_a_cursor_of_a_forgotten_plan_is_refused(server: ApiServer) -> None:
    """It would lead through another plan."""
    first = get(server, limit=2).json()
    for id_ in ("d", "e", "f", "g"):
        server.post(event("job.failed", id_, time="2020-01-01T00:00:00Z"))
        get(server)
    answer = get(server, cursor=first["next"])
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")
    assert get(server, cursor="x").status_code == 422


def test_a_plan_is_applied_and_told(server: ApiServer) -> None:
    """What was done agrees with the plan, and the tombstones say who asked."""
    plan = get(server).json()
    ended = operate(server, plan=plan["plan"], by="ana")
    assert ended["state"] == "succeeded"
    result = ended["result"]
    assert result["totals"] == plan["totals"]
    assert (result["planned"], result["entities"], result["left"]) == (3, 3, {})
    assert ended["progress"] == {"done": 3, "total": 3}
    (last,) = server.log.read_stream("job/a", after_version=2)
    assert (last.type, last.extensions["actor"]) == ("job.purged", "ana")
    with server.client() as client:
        for path in ("/api/jobs/a", "/api/jobs/a/history"):
            answer = client.get(path, params={"wait_for": server.log.head()})
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
            assert "'a' was purged at 2026-" in answer.json()["detail"]
        assert "is no job 'z'" in client.get("/api/jobs/z/history").json()["detail"]


def test_a_plan_that_was_not_shown_is_not_applied(server: ApiServer) -> None:
    """Its id is the digest of what it does; another one is refused, and nothing happens."""
    ended = operate(server, plan="0" * 32)
    assert ended["state"] == "failed"
    assert ended["error"]["code"] == "plan_changed"
    assert len(server.log.read_stream("job/a")) == 2


def test_no_question_deletes_anything(server: ApiServer) -> None:
    """Every route that is read leaves the log, and what is due, as they were."""
    head, due = server.log.head(), get(server).json()["plan"]
    paths = [
        route.path.replace("{id}", "a")
        for route in ROUTES
        if route.method == "GET" and "stream" not in route.path
    ]
    assert {"/api/retention", "/api/maintenance", "/api/jobs/a"} <= set(paths)
    with server.client(unix=True) as client:
        for path in paths:
            client.get(path)
    assert (server.log.head(), get(server).json()["plan"]) == (head, due)


def test_only_the_socket_applies(server: ApiServer) -> None:
    """Over TCP it is refused."""
    with server.client() as client:
        answer = client.post("/api/operations", json={"kind": "retention-apply"})
    assert answer.status_code == 403


def test_other_policies_are_tried(server: ApiServer) -> None:
    """What they would do is answered, and what is wrong with them, at its place."""
    with server.client() as client:
        path = "/api/retention/preview"
        asked = {"preset": "amr", "policies": [{**ENDED, "purge_after": "forever"}]}
        assert client.post(path, json=asked).json()["entities"] == 0
        assert client.post(path, json={"preset": "amr"}).json()["entities"] == 3
        assert client.post(path, json={}).json()["entities"] == 0
        archived = client.post(path, json={"preset": "amr", "archive": True}).json()
        assert client.post(path, params={"cursor": "x"}, json={}).status_code == 422
        misspelt = client.post(path, json={"polices": [ENDED]})
        wrong = client.post(path, json={"preset": "arm", "policies": [{"category": "jobs"}]})
    assert (archived["entities"], archived["unarchivable"]) == (3, 0)
    (fault,) = misspelt.json()["errors"]
    assert (fault["pointer"], fault["code"]) == ("/polices", "unknown_field")
    assert "did you mean 'policies'" in fault["detail"]
    assert wrong.status_code == 422
    faults = {fault["pointer"]: fault["detail"] for fault in wrong.json()["errors"]}
    assert "did you mean 'amr'" in faults["/preset"]
    assert "did you mean 'job'" in faults["/policies"]


def test_the_policies_are_listed(server: ApiServer) -> None:
    """With whether the daemon applies them by itself, and whether there is an archive."""
    with server.client() as client:
        answer = client.get("/api/retention/policies").json()
    assert [item["name"] for item in answer["items"]] == ["job"]
    assert (answer["apply"], answer["archive"]) == (True, False)
