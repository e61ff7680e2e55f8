"""One HTTP request to a receiver, bounded in time and in what is read of the answer."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

import httpx

from daemon.webhooks.settings import WebhookSettings

ANSWER_BYTES_MAX: Final = 4_096
"""So much of an answer's body is read, for the connection's sake; then the connection ends."""


class Answer(NamedTuple):
    """What a receiver answered; ``status`` 0 = nothing that could be read."""

    status: int
    error: str = ""
    retry_after_seconds: float = 0.0

    @property
    def taken(self) -> bool:
        """Whether the receiver has taken the message."""
        return 200 <= self.status < 300


class Poster:
    """Posts to one receiver, one request after another, from one thread."""

    def __init__(self, settings: WebhookSettings) -> None:
        # The client logs whole URLs; what is in a query may be a secret.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._settings = settings
        self._runner = asyncio.Runner()
        self._client: httpx.AsyncClient | None = None

    def post(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post a message; whatever happens is an answer."""
        return self._runner.run(self._post(headers, body))

    def close(self) -> None:
        """Close the connection; call it when no request is at work."""
        if self._client is not None:
            self._runner.run(self._client.aclose())
            self._client = None
        self._runner.close()

    async def _post(self, headers: Mapping[str, str], body: bytes) -> Answer:
        settings = self._settings
        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=settings.timeout_seconds,
                follow_redirects=False,
                trust_env=settings.proxy,
                verify=ssl.create_default_context(),
            )
        answers: list[Answer] = []
        try:
            async with asyncio.timeout(settings.timeout_seconds):
                await self._exchange(self._client, headers, body, answers)
        except (TimeoutError, httpx.TimeoutException):
            error = f"{settings.host}: no answer within {settings.timeout_seconds:g} s"
            answers.append(Answer(0, error))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            # Its text may hold the URL.
            answers.append(Answer(0, f"{settings.host}: {type(error).__name__}"))
        # What comes after the status is of no interest, nor how it ends.
        return answers[0]

    async def _exchange(
        self,
        client: httpx.AsyncClient,
        headers: Mapping[str, str],
        body: bytes,
        answers: list[Answer],
    ) -> None:
        url = self._settings.url
        async with client.stream("POST", url, content=body, headers=dict(headers)) as response:
            answers.append(self._read(response))
            size = 0
            async for chunk in response.aiter_raw():
                size += len(chunk)
                if size >= ANSWER_BYTES_MAX:
                    return

    def _read(self, response: httpx.Response) -> Answer:
        status, host = response.status_code, self._settings.host
        if 200 <= status < 300:
            return Answer(status)
        rest = 0.0
        with suppress(ValueError, OverflowError):
            rest = max(float(int(response.headers.get("retry-after", "0"))), 0.0)
        said = "; redirects are not followed" if 300 <= status < 400 else ""
        return Answer(status, f"{host}: answered {status}{said}", rest)
