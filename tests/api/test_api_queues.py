"""Queues over HTTP: what is in them, and what is done to a whole queue."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from api_server import ApiServer, event

from domain.timestamps import MICROSECONDS, format_timestamp

NOON = 1_770_000_000 * MICROSECONDS


def at(second: int) -> str:
    """Return a time some seconds after the beginning of a test."""
    return format_timestamp(NOON + second * MICROSECONDS)


def submitted(job: str, second: int = 0, queue: str = "scans", **data: Any) -> Any:
    """Return the event that a job was put into a queue."""
    return event("job.submitted", job, {"queue": queue, **data}, time=at(second))


def told(verb: str, job: str, second: int, data: dict[str, Any] | None = None) -> Any:
    """Return an event of a job at some second."""
    return event(f"job.{verb}", job, data or {}, time=at(second))


def shown(server: ApiServer, client: httpx.Client, name: str = "scans", **params: Any) -> Any:
    """Return a queue as of the head of the log."""
    asked = {"wait_for": server.log.head(), "timeout": 20, **params}
    response = client.get(f"/api/queues/{name}", params=asked)
    assert response.status_code == 200, response.text
    return response.json()


def ids(jobs: list[dict[str, Any]]) -> list[str]:
    """Return the ids of jobs."""
    return [job["id"] for job in jobs]


@pytest.fixture
def queue(server: ApiServer) -> ApiServer:
    """Return the server after two jobs that run, two that wait, and one that ended."""
    server.post(
        *(submitted(job, number) for number, job in enumerate("abcde")),
        told("started", "a", 10),
        told("succeeded", "a", 20),
        told("started", "b", 21),
        told("progressed", "b", 22, {"fraction": 0.5}),
        told("started", "c", 23),
    )
    return server


def test_waiting_jobs_are_in_the_order_of_their_turn(
    server: ApiServer, client: httpx.Client
) -> None:
    """Priority leads, the greater first; then the submission; then the place in the log."""
    server.post(
        submitted("late", 9),
        submitted("second", 5),
        submitted("third", 5, priority=0),
        submitted("urgent", 30, priority=7),
        submitted("some day", 1, priority=-1),
        submitted("elsewhere", 0, queue="other"),
        event("job.submitted", "nowhere"),
    )
    assert ids(shown(server, client)["waiting"]) == [
        "urgent", "second", "third", "late", "some day",
    ]  # fmt: skip
    server.post(told("queued", "late", 40, {"priority": 9, "reason": "hurry"}))
    assert ids(shown(server, client)["waiting"])[0] == "late"


def test_a_queue_shows_what_waits_runs_and_ended(queue: ApiServer, client: httpx.Client) -> None:
    """Each job is in one section, with its whole state; the counts are of all."""
    found = shown(queue, client)
    sections = {name: ids(found[name]) for name in ("waiting", "running", "recent")}
    assert sections == {"waiting": ["d", "e"], "running": ["b", "c"], "recent": ["a"]}
    assert found["counts"] == {"submitted": 2, "running": 2, "succeeded": 1}
    assert found["running"][0]["progress"] == 0.5
    assert (found["paused"], found["as_of"]) == (False, queue.log.head())
    short = shown(queue, client, limit=1)
    assert ids(short["waiting"]) == ["d"]
    assert (short["waiting_total"], short["running_total"], short["recent_total"]) == (2, 2, 1)


def test_a_queue_is_shown_as_it_was(queue: ApiServer, client: httpx.Client) -> None:
    """With as_of a position the queue is as the log had it then; unknown before its first job."""
    then = shown(queue, client, as_of=6)
    assert (ids(then["running"]), ids(then["waiting"])) == (["a"], ["b", "c", "d", "e"])
    assert client.get("/api/queues/scans?as_of=0").status_code == 404
    assert client.get("/api/queues/nobody").status_code == 404


def test_queues_are_listed_by_name(queue: ApiServer, client: httpx.Client) -> None:
    """A queue is known by a job that names it or by an event of its own; pages follow names."""
    queue.post(submitted("z", queue="a/b"), event("queue.paused", "idle", {"reason": "new"}))
    page = client.get("/api/queues", params={"limit": 2, "wait_for": queue.log.head()}).json()
    assert [each["name"] for each in page["items"]] == ["a/b", "idle"]
    assert page["items"][1]["paused"] is True
    rest = client.get("/api/queues", params={"limit": 2, "cursor": page["next"]}).json()
    assert [(each["name"], each["waiting_total"]) for each in rest["items"]] == [("scans", 2)]
    assert rest["next"] is None
    assert ids(shown(queue, client, "a%2Fb")["waiting"]) == ["z"]


def test_a_pause_holds_until_it_is_resumed(queue: ApiServer, client: httpx.Client) -> None:
    """Pausing and resuming are events; the same said twice is one; a client's own count too."""
    said = {"by": "ana", "reason": "disk full"}
    first = client.post("/api/queues/scans/pause", json=said)
    assert (first.status_code, client.post("/api/queues/scans/pause", json=said).status_code) == (
        201,
        200,
    )
    found = shown(queue, client)
    assert (found["paused"], found["reason"], found["by"]) == (True, "disk full", "ana")
    assert client.post("/api/queues/scans/resume").status_code == 201
    assert shown(queue, client)["paused"] is False
    assert client.post("/api/queues/scans/pause", json=said).status_code == 201
    assert shown(queue, client)["paused"] is True
    stored = client.get("/api/events?stream=queue/scans").json()["items"]
    assert {each["source"] for each in stored} == {"/chronicled/api"}


def test_what_ran_is_interrupted_by_a_recovery(queue: ApiServer, client: httpx.Client) -> None:
    """The answer is what was open, as it stood; what waits stays; asking again adds nothing."""
    response = client.post("/api/queues/scans/recover", json={"by": "ana", "reason": "power cut"})
    assert response.status_code == 201
    answer = response.json()
    assert ids(answer["jobs"]) == ["b", "c"]
    assert [job["status"] for job in answer["jobs"]] == ["running", "running"]
    assert (answer["count"], answer["more"], answer["as_of"]) == (2, False, queue.log.head())
    found = shown(queue, client)
    assert (ids(found["waiting"]), found["running"]) == (["d", "e"], [])
    assert {(job["status"], job["message"]) for job in found["recent"][:2]} == {
        ("interrupted", "power cut")
    }
    assert found["recovered_count"] == 2
    again = client.post("/api/queues/scans/recover", json={"by": "ana"})
    assert (again.status_code, again.json()["jobs"]) == (200, [])
    assert queue.log.head() == answer["as_of"]
    recorded = client.get("/api/events?type=job.interrupted").json()["items"]
    assert {(each["source"], each["actor"]) for each in recorded} == {("/chronicled/queues", "ana")}


def test_a_recovery_retried_with_its_id_answers_the_same(
    queue: ApiServer, client: httpx.Client
) -> None:
    """The answer that was lost is given again, though other jobs run meanwhile."""
    first = client.post("/api/queues/scans/recover", json={"id": "start-7"})
    queue.post(told("started", "d", 50), told("queued", "b", 2_000_000_000))
    again = client.post("/api/queues/scans/recover", json={"id": "start-7"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert ids(shown(queue, client)["running"]) == ["d"]
    other = client.post("/api/queues/scans/recover", json={"id": "start-8"}).json()
    assert ids(other["jobs"]) == ["d"]


def test_an_id_of_another_decision_is_refused(queue: ApiServer, client: httpx.Client) -> None:
    """A clear with the id of a pause would answer with what never was."""
    assert client.post("/api/queues/scans/pause", json={"id": "x"}).status_code == 201
    head = queue.log.head()
    refused = client.post("/api/queues/scans/clear", json={"id": "x"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/id")
    assert queue.log.head() == head


def test_a_recovery_of_an_unknown_queue_finds_nothing(
    server: ApiServer, client: httpx.Client
) -> None:
    """A program that starts for the first time may recover too."""
    answer = client.post("/api/queues/new/recover")
    assert (answer.status_code, answer.json()["jobs"]) == (200, [])
    assert server.log.head() == 0


def test_a_recovery_goes_by_the_log_and_not_by_late_views(
    servers: Callable[..., ApiServer],
) -> None:
    """Jobs that began or ended after what the views know are seen in the transaction."""
    server = servers()
    server.post(*(submitted(job) for job in "abc"), told("started", "a", 1))
    with server.client() as client:
        query = server.context.views.queued_ids

        def stale(*asked: Any) -> Any:
            found = query(*asked)
            late = [told("started", "b", 2), told("succeeded", "a", 3)]
            assert client.post("/api/events", json=late).status_code == 201
            return found

        server.context.views.queued_ids = stale  # type: ignore[method-assign]
        with server.client() as other:
            answer = other.post("/api/queues/scans/recover").json()
        assert ids(answer["jobs"]) == ["b"]
        found = client.get("/api/jobs/a", params={"wait_for": server.log.head()}).json()
        assert found["status"] == "succeeded"


def test_a_clear_throws_away_what_waits(queue: ApiServer, client: httpx.Client) -> None:
    """One transaction cancels each waiting job and says so of the queue; what runs goes on."""
    response = client.post("/api/queues/scans/clear", json={"reason": "mistake", "id": "c1"})
    assert (response.status_code, response.json()["count"]) == (201, 2)
    found = shown(queue, client)
    assert (found["waiting"], ids(found["running"])) == ([], ["b", "c"])
    assert found["cleared_count"] == 2
    assert found["counts"] == {"running": 2, "succeeded": 1, "cancelled": 2}
    assert {job["message"] for job in found["recent"] if job["status"] == "cancelled"} == {
        "mistake"
    }
    head = queue.log.head()
    repeated = client.post("/api/queues/scans/clear", json={"id": "c1"})
    assert (repeated.status_code, repeated.json()) == (200, response.json())
    assert client.post("/api/queues/scans/clear").json()["count"] == 0
    assert queue.log.head() == head


def test_a_cleared_event_of_a_client_moves_no_job(queue: ApiServer, client: httpx.Client) -> None:
    """It is a fact about the queue: rows of jobs follow from events of jobs."""
    queue.post(event("queue.cleared", "scans", {"count": 9}))
    found = shown(queue, client)
    assert (ids(found["waiting"]), found["cleared_count"]) == (["d", "e"], 9)


def test_recoveries_at_once_interrupt_each_job_once(queue: ApiServer) -> None:
    """Of many that ask at the same time, each job is in the answer of one."""

    def recover(_: int) -> list[str]:
        with queue.client() as client:
            return ids(client.post("/api/queues/scans/recover").json()["jobs"])

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(recover, range(6)))
    assert sorted(job for answer in answers for job in answer) == ["b", "c"]


def test_a_job_whose_clock_runs_ahead_is_interrupted_too(
    server: ApiServer, client: httpx.Client
) -> None:
    """A start in the future, within the limit of skew, does not outlast the recovery."""
    ahead = format_timestamp(server.context.clock() + 120 * MICROSECONDS)
    server.post(submitted("a"), event("job.started", "a", time=ahead))
    assert client.post("/api/queues/scans/recover").json()["count"] == 1
    assert shown(server, client)["counts"] == {"interrupted": 1}


def test_more_jobs_than_one_request_changes_are_named(
    server: ApiServer, client: httpx.Client
) -> None:
    """A thousand at once; the answer says that there are more, and the next call takes those."""
    server.post(*(submitted(f"j{number}") for number in range(1_003)))
    first = client.post("/api/queues/scans/clear").json()
    second = client.post("/api/queues/scans/clear").json()
    assert [(each["count"], each["more"]) for each in (first, second)] == [
        (1_000, True),
        (3, False),
    ]


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"who":"ana"}', "application/json", 422),
        (b'{"by":7}', "application/json", 422),
        (b"{}", "text/plain", 415),
    ],
)
def test_an_order_that_cannot_be_read_changes_nothing(
    queue: ApiServer, client: httpx.Client, body: bytes, content_type: str, status: int
) -> None:
    """A body that is no order is refused, for each of the four verbs."""
    head = queue.log.head()
    for verb in ("pause", "resume", "recover", "clear"):
        response = client.post(
            f"/api/queues/scans/{verb}", content=body, headers={"content-type": content_type}
        )
        assert response.status_code == status
    assert queue.log.head() == head
