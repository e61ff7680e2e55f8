"""The short way of small requests: the same answers as the ordinary way, whatever happens."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire import Answer, Bench, Wire, bench

from daemon.api.edge import Edge
from daemon.eventlog.requests import WriterBounds
from domain.errors import DiskFull

HOST = b"Host: localhost"
STRUCTURED = b"Content-Type: application/cloudevents+json"
Scene = Callable[[Bench], Awaitable[None]]


def post(body: bytes, *headers: bytes, line: bytes = b"POST /api/events HTTP/1.1") -> bytes:
    """Return a request with a body."""
    head = (line, *(headers or (HOST, STRUCTURED)), b"Content-Length: %d" % len(body))
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def submitted(id_: str, **more: Any) -> bytes:
    """Return an event with this id as JSON."""
    return json.dumps(event("job.submitted", id_, id=id_, **more)).encode()


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """Return a runner whose scenes share one loop."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def play(runner: asyncio.Runner, tmp_path: Path) -> Callable[..., None]:
    """Return a function that plays a scene on a bench of its own."""

    def run(scene: Scene, **options: Any) -> None:
        with bench(tmp_path / "data", **options) as opened:
            runner.run(scene(opened))  # type: ignore[arg-type]

    return run


def statuses(wire: Wire) -> list[int]:
    """Return the status of each answer."""
    return [status for status, _, _ in wire.answers]


def ids(wire: Wire) -> list[str]:
    """Return the id of the event in each answer that has one."""
    return [document["events"][0]["id"] for _, _, document in wire.answers if "events" in document]


# -- both ways are one --------------------------------------------------------------------------

KINDS: dict[str, Callable[[str], bytes]] = {
    "structured": lambda id_: post(submitted(id_)),
    "plain": lambda id_: post(submitted(id_), HOST, b"content-type: application/json"),
    "batch": lambda id_: post(
        b"[" + submitted(id_) + b"," + submitted(id_ + "b") + b"]",
        HOST,
        b"Content-Type: application/cloudevents-batch+json",
    ),
    "lines": lambda id_: post(
        submitted(id_) + b"\n" + submitted(id_ + "b"), HOST, b"Content-Type: application/x-ndjson"
    ),
    "binary": lambda id_: post(
        b"{}",
        HOST,
        b"ce-specversion: 1.0",
        b"ce-id: " + id_.encode(),
        b"ce-source: /tests",
        b"ce-type: job.submitted",
        b"ce-subject: x",
    ),
    "repeated": lambda _: post(submitted("always")),
    "conflict": lambda id_: post(submitted(id_, expectedversion=7)),
    "no JSON": lambda _: post(b"no JSON"),
    "invalid": lambda _: post(b'{"specversion":"1.0"}'),
    "unknown type": lambda id_: post(submitted(id_).replace(b"job.submitted", b"job.sub")),
    "empty batch": lambda _: post(b"[]", HOST, b"Content-Type: application/json"),
    "empty": lambda _: post(b""),
    "text": lambda _: post(b"x", HOST, b"Content-Type: text/plain"),
    "latin": lambda id_: post(submitted(id_), HOST, STRUCTURED + b"; charset=latin-1"),
    "zipped": lambda id_: post(submitted(id_), HOST, STRUCTURED, b"Content-Encoding: gzip"),
    "no type": lambda id_: post(submitted(id_), HOST),
    "foreign host": lambda id_: post(submitted(id_), b"Host: evil.example", STRUCTURED),
    "two hosts": lambda id_: post(submitted(id_), HOST, HOST, STRUCTURED),
    "foreign page": lambda id_: post(submitted(id_), HOST, STRUCTURED, b"Origin: http://evil"),
    "own page": lambda id_: post(submitted(id_), HOST, STRUCTURED, b"Origin: http://localhost"),
    "empty header": lambda id_: post(submitted(id_), HOST, STRUCTURED, b"X-Empty:", b"X-Blank: "),
    "query": lambda id_: post(submitted(id_), line=b"POST /api/events?x=1 HTTP/1.1"),
    "other route": lambda _: post(b'{"path":"f"}', line=b"POST /api/intake/x HTTP/1.1"),
    "no route": lambda id_: post(submitted(id_), line=b"POST /api/eventss HTTP/1.1"),
    "put": lambda id_: post(submitted(id_), line=b"PUT /api/events HTTP/1.1"),
    "chunked": lambda id_: (
        b"POST /api/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: application/json\r\n\r\n"
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(submitted(id_)), submitted(id_))
    ),
    "expecting": lambda id_: post(submitted(id_), HOST, STRUCTURED, b"Expect: x"),
    "large": lambda id_: post(submitted(id_, data={"params": {"x": "y" * 70_000}})),
    "upgrading": lambda id_: post(
        submitted(id_), HOST, STRUCTURED, b"Connection: upgrade", b"Upgrade: h2c"
    ),
    "alive": lambda _: b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
}
"""Requests that leave the connection open, each for an event id."""
SHORT = {
    "structured", "plain", "batch", "lines", "binary", "repeated", "conflict", "empty batch",
    "own page", "empty header",
}  # fmt: skip
"""Those that can be taken, and are small."""
OFTEN: list[str] = sorted(KINDS.keys() - {"upgrading"})
"""Those that uvicorn's parser takes alike however they are cut."""
LAST: dict[str, Callable[[str], bytes]] = {
    **{kind: KINDS[kind] for kind in OFTEN},
    "closing": lambda id_: post(submitted(id_), HOST, STRUCTURED, b"Connection: close"),
    "older": lambda id_: post(submitted(id_), line=b"POST /api/events HTTP/1.0"),
    "not HTTP": lambda _: b"POST /api/events HTTP/1.1\r\nHost localhost\r\n\r\n",
    "cut off": lambda id_: post(submitted(id_))[:-1],
}
"""Requests that may be the last of a connection."""


def comparable(answer: Answer) -> Answer:
    """Return an answer without the position that it shows: commits may hold more or fewer."""
    status, headers, document = answer
    if isinstance(document, dict) and "as_of" in document:
        dropped = ("chronicled-as-of", "content-length")
        headers = {name: value for name, value in headers.items() if name not in dropped}
        document = {name: value for name, value in document.items() if name != "as_of"}
    return status, headers, document


async def converse(bench: Bench, pieces: list[bytes], commits: list[bool], expected: int) -> Any:
    """Send pieces of a byte stream, with commits between some; return all that came of them."""
    wire = bench.connect()
    for piece, committed in zip(pieces, commits, strict=True):
        if not wire.closed:
            wire.protocol.data_received(piece)
        if committed:
            await bench.commit()
    await bench.answer(wire, expected)
    before = [comparable(answer) for answer in wire.answers]
    closed = wire.closed
    wire.drop()
    await bench.commit()
    stored = [(one.id, one.stream) for one in bench.log.read(0, 10_000)]
    return before, closed, stored, bench.counts()


@given(data=st.data())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_both_ways_give_the_same_answers(
    data: st.DataObject, runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """However a stream of requests is cut, both ways answer, store and count alike."""
    kinds = data.draw(st.lists(st.sampled_from(OFTEN), max_size=6))
    last = data.draw(st.sampled_from(sorted(LAST)))
    requests = [KINDS[kind](f"e{number}") for number, kind in enumerate(kinds)]
    if last == "not HTTP":
        requests = []  # What is before it and not answered yet, uvicorn does not answer any more.
    stream = b"".join([*requests, LAST[last]("last")])
    marks = sorted(data.draw(st.lists(st.integers(0, min(len(stream), 3000)), max_size=4)))
    pieces = [stream[a:b] for a, b in zip([0, *marks], [*marks, len(stream)], strict=True) if a < b]
    commits = data.draw(st.lists(st.booleans(), min_size=len(pieces), max_size=len(pieces)))
    directory = tmp_path_factory.mktemp("ways")
    with bench(directory / "a") as short, bench(directory / "b", short=False) as ordinary:
        expected = len(requests) + (last != "cut off")
        ours = runner.run(converse(short, pieces, commits, expected))
        theirs = runner.run(converse(ordinary, pieces, commits, expected))
    assert ours == theirs


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_plain_goes_the_short_way(
    kind: str, play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The web machinery does not see a small request that can be taken; all others it does."""
    seen = []
    serve = Edge._serve

    async def seeing(edge: Edge, *request: Any) -> None:
        seen.append(kind)
        await serve(edge, *request)

    async def scene(bench: Bench) -> None:
        wire = bench.connect()
        wire.protocol.data_received(KINDS[kind]("one"))
        await bench.answer(wire, 1)

    monkeypatch.setattr(Edge, "_serve", seeing)
    play(scene)
    assert seen == ([] if kind in SHORT else [kind])


def test_a_request_may_be_cut_anywhere(play: Callable[..., None]) -> None:
    """Wherever two pieces of a request part, its event is recorded and answered."""

    async def scene(bench: Bench) -> None:
        whole = post(submitted("0000"))
        for at in range(1, len(whole)):
            wire = bench.connect()
            request = post(submitted(f"{at:04}"))
            wire.protocol.data_received(request[:at])
            wire.protocol.data_received(request[at:])
            await bench.commit()
            assert (statuses(wire), ids(wire)) == ([201], [f"{at:04}"])
            wire.drop()

    play(scene)


def test_a_request_may_come_byte_by_byte(play: Callable[..., None]) -> None:
    """The connection goes on with the next one, which comes in one piece."""

    async def scene(bench: Bench) -> None:
        wire = bench.connect()
        for byte in post(submitted("one")):
            wire.protocol.data_received(bytes([byte]))
        wire.protocol.data_received(post(submitted("two")))
        await bench.commit()
        assert ids(wire) == ["one", "two"]

    play(scene)


@pytest.mark.parametrize(
    "beginning",
    [
        post(submitted("one")).replace(b"\r\n", b"\n"),
        b"POST /api/events HTTP/9.9\r\n",
        b"POST /api/events GARBAGE GARBAGE",
        b"POST /api/events HTTP/1.1\r\nHost: localhost\r\nBad Header\x01: x\r\n",
    ],
)
def test_a_beginning_that_is_wrong_is_refused_at_once(
    play: Callable[..., None], beginning: bytes
) -> None:
    """What can never become a request is not waited with: 400, and the connection ends."""

    async def scene(bench: Bench) -> None:
        wire = bench.connect()
        wire.protocol.data_received(beginning)
        assert wire.writes[0].startswith(b"HTTP/1.1 400 ")
        assert wire.closed

    play(scene)


# -- several on one connection --------------------------------------------------------------------


def test_many_requests_in_one_segment_leave_as_one(play: Callable[..., None]) -> None:
    """Their events are one commit, and their answers one piece, in order."""

    async def scene(bench: Bench) -> None:
        wire = bench.connect()
        wire.protocol.data_received(b"".join(post(submitted(f"{n:03}")) for n in range(200)))
        await bench.commit()
        assert ids(wire) == [f"{n:03}" for n in range(200)]
        assert len(wire.writes) <= 2

    play(scene)


def test_no_connection_holds_more_than_its_bound(play: Callable[..., None]) -> None:
    """Beyond the bound it is not read from; all is answered in the end."""

    async def scene(bench: Bench) -> None:
        wire = bench.connect()
        wire.protocol.data_received(b"".join(post(submitted(f"{n:03}")) for n in range(600)))
        assert len(wire.protocol.unanswered) == 256
        assert not wire.reading
        await bench.commit()
        assert wire.reading
        assert ids(wire) == [f"{n:03}" for n in range(600)]

    play(scene)


def test_a_refused_request_waits_for_those_before_it(play: Callable[..., None]) -> None:
    """Where the queue is full, the refusal comes after the answers to what was taken before."""

    async def scene(bench: Bench) -> None:
        wire = bench.connect()
        wire.protocol.data_received(b"".join(post(submitted(f"{n}")) for n in range(5)))
        await bench.settle()
        assert not wire.answers
        await bench.commit()
        assert statuses(wire) == [201, 201, 503, 503, 503]
        assert wire.answers[2][1]["retry-after"]
        assert 'chronicled_events_rejected_total{reason="queue_full"} 3.0' in bench.counts()

    play(scene, bounds=WriterBounds(queue_events=2))


# -- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(DiskFull("no room"), 507, "disk_full"), (RuntimeError("secret"), 500, "internal")],
)
def test_a_failure_of_the_writer_is_told(
    error: Exception,
    status: int,
    code: str,
    play: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The answer is the same problem as ever; a fault of our own is logged, not told."""

    async def scene(bench: Bench) -> None:
        def fail(*_: Any) -> None:
            raise error

        wire = bench.connect()
        monkeypatch.setattr(bench.log, "submit", fail)
        wire.protocol.data_received(post(submitted("one")))
        await bench.settle()
        [(got, headers, document)] = wire.answers
        assert (got, document["code"]) == (status, code)
        assert headers["content-type"] == "application/problem+json"
        assert "secret" not in str(document)
        assert not wire.closed

    with caplog.at_level(logging.ERROR, "daemon.api.edge"):
        play(scene)
    assert ("secret" in caplog.text) == (status == 500)


def test_a_client_that_leaves_in_the_middle_of_a_body_is_counted(
    play: Callable[..., None],
) -> None:
    """Nothing is stored, and the request counts as one that could not be read."""

    async def scene(bench: Bench) -> None:
        wire = bench.connect()
        wire.protocol.data_received(post(submitted("one"))[:-1])
        wire.drop()
        await bench.commit()
        assert bench.log.head() == 0
        assert not wire.writes
        assert 'chronicled_events_rejected_total{reason="undecodable"} 1.0' in bench.counts()

    play(scene)


def test_a_client_that_leaves_before_the_commit_harms_nobody(play: Callable[..., None]) -> None:
    """Its event is stored, and nothing is written to who is not there."""

    async def scene(bench: Bench) -> None:
        leaves, stays = bench.connect(), bench.connect()
        leaves.protocol.data_received(post(submitted("one")))
        stays.protocol.data_received(post(submitted("two")))
        leaves.drop()
        await bench.commit()
        assert (leaves.writes, statuses(stays)) == ([], [201])
        assert bench.log.head() == 2

    play(scene)


def test_an_answer_that_fails_does_not_keep_the_others(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The other requests of the commit are answered."""

    async def scene(bench: Bench) -> None:
        fails, works = bench.connect(), bench.connect()
        fails.protocol.data_received(post(submitted("one")))
        works.protocol.data_received(post(submitted("two")))
        monkeypatch.setattr(fails, "write", lambda _: 1 / 0)
        await bench.commit()
        assert statuses(works) == [201]

    play(scene)
    assert "an answer failed" in caplog.text


# -- how a connection ends ------------------------------------------------------------------------


def test_a_stop_waits_for_the_answers(play: Callable[..., None]) -> None:
    """What was taken is answered; the last answer says that the connection closes."""

    async def scene(bench: Bench) -> None:
        wire, idle = bench.connect(), bench.connect()
        wire.protocol.data_received(post(submitted("one")) + post(submitted("two")))
        bench.context.drain()
        for one in (wire, idle):
            one.protocol.shutdown()
        assert (wire.closed, idle.closed) == (False, True)
        await bench.commit()
        assert ids(wire) == ["one", "two"]
        assert [headers.get("connection") for _, headers, _ in wire.answers] == [None, "close"]
        assert wire.closed

    play(scene)


@pytest.mark.parametrize("cut", [10, 150])
def test_what_comes_after_a_stop_is_refused(cut: int, play: Callable[..., None]) -> None:
    """A request that is not complete when the daemon stops gets its 503, if it has a head."""

    async def scene(bench: Bench) -> None:
        wire = bench.connect()
        first, second = post(submitted("one")), post(submitted("two"))
        wire.protocol.data_received(first + second[:cut])
        bench.context.drain()
        wire.protocol.shutdown()
        await bench.commit()
        if not wire.closed:
            wire.protocol.data_received(second[cut:])
        await bench.commit()
        assert statuses(wire) == ([201] if cut == 10 else [201, 503])
        assert wire.closed
        assert bench.log.head() == 1

    play(scene)


def test_a_quiet_connection_is_closed_and_a_busy_one_is_not(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time counts from the last answer; no connection ends while it waits for one."""
    now = 0.0
    monkeypatch.setattr("daemon.protocol.perf_counter", lambda: now)

    async def scene(bench: Bench) -> None:
        nonlocal now
        wire = bench.connect()
        wire.protocol.data_received(post(submitted("one")))
        await bench.commit()
        for wait, at_work in ((4.0, False), (6.0, True)):
            now += wait
            if at_work:
                wire.protocol.data_received(post(submitted("two")))
            wire.protocol.timeout_keep_alive_handler()
            assert not wire.closed
            await bench.commit()
        now += 6.0
        wire.protocol.timeout_keep_alive_handler()
        assert wire.closed

    play(scene)
