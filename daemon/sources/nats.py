"""A NATS JetStream subject as a source: a durable consumer, acknowledged after the commit.

The client lives on an event loop of the source's own thread, which runs while a step does. What is
not acknowledged comes again, and adds nothing: the server remembers the place, not the log.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final

from daemon.eventlog.requests import Appended
from daemon.intake.formats import Decoded, decode_document
from daemon.sources.board import SourceState
from daemon.sources.recording import PASSING, Backoff, Recording, guarded
from domain.errors import QueueFull

BATCH: Final = 200
"""Most messages that are fetched at once."""
FETCH_SECONDS: Final = 1.0
"""How long one fetch waits for messages."""
CONNECT_SECONDS: Final = 2
"""How long the server may take to answer."""
COMMIT_SECONDS: Final = 4.0
"""How long the log may take to answer before the messages are left to come again."""
ACK_SECONDS: Final = 10.0
"""After this the server sends again what was not acknowledged; of a consumer made here."""
NAK_SECONDS: Final = 1.0
"""After this it sends again what the log refused."""
_LAG_SECONDS: Final = 2.0


class NatsSource:
    """Reads one durable consumer of a JetStream stream."""

    def __init__(self, recording: Recording) -> None:
        self._settings = recording.board.settings
        self.name = f"source-{self._settings.name}"
        self._recording = recording
        self._backoff = Backoff()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Any = None
        self._consumer: Any = None
        self._asked_lag = 0.0

    @property
    def woken(self) -> threading.Event:
        """Set when the log has answered."""
        return self._recording.woken

    def step(self, now: int) -> float | None:
        """Connect where that is needed; fetch, record and acknowledge some messages."""
        return guarded(self._step, self._recording, self._backoff, now)

    def close(self) -> None:
        """Leave the server; when no step runs any more."""
        if self._loop is not None:
            self._loop.run_until_complete(self._leave())
            self._loop.close()
            self._loop = None

    def _step(self, now: int) -> float:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(self._turn(now))

    async def _turn(self, now: int) -> float:
        if self._recording.at_work:
            # Nobody waited for it: its messages come again.
            await self._answer(now)
        messages = await self._talk(self._fetch)
        if messages:
            await self._record(messages, now)
        self._backoff.end()
        return 0

    # -- the server -------------------------------------------------------------------------------

    async def _talk(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Return what the server answers; where it does not, leave it, to come back later.

        Raises:
            ConnectionError: it cannot be reached, or refuses.

        """
        from nats.errors import Error

        try:
            return await call()
        except (Error, OSError, TimeoutError) as error:
            await self._leave()
            said = str(error) or type(error).__name__
            raise ConnectionError(f"the NATS server: {said.removeprefix('nats: ')}") from None

    async def _fetch(self) -> Sequence[Any]:
        from nats.errors import TimeoutError as NothingNewError

        if self._client is None or not self._client.is_connected:
            await self._connect()
        messages: Sequence[Any] = ()
        try:
            messages = await self._consumer.fetch(BATCH, timeout=FETCH_SECONDS)
        except NothingNewError:
            if not self._client.is_connected:
                raise
        if monotonic() >= self._asked_lag + _LAG_SECONDS:
            self._asked_lag = monotonic()
            found = await self._consumer.consumer_info()
            lag = (found.num_pending or 0) + (found.num_ack_pending or 0) - len(messages)
            self._recording.board.stands(SourceState.RUNNING, lag=max(lag, 0))
        else:
            self._recording.board.stands(SourceState.RUNNING)
        return messages

    async def _connect(self) -> None:
        # Imported here: most daemons have no such source.
        from nats.aio.client import Client
        from nats.js.api import AckPolicy, ConsumerConfig

        await self._leave()
        settings = self._settings
        self._client = Client()
        connected = self._client.connect(
            settings.url,
            name="chronicled",
            # Coming back is this source's own business, after a rest that grows.
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=CONNECT_SECONDS,
            error_cb=_ignore,
            **_credentials(settings.credentials),
        )
        await asyncio.wait_for(connected, CONNECT_SECONDS)
        config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, ack_wait=ACK_SECONDS)
        self._consumer = await self._client.jetstream().pull_subscribe(
            settings.subject, durable=settings.consumer, stream=settings.stream, config=config
        )
        self._asked_lag = 0.0

    async def _leave(self) -> None:
        client, self._client, self._consumer = self._client, None, None
        if client is not None:
            try:
                await asyncio.wait_for(client.close(), CONNECT_SECONDS)
            except Exception:  # noqa: BLE001  it is gone in any case
                return

    # -- messages ---------------------------------------------------------------------------------

    async def _record(self, messages: Sequence[Any], now: int) -> None:
        """Record messages and acknowledge them; what the log refuses for now comes again."""
        left = list(messages)
        try:
            while left:
                group = self._group(left)
                await self._record_group(group, now)
                await self._talk(partial(_settle, group))
                del left[: len(group)]
        except PASSING:
            await self._talk(lambda: _give_back(left))
            raise

    def _group(self, messages: Sequence[Any]) -> list[tuple[Any, list[Decoded]]]:
        """Decode as many messages as may be recorded at once, at least one."""
        recording = self._recording
        group: list[tuple[Any, list[Decoded]]] = []
        events = 0
        for message in messages:
            decoded = decode_document(
                recording.format,
                message.data,
                recording.limits,
                recording.origin,
                recording.source,
            )
            events += sum(len(each.events) for each in decoded)
            if group and events > recording.limits.batch_events:
                break
            group.append((message, decoded))
        return group

    async def _record_group(self, group: list[tuple[Any, list[Decoded]]], now: int) -> None:
        """Record messages together; where one of them is refused, each alone."""
        recording = self._recording
        try:
            await self._append([each for _, decoded in group for each in decoded], len(group), now)
        except PASSING:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, it costs one message only
            if len(group) > 1:
                for pair in group:
                    await self._record_group([pair], now)
                return
            recording.failed(error, now)
            raw = group[0][0].data
            letter = recording.letter(raw, error, recording.origin)
            await self._append([Decoded(0, raw, (), letter)], 1, now)

    async def _append(self, decoded: Sequence[Decoded], messages: int, now: int) -> None:
        recording = self._recording
        recording.submit(recording.lines(decoded, recording.origin, None), messages)
        await self._answer(now)

    async def _answer(self, now: int) -> Appended:
        """Return what the log answered.

        Raises:
            QueueFull: it takes too long; what it does with the messages shows later.

        """
        until = monotonic() + COMMIT_SECONDS
        while monotonic() < until:
            # The loop has nothing else to do, and a commit is short.
            self.woken.wait(0.05)
            appended = self._recording.answer(now)
            if appended is not None:
                return appended
            await asyncio.sleep(0.001)
        raise QueueFull("the log takes long to answer")


async def _settle(group: Sequence[tuple[Any, Sequence[Decoded]]]) -> None:
    """Acknowledge messages; of one that could not be decoded say that it is not to come again."""
    for message, decoded in group:
        if any(each.dead_letter is not None for each in decoded):
            await message.term()
        else:
            await message.ack()


async def _give_back(messages: Sequence[Any]) -> None:
    for message in messages:
        await message.nak(delay=NAK_SECONDS)


async def _ignore(_error: Exception) -> None:
    """Leave errors to the calls that meet them."""


def _credentials(path: str) -> dict[str, str]:
    """Return how to log in: a user and password, or a token; nothing without a file."""
    if not path:
        return {}
    text = Path(path).read_text().strip()
    user, colon, password = text.partition(":")
    return {"user": user, "password": password} if colon else {"token": text}
