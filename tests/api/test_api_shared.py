"""What a thousand streams share: one read for all, and one waking after another."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing

import pytest

from daemon.api.shared import Shared
from daemon.api.signals import Signal
from daemon.api.threads import Threads

SECONDS = 20


def test_who_asks_the_same_meanwhile_gets_the_same_answer() -> None:
    """One read answers all, whoever of them goes away; later it is read anew."""
    held, calls = threading.Event(), []

    def read() -> int:
        assert held.wait(SECONDS)
        calls.append(1)
        return len(calls)

    async def run() -> None:
        with closing(Threads("test", 1)) as threads:
            shared: Shared[int] = Shared(threads)
            asking = [asyncio.create_task(shared.ask("a", read)) for _ in range(50)]
            await asyncio.sleep(0)
            asking.pop(0).cancel()
            other = asyncio.create_task(shared.ask("b", read))
            await asyncio.sleep(0)
            held.set()
            assert set(await asyncio.gather(*asking)) == {1}
            assert await other == 2
            assert await shared.ask("a", read) == 3

    asyncio.run(run())


def test_a_failure_is_everybodys() -> None:
    """Each of those who asked hears of it, and who asks after is not answered with it."""
    answers = iter([ValueError("first"), 2])

    def read() -> int:
        answer = next(answers)
        if isinstance(answer, ValueError):
            raise answer
        return answer

    async def run() -> None:
        with closing(Threads("test", 1)) as threads:
            shared: Shared[int] = Shared(threads)
            asking = [asyncio.create_task(shared.ask("a", read)) for _ in range(3)]
            for each in asking:
                with pytest.raises(ValueError, match="first"):
                    await each
            assert await shared.ask("a", read) == 2

    asyncio.run(run())


def test_many_listeners_are_woken_less_often() -> None:
    """The first call wakes at once; the next ones are one, after a while for each listener."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        signal = Signal(spacing_seconds=0.05)
        with signal.listen() as one, signal.listen() as other:
            signal.fire()
            async with asyncio.timeout(SECONDS):
                await one.wait()
            first = loop.time()
            one.clear()
            other.clear()
            for _ in range(100):
                signal.fire()
                await asyncio.sleep(0)
            async with asyncio.timeout(SECONDS):
                await one.wait()
                await other.wait()
            assert loop.time() - first > 0.09

    asyncio.run(run())
