"""`as_of` on every list and detail: what the log knew then, exactly, page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import apsw
import httpx
import pytest
from api_server import ApiServer, event

from domain.timestamps import MICROSECONDS, format_timestamp

NOON = 1_770_000_000 * MICROSECONDS
MINUTE = 60 * MICROSECONDS

LISTS = (
    "/api/jobs",
    "/api/jobs?status=running",
    "/api/jobs?q=words&limit=3",
    "/api/jobs?sort=updated",
    "/api/alerts",
    "/api/alerts?state=acknowledged",
    "/api/files",
    "/api/files?matched=true",
    "/api/summary",
)


class Ticking:
    """A clock that is one minute later each time an event is recorded."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> int:
        """Return the time."""
        return self.now


def told(number: int) -> list[Any]:
    """Return what happens to one job, its alert and its file."""
    job = f"job/{number}"
    return [
        event("job.submitted", job, {"kind": "k", "name": f"words {number}"}, correlationid="run"),
        event("file.observed", f"/in/{number}", {"size": number}, id=f"file-{number}"),
        event("file.matched", f"/in/{number}", {"jobs": [job]}, causationid=f"file-{number}"),
        event("job.started", job),
        event("alert.raised", f"alert/{number}", {"severity": "error", "job": job}),
        event("alert.acknowledged", f"alert/{number}", {"by": "ana"}),
        event("job.succeeded", job, {"result": {"n": number}}),
    ]


class Noted(NamedTuple):
    """A server, and what it answered when each position was its newest."""

    server: ApiServer
    answers: dict[tuple[str, int], Any]


@pytest.fixture(scope="module")
def noted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Noted]:
    """Return a server whose every answer was noted after each of its events."""
    clock = Ticking()
    with (
        ApiServer(tmp_path_factory.mktemp("data"), clock=clock) as server,
        server.client() as client,
    ):
        answers = {}
        for each in [each for number in range(4) for each in told(number)]:
            clock.now += MINUTE
            position = client.post("/api/events", json=each).json()["as_of"]
            for path in LISTS:
                answers[path, position] = everything(client, path, wait_for=position)
        clock.now += MINUTE
        yield Noted(server, answers)


@pytest.fixture
def client(noted: Noted) -> Iterator[httpx.Client]:
    """Return a client of the server."""
    with noted.server.client() as client:
        yield client


def everything(client: httpx.Client, path: str, **params: Any) -> Any:
    """Return all items of a list, or an answer that is no list; without its position."""
    answer = client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    as_of = document.pop("as_of")
    if "items" not in document:
        return document
    items = document["items"]
    while document["next"]:
        page = client.get(path, params={**params, "cursor": document["next"]})
        assert page.status_code == 200, page.text
        document = page.json()
        assert document["as_of"] == as_of
        items += document["items"]
    return items


@pytest.mark.parametrize("path", LISTS)
def test_lists_are_as_they_were(noted: Noted, client: httpx.Client, path: str) -> None:
    """At each position, in no order, a list is what it was when that was the newest."""
    head = noted.server.log.head()
    for position in sorted(range(1, head + 1), key=lambda each: each * 11 % head):
        assert everything(client, path, as_of=position) == noted.answers[path, position], position
    moment = format_timestamp(NOON + 9 * MINUTE + MINUTE // 2)
    assert everything(client, path, as_of=moment) == noted.answers[path, 9]
    ago = f"-{head + 1 - 9}m"
    assert everything(client, path, as_of=ago) == noted.answers[path, 9]


def test_details_are_those_of_the_lists(noted: Noted, client: httpx.Client) -> None:
    """A job or alert as of a position, folded from its stream, is the item of the list then."""
    for position in range(1, noted.server.log.head() + 1):
        for collection in ("jobs", "alerts"):
            for item in everything(client, f"/api/{collection}", as_of=position):
                path = f"/api/{collection}/{item['id']}"
                found = client.get(path, params={"as_of": position}).json()
                assert found.pop("as_of") == position
                timeline = found.pop("timeline", [])
                assert all(entry["position"] <= position for entry in timeline)
                assert found == item


def test_a_chain_is_that_of_then(client: httpx.Client) -> None:
    """The attempts of a chain are those that there were, not those that came later."""
    path = "/api/jobs/job/0/history"
    entries = everything(client, path, as_of=9, attempts="all")
    assert {entry["job"] for entry in entries} == {"job/0"}
    assert [entry["type"] for entry in entries] == ["job.submitted", "job.started", "job.succeeded"]
    pages = everything(client, path, as_of=9, limit=1)
    assert pages == [{k: v for k, v in entry.items() if k != "job"} for entry in entries]


@pytest.mark.parametrize(
    ("point", "status", "code"),
    [
        ("29", 409, "beyond_head"),
        ("2199-01-01", 409, "beyond_head"),
        ("2026-02-04T06:12:46", 422, "invalid"),
        ("-2", 422, "invalid"),
        ("2h", 422, "invalid"),
        ("noon", 422, "invalid"),
        ("", 422, "invalid"),
    ],
)
def test_points_that_are_none_are_clear_errors(
    client: httpx.Client, point: str, status: int, code: str
) -> None:
    """The future, the ambiguous and the unknown are refused by every route, and say why."""
    for path in (*LISTS, "/api/jobs/job/0", "/api/jobs/job/0/history", "/api/alerts/alert/0"):
        answer = client.get(path, params={"as_of": point})
        assert (answer.status_code, answer.json()["code"]) == (status, code), (path, answer.text)
        assert answer.json()["detail"]


def test_before_the_first_event_there_is_nothing(client: httpx.Client) -> None:
    """A log that is kept from its beginning knows that it knew nothing."""
    assert everything(client, "/api/jobs", as_of=0) == []
    assert everything(client, "/api/jobs", as_of="2020-01-01") == []
    assert client.get("/api/jobs/job/0", params={"as_of": 0}).status_code == 404


def test_a_cursor_belongs_to_its_point(client: httpx.Client) -> None:
    """The cursor of one point is refused at another, and where no point is asked for."""
    first = client.get("/api/jobs", params={"as_of": 28, "limit": 1}).json()["next"]
    for params in ({"as_of": 27}, {}):
        answer = client.get("/api/jobs", params={**params, "limit": 1, "cursor": first})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")
    live = client.get("/api/jobs", params={"limit": 1}).json()["next"]
    answer = client.get("/api/jobs", params={"as_of": 28, "limit": 1, "cursor": live})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")


def test_pages_of_a_time_that_goes_on_show_one_position(servers: Callable[..., ApiServer]) -> None:
    """The second page of `as_of=-1m` is that of the first, a minute later."""
    clock = Ticking()
    server = servers(clock=clock)
    with server.client() as client:
        for number in range(6):
            clock.now += MINUTE
            client.post("/api/events", json=event("job.submitted", f"j{number}"))
        first = client.get("/api/jobs", params={"as_of": "-2m", "limit": 2}).json()
        assert [item["id"] for item in first["items"]] == ["j3", "j2"]
        clock.now += 2 * MINUTE
        params = {"as_of": "-2m", "limit": 2, "cursor": first["next"]}
        second = client.get("/api/jobs", params=params).json()
        assert [item["id"] for item in second["items"]] == ["j1", "j0"]
        assert second["as_of"] == first["as_of"] == 4


def test_before_the_kept_history_is_410(servers: Callable[..., ApiServer]) -> None:
    """Where the first events were removed, the answer names the first answerable position."""
    server = servers()
    with server.client() as client:
        for number in range(5):
            client.post("/api/events", json=event("job.submitted", f"j{number}"))
        db = apsw.Connection(server.log.path)
        db.execute("DELETE FROM events WHERE position < 4")
        db.close()
        for path in ("/api/jobs", "/api/jobs/j1", "/api/summary", "/api/alerts", "/api/files"):
            for point in ("3", "2020-01-01"):
                answer = client.get(path, params={"as_of": point})
                assert (answer.status_code, answer.json()["code"]) == (410, "before_history")
                assert "first answerable position is 4" in answer.json()["detail"]
        assert client.get("/api/jobs/j3", params={"as_of": 4}).status_code == 200


def test_a_replay_that_takes_long_is_told_of_and_goes_on(
    servers: Callable[..., ApiServer],
) -> None:
    """Whoever does not wait is told how far it is; who asks again has the answer."""
    server = servers()
    with server.client() as client:
        for number in range(3):
            client.post("/api/events", json=event("job.submitted", f"j{number}"))
        answer = client.get("/api/jobs", params={"as_of": 2, "timeout": 0})
        assert (answer.status_code, answer.json()["code"]) == (503, "being_replayed")
        assert "Position 2 is being replayed" in answer.json()["detail"]
        assert "retry-after" in answer.headers
        assert len(everything(client, "/api/jobs", as_of=2)) == 2


def test_moments_are_bounded(servers: Callable[..., ApiServer]) -> None:
    """The moments that are kept are a few; those asked for longest ago are gone, files and all."""
    server = servers()
    with server.client() as client:
        for number in range(10):
            client.post("/api/events", json=event("job.submitted", f"j{number}"))
        for position in (1, 2, 3, 1, 4, 5, 1, 6):
            assert len(everything(client, "/api/jobs", as_of=position)) == position
        kept = {path.name for path in server.moments.folder.glob("*.db")}
        assert kept == {"1.db", "4.db", "5.db", "6.db"}
