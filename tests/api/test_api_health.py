"""Readiness in each state of the daemon, and the numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from api_server import ApiServer, event
from waiting import wait_until

from projections.jobs import JobsFold


def test_ready_once_the_projections_have_caught_up(servers: Callable[..., ApiServer]) -> None:
    """Starting until every projection was at the head once; then ready, also while they lag."""
    server = servers(projecting=False)
    server.post(event("job.submitted", "a"))
    with server.client() as client:
        starting = client.get("/readyz")
        assert (starting.status_code, starting.json()["status"]) == (503, "starting")
        assert "retry-after" in starting.headers
        server.runner.catch_up()
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        assert ready.json()["log"]["position"] == 1
        assert {one["state"] for one in ready.json()["projections"]} == {"live"}
        server.post(event("job.submitted", "b"))
        assert client.get("/readyz").json()["status"] == "ready"


def test_a_failed_projection_is_degraded_and_still_200(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that fails is named with error and position; intake and the others go on."""
    server.post(event("job.submitted", "a"))

    def fail(_self: JobsFold, _batch: Any) -> None:
        raise ValueError("a fault in the fold")

    monkeypatch.setattr(JobsFold, "apply", fail)
    with server.client() as client:
        assert client.post("/api/events", json=event("job.submitted", "b")).status_code == 201
        degraded = wait_until(
            lambda: _degraded(client.get("/readyz")), "the failed projection shows"
        )
        [failed] = [one for one in degraded["projections"] if one["state"] == "failed"]
        assert (failed["name"], failed["failed_position"]) == ("jobs", 2)
        assert "a fault in the fold" in failed["error"]
        assert client.get("/api/jobs/b/history?wait_for=2&timeout=20").status_code == 200
        waited = client.get("/api/jobs?wait_for=2&timeout=20")
        assert (waited.status_code, waited.json()["code"]) == (503, "not_ready")
        assert 'chronicled_projection_failed{projection="jobs"} 1.0' in client.get("/metrics").text


def _degraded(response: Any) -> Any:
    document = response.json()
    return document if (response.status_code, document["status"]) == (200, "degraded") else None


def test_a_writer_that_does_not_answer_is_not_ready(
    servers: Callable[..., ApiServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is fine, the writer hangs: 503 failed; the process is alive."""
    monkeypatch.setattr("daemon.api.health.PING_SECONDS", 0.01)
    server = servers(writing=False)
    with server.client() as client:
        response = client.get("/readyz")
        assert (response.status_code, response.json()["status"]) == (503, "failed")
        assert response.json()["log"]["error"] == "the writer does not answer"
        assert client.get("/healthz").json()["status"] == "alive"
        server.log.start()
        wait_until(lambda: client.get("/readyz").status_code == 200, "the writer answers")


def test_the_numbers(server: ApiServer) -> None:
    """Position, rates, sizes, queue, projections, jobs, dead letters in one answer."""
    server.post(*[event("job.submitted", f"j{number}") for number in range(30)])
    with server.client() as client:
        numbers = client.get("/api/metrics").json()
    assert numbers["log"]["position"] == numbers["as_of"] == 30
    assert numbers["rates"]["events_per_second_1m"] == 0.5
    assert numbers["rates"]["events_per_second_5m"] == 0.1
    assert numbers["jobs"]["submitted"] == 30
    assert numbers["sizes"]["databases"]["log"]["wal"] > 0
    assert numbers["sizes"]["disk_free"] > 0
    assert {one["name"] for one in numbers["projections"]} >= {"jobs", "search", "summary"}
