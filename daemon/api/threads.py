"""Bounded thread pools behind the event loop: readers, and decoders of large bodies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from domain.errors import QueueFull

WAITING_PER_THREAD: Final = 32
"""How many calls may wait for each thread; beyond, the caller is told to try again."""

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """Runs blocking calls of the event loop on a few threads, and refuses to queue too many."""

    def __init__(self, name: str, threads: int, waiting: int | None = None) -> None:
        """Make them; ``waiting`` calls may wait for them, else 32 for each thread."""
        self._name = name
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"api-{name}")
        self._calls = 0
        self._calls_max = threads + (threads * WAITING_PER_THREAD if waiting is None else waiting)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call on one of the threads and return its result.

        Raises:
            QueueFull: too many calls wait already.

        """
        if self._calls >= self._calls_max:
            raise QueueFull(f"{self._calls} requests wait for the {self._name} threads.")
        self._calls += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, lambda: call(*args, **kwargs))
        finally:
            self._calls -= 1

    def close(self) -> None:
        """Let the running calls end, and take no more."""
        self._pool.shutdown(wait=True, cancel_futures=True)
