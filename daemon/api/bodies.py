"""Reading request bodies: content type first, then the bytes, never more than the limit.

A ``Content-Length`` over the limit is refused before a byte is read; without one the bytes are
counted while they come. All bodies in hand at one moment share a budget, so that many large
requests together cannot take the memory of the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import TracebackType
from typing import Final, Self

from starlette.types import Receive, Scope

from daemon.intake.media import parse_media_type
from domain.errors import QueueFull, TooLarge, Undecodable, UnsupportedMediaType

SMALL_BODY_BYTES: Final = 8 * 1024
"""Up to this size a body is decoded where it is read; a larger one by the decoder, or a thread."""

BUDGET_BATCHES: Final = 8
"""How many bodies of the greatest allowed size may be in hand at once."""


class Headers:
    """The headers of a request by name; of one that is given twice the first counts."""

    __slots__ = ("headers",)

    def __init__(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.headers: dict[bytes, bytes] = dict(reversed(headers))

    def header(self, name: bytes) -> str:
        """Return the value of a header; empty when it is not there."""
        return self.headers.get(name, b"").decode("latin-1")


class Incoming(Headers):
    """A request whose body is read here: its headers, and where its bytes come from."""

    __slots__ = ("receive", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope["headers"])
        self.scope = scope
        self.receive = receive


def media_type(request: Headers) -> str:
    """Return the content type without parameters, lower case; empty when there is none.

    Raises:
        UnsupportedMediaType: the charset is not UTF-8, or the body is encoded (gzip, ...).

    """
    return _media_type(request.header(b"content-type"), request.header(b"content-encoding"))


@lru_cache(maxsize=64)
def _media_type(content_type: str, encoding: str) -> str:
    encoding = encoding.strip().lower()
    if encoding not in ("identity", ""):
        raise UnsupportedMediaType(
            f"Content-Encoding {encoding[:64]!r} is not read here.",
            hint="Send the body uncompressed.",
        )
    return parse_media_type(content_type)


class BodyBudget:
    """Bounds the bytes of all bodies that are being read, decoded or written at one moment.

    Used on the event loop only, therefore without a lock.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._used = 0

    def hold(self) -> Share:
        """Give the request a share that grows with its body and ends with the request."""
        return Share(self)

    def take(self, size: int) -> None:
        """Count ``size`` more bytes.

        Raises:
            QueueFull: the budget is used up; the same request may succeed later.

        """
        if self._used + size > self._limit:
            raise QueueFull("Too many large requests are in work at this moment.")
        self._used += size

    def give_back(self, size: int) -> None:
        """Count ``size`` bytes less."""
        self._used -= size


class Share:
    """What one request holds of the budget; given back when its context ends."""

    __slots__ = ("_budget", "size")

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._budget.give_back(self.size)

    def grow(self, size: int) -> None:
        """Take ``size`` more bytes for this request."""
        self._budget.take(size)
        self.size += size


async def read_body(request: Incoming, limit_bytes: int, share: Share | None = None) -> bytes:
    """Return the whole body.

    Raises:
        TooLarge: the body is, or says it is, over the limit.
        Undecodable: the client went away before the body was complete.

    """
    declared = request.headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise _too_large(limit_bytes)
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Undecodable("The connection ended before the body was complete.")
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(chunk)
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        if share is not None:
            share.grow(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit_bytes} bytes.")
