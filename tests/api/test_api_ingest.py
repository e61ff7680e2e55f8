"""Taking events in: every mode of CloudEvents, receipts, duplicates, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from api_server import ApiServer, event
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent


def test_a_structured_event_is_answered_with_its_receipt(client: httpx.Client) -> None:
    """One event as application/cloudevents+json: 201 with id, position, stream, version."""
    sent = event("job.submitted", "a/b", {"kind": "align"})
    response = client.post(
        "/api/events",
        content=json.dumps(sent),
        headers={"content-type": "application/cloudevents+json; charset=UTF-8"},
    )
    assert response.status_code == 201
    assert response.json() == {
        "events": [
            {
                "id": sent["id"],
                "position": 1,
                "stream": "job/a/b",
                "version": 1,
                "duplicate": False,
            }
        ],
        "as_of": 1,
    }
    assert response.headers["chronicled-as-of"] == "1"


@pytest.mark.parametrize(
    ("content_type", "encode"),
    [
        ("application/json", json.dumps),
        ("application/cloudevents-batch+json", json.dumps),
        ("application/x-ndjson", lambda events: "\n".join(map(json.dumps, events))),
        ("application/ndjson", lambda events: "\r\n".join(map(json.dumps, events)) + "\n\n"),
    ],
)
def test_a_batch_comes_in_each_of_its_forms(
    client: httpx.Client, content_type: str, encode: Callable[[Any], str]
) -> None:
    """A JSON array and NDJSON hold several events; the receipts are in their order."""
    events = [event("job.submitted", "one"), event("job.started", "one"), event("job.queued", "2")]
    response = client.post(
        "/api/events", content=encode(events), headers={"content-type": content_type}
    )
    assert response.status_code == 201
    receipts = response.json()["events"]
    assert [receipt["id"] for receipt in receipts] == [one["id"] for one in events]
    assert [receipt["version"] for receipt in receipts] == [1, 2, 1]


def test_binary_mode_takes_the_attributes_from_the_headers(client: httpx.Client) -> None:
    """ce- headers are percent-decoded; the body is the data."""
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "b-1",
        "ce-source": "/tests",
        "ce-type": "job.succeeded",
        "ce-subject": "caf%C3%A9%20%E2%82%AC",
        "ce-actor": "ana",
        "content-type": "application/json",
    }
    response = client.post("/api/events", content=b'{"result":{"n":1}}', headers=headers)
    assert response.status_code == 201, response.text
    [recorded] = client.get("/api/events").json()["items"]
    assert recorded["subject"] == "café €"
    assert recorded["actor"] == "ana"
    assert recorded["data"] == {"result": {"n": 1}}


def test_the_official_sdk_posts_all_modes(client: httpx.Client) -> None:
    """Events of the cloudevents SDK come in structured, binary and as a batch."""

    def make(number: int) -> CloudEvent:
        attributes = {
            "specversion": "1.0",
            "id": f"sdk-{number}",
            "source": "/sdk",
            "type": "job.submitted",
            "subject": f"sdk job {number}",
            "datacontenttype": "application/json",
        }
        return CloudEvent(attributes=attributes, data={"kind": "sdk"})

    structured, binary = to_structured_event(make(1)), to_binary_event(make(2))
    for message in (structured, binary):
        response = client.post("/api/events", content=message.body, headers=message.headers)
        assert response.status_code == 201, response.text
    batch = [json.loads(to_structured_event(make(number)).body) for number in (3, 4)]
    response = client.post(
        "/api/events",
        content=json.dumps(batch),
        headers={"content-type": "application/cloudevents-batch+json"},
    )
    assert [receipt["id"] for receipt in response.json()["events"]] == ["sdk-3", "sdk-4"]
    recorded = client.get("/api/events").json()["items"]
    assert [one["subject"] for one in recorded] == [f"sdk job {number}" for number in range(1, 5)]


def test_a_repeat_is_answered_with_the_original_receipt(client: httpx.Client) -> None:
    """The same events again: 200, the same places, duplicate; another payload: differs."""
    events = [event("job.submitted", "a", {"kind": "x"}), event("job.started", "a")]
    first = client.post("/api/events", json=events)
    again = client.post("/api/events", json=events)
    assert (first.status_code, again.status_code) == (201, 200)
    assert [one["position"] for one in again.json()["events"]] == [1, 2]
    assert all(one["duplicate"] for one in again.json()["events"])
    changed = client.post("/api/events", json={**events[0], "data": {"kind": "y"}})
    assert changed.status_code == 200
    assert changed.json()["events"][0]["differs"] is True
    mixed = client.post("/api/events", json=[events[0], event("job.failed", "a")])
    assert mixed.status_code == 201
    assert mixed.json()["as_of"] == 3


def test_an_empty_batch_appends_nothing(client: httpx.Client) -> None:
    """No events: 200 with no receipts."""
    response = client.post("/api/events", json=[])
    assert (response.status_code, response.json()) == (200, {"events": [], "as_of": 0})


def test_what_comes_out_can_go_in_elsewhere(servers: Callable[..., ApiServer]) -> None:
    """The events of one log are a valid batch for another; position and version are ignored."""
    first, second = servers(), servers()
    first.post(event("job.submitted", "x", {"kind": "k"}), event("alert.raised", "y"))
    with first.client() as source, second.client() as sink:
        items = source.get("/api/events").json()["items"]
        assert sink.post("/api/events", json=items[1:] + items[:1]).status_code == 201
        copied = sink.get("/api/events").json()["items"]
    dropped = ("position", "recordedtime", "version")
    plain = [{k: v for k, v in item.items() if k not in dropped} for item in (*items, *copied)]
    assert plain[:2] == [plain[3], plain[2]]


def test_a_batch_may_be_as_large_as_the_limits(server: ApiServer) -> None:
    """10,000 events of 16 MiB in all go in with one request, in order."""
    padding = "x" * 1_500
    events = [event("job.submitted", f"job-{n}", {"params": {"p": padding}}) for n in range(10_000)]
    body = "\n".join(map(json.dumps, events)).encode()
    assert 15 * 2**20 < len(body) < 16 * 2**20
    with server.client() as client:
        headers = {"content-type": "application/x-ndjson"}
        response = client.post("/api/events", content=body, headers=headers)
    assert response.status_code == 201
    positions = [receipt["position"] for receipt in response.json()["events"]]
    assert positions == list(range(1, 10_001))


def test_the_unix_socket_serves_the_same(server: ApiServer) -> None:
    """What was posted over the Unix socket is read over TCP."""
    with server.client(unix=True) as by_path, server.client() as by_tcp:
        assert by_path.post("/api/events", json=event("job.submitted", "a")).status_code == 201
        assert by_tcp.get("/api/events").json()["as_of"] == 1
