"""Answers of the reading routes: JSON with ``as_of``, weak ETags, 304, and links to the next page.

The ETag is of the content without ``as_of``: a client that asks again and again for something
that does not change gets 304, however busy the rest of the log is. The header
``Chronicled-As-Of`` says in both cases up to which position the answer holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import orjson
from starlette.requests import Request
from starlette.responses import Response

AS_OF_HEADER: Final = "chronicled-as-of"


class JsonResponse(Response):
    """JSON by orjson; a value may be an `orjson.Fragment` of ready JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the JSON."""
        return orjson.dumps(content)


def encode_page(items: Sequence[Any], cursor: str | None) -> bytes:
    """Return the JSON of a page, still without ``as_of``."""
    return orjson.dumps({"items": items, "next": cursor})


def answer(request: Request, document: bytes | Mapping[str, Any], as_of: int) -> Response:
    """Answer a read: the JSON object with ``as_of``, or 304 when the client has it already."""
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    etag = f'W/"{blake2b(body, digest_size=12).hexdigest()}"'
    headers = {AS_OF_HEADER: str(as_of), "cache-control": "no-cache", "etag": etag}
    if _matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    body = b'%b,"as_of":%d}' % (body[:-1], as_of)
    return Response(body, media_type="application/json", headers=headers)


def page_answer(
    request: Request, items: Sequence[Any] | bytes, cursor: str | None, as_of: int
) -> Response:
    """Answer one page of a list, with a link to the next one where there is one."""
    body = items if isinstance(items, bytes) else encode_page(items, cursor)
    response = answer(request, body, as_of)
    if cursor is not None:
        response.headers["link"] = f'<{_next_address(request, cursor)}>; rel="next"'
    return response


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
