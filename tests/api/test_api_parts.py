"""The small parts behind the routes: budgets, threads, signals; and garbage of every kind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from api_server import ApiServer, event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waiting import wait_until

from daemon.api.bodies import BodyBudget
from daemon.api.signals import Signal
from daemon.api.threads import WAITING_PER_THREAD, Threads
from domain.errors import QueueFull
from domain.limits import Limits


def test_a_budget_is_given_back_when_a_request_ends() -> None:
    """What all requests hold together is bounded; an ended one makes room."""
    budget = BodyBudget(10)
    with budget.hold() as first:
        first.grow(6)
        with budget.hold() as second:
            second.grow(4)
            with pytest.raises(QueueFull):
                second.grow(1)
        with budget.hold() as third:
            third.grow(4)
    with budget.hold() as last:
        last.grow(10)


def test_too_many_bodies_at_once_are_503(servers: Callable[..., ApiServer]) -> None:
    """The budget holds over HTTP: requests that wait for the writer keep their share."""
    server = servers(writing=False, limits=Limits(batch_bytes=10_000))
    body = [event("job.submitted", "a", {"params": {"x": "y" * 9_000}})]
    with server.client() as client:
        waiting = [threading.Thread(target=server.post, args=tuple(body)) for _ in range(8)]
        for thread in waiting:
            thread.start()
        wait_until(lambda: server.log.writer.queued_events == 8, "all of them wait")
        refused = client.post("/api/events", json=body)
        server.log.start()
        for thread in waiting:
            thread.join()
        assert client.post("/api/events", json=body).status_code in (200, 201)
    assert (refused.status_code, refused.json()["code"]) == (503, "queue_full")


def test_threads_queue_only_so_many_calls() -> None:
    """One call more than may wait is refused; the others are all answered."""

    async def run() -> None:
        threads, blocked = Threads("test", 1), threading.Event()
        calls = [
            asyncio.ensure_future(threads.run(blocked.wait, 20))
            for _ in range(1 + WAITING_PER_THREAD)
        ]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await threads.run(blocked.wait)
        blocked.set()
        assert all(await asyncio.gather(*calls))
        assert await threads.run(lambda: 7) == 7
        threads.close()

    asyncio.run(run())


def test_a_signal_from_another_thread_wakes_every_listener() -> None:
    """Each listener is woken, also for a signal that comes before it waits; later ones not."""

    async def run() -> None:
        signal = Signal()
        with signal.listen() as first, signal.listen() as second:
            thread = threading.Thread(target=signal.fire)
            thread.start()
            async with asyncio.timeout(20):
                await asyncio.gather(first.wait(), second.wait())
            thread.join()
        with signal.listen() as later:
            assert not later.is_set()
        signal.fire()

    signal = Signal()
    asyncio.run(run())
    signal.fire()


def test_a_signal_after_the_loop_has_closed_does_no_harm() -> None:
    """The writer may still call back when the server is gone."""
    signal = Signal()

    async def leave_open() -> Any:
        listening = signal.listen()
        listening.__enter__()
        return listening

    listening = asyncio.run(leave_open())
    signal.fire()
    assert listening.gen is not None


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Return one server for all the garbage."""
    with ApiServer(tmp_path_factory.mktemp("data")) as server:
        server.post(event("job.submitted", "a"), event("alert.raised", "b"))
        yield server


NAMES = st.sampled_from(
    ["status", "kind", "since", "until", "q", "sort", "limit", "cursor", "wait_for", "timeout",
     "as_of", "attempts", "after", "before", "order", "type", "stream", "format", "path", "prefix",
     "matched", "state", "severity", "follow", "x"]
)  # fmt: skip
PATHS = st.sampled_from(
    ["jobs", "jobs/a", "jobs/a/history", "events", "alerts", "alerts/b", "files", "summary",
     "deadletters", "metrics", "intake/offsets", "operations/x"]
)  # fmt: skip
VALUES = st.text(max_size=30) | st.integers().map(str) | st.sampled_from(["a", "0", "1", "desc"])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PATHS, st.dictionaries(NAMES, VALUES, max_size=3))
def test_garbage_in_parameters_is_never_a_fault_of_ours(
    shared: ApiServer, path: str, params: dict[str, str]
) -> None:
    """Whatever stands in the query, the answer is an answer or a refusal with a code."""
    params = {name: value.encode("utf-8", "replace").decode() for name, value in params.items()}
    with shared.client() as client:
        response = client.get(f"/api/{path}", params=params)
    if response.status_code != 200:
        assert response.status_code in (404, 409, 422), response.text
        assert response.json()["code"] in response.json()["type"]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=300),
    st.sampled_from(
        ["application/json", "application/x-ndjson", "application/cloudevents+json", "text/x", ""]
    ),
    st.sampled_from(["/api/events", "/api/intake/flowlord-task", "/api/intake/x"]),
)
def test_garbage_in_bodies_is_never_a_fault_of_ours(
    shared: ApiServer, body: bytes, content_type: str, path: str
) -> None:
    """Whatever the bytes are, they are refused with a code and nothing is recorded."""
    with shared.client() as client:
        response = client.post(path, content=body, headers={"content-type": content_type})
        assert client.get("/api/events").json()["as_of"] == 2
    assert response.status_code in (200, 400, 404, 413, 415, 422), response.text
