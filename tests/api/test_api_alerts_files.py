"""Alerts and what people decide about them; files; the summary; dead letters."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from api_server import ApiServer, event

from domain.timestamps import MICROSECONDS, format_timestamp


@pytest.fixture
def raised(server: ApiServer) -> ApiServer:
    """Return the server after two alerts."""
    server.post(
        event("alert.raised", "disk/full", {"severity": "critical", "kind": "disk"}),
        event("alert.raised", "slow", {"severity": "warning", "kind": "late", "job": "j"}),
    )
    return server


def alert(server: ApiServer, client: httpx.Client, alert_id: str) -> Any:
    """Return an alert as the views show it at the head of the log."""
    head = server.log.head()
    return client.get(f"/api/alerts/{alert_id}?wait_for={head}&timeout=20").json()


def test_an_alert_is_acknowledged_resolved_and_raised_again(raised: ApiServer) -> None:
    """Each decision is an event with who and why; a new raise opens the alert again."""
    with raised.client() as client:
        said = {"by": "ana", "reason": "on it"}
        response = client.post("/api/alerts/disk/full/acknowledge", json=said)
        assert response.status_code == 201
        assert response.json()["events"][0]["stream"] == "alert/disk/full"
        shown = alert(raised, client, "disk/full")
        assert (shown["state"], shown["acknowledged_by"]) == ("acknowledged", "ana")
        assert client.post("/api/alerts/disk%2Ffull/resolve").status_code == 201
        assert alert(raised, client, "disk/full")["state"] == "resolved"
        raised.post(event("alert.raised", "disk/full"))
        assert alert(raised, client, "disk/full")["state"] == "open"
        assert client.post("/api/alerts/disk/full/acknowledge", json=said).status_code == 201
        recorded = client.get("/api/events?type=alert.acknowledged").json()["items"]
    assert [one["actor"] for one in recorded] == ["ana", "ana"]
    assert recorded[0]["data"] == said
    assert recorded[0]["source"] == "/chronicled/api"


def test_a_second_click_records_nothing(raised: ApiServer) -> None:
    """The same decision by the same person is a duplicate, by another one it is not."""
    with raised.client() as client:
        path = "/api/alerts/slow/acknowledge"
        first = client.post(path, json={"by": "ana"})
        again = client.post(path, json={"by": "ana", "reason": "said again"})
        assert (first.status_code, again.status_code) == (201, 200)
        assert again.json()["events"][0]["position"] == first.json()["events"][0]["position"]
        assert client.post(path, json={"by": "ben"}).status_code == 201
        for expected in (201, 200):
            said = {"by": "ana", "id": "click-2"}
            assert client.post(path, json=said).status_code == expected


def test_a_decision_counts_although_the_producer_s_clock_runs_ahead(server: ApiServer) -> None:
    """An alert whose time is in the future (within the limit of skew) can be resolved now."""
    ahead = server.context.clock() + 120 * MICROSECONDS
    server.post(event("alert.raised", "a", time=format_timestamp(ahead)))
    with server.client() as client:
        assert client.post("/api/alerts/a/resolve", json={"by": "ana"}).status_code == 201
        assert alert(server, client, "a")["state"] == "resolved"


@pytest.mark.parametrize(
    ("body", "headers", "status", "pointer"),
    [
        (b"{", {"content-type": "application/json"}, 400, None),
        (b'{"who":"ana"}', {"content-type": "application/json"}, 422, "/who"),
        (b'{"by":7}', {"content-type": "application/json"}, 422, "/by"),
        (b'{"by":"a\\u0000b"}', {"content-type": "application/json"}, 422, "/by"),
        (b'{"by":"ana"}', {"content-type": "text/plain"}, 415, None),
        (b'{"by":"ana"}', {}, 415, None),
        (b" " * 70_000, {"content-type": "application/json"}, 413, None),
    ],
)
def test_a_bad_decision_records_nothing(
    raised: ApiServer, body: bytes, headers: dict[str, str], status: int, pointer: str | None
) -> None:
    """What is wrong with the body is named by pointer; the log stays as it is."""
    with raised.client() as client:
        response = client.post("/api/alerts/slow/resolve", content=body, headers=headers)
        assert response.status_code == status, response.text
        if pointer is not None:
            assert response.json()["errors"][0]["pointer"] == pointer
        assert client.get("/api/events").json()["as_of"] == 2


def test_a_decision_about_nothing_is_404(raised: ApiServer) -> None:
    """An alert that was never raised cannot be resolved."""
    with raised.client() as client:
        response = client.post("/api/alerts/none/resolve", json={"by": "ana"})
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_alerts_are_filtered(raised: ApiServer) -> None:
    """By state, severity, kind and job."""
    with raised.client() as client:
        client.post("/api/alerts/slow/resolve", json={"by": "ana"})
        assert alert(raised, client, "slow")["state"] == "resolved"
        for query, expected in (
            ("state=open", ["disk/full"]),
            ("state=resolved,acknowledged", ["slow"]),
            ("severity=critical", ["disk/full"]),
            ("kind=late", ["slow"]),
            ("job=j", ["slow"]),
            ("kind=none", []),
        ):
            items = client.get(f"/api/alerts?{query}").json()["items"]
            assert [item["id"] for item in items] == expected, query


def test_files_are_listed_with_what_matched_them(server: ApiServer) -> None:
    """A message about a file, its facts, and which rules took it."""
    path = "gs://raw/2026/02/04/part-1.json.gz"
    matched = {"workflow": "etl.toml", "phases": ["load"], "jobs": ["j1"]}
    server.post(
        event("file.observed", path, {"path": path, "size": 12}, time="2026-02-04T01:00:00Z"),
        event("file.matched", path, matched),
        event("file.observed", "other", {"size": 0}, time="2026-02-05T01:00:00Z"),
    )
    with server.client() as client:
        items = client.get("/api/files").json()["items"]
        assert [item["path"] for item in items] == ["other", path]
        assert (items[1]["size"], items[1]["matched"]) == (12, True)
        assert items[1]["matches"][0]["jobs"] == ["j1"]
        for query in ("prefix=gs://raw", "matched=true", "until=2026-02-04T12:00:00Z"):
            found = client.get(f"/api/files?{query}").json()["items"]
            assert [item["path"] for item in found] == [path], query


def test_the_summary_counts_by_range_and_kind(server: ApiServer) -> None:
    """All time, one day with its hours, one kind."""
    for number in range(4):
        job, day = f"j{number}", f"2026-02-0{number // 2 + 4}"
        server.post(
            event("job.submitted", job, {"kind": f"k{number % 2}"}, time=f"{day}T05:10:00Z"),
            event("job.started", job, time=f"{day}T05:11:00Z"),
            event("job.succeeded", job, time=f"{day}T05:12:00Z"),
        )
    with server.client() as client:
        everything = client.get("/api/summary").json()
        assert everything["jobs"]["by_status"] == {"succeeded": 4}
        assert [day["date"] for day in everything["days"]] == ["2026-02-04", "2026-02-05"]
        day = "since=2026-02-04T00:00:00Z&until=2026-02-05T00:00:00Z"
        one = client.get(f"/api/summary?{day}&kind=k0").json()
        assert one["jobs"]["total"] == 1
        assert [hour["hour"] for hour in one["hours"]] == ["2026-02-04T05:00:00Z"]


def test_dead_letters_come_in_pages(server: ApiServer) -> None:
    """What was put aside is listed by format, and page by page."""
    lines = "\n".join(f"bad {number}" for number in range(5))
    with server.client() as client:
        for name in ("flowlord-task", "cloudevents"):
            response = client.post(
                f"/api/intake/{name}?on_error=deadletter",
                content=lines,
                headers={"content-type": "application/x-ndjson"},
            )
            assert (response.status_code, response.json()["dead_letters"]) == (200, 5)
        seen: list[Any] = []
        address: str | None = "/api/deadletters?format=cloudevents&limit=2"
        while address:
            page = client.get(address)
            seen += page.json()["items"]
            address = page.links["next"]["url"] if "next" in page.links else None
        assert [letter["raw"] for letter in seen] == [f"bad {number}" for number in range(5)]
        assert {letter["format"] for letter in seen} == {"cloudevents"}
        assert len(client.get("/api/deadletters").json()["items"]) == 10
