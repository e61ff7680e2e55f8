"""How long a request may take to come in: a client that never ends one must not stay for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

REQUEST_SECONDS: Final = 30.0
"""How long a request may take, from its first byte to its last, unless it is large."""
BYTES_A_SECOND: Final = 16 * 1024
"""For each so many bytes that came it may take a second more: a thin line is no attack."""


class Patience:
    """One connection's clock: runs while a request comes in, and tells when that takes too long.

    There is one timer at most. Set by a request, it looks when it fires at which one is coming
    then: so it is not set anew with each of them.
    """

    __slots__ = ("_began", "_came", "_excused", "_loop", "_over", "_seconds", "_timer")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        excused: Callable[[], bool | None],
        over: Callable[[], None],
    ) -> None:
        """Wait for ``seconds``; ``over`` is called when a request has taken longer.

        ``excused`` says whether the request that is coming waits for this side; None where none
        is coming.
        """
        self._loop, self._seconds, self._excused, self._over = loop, seconds, excused, over
        self._timer: asyncio.TimerHandle | None = None
        self._began = 0.0
        self._came = 0

    def begin(self) -> None:
        """Note that a request begins which is not there whole, as far as is known."""
        self._began, self._came = self._loop.time(), 0
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def more(self, size: int) -> None:
        """Note that so many bytes of it came."""
        self._came += size

    def end(self) -> None:
        """Stop the clock for good: the connection has ended, and is let go."""
        if self._timer is not None:
            self._timer.cancel()
        self._excused, self._over = _nothing, _nothing

    def _look(self) -> None:
        self._timer = None
        excused = self._excused()
        if excused is None:
            return
        if excused:
            self._began, self._came = self._loop.time(), 0
        left = self._began + self._seconds + self._came / BYTES_A_SECOND - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._over()


def _nothing() -> None:
    """There is no request, and nothing to be done."""
