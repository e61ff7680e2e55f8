"""The daemon's side of the decoder: gives it bodies, and does without it when it fails.

Everything here runs on the event loop. The process is started by the first body that is large
enough to be worth the way; until it is there, and whenever it is not, bodies are decoded on
threads. So it may end, hang or be killed at any moment: nothing is lost, and no answer differs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import socket
import subprocess
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar, cast

from daemon.api.threads import Threads
from daemon.child_process import start_child
from daemon.decoder.frames import DECODERS, HEAD
from domain.errors import ChronicledError, QueueFull
from domain.limits import Limits

ON_LOOP_BYTES: Final = 64 * 1024
"""Up to this size a body is decoded on the event loop where there is no decoder for it."""
BODIES_MAX: Final = 1_000
"""How many bodies may be with the decoder; beyond, the caller is told to try again."""
ANSWER_SECONDS: Final = 10.0
"""How long a body may take; then the decoder hangs, and is killed."""
REST_SECONDS: Final = 5.0
"""How long after the start of a decoder that ended the next one is started."""

_logger = logging.getLogger(__name__)
T = TypeVar("T")


class Decoders:
    """Decodes bodies: in the decoder's process where it can, on threads where it cannot."""

    def __init__(self, limits: Limits, threads: Threads) -> None:
        self._limits = limits
        self._threads = threads
        self._child: Child | None = None
        self._starts_at = 0.0
        self._life: asyncio.Task[None] | None = None
        self._closed = False

    async def run(self, decode: Callable[[bytes], T], body: bytes) -> T:
        """Return what a body decodes to; events may come as `domain.prepared.Prepared`.

        Raises:
            QueueFull: too many bodies wait already.

        """
        kind = self._kind(decode)
        child = None if kind is None else self._present()
        if child is not None and kind is not None:
            found = await child.decoded(kind, body)
            if isinstance(found, ChronicledError):
                raise found
            if found is not None:
                return cast("T", found)
        if len(body) <= ON_LOOP_BYTES:
            return decode(body)
        return await self._threads.run(decode, body)

    def _kind(self, decode: Callable[[bytes], Any]) -> int | None:
        """Return the number of a decoder that the process has, with the limits that it has."""
        if isinstance(decode, partial) and decode.keywords == {"limits": self._limits}:
            with contextlib.suppress(ValueError):
                return DECODERS.index(decode.func)
        return None

    def _present(self) -> Child | None:
        """Return the decoder if it is there; if not, see that there is one soon."""
        child = self._child
        if child is not None and not child.lost:
            return child
        now = asyncio.get_running_loop().time()
        if self._life is None and now >= self._starts_at and not self._closed:
            self._starts_at = now + REST_SECONDS
            self._life = asyncio.create_task(self._live())
        return None

    async def _live(self) -> None:
        """Keep one process from its start to its end, or to the end of the event loop."""
        try:
            child = await Child.start(self._limits)
            try:
                await child.ready
                self._child = child
                await child.gone
            finally:
                child.end()
                child.disconnect()
        except OSError as error:
            _logger.warning("the decoder could not be started", extra={"error": str(error)})
        finally:
            self._life = None

    @property
    def pid(self) -> int | None:
        """The decoder's process id, None while it is not there."""
        child = self._child
        return None if child is None or child.lost else child.pid

    def close(self) -> None:
        """End the process and the threads; from any thread, when nobody waits any more."""
        self._closed = True
        if self._child is not None:
            self._child.end()
            self._child.wait()
        self._threads.close()


class Child(asyncio.Protocol):
    """One decoder's process, and the bodies that are with it, in order."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.lost = False
        self._process = process
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self.ready = asyncio.get_running_loop().create_future()
        self.gone = asyncio.get_running_loop().create_future()
        self._received = bytearray()
        self._answers = 0
        self._watch: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    @classmethod
    async def start(cls, limits: Limits) -> Child:
        """Start a process; it says when it is ready.

        Raises:
            OSError: it could not be started.

        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = _start_process(theirs, limits)
            except BaseException:
                ours.close()
                raise
        loop = asyncio.get_running_loop()
        _, child = await loop.create_unix_connection(lambda: cls(process), sock=ours)
        return child

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def decoded(self, kind: int, body: bytes) -> Any:
        """Return what the process made of a body; None when that has to be done without it.

        Raises:
            QueueFull: too many bodies are with it.

        """
        if len(self._waiting) >= BODIES_MAX:
            raise QueueFull(f"{len(self._waiting)} requests wait for the decoder.")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._waiting.append(answer)
        if self._watch is None:
            self._watch = loop.call_later(ANSWER_SECONDS, self._look, self._answers)
        self._transport.writelines((HEAD.pack(len(body), kind), body))
        return await answer

    def _look(self, answers_before: int) -> None:
        """Give the process up if something waited all the time since the last look in vain."""
        self._watch = None
        if not self._waiting:
            return
        if self._answers > answers_before:
            loop = asyncio.get_running_loop()
            self._watch = loop.call_later(ANSWER_SECONDS, self._look, self._answers)
            return
        _logger.error("the decoder hangs and is killed")
        self.end()
        self._give_up()

    def _give_up(self) -> None:
        """Let everybody whose body is with the process decode it without it."""
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()

    def end(self) -> None:
        """End the process; what is with it is decoded without it."""
        self.lost = True
        self._process.kill()

    def disconnect(self) -> None:
        """Close the connection; on the event loop."""
        self._transport.abort()

    def wait(self) -> None:
        """Wait until the process that was ended is gone."""
        self._process.wait()

    # -- what the event loop calls ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note where to write."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand on every answer that is complete."""
        received = self._received
        received += data
        start = 0
        while len(received) - start >= HEAD.size:
            size, _ = HEAD.unpack_from(received, start)
            end = start + HEAD.size + size
            if len(received) < end:
                break
            self._answer(memoryview(received)[start + HEAD.size : end])
            start = end
        del received[:start]

    def _answer(self, answer: memoryview) -> None:
        if not self.ready.done():
            self.ready.set_result(None)
            return
        found = pickle.loads(answer)  # noqa: S301  by our own child
        answer.release()
        if not self._waiting:
            # It was given up meanwhile.
            return
        self._answers += 1
        waiting = self._waiting.popleft()
        if not waiting.done():
            waiting.set_result(found)

    def connection_lost(self, exception: Exception | None) -> None:  # noqa: ARG002
        """Do without the process from now on."""
        if not self.lost:
            _logger.error("the decoder ended; it is started again when it is needed")
        self.end()
        self._give_up()
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("it ended at once"))
        if not self.gone.done():
            self.gone.set_result(None)
        # It was killed: this is short.
        self.wait()


def _start_process(connection: socket.socket, limits: Limits) -> subprocess.Popen[bytes]:
    descriptor = connection.fileno()
    bounds = (limits.subject_bytes, limits.event_bytes, limits.batch_events, limits.batch_bytes)
    return start_child("daemon.decoder", (descriptor, *bounds), (descriptor,))
