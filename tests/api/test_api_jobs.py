"""Jobs: ids of any shape, filters, cursors, history, as_of, wait_for, ETag."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from api_server import ApiServer, event

from domain.timestamps import MICROSECONDS, format_timestamp

DAY = 24 * 3600 * MICROSECONDS


class TickingClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_770_163_200 * MICROSECONDS

    def __call__(self) -> int:
        """Return the time."""
        return self.now

    def text(self) -> str:
        """Return the time on the wire."""
        return format_timestamp(self.now)


IDS = [
    "plain",
    "a/b/c",
    "transform:clicks:77a0:2026-02-04T06:12:46Z:1",
    "a%2Fb",
    "a//b",
    "/leading",
    "trailing/",
    "50%",
    "x?y=z#w",
    "a b+c",
    "café €/日本",
    "history",
    "a/history",
    "a/history/history",
    "..",
    "a/../b",
    '[]{}|\\^`"<>',
    "x" * 3000,
]


@pytest.mark.parametrize("job_id", IDS)
def test_any_job_id_is_reachable_percent_encoded(server: ApiServer, job_id: str) -> None:
    """A job and its history are found under the id with every reserved character encoded."""
    server.post(event("job.submitted", job_id), event("job.submitted", "a"))
    # Dots as well, which clients would take for steps in the path.
    path = f"/api/jobs/{quote(job_id, safe='').replace('.', '%2E')}"
    with server.client() as client:
        job = client.get(httpx.URL(client.base_url).copy_with(raw_path=path.encode()))
        assert (job.status_code, job.json()["id"]) == (200, job_id)
        history = client.get(
            httpx.URL(client.base_url).copy_with(raw_path=f"{path}/history".encode())
        )
        assert history.status_code == 200
        assert [entry["position"] for entry in history.json()["items"]] == [1]


def test_slashes_may_stand_as_they_are(server: ApiServer) -> None:
    """/api/jobs/a/b is the job a/b; only a literal /history at the end is the history."""
    server.post(event("job.submitted", "a/b"), event("job.submitted", "a/b/history"))
    with server.client() as client:
        assert client.get("/api/jobs/a/b").json()["id"] == "a/b"
        assert client.get("/api/jobs/a/b/history").json()["items"][0]["position"] == 1
        assert client.get("/api/jobs/a/b%2Fhistory").json()["id"] == "a/b/history"
        nested = client.get("/api/jobs/a/b/history/history").json()
        assert nested["items"][0]["position"] == 2


def test_a_deeply_nested_job_is_shown_or_refused(server: ApiServer) -> None:
    """However deep the data of a job: what is recorded can be shown, alone and in lists."""
    with server.client() as client:
        recorded = 0
        for depth in range(235, 256):
            nested: list[object] = []
            for _ in range(depth):
                nested = [nested]
            sent = event("job.submitted", f"deep-{depth}", {"params": {"of": nested}})
            answer = client.post("/api/events", json=sent)
            assert answer.status_code in (201, 422)
            recorded += answer.status_code == 201
            wait = {"wait_for": client.get("/api/events").json()["as_of"]}
            assert len(client.get("/api/jobs", params=wait).json()["items"]) == recorded
        assert recorded > 0


@pytest.fixture
def filled(server: ApiServer) -> ApiServer:
    """Return the server after thirty jobs of three kinds and two owners."""
    for number in range(30):
        data = {
            "kind": f"kind-{number % 3}",
            "owner": f"owner-{number % 2}",
            "name": f"name {number}",
        }
        time = f"2026-02-{number % 28 + 1:02}T00:00:00Z"
        server.post(
            event("job.submitted", f"j{number:02}", data, time=time),
            event("job.failed" if number % 5 == 0 else "job.succeeded", f"j{number:02}", time=time),
        )
    return server


def test_pages_show_every_job_once(filled: ApiServer) -> None:
    """Following the links of a filtered list gives exactly the jobs of the filter, in order."""
    with filled.client() as client:
        seen: list[str] = []
        address: str | None = "/api/jobs?owner=owner-1&status=failed,succeeded&limit=4"
        while address:
            page = client.get(address)
            seen += [job["id"] for job in page.json()["items"]]
            address = page.links["next"]["url"] if "next" in page.links else None
        every = client.get("/api/jobs?owner=owner-1&limit=1000").json()["items"]
    assert seen == [job["id"] for job in every]
    assert len(seen) == 15


def test_a_cursor_of_other_filters_is_refused(filled: ApiServer) -> None:
    """A cursor goes with its filters and order: 422 invalid_cursor otherwise."""
    with filled.client() as client:
        cursor = client.get("/api/jobs?kind=kind-1&limit=2").json()["next"]
        for path in ("/api/jobs?kind=kind-2", "/api/jobs?kind=kind-1&sort=updated", "/api/alerts?"):
            response = client.get(f"{path}&limit=2&cursor={quote(cursor)}")
            assert (response.status_code, response.json()["code"]) == (422, "invalid_cursor")
        response = client.get("/api/jobs?cursor=garbage")
        assert (response.status_code, response.json()["code"]) == (422, "invalid_cursor")


def test_words_are_searched(filled: ApiServer) -> None:
    """`q` finds words of the name; several status values are one of them each."""
    with filled.client() as client:
        found = client.get("/api/jobs", params={"q": "name 17"}).json()["items"]
        assert [job["id"] for job in found] == ["j17"]
        one = client.get("/api/jobs?status=failed&limit=100").json()["items"]
        both = client.get("/api/jobs?status=failed&status=succeeded&limit=100").json()["items"]
    assert (len(one), len(both)) == (6, 30)


def test_an_unchanged_job_is_304_while_others_change(filled: ApiServer) -> None:
    """The ETag of a job is its own: events of other jobs leave it as it is."""
    with filled.client() as client:
        etag = client.get("/api/jobs/j01").headers["etag"]
        head = filled.post(event("job.submitted", "other"))
        again = client.get("/api/jobs/j01", headers={"if-none-match": etag})
        assert (again.status_code, again.headers["chronicled-as-of"]) == (304, str(head))
        filled.post(event("job.linked", "j01", {"to": "j02"}))
        changed = client.get("/api/jobs/j01", headers={"if-none-match": etag})
        assert changed.status_code == 200
        for path in ("/api/jobs", "/api/jobs/j01/history", "/api/summary"):
            etag = client.get(path).headers["etag"]
            assert client.get(path, headers={"if-none-match": etag}).status_code == 304


def test_as_of_shows_what_the_log_knew(servers: Callable[..., ApiServer]) -> None:
    """At a position or a time the job is as it was then, read from the log itself."""
    clock = TickingClock()
    server = servers(clock=clock)
    times = []
    for type_ in ("job.submitted", "job.started", "job.failed"):
        server.post(event(type_, "a/b", {"attempt": 1} if type_ == "job.submitted" else {}))
        times.append(clock.text())
        clock.now += DAY
        server.post(event("job.submitted", f"noise-{type_}"))
    statuses = {1: "submitted", 2: "submitted", 3: "running", 4: "running", 5: "failed"}
    with server.client() as client:
        for position, status in statuses.items():
            job = client.get(f"/api/jobs/a/b?as_of={position}").json()
            assert (job["status"], job["as_of"]) == (status, position)
            entries = client.get(f"/api/jobs/a/b/history?as_of={position}").json()
            assert [entry["to"] for entry in entries["items"]][-1] == status
            assert entries["as_of"] == position
        for time, status in zip(times, ("submitted", "running", "failed"), strict=True):
            job = client.get("/api/jobs/a/b", params={"as_of": time}).json()
            assert job["status"] == status
        now = client.get("/api/jobs/a/b").json()
        folded = client.get("/api/jobs/a/b?as_of=6").json()
        assert folded == now
        whole = client.get("/api/jobs/a/b/history?as_of=6").json()
        assert whole == client.get("/api/jobs/a/b/history").json()


@pytest.mark.parametrize("route", ["", "/history", "/history?attempts=all"])
def test_as_of_before_the_job_is_404_and_beyond_the_head_409(server: ApiServer, route: str) -> None:
    """A job that was not there yet is not found; a position that is not there yet is a conflict."""
    server.post(event("job.submitted", "first"), event("job.submitted", "second"))
    path = f"/api/jobs/second{route}{'&' if '?' in route else '?'}as_of="
    with server.client() as client:
        for early in ("0", "1", "2020-01-01T00:00:00Z"):
            response = client.get(path + early)
            assert (response.status_code, response.json()["code"]) == (404, "not_found")
        response = client.get(f"{path}3")
        assert (response.status_code, response.json()["code"]) == (409, "beyond_head")
        assert client.get(f"{path}2").status_code == 200


def _chain(server: ApiServer) -> None:
    """Post a job that failed twice and then succeeded, each attempt a job of its own."""
    for attempt in (1, 2, 3):
        job = f"load:{attempt}"
        data = {"kind": "load", "name": "events", "attempt": attempt}
        hour = f"2026-02-04T0{attempt}"
        server.post(
            event("job.submitted", job, data, correlationid="run", time=f"{hour}:00:00Z"),
            event("job.started", job, time=f"{hour}:01:00Z"),
            event("job.failed" if attempt < 3 else "job.succeeded", job, time=f"{hour}:02:00Z"),
        )


def test_the_history_of_a_chain_has_every_attempt_in_order(server: ApiServer) -> None:
    """attempts=all shows the jobs of the same run, kind and name, one attempt after the other."""
    _chain(server)
    with server.client() as client:
        entries = client.get("/api/jobs/load:2/history?attempts=all").json()["items"]
        jobs = [entry["job"] for entry in entries]
        assert jobs == ["load:1"] * 3 + ["load:2"] * 3 + ["load:3"] * 3
        assert [entry["to"] for entry in entries[:3]] == ["submitted", "running", "failed"]
        then = client.get("/api/jobs/load:2/history?attempts=all&as_of=5").json()["items"]
        assert then == entries[:5]
        single = client.get("/api/jobs/load:2/history").json()["items"]
        assert [entry.get("job") for entry in single] == [None] * 3


@pytest.mark.parametrize("extra", ["", "&as_of=9"])
def test_a_history_comes_in_pages(server: ApiServer, extra: str) -> None:
    """Limit and cursor lead through the whole history of a chain, now and as of a position."""
    _chain(server)
    with server.client() as client:
        path = f"/api/jobs/load:1/history?attempts=all{extra}"
        every = client.get(path).json()["items"]
        seen: list[Any] = []
        address: str | None = f"{path}&limit=4"
        while address:
            page = client.get(address)
            seen += page.json()["items"]
            address = page.links["next"]["url"] if "next" in page.links else None
    assert seen == every
    assert len(seen) == 9


def test_wait_for_waits_until_the_views_are_there(servers: Callable[..., ApiServer]) -> None:
    """A read with wait_for of a fresh append shows it; time and again."""
    server = servers()
    with server.client() as client:
        for number in range(50):
            response = client.post("/api/events", json=event("job.submitted", f"j{number}"))
            head = response.json()["as_of"]
            job = client.get(f"/api/jobs/j{number}?wait_for={head}&timeout=20")
            assert job.status_code == 200
            assert job.json()["as_of"] >= head


def test_wait_for_what_does_not_come_is_bounded(servers: Callable[..., ApiServer]) -> None:
    """Views that stand still: 503 not_ready after the timeout; beyond the head: 409 at once."""
    server = servers(projecting=False)
    server.post(event("job.submitted", "a"))
    server.runner.catch_up()
    server.post(event("job.submitted", "b"))
    with server.client() as client:
        assert client.get("/api/jobs?wait_for=1").status_code == 200
        for path in ("/api/jobs", "/api/jobs/a", "/api/alerts", "/api/files", "/api/summary"):
            late = client.get(f"{path}?wait_for=2&timeout=0.01")
            assert (late.status_code, late.json()["code"]) == (503, "not_ready")
            assert "retry-after" in late.headers
        beyond = client.get("/api/jobs?wait_for=3")
        assert (beyond.status_code, beyond.json()["code"]) == (409, "beyond_head")


def test_before_the_first_build_the_views_are_not_ready(servers: Callable[..., ApiServer]) -> None:
    """Lists of views that were never built are 503; the log answers, also as of a position."""
    server = servers(projecting=False)
    server.post(event("job.submitted", "a"))
    with server.client() as client:
        for path in ("/api/jobs", "/api/jobs/a", "/api/jobs/a/history", "/api/summary"):
            response = client.get(path)
            assert (response.status_code, response.json()["code"]) == (503, "not_ready")
        assert client.get("/api/events").json()["as_of"] == 1
        assert client.get("/api/jobs/a?as_of=1").json()["status"] == "submitted"
        assert client.get("/metrics").status_code == 200
        assert client.get("/api/metrics").json()["jobs"] == {}
        assert client.get("/readyz").json()["status"] == "starting"
