"""Reading request bodies: content type first, then the bytes, never more than the limit.

A ``Content-Length`` over the limit is refused before a byte is read; without one the bytes are
counted while they come. All bodies in hand at one moment share a budget, so that many large
requests together cannot take the memory of the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from starlette.requests import ClientDisconnect, Request

from daemon.intake.media import parse_media_type
from domain.errors import QueueFull, TooLarge, Undecodable, UnsupportedMediaType

SMALL_BODY_BYTES: Final = 64 * 1024
"""Up to this size a body is decoded on the event loop; a larger one in a worker thread."""

BUDGET_BATCHES: Final = 8
"""How many bodies of the greatest allowed size may be in hand at once."""


def media_type(request: Request) -> str:
    """Return the content type without parameters, lower case; empty when there is none.

    Raises:
        UnsupportedMediaType: the charset is not UTF-8, or the body is encoded (gzip, ...).

    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", ""):
        raise UnsupportedMediaType(
            f"Content-Encoding {encoding[:64]!r} is not read here.",
            hint="Send the body uncompressed.",
        )
    return parse_media_type(request.headers.get("content-type"))


class BodyBudget:
    """Bounds the bytes of all bodies that are being read, decoded or written at one moment.

    Used on the event loop only, therefore without a lock.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._used = 0

    @contextmanager
    def hold(self) -> Iterator[Share]:
        """Give the request a share that grows with its body and ends with the request."""
        share = Share(self)
        try:
            yield share
        finally:
            self._used -= share.size

    def take(self, size: int) -> None:
        """Count ``size`` more bytes.

        Raises:
            QueueFull: the budget is used up; the same request may succeed later.

        """
        if self._used + size > self._limit:
            raise QueueFull("Too many large requests are in work at this moment.")
        self._used += size


class Share:
    """What one request holds of the budget."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.size = 0

    def grow(self, size: int) -> None:
        """Take ``size`` more bytes for this request."""
        self._budget.take(size)
        self.size += size


async def read_body(request: Request, limit_bytes: int, share: Share | None = None) -> bytes:
    """Return the whole body.

    Raises:
        TooLarge: the body is, or says it is, over the limit.
        Undecodable: the client went away before the body was complete.

    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise _too_large(limit_bytes)
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit_bytes:
                raise _too_large(limit_bytes)
            if share is not None:
                share.grow(len(chunk))
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise Undecodable("The connection ended before the body was complete.") from error
    return b"".join(chunks)


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit_bytes} bytes.")
