"""Listing the log: filters, order, pages, links, ETags."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from api_server import ApiServer, event


@pytest.fixture
def filled(server: ApiServer) -> ApiServer:
    """Return the server after nine events of three jobs and an alert."""
    for number in range(3):
        job, run = f"job/{number}", f"run-{number % 2}"
        day = f"2026-02-0{number + 1}"
        server.post(
            event("job.submitted", job, time=f"{day}T01:00:00Z", correlationid=run),
            event("job.started", job, time=f"{day}T02:00:00Z", source="/other"),
            event("job.failed", job, time=f"{day}T03:00:00Z"),
        )
    server.post(event("alert.raised", "a", time="2026-02-09T00:00:00Z"))
    return server


def positions(client: httpx.Client, **params: Any) -> list[int]:
    """Return the positions that one page shows."""
    response = client.get("/api/events", params=params)
    assert response.status_code == 200, response.text
    return [item["position"] for item in response.json()["items"]]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, list(range(1, 11))),
        ({"order": "desc", "limit": 3}, [10, 9, 8]),
        ({"stream": "job/job/1"}, [4, 5, 6]),
        ({"stream": "job/none"}, []),
        ({"type": "job.failed"}, [3, 6, 9]),
        ({"type": ["job.failed", "alert.raised"]}, [3, 6, 9, 10]),
        ({"type": "job.failed,alert.raised"}, [3, 6, 9, 10]),
        ({"source": "/other"}, [2, 5, 8]),
        ({"correlation": "run-0"}, [1, 7]),
        ({"after": 8}, [9, 10]),
        ({"before": 3}, [1, 2]),
        ({"after": 2, "before": 5}, [3, 4]),
        ({"since": "2026-02-03T02:00:00Z"}, [8, 9, 10]),
        ({"until": "2026-02-01T02:00:00Z"}, [1, 2]),
        ({"since": "2026-02-02T03:00:00+01:00", "until": "2026-02-02T02:00:00Z"}, [5]),
        ({"stream": "job/job/2", "type": "job.started", "order": "desc"}, [8]),
    ],
    ids=str,
)
def test_filters_and_order(filled: ApiServer, params: dict[str, Any], expected: list[int]) -> None:
    """Each filter narrows the list; positions are exclusive bounds, times inclusive ones."""
    with filled.client() as client:
        assert positions(client, **params) == expected


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_are_followed_by_link_by_cursor_and_by_position(
    filled: ApiServer, order: str
) -> None:
    """The Link, `cursor=next` and `after`/`before` all lead through every event once."""
    expected = list(range(1, 11)) if order == "asc" else list(range(10, 0, -1))
    onward = "after" if order == "asc" else "before"
    with filled.client() as client:
        for name in ("link", "cursor", onward):
            seen: list[int] = []
            address: str | None = f"/api/events?limit=4&order={order}"
            while address:
                response = client.get(address)
                page = response.json()
                seen += [item["position"] for item in page["items"]]
                assert ("next" in response.links) == (page["next"] is not None)
                if page["next"] is None:
                    address = None
                elif name == "link":
                    address = response.links["next"]["url"]
                else:
                    place = page["next"] if name == "cursor" else seen[-1]
                    address = f"/api/events?limit=4&order={order}&{name}={place}"
            assert seen == expected


def test_a_cursor_of_another_kind_is_refused(filled: ApiServer) -> None:
    """Garbage in place of a cursor, or one of other filters, is 422 invalid_cursor."""
    with filled.client() as client:
        other = client.get("/api/events?limit=4&order=desc").json()["next"]
        for cursor in ("x", "-1", "9" * 30, str(2**63), "é", other):
            response = client.get("/api/events", params={"cursor": cursor})
            assert (response.status_code, response.json()["code"]) == (422, "invalid_cursor")


def test_a_position_beyond_the_head_is_409(filled: ApiServer) -> None:
    """Who goes on from where this log has never been is told so; from its head there is nothing."""
    with filled.client() as client:
        response = client.get("/api/events?after=11")
        assert (response.status_code, response.json()["code"]) == (409, "beyond_head")
        assert client.get("/api/events?after=10").json()["items"] == []


def test_an_unchanged_answer_is_304(filled: ApiServer) -> None:
    """With the ETag of before: 304 as long as the items are the same, whatever else happened."""
    address = "/api/events?type=job.failed"
    with filled.client() as client:
        first = client.get(address)
        etag = first.headers["etag"]
        assert etag.startswith('W/"')
        filled.post(event("job.submitted", "elsewhere"))
        for given in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
            again = client.get(address, headers={"if-none-match": given})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["chronicled-as-of"] == "11"
        filled.post(event("job.failed", "elsewhere"))
        assert client.get(address, headers={"if-none-match": etag}).status_code == 200


def test_head_is_get_without_the_body(filled: ApiServer) -> None:
    """HEAD gives the headers of the GET and nothing else, also for a stream."""
    with filled.client() as client:
        for path in ("/api/events", "/healthz", "/openapi.json", "/docs", "/metrics"):
            head, get = client.head(path), client.get(path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-type"] == get.headers["content-type"]
        stream = client.head("/api/events/stream")
        assert (stream.status_code, stream.content) == (200, b"")
        assert client.head("/api/jobs/none").status_code == 404
