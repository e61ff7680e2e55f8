"""The HTTP interface over a log with two epochs: nothing is missed, and lost tails are 409."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import ApiServer, event
from epoch_log import GAP, two_epochs
from sse_client import received

from projections.cursor import encode_cursor


@pytest.fixture
def places(tmp_path: Path) -> list[int]:
    """Return the positions of the events of a log with two epochs."""
    (tmp_path / "data").mkdir()
    return two_epochs(tmp_path / "data" / "log.db")


@pytest.fixture
def server(tmp_path: Path, places: list[int]) -> Iterator[ApiServer]:
    """Return a server of that log, whose views are caught up."""
    with ApiServer(tmp_path / "data") as server:
        assert server.runner.wait_for(places[-1], 20)
        yield server


def pages(client: httpx.Client, address: str) -> list[list[Any]]:
    """Return the items of all pages of a list."""
    found = []
    separator = "&" if "?" in address else "?"
    cursor = ""
    while True:
        response = client.get(f"{address}{cursor}")
        assert response.status_code == 200, response.text
        page = response.json()
        found.append(page["items"])
        if page["next"] is None:
            return found
        cursor = f"{separator}cursor={page['next']}"
        assert len(found) < 100


def test_events_are_listed_both_ways(client: httpx.Client, places: list[int]) -> None:
    """By cursor, forwards and backwards, each event once and no page for nothing."""
    for order, wanted in (("asc", places), ("desc", places[::-1])):
        for narrow in ("", "&type=job.started"):
            found = pages(client, f"/api/events?limit=7&order={order}{narrow}")
            positions = [each["position"] for page in found for each in page]
            kept = wanted if not narrow else [n for n in wanted if n in positions]
            assert positions == kept
            assert len(positions) == (20 if narrow else len(places))
            assert len(found) <= len(positions) // 7 + 3
        rare = pages(client, f"/api/events?type=alert.raised&order={order}")
        assert sum(map(len, rare)) == 0
        assert len(rare) < 6


def test_events_after_and_before_a_gap(client: httpx.Client, places: list[int]) -> None:
    """The ends of a gap are places to start at, in both directions."""
    kept, begun = places[9], places[10]
    [after] = client.get(f"/api/events?after={kept}&limit=1").json()["items"]
    assert (after["position"], after["type"]) == (begun, "log.restored")
    address = f"/api/events?before={begun}&order=desc&limit=1"
    [before] = client.get(address).json()["items"]
    assert before["position"] == kept


def test_a_stream_goes_on_over_the_epochs(
    server: ApiServer, client: httpx.Client, places: list[int]
) -> None:
    """Last-Event-ID at the last complete position: the epoch and all the rest, then what comes."""
    headers = {"last-event-id": str(places[9])}
    with client.stream("GET", "/api/events/stream", headers=headers) as response:
        events = received(response)
        seen = [int(each.id) for each in islice(events, len(places) - 10)]
        assert seen == places[10:]
        head = server.post(event("job.submitted", "new"))
        assert int(next(events).id) == head == places[-1] + 1


def test_a_place_in_a_lost_tail_is_409_everywhere(client: httpx.Client, places: list[int]) -> None:
    """Beyond the head and inside of each gap: lists, streams, moments, waits, diffs, timelines."""
    first, second = places[9], places[30]
    lost = (first + 1, first + GAP, second + 1, second + GAP, places[-1] + 1)
    paths = (
        "/api/events?after={0}", "/api/events/stream?after={0}", "/api/jobs?as_of={0}",
        "/api/jobs/job-0-1?as_of={0}", "/api/jobs/job-0-1/history?as_of={0}",
        "/api/jobs?wait_for={0}", "/api/summary?as_of={0}", "/api/alerts?as_of={0}",
        "/api/diff?stream=job/job-0-1&from={0}", "/api/diff?jobs=true&to={0}",
        "/api/timeline?job=job-0-1&as_of={0}",
    )  # fmt: skip
    for position in lost:
        for path in paths:
            response = client.get(path.format(position))
            found = (response.status_code, response.json()["code"])
            assert found == (409, "beyond_head"), path.format(position)
        headers = {"last-event-id": str(position)}
        response = client.get("/api/events/stream", headers=headers)
        assert (response.status_code, response.json()["code"]) == (409, "beyond_head")
    told = client.get(f"/api/events?after={first + 1}").json()
    assert f"complete up to {first}" in told["detail"]
    assert f"epoch 2 at {places[10]}" in told["detail"]
    assert f"from position {first}" in told["hint"]


def moved(cursor: str, place: int, position: int) -> str:
    """Return a cursor whose key holds another position, as one of a lost tail does."""
    import base64

    import orjson

    bound_to, *key = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    key[place] = position
    return encode_cursor(bound_to, key)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/api/events?limit=2", 0),
        ("/api/events?limit=2&order=desc", 0),
        ("/api/jobs?limit=2", -1),
        ("/api/jobs?limit=2&sort=updated", -1),
        ("/api/jobs/job-0-1/history?limit=1", -1),
        ("/api/diff?jobs=true&limit=2", 1),
        ("/api/diff?jobs=true&limit=2", 2),
        ("/api/steps?stream=job/job-0-1&limit=1", 0),
        ("/api/timeline?job=job-0-1&limit=1", 0),
    ],
)
def test_a_cursor_of_a_lost_tail_is_409(
    client: httpx.Client, places: list[int], path: str, place: int
) -> None:
    """A list that was begun before the restore is begun again: its cursor leads nowhere now."""
    cursor = client.get(path).json()["next"]
    assert client.get(f"{path}&cursor={cursor}").status_code == 200
    for position in (places[9] + 5, places[30] + GAP, places[-1] + 7):
        response = client.get(f"{path}&cursor={moved(cursor, place, position)}")
        assert (response.status_code, response.json()["code"]) == (409, "beyond_head"), position


def test_a_cursor_of_a_moment_that_was_lost_is_409(client: httpx.Client, places: list[int]) -> None:
    """The pages of a list as of the past hold its position."""
    cursor = client.get(f"/api/jobs?limit=2&as_of={places[9]}").json()["next"]
    rest = cursor.partition(".")[2]
    path = f"/api/jobs?limit=2&as_of=2099-01-01&cursor={places[9] + 3}.{rest}"
    assert client.get(path).status_code == 409


def test_moments_on_both_sides_of_an_epoch(client: httpx.Client, places: list[int]) -> None:
    """As of the last complete position, and as of the epoch: the same jobs; later ones after."""
    for place, jobs, running in ((9, 10, 0), (10, 10, 0), (30, 20, 10), (31, 20, 10), (51, 30, 20)):
        query = f"as_of={places[place]}&timeout=20&limit=100"
        items = client.get(f"/api/jobs?{query}").json()["items"]
        assert len(items) == jobs, place
        assert sum(each["status"] == "running" for each in items) == running


def test_what_changed_is_found_over_an_epoch(client: httpx.Client, places: list[int]) -> None:
    """Diffs of a stream and of all jobs reach over gaps, in few pages, as do steps."""
    path = f"/api/diff?jobs=true&from={places[9]}&limit=8"
    found = pages(client, path)
    assert len([each for page in found for each in page]) == 30
    assert [] not in found
    assert len(found) < 8
    diff = client.get(f"/api/diff?stream=job/job-0-1&from={places[9]}").json()
    assert {each["field"] for each in diff["changes"]} >= {"/status"}
    steps = client.get("/api/steps?stream=job/job-0-1").json()["items"]
    assert [each["event"]["position"] for each in steps] == [places[1], places[22]]
    story = client.get("/api/timeline?job=job-0-1").json()
    assert [each["event"]["position"] for each in story["items"]] == [places[1], places[22]]


def test_the_epoch_is_told(client: httpx.Client, places: list[int]) -> None:
    """/readyz says the epoch, and the log's own stream what began it."""
    log = client.get("/readyz").json()["log"]
    assert (log["epoch"], log["position"]) == (3, places[-1])
    log_id = client.get("/api/metrics").json()["log"]["log_id"]
    own = client.get(f"/api/events?stream=log/{log_id}").json()["items"]
    assert [each["position"] for each in own] == [places[10], places[31]]
    assert [each["data"]["complete_to"] for each in own] == [places[9], places[30]]
