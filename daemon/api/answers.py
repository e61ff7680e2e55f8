"""Answers of the reading routes: JSON with ``as_of``, weak ETags, 304, and links to the next page.

The ETag is of the content without ``as_of``: a client that asks again and again for something
that does not change gets 304, however busy the rest of the log is. The header
``Chronicled-As-Of`` says in both cases up to which position the answer holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from projections.paging import Page

AS_OF_HEADER: Final = "chronicled-as-of"
WHOLE: Final = "chronicled.whole"
"""Marks the beginning of an answer whose headers are sound and whose body is one piece."""
_RECEIPTS_HEAD: Final = (
    b"content-type: application/json\r\ncontent-length: %d\r\nchronicled-as-of: %d\r\n"
)
NO_STORE: Final = {"cache-control": "no-store"}


class JsonResponse(Response):
    """JSON by orjson; a value may be an `orjson.Fragment` of ready JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the JSON."""
        return orjson.dumps(content)


class Receipts(Response):
    """The answer to events that came in: JSON, in little more than the bytes that are sent."""

    def __init__(self, document: Mapping[str, Any], *, status_code: int, as_of: int) -> None:
        # In place of the base's, which takes longer than all the rest of an answer.
        self.status_code = status_code
        self.background = None
        self.body = body = orjson.dumps(document)
        self.head = _RECEIPTS_HEAD % (len(body), as_of)
        """The lines of its headers."""

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:  # type: ignore[override]
        """Its headers, one by one."""
        found = (line.partition(b": ") for line in self.head.split(b"\r\n")[:-1])
        return [(name, value) for name, _, value in found]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send it as what it is: whole."""
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
                WHOLE: True,
            }
        )
        await send({"type": "http.response.body", "body": self.body})


class Encoded(NamedTuple):
    """An answer as a reader's thread makes it, and what goes into its headers."""

    body: bytes
    etag: str
    as_of: int
    next: str | None = None


def encode_page(items: Sequence[Any], following: str | None, as_of: int) -> Encoded:
    """Return one page of a list."""
    return encode({"items": items, "next": following}, as_of, following)


def encode_found(page: Page) -> Encoded:
    """Return one page of what the views found."""
    return encode_page(page.items, page.next, page.as_of)


def encode(document: Mapping[str, Any], as_of: int, following: str | None = None) -> Encoded:
    """Return one JSON object."""
    body = orjson.dumps(document)
    etag = f'W/"{blake2b(body, digest_size=12).hexdigest()}"'
    return Encoded(b'%b,"as_of":%d}' % (body[:-1], as_of), etag, as_of, following)


def respond(request: Request, encoded: Encoded) -> Response:
    """Answer a read: 200 with a link to the next page where there is one, or 304."""
    body, etag, as_of, following = encoded
    if is_readonly(request):
        body = b'%b,"readonly":true}' % body[:-1]
    headers = {AS_OF_HEADER: str(as_of), "cache-control": "no-cache", "etag": etag}
    if following is not None:
        headers["link"] = f'<{_next_address(request, following)}>; rel="next"'
    if _matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def is_readonly(request: Request) -> bool:
    """Return whether the daemon that answers shows a moment of the past."""
    return bool(request.app.state.context.readonly)


def _next_address(request: Request, cursor: str) -> str:
    left_out = ("cursor", "wait_for", "timeout")
    query = parse_qsl(request.url.query, keep_blank_values=True)
    kept = [(name, value) for name, value in query if name not in left_out]
    return f"{request.url.path}?{urlencode([*kept, ('cursor', cursor)])}"


def _matches(header: str | None, etag: str) -> bool:
    if header is None:
        return False
    given = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in given or etag.removeprefix("W/") in given
