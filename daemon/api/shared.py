"""One read for all who ask the same at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from functools import partial
from typing import Generic, TypeVar

from daemon.api.threads import Threads

T = TypeVar("T")


class Shared(Generic[T]):
    """Answers a question once for everybody who asks it before the answer is there.

    A commit wakes every stream, and most of them stand at the same position: without this each
    would read the same page. Used on the event loop only, therefore without a lock.
    """

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._asked: dict[Hashable, asyncio.Future[T]] = {}

    async def ask(self, question: Hashable, answer: Callable[[], T]) -> T:
        """Return the answer; ``answer`` is called on a thread, unless somebody asks the same.

        The question has to say how new the answer must be: who comes later gets what the first one
        asked for.

        Raises:
            QueueFull: too many calls wait for the threads.

        """
        asked = self._asked.get(question)
        if asked is None:
            asked = asyncio.ensure_future(self._threads.run(answer))
            self._asked[question] = asked
            asked.add_done_callback(partial(self._forget, question))
        # Who goes away does not take the answer from the others.
        return await asyncio.shield(asked)

    def _forget(self, question: Hashable, asked: asyncio.Future[T]) -> None:
        del self._asked[question]
        if not asked.cancelled():
            # Looked at here, where nobody waits for it any more.
            asked.exception()
