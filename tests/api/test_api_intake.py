"""Producer formats over HTTP: strict bodies, lenient lines, followed files."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from api_server import ApiServer, event

from domain.limits import Limits

NDJSON = {"content-type": "application/x-ndjson"}
TASK = {
    "type": "csv2json",
    "job": "hourly",
    "info": "gs://raw/in.csv",
    "created": "2026-02-04T10:00:00Z",
    "id": "3f0c6a52",
    "meta": "workflow=etl.toml&job=hourly",
    "result": "complete",
    "started": "2026-02-04T10:00:01Z",
    "ended": "2026-02-04T10:00:09Z",
}


def lines(*messages: Any) -> str:
    """Return messages as NDJSON; text stays as it is."""
    return "".join(f"{m if isinstance(m, str) else json.dumps(m)}\n" for m in messages)


def test_a_message_becomes_its_events(client: httpx.Client) -> None:
    """A done task: submitted, started, succeeded; again: all duplicates."""
    first = client.post("/api/intake/flowlord-task", json=TASK)
    assert first.status_code == 201
    assert [one["version"] for one in first.json()["events"]] == [1, 2, 3]
    assert first.json()["dead_letters"] == 0
    again = client.post("/api/intake/flowlord-task", content=lines(TASK), headers=NDJSON)
    assert again.status_code == 200
    assert all(one["duplicate"] for one in again.json()["events"])


def test_a_body_is_refused_as_a_whole(client: httpx.Client) -> None:
    """One bad message in strict mode: nothing is recorded, its index is told."""
    response = client.post(
        "/api/intake/flowlord-file", content=lines({"path": "a"}, {"size": 1}), headers=NDJSON
    )
    assert (response.status_code, response.json()["errors"][0]["index"]) == (422, 1)
    assert client.get("/api/events").json()["as_of"] == 0


def test_bad_lines_are_put_aside_and_the_others_recorded(client: httpx.Client) -> None:
    """on_error=deadletter: every line stands alone."""
    body = lines(TASK, "{broken", {**TASK, "id": "other"})
    response = client.post(
        "/api/intake/flowlord-task?on_error=deadletter", content=body, headers=NDJSON
    )
    assert (response.status_code, response.json()["dead_letters"]) == (201, 1)
    assert len(response.json()["events"]) == 6
    [letter] = client.get("/api/deadletters").json()["items"]
    assert (letter["raw"], letter["reason"], letter["origin"]) == ("{broken", "undecodable", "http")


def test_a_line_that_conflicts_is_put_aside(server: ApiServer, client: httpx.Client) -> None:
    """A wrong expectedversion is the fault of its line alone, also within the same body."""
    server.post(event("job.submitted", "a"))
    body = lines(
        event("job.started", "a", expectedversion=1),
        event("job.failed", "a", expectedversion=1),
        event("job.succeeded", "a", expectedversion=2),
        event("job.submitted", "b", expectedversion=7),
        event("job.submitted", "c", expectedversion=0),
    )
    response = client.post(
        "/api/intake/cloudevents?on_error=deadletter", content=body, headers=NDJSON
    )
    assert (response.status_code, response.json()["dead_letters"]) == (201, 2)
    assert [one["stream"] for one in response.json()["events"]] == ["job/a", "job/a", "job/c"]
    letters = client.get("/api/deadletters").json()["items"]
    assert [letter["reason"] for letter in letters] == ["version_conflict"] * 2


def test_a_body_that_is_one_message_is_put_aside_too(client: httpx.Client) -> None:
    """on_error=deadletter with application/json: the body is its events or one dead letter."""
    path = "/api/intake/flowlord-task?on_error=deadletter"
    response = client.post(path, json=TASK)
    assert (response.status_code, len(response.json()["events"])) == (201, 3)
    for body in ('{\n"type": 5}', "[1]", ""):
        response = client.post(path, content=body, headers={"content-type": "application/json"})
        assert (response.status_code, response.json()["dead_letters"]) == (200, 1)
    reasons = [letter["reason"] for letter in client.get("/api/deadletters").json()["items"]]
    assert reasons == ["invalid", "invalid", "undecodable"]


def test_a_followed_stretch_is_recorded_once(client: httpx.Client) -> None:
    """The offset is kept with the events; the same stretch again adds nothing, letters neither."""
    params = {"on_error": "deadletter", "follow": "pipe:1", "start": 0, "end": 2}
    for status in (201, 200):
        response = client.post(
            "/api/intake/flowlord-task",
            params=params,
            content=lines(TASK, "junk"),
            headers=NDJSON,
        )
        assert response.status_code == status
        assert client.get("/api/intake/offsets?follow=pipe:1").json() == {
            "follow": "pipe:1",
            "offset": 2,
        }
    [letter] = client.get("/api/deadletters").json()["items"]
    assert (letter["count"], letter["origin"]) == (1, "pipe:1")
    assert client.get("/api/intake/offsets?follow=other").json()["offset"] == 0


def test_the_latest_of_several_names_is_told(client: httpx.Client) -> None:
    """A follower finds its file by the start of its name; a name that is done with is gone."""
    url, params = "/api/intake/flowlord-task", {"start": 0, "end": 9}
    asked = "/api/intake/offsets?latest=true&follow=file@"
    assert client.get(asked).json() == {"follow": "file@", "offset": 0}
    client.post(url, params={"follow": "file@1", **params}, json=TASK)
    client.post(url, params={"follow": "file@2", "replaces": "file@1", **params}, json=TASK)
    found = client.get(asked).json()
    assert (found["follow"], found["offset"]) == ("file@2", 9)
    assert found["updated"].endswith("Z")
    assert client.get("/api/intake/offsets?follow=file@1").json()["offset"] == 0
    assert client.post(url, params={"replaces": "file@2"}, json=TASK).status_code == 422


def test_the_source_can_be_set(client: httpx.Client) -> None:
    """source= stands in place of the format's own."""
    client.post("/api/intake/flowlord-task?source=/site-b", json=TASK)
    items = client.get("/api/events").json()["items"]
    assert {item["source"] for item in items} == {"/site-b"}


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("flowlord-taks", NDJSON, 404, "not_found"),
        ("flowlord-task", {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        ("flowlord-task", {}, 415, "unsupported_media_type"),
        (
            "flowlord-task?on_error=deadletter",
            {"content-type": "text/plain"},
            415,
            "unsupported_media_type",
        ),
        ("flowlord-task?on_error=ignore", NDJSON, 422, "invalid"),
        ("flowlord-task?inner=flowlord-file", NDJSON, 422, "invalid"),
        ("pubsub-push?inner=flowlord-taks", NDJSON, 422, "invalid"),
        ("pubsub-push?inner=pubsub-push", NDJSON, 422, "invalid"),
        ("flowlord-task?follow=x", NDJSON, 422, "invalid"),
        ("flowlord-task?follow=x&start=2&end=1", NDJSON, 422, "invalid"),
        ("flowlord-task?on_error=deadletter&follow=x&start=0&end=0", NDJSON, 422, "invalid"),
        ("flowlord-task?follow=x&start=-1&end=1", NDJSON, 422, "invalid"),
        ("flowlord-task?folow=x", NDJSON, 422, "invalid"),
    ],
)
def test_a_bad_request_is_refused(
    client: httpx.Client, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    """Unknown formats, content types and parameters; nothing is recorded."""
    response = client.post(f"/api/intake/{path}", content=lines(TASK), headers=headers)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert client.get("/api/events").json()["as_of"] == 0


@pytest.mark.parametrize("mode", ["reject", "deadletter"])
def test_too_many_lines_are_413(servers: Callable[..., ApiServer], mode: str) -> None:
    """Over the limit of events in one request nothing is recorded in either mode."""
    server = servers(limits=Limits(batch_events=10))
    tasks = lines(*({**TASK, "id": f"t{number}"} for number in range(4)))
    with server.client() as client:
        path = f"/api/intake/flowlord-task?on_error={mode}"
        response = client.post(path, content=tasks, headers=NDJSON)
        assert (response.status_code, response.json()["code"]) == (413, "too_large")
        blank = client.post(path, content="\n" * 11, headers=NDJSON)
        assert blank.status_code in (200, 413)
        assert client.get("/api/events").json()["as_of"] == 0
