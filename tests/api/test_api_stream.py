"""The live stream: backlog and what comes, without a gap or a double; slow clients; the end."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import httpx
import pytest
from api_server import ApiServer, event
from hypothesis import given
from hypothesis import strategies as st
from sse_client import Received, received
from waiting import wait_until

from daemon.api.sse import frame
from domain.errors import QueryTimeout


@contextmanager
def streaming(
    client: httpx.Client, *, comments: bool = False, last_id: str | None = None, **params: Any
) -> Iterator[Iterator[Received]]:
    """Open the stream and give what comes; the stream is open when this returns."""
    headers = {} if last_id is None else {"last-event-id": last_id}
    with client.stream("GET", "/api/events/stream", params=params, headers=headers) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield received(response, comments=comments)


def ids(events: Iterator[Received], count: int) -> list[int]:
    """Return the ids of the next events."""
    return [int(one.id) for one in islice(events, count)]


def test_an_event_is_sent_with_its_position_type_and_json(server: ApiServer) -> None:
    """`id:` is the position, `event:` the type, `data:` the structured CloudEvent."""
    sent = event("job.submitted", "a/b", {"kind": "two\nlines"})
    server.post(sent)
    with server.client() as client, streaming(client, after=0) as events:
        first = next(events)
        listed = client.get("/api/events").json()["items"][0]
    assert (first.id, first.kind) == ("1", "job.submitted")
    assert json.loads(first.data) == listed
    assert listed["data"] == {"kind": "two\nlines"}


def test_without_a_start_the_stream_begins_with_what_comes(server: ApiServer) -> None:
    """Neither header nor parameter: nothing of the past is sent."""
    server.post(event("job.submitted", "old"))
    with server.client() as client, streaming(client) as events:
        server.post(event("job.submitted", "new"))
        assert ids(events, 1) == [2]


def test_backlog_and_live_events_join_without_gap_or_double(server: ApiServer) -> None:
    """Events are posted all the while; the stream has each once, in order."""
    for _ in range(5):
        server.post(*[event("job.submitted", f"before-{n}") for n in range(50)])

    def go_on() -> None:
        for _ in range(30):
            server.post(*[event("job.submitted", f"while-{n}") for n in range(20)])

    writer = threading.Thread(target=go_on)
    with server.client() as client, streaming(client, after=0) as events:
        writer.start()
        assert ids(events, 850) == list(range(1, 851))
        writer.join()


def test_a_client_comes_back_where_it_left(server: ApiServer) -> None:
    """Last-Event-ID goes before `after`, which a browser repeats in the address."""
    server.post(*[event("job.submitted", f"j{n}") for n in range(10)])
    with server.client() as client:
        with streaming(client, after=2) as events:
            assert ids(events, 3) == [3, 4, 5]
        with streaming(client, after=2, last_id="5") as events:
            assert ids(events, 5) == [6, 7, 8, 9, 10]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"stream": "job/a"}, [1, 3]),
        ({"type": "job.started,alert.raised"}, [3, 4]),
        ({"source": "/other"}, [2]),
        ({"correlation": "run"}, [4]),
    ],
    ids=str,
)
def test_filters_hold_for_backlog_and_live(
    server: ApiServer, params: dict[str, str], expected: list[int]
) -> None:
    """Only what matches is sent, before and after the stream has caught up."""
    server.post(event("job.submitted", "a"), event("job.submitted", "b", source="/other"))
    with server.client() as client, streaming(client, after=0, **params) as events:
        first = [number for number in expected if number <= 2]
        assert ids(events, len(first)) == first
        server.post(event("job.started", "a"), event("alert.raised", "c", correlationid="run"))
        server.post(event("job.submitted", "z", source="/other", correlationid="run"))
        rest = [number for number in expected if number > 2]
        assert ids(events, len(rest)) == rest


def test_a_silent_stream_shows_that_it_is_alive(servers: Callable[..., ApiServer]) -> None:
    """While nothing happens comments are sent."""
    server = servers(heartbeat_seconds=0.02)
    with server.client() as client, streaming(client, comments=True) as events:
        assert [one.comment for one in islice(events, 3)] == ["alive"] * 3


@pytest.mark.parametrize(("given_id", "status"), [("2", 409), ("x", 422), ("-1", 422)])
def test_a_position_of_another_log_is_refused(
    server: ApiServer, given_id: str, status: int
) -> None:
    """Beyond the head is 409 beyond_head, what is no position 422."""
    server.post(event("job.submitted", "a"))
    with server.client() as client:
        response = client.get("/api/events/stream", headers={"last-event-id": given_id})
        assert response.status_code == status
        assert response.json()["code"] == ("beyond_head" if status == 409 else "invalid_cursor")
        if status == 409:
            assert client.get(f"/api/events/stream?after={given_id}").status_code == 409


def test_the_number_of_clients_is_bounded(servers: Callable[..., ApiServer]) -> None:
    """One too many is 503 with Retry-After; when one has gone there is room again."""
    server = servers(stream_clients_max=2)
    with server.client() as client:
        with streaming(client), streaming(client):
            response = client.get("/api/events/stream")
            assert (response.status_code, response.json()["code"]) == (503, "unavailable")
            assert "retry-after" in response.headers
        wait_until(lambda: server.context.clients.open == 0, "the clients have gone")
        with streaming(client, after=0) as events:
            server.post(event("job.submitted", "a"))
            assert ids(events, 1) == [1]


def test_a_slow_client_slows_only_itself(server: ApiServer) -> None:
    """One that reads nothing holds up neither intake nor the others."""
    with _deaf(server), server.client() as client, streaming(client, after=0) as events:
        for number in range(40):
            server.post(event("job.submitted", f"j{number}", {"params": {"x": "y" * 200_000}}))
        assert ids(events, 40) == list(range(1, 41))


def test_a_read_that_fails_ends_the_stream_cleanly(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gets a proper end, and comes back with the position it has."""
    server.post(event("job.submitted", "a"))
    with server.client() as client:
        with streaming(client, after=0) as events:
            assert ids(events, 1) == [1]
            with monkeypatch.context() as patched:
                patched.setattr(server.log, "select", _time_out)
                server.post(event("job.submitted", "b"))
                assert list(events) == []
        with streaming(client, last_id="1") as events:
            assert ids(events, 1) == [2]


def _time_out(*_: object) -> None:
    raise QueryTimeout("too slow")


def test_streams_end_at_once_when_the_daemon_stops(server: ApiServer) -> None:
    """Draining ends live, idle and stuck streams; intake is 503, reading goes on."""
    with (
        _deaf(server),
        server.client() as client,
        streaming(client, after=0) as busy,
        streaming(client, type="job.failed") as idle,
    ):
        for number in range(40):
            server.post(event("job.submitted", f"j{number}", {"params": {"x": "y" * 200_000}}))
        assert ids(busy, 1) == [1]
        server.context.drain()
        assert list(idle) == []
        assert len(list(busy)) <= 39
        refused = client.post("/api/events", json=event("job.submitted", "late"))
        assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
        assert client.get("/api/events?limit=1").status_code == 200
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["draining"]) == (503, True)
        wait_until(lambda: server.context.clients.open == 0, "every stream has ended")
        assert list(received(client.send(client.build_request("GET", "/api/events/stream")))) == []


@contextmanager
def _deaf(server: ApiServer) -> Iterator[None]:
    """Keep a stream open that asks for everything and reads nothing."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(server.address)
        connection.sendall(b"GET /api/events/stream?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: server.context.clients.open > 0, "the deaf client is there")
        yield


@given(
    st.lists(st.tuples(st.integers(1, 2**62), st.binary(max_size=40)), max_size=5),
    st.sampled_from(["\n", "\r", "\r\n"]),
)
def test_frames_survive_any_line_breaks(events: list[tuple[int, bytes]], line_end: str) -> None:
    """Whatever the data is, a client reads the same events, line breaks of any kind as one."""
    texts = [(position, data.hex(line_end[0]) if data else "") for position, data in events]
    body = b"".join(
        frame(text.encode(), kind="job.started", id=position) for position, text in texts
    )
    response = httpx.Response(200, content=body)
    assert [(int(one.id), one.kind, one.data.split("\n")) for one in received(response)] == [
        (position, "job.started", text.splitlines() or [""]) for position, text in texts
    ]
