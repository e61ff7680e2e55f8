"""Dead letters: finding one, decoding it again, and throwing it away."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from api_server import ApiServer

from domain.limits import Limits

TASK = {
    "type": "csv2json",
    "info": "gs://raw/in.csv",
    "created": "2026-02-04T10:00:00Z",
    "id": "3f0c6a52",
}
PATH = "/api/deadletters"


def put_aside(client: httpx.Client, line: bytes, format_name: str = "flowlord-task") -> int:
    """Send a line that cannot be decoded; return the id of the newest dead letter."""
    response = client.post(
        f"/api/intake/{format_name}?on_error=deadletter",
        content=line,
        headers={"content-type": "application/x-ndjson"},
    )
    assert response.json()["dead_letters"] == 1
    return int(client.get(PATH).json()["items"][-1]["id"])


def decide(client: httpx.Client, letter: int, verb: str, **said: Any) -> httpx.Response:
    """Retry or discard a letter."""
    return client.post(f"{PATH}/{letter}/{verb}", json=said)


def test_a_letter_is_shown_whole(client: httpx.Client) -> None:
    """Text as text, other bytes in base64; a masked one is not complete."""
    text = client.get(f"{PATH}/{put_aside(client, b'{broken')}").json()
    assert (text["raw"], text["encoding"], text["complete"]) == ("{broken", "text", True)
    other = client.get(f"{PATH}/{put_aside(client, b'{' + bytes([255]))}").json()
    assert (other["raw"], other["encoding"], other["complete"]) == ("e/8=", "base64", True)
    masked = client.get(f"{PATH}/{put_aside(client, b'{password=hunter2hunter2')}").json()
    assert not masked["complete"]
    assert "hunter2" not in masked["raw"]
    assert client.get(f"{PATH}/99").status_code == 404


def test_a_letter_is_retried_once_its_fault_is_gone(server: ApiServer) -> None:
    """Its events come with their own id and time; again they are duplicates, the state stays."""
    server.context.limits = Limits(event_bytes=40)
    with server.client() as client:
        letter = put_aside(client, json.dumps(TASK).encode())
        refused = decide(client, letter, "retry")
        assert (refused.status_code, refused.json()["code"]) == (422, "still_undecodable")
        assert client.get(f"{PATH}/{letter}").json()["state"] == "open"
        assert server.log.head() == 0
        server.context.limits = Limits()
        retried = decide(client, letter, "retry", by="ana", reason="a larger limit")
        assert retried.status_code == 201
        assert [one["stream"] for one in retried.json()["events"]][-1] == f"deadletter/{letter}"
        submitted, decided = client.get("/api/events").json()["items"]
        assert submitted["time"] == TASK["created"]
        assert (decided["type"], decided["actor"]) == ("deadletter.retried", "ana")
        shown = client.get(f"{PATH}/{letter}").json()
        assert decided["data"] == {
            "digest": shown["sha256"],
            "format": "flowlord-task",
            "reason": "a larger limit",
            "events": 1,
        }
        assert shown["state"] == "retried"
        again = decide(client, letter, "retry")
        assert (again.status_code, server.log.head()) == (200, 2)
        sent = client.post("/api/intake/flowlord-task", json=TASK)
        assert sent.json()["events"][0]["duplicate"]


def test_an_event_without_a_time_gets_the_time_its_letter_was_first_seen(
    server: ApiServer,
) -> None:
    """Not the time of the retry."""
    with server.client() as client:
        event = {"specversion": "1.0", "id": "1", "source": "/t", "type": "job.submitted"}
        letter = put_aside(client, json.dumps(event).encode(), "cloudevents")
        seen = client.get(f"{PATH}/{letter}").json()["first_seen"]
        body = json.dumps(event | {"subject": "j"})
        assert decide(client, letter, "retry", body=body).status_code == 201
        assert client.get("/api/events").json()["items"][0]["time"] == seen


def test_a_letter_is_retried_as_another_format_or_with_other_bytes(client: httpx.Client) -> None:
    """A masked letter needs a body; a blank or broken one is refused."""
    letter = put_aside(client, b'{"path":"gs://a/b","password":"hunter2hunter2"}')
    refused = decide(client, letter, "retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_kept")
    for body in (" \n", "{"):
        assert decide(client, letter, "retry", body=body).json()["code"] == "still_undecodable"
    body = json.dumps(TASK)
    assert decide(client, letter, "retry", body=body).status_code == 201
    other = put_aside(client, b'{"path":"gs://a/b"}')
    assert decide(client, other, "retry", format="flowlord-file").status_code == 201
    assert decide(client, other, "retry", format="no").status_code == 404


def test_a_discarded_letter_stays_discarded_when_it_comes_again(client: httpx.Client) -> None:
    """The count goes up; it can still be retried, and what was retried not be discarded."""
    letter = put_aside(client, b'{"path":"gs://a/b"}')
    assert decide(client, letter, "discard", by="ana", reason="a test").status_code == 201
    assert decide(client, letter, "discard").status_code == 200
    assert put_aside(client, b'{"path":"gs://a/b"}') == letter
    shown = client.get(f"{PATH}/{letter}").json()
    assert (shown["state"], shown["count"]) == ("discarded", 2)
    assert decide(client, letter, "retry", format="flowlord-file").status_code == 201
    refused = decide(client, letter, "discard")
    assert (refused.status_code, refused.json()["code"]) == (409, "already_retried")


def test_letters_are_filtered(client: httpx.Client) -> None:
    """By format, origin, reason and state."""
    first = put_aside(client, b"{broken")
    second = put_aside(client, b'{"size":-1}', "flowlord-file")
    decide(client, first, "discard")
    for query, expected in (
        ("format=flowlord-file", [second]),
        ("origin=http", [first, second]),
        ("origin=x", []),
        ("reason=undecodable", [first]),
        ("state=open", [second]),
        ("state=discarded&reason=undecodable", [first]),
    ):
        items = client.get(f"{PATH}?{query}").json()["items"]
        assert [item["id"] for item in items] == expected, query
    assert client.get(f"{PATH}?state=gone").status_code == 422


@pytest.mark.parametrize("verb", ["retry", "discard"])
def test_a_decision_about_no_letter_is_404(client: httpx.Client, verb: str) -> None:
    """Nothing is recorded."""
    assert decide(client, 7, verb).status_code == 404
    assert client.get("/api/events").json()["as_of"] == 0
