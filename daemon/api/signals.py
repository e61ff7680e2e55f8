"""Waking what waits on the event loop when something happens on another thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Signal:
    """A call of `fire` from any thread wakes everyone who listens on the event loop.

    The listeners get no values: each looks for itself at what is new. So nothing is queued for a
    slow one, and a thousand calls before it looks are one.

    With a spacing, calls are heard no more often than every so many seconds for each listener:
    waking a thousand of them takes the loop 20 ms, which no commit must have to pay alone.
    """

    def __init__(self, spacing_seconds: float = 0.0) -> None:
        self._spacing_seconds = spacing_seconds
        self._next = 0.0
        self._lock = threading.Lock()
        self._listeners: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduled = False

    @contextmanager
    def listen(self) -> Iterator[asyncio.Event]:
        """Give the calling task an event that is set at each `fire` from now on."""
        event = asyncio.Event()
        with self._lock:
            self._loop = asyncio.get_running_loop()
            self._listeners.add(event)
        try:
            yield event
        finally:
            with self._lock:
                self._listeners.discard(event)

    def fire(self, *_: object) -> None:
        """Wake every listener; arguments are ignored, so that it can serve as any callback."""
        with self._lock:
            if self._scheduled or not self._listeners or self._loop is None:
                return
            # A loop that has closed has no listeners that could still look.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._set_all)
                self._scheduled = True

    def _set_all(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._next:
            loop.call_at(self._next, self._set_all)
            return
        with self._lock:
            self._scheduled = False
            listeners = list(self._listeners)
        self._next = loop.time() + len(listeners) * self._spacing_seconds
        for event in listeners:
            event.set()
