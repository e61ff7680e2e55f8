"""The decoder's own process: no answer differs by it, and it may end or hang at any moment."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waiting import wait_until

from daemon.api.threads import Threads
from daemon.decoder import child, process
from daemon.decoder.frames import DECODERS, HEAD
from daemon.decoder.process import Decoders
from domain.catalog import event_types
from domain.cloudevents import example_event, from_batch, from_json, from_ndjson
from domain.errors import ChronicledError, QueueFull
from domain.limits import Limits
from domain.prepared import prepare_all

LIMITS = Limits(subject_bytes=200, event_bytes=2_000, batch_events=50, batch_bytes=100_000)
EXAMPLES = [example_event(entry.name) for entry in event_types() if entry.client]
BATCH = orjson.dumps(EXAMPLES)
SECONDS = 30.0


@pytest.fixture
def loop() -> Iterator[asyncio.Runner]:
    """Return an event loop."""
    with asyncio.Runner() as loop:
        yield loop


@pytest.fixture
def decoders(loop: asyncio.Runner, monkeypatch: pytest.MonkeyPatch) -> Iterator[Decoders]:
    """Return decoders whose process is there; another follows at once when it ends."""
    monkeypatch.setattr(process, "REST_SECONDS", 0.0)
    decoders = Decoders(LIMITS, Threads("decode", 1))
    there(loop, decoders)
    yield decoders
    loop.run(asyncio.to_thread(decoders.close))


def there(loop: asyncio.Runner, decoders: Decoders) -> int:
    """Send batches until the process is there; return its id."""

    def pid() -> int | None:
        loop.run(decoders.run(partial(from_batch, limits=LIMITS), BATCH))
        return decoders.pid

    return wait_until(pid, "there is a process")


def outcome(found: Callable[[], Any]) -> Any:
    """Return what was decoded, or all that the error says."""
    try:
        return list(prepare_all(found()))
    except ChronicledError as error:
        return type(error), error.detail, error.errors, error.operator_hint


def decode(loop: asyncio.Runner, decoders: Decoders, number: int, body: bytes) -> Any:
    """Decode a body the way that requests do."""
    call = partial(DECODERS[number], limits=LIMITS)
    return outcome(lambda: loop.run(decoders.run(call, body)))


ATTRIBUTES = st.sampled_from(["id", "source", "type", "subject", "time", "data", "actor", "x!"])
VALUES = st.one_of(
    st.none(),
    st.integers(-9, 2**63),
    st.text("aé\0 \U0001f600", max_size=50),
    st.just({"extra": {}}),
    st.just({"kind": 7}),
)
SPOILT = st.builds(
    lambda event, changes: orjson.dumps(event | changes),
    st.sampled_from(EXAMPLES),
    st.dictionaries(ATTRIBUTES, VALUES, max_size=2),
)
BODIES = st.one_of(
    st.lists(SPOILT, max_size=4).map(lambda lines: b"[" + b",".join(lines) + b"]"),
    st.lists(SPOILT, max_size=4).map(b"\n".join),
    st.lists(st.just(orjson.dumps(EXAMPLES[0])), min_size=49, max_size=52).map(b"\n".join),
    st.binary(max_size=100),
    st.just(b"[" * 3_000),
    st.just(b" " * 100_001),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, len(DECODERS) - 1), body=BODIES)
def test_the_process_decodes_what_this_one_would(
    loop: asyncio.Runner, decoders: Decoders, number: int, body: bytes
) -> None:
    """Whatever the bytes are: the same events ready for the log, or the same error."""
    here = outcome(lambda: DECODERS[number](body, LIMITS))
    assert decode(loop, decoders, number, body) == here
    assert decoders.pid is not None


def test_answers_that_come_in_pieces_are_whole(loop: asyncio.Runner, decoders: Decoders) -> None:
    """Many bodies, and answers larger than any buffer between the two: each gets its own."""
    large = [
        orjson.dumps([e | {"id": f"{n}-{i}", "data": {"extra": {"x": "y" * 1_500}}} for i, e in
                      enumerate([EXAMPLES[0]] * 40)])
        for n in range(20)
    ]  # fmt: skip
    call = partial(from_batch, limits=LIMITS)

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*[decoders.run(call, body) for body in large])

    expected = [list(prepare_all(from_batch(body, LIMITS))) for body in large]
    assert loop.run(all_at_once()) == expected


def test_bodies_that_a_killed_process_had_are_decoded_here(
    loop: asyncio.Runner, decoders: Decoders
) -> None:
    """Each is answered as if nothing had been, and another process follows."""
    first = there(loop, decoders)
    os.kill(first, signal.SIGSTOP)

    async def interrupted() -> list[Any]:
        call = partial(from_batch, limits=LIMITS)
        waiting = [asyncio.ensure_future(decoders.run(call, BATCH)) for _ in range(5)]
        await asyncio.sleep(0)
        os.kill(first, signal.SIGKILL)
        return await asyncio.gather(*waiting)

    assert loop.run(interrupted()) == [from_batch(BATCH, LIMITS)] * 5
    assert there(loop, decoders) != first


def test_a_process_that_hangs_is_killed(
    loop: asyncio.Runner, decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body that waited for it is decoded here, and another process follows."""
    monkeypatch.setattr(process, "ANSWER_SECONDS", 0.05)
    first = there(loop, decoders)
    os.kill(first, signal.SIGSTOP)
    assert decode(loop, decoders, 0, BATCH) == list(prepare_all(from_batch(BATCH, LIMITS)))
    monkeypatch.setattr(process, "ANSWER_SECONDS", SECONDS)
    assert there(loop, decoders) != first


def test_only_so_many_bodies_wait_for_the_process(loop: asyncio.Runner, decoders: Decoders) -> None:
    """One more is refused; the others are all answered when it goes on."""
    pid = there(loop, decoders)
    os.kill(pid, signal.SIGSTOP)

    async def crowded() -> list[Any]:
        call = partial(from_batch, limits=LIMITS)
        waiting = [
            asyncio.ensure_future(decoders.run(call, BATCH)) for _ in range(process.BODIES_MAX)
        ]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await decoders.run(call, BATCH)
        os.kill(pid, signal.SIGCONT)
        return await asyncio.gather(*waiting)

    assert len(loop.run(crowded())) == process.BODIES_MAX
    assert decoders.pid == pid


def test_a_body_whose_sender_has_gone_disturbs_no_other(
    loop: asyncio.Runner, decoders: Decoders
) -> None:
    """Its answer is thrown away, and the next one is still for the next body."""

    async def given_up() -> Any:
        gone = asyncio.ensure_future(decoders.run(partial(from_ndjson, limits=LIMITS), b"{}"))
        await asyncio.sleep(0)
        gone.cancel()
        return await decoders.run(partial(from_batch, limits=LIMITS), BATCH)

    assert loop.run(given_up()) == prepare_all(from_batch(BATCH, LIMITS))


def test_the_process_leaves_signals_to_the_daemon(loop: asyncio.Runner, decoders: Decoders) -> None:
    """What a terminal or a service manager sends to the whole group does not end it."""
    pid = there(loop, decoders)
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    assert there(loop, decoders) == pid


def test_closing_ends_the_process(loop: asyncio.Runner, decoders: Decoders) -> None:
    """Nothing is left behind, and none is started any more."""
    pid = there(loop, decoders)
    loop.run(asyncio.to_thread(decoders.close))
    assert not Path(f"/proc/{pid}").exists()
    assert decoders.pid is None


def test_what_the_process_does_not_know_is_decoded_here(loop: asyncio.Runner) -> None:
    """A producer's own format, or other limits: no process is started for them."""
    decoders = Decoders(LIMITS, Threads("decode", 1))
    calls: list[Callable[[bytes], Any]] = [
        partial(from_json, limits=LIMITS),
        partial(from_batch, limits=Limits()),
        len,
    ]
    one = orjson.dumps(EXAMPLES[0])
    for call, body in zip(calls, (one, BATCH, b"x" * (process.ON_LOOP_BYTES + 1)), strict=True):
        assert loop.run(decoders.run(call, body)) == call(body)
    assert decoders.pid is None
    decoders.close()


def test_a_process_that_cannot_be_started_is_done_without(
    loop: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bodies are decoded here, large ones on a thread."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    decoders = Decoders(LIMITS, Threads("decode", 1))
    for body in (BATCH, BATCH + b" " * 70_000):
        assert decode(loop, decoders, 0, body) == list(prepare_all(from_batch(body, LIMITS)))
    assert decoders.pid is None
    loop.run(asyncio.to_thread(decoders.close))


@pytest.mark.parametrize("sent", [b"", b"\0\0", HEAD.pack(10, 0) + b"[]"])
def test_the_process_ends_with_the_daemon(sent: bytes) -> None:
    """A connection that ends between frames, in a head or in a body: nothing more to do."""
    ours, theirs = socket.socketpair()
    serving = threading.Thread(target=child.serve, args=(theirs, LIMITS))
    serving.start()
    ours.sendall(sent)
    ours.close()
    serving.join(SECONDS)
    assert not serving.is_alive()
    theirs.close()


def test_what_fails_in_the_process_for_no_fault_of_the_body_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then the daemon decodes it, and says what there is to say."""

    def fails(body: bytes, limits: Limits) -> Any:
        raise MemoryError

    assert child._decoded(fails, b"", LIMITS) is None
