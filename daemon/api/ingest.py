"""Taking events in: ``POST /api/events`` and ``POST /api/intake/{format}``.

Plain routes, not the web framework's body models: the bytes are decoded and validated once, by the
domain. Nothing is answered before the commit that holds the events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Final, TypeVar

from daemon.api.answers import Receipts
from daemon.api.bodies import SMALL_BODY_BYTES, Headers, Incoming, media_type, read_body
from daemon.api.context import Context
from daemon.api.parameters import refuse_parameters
from daemon.api.writing import append, receipt_document
from daemon.eventlog.requests import Append, Appended
from daemon.intake.media import BATCH, LINES, PLAIN, STRUCTURED
from domain.cloudevents import from_batch, from_binary, from_json, from_json_or_batch, from_ndjson
from domain.errors import ChronicledError, UnsupportedMediaType
from domain.events import NewEvent
from domain.limits import Limits

Decode = Callable[[bytes], list[NewEvent]]
T = TypeVar("T")

CLOUDEVENTS: Final = "cloudevents"
"""What the format of events is called that are no producer's own messages."""


async def post_events(context: Context, incoming: Incoming) -> Receipts:
    """Append CloudEvents: one, a batch, NDJSON, or one in binary mode."""
    started = perf_counter()
    try:
        refuse_parameters(incoming.scope)
        decode = decoder(incoming, context.limits)
        with context.bodies.hold() as share:
            body = await read_body(incoming, context.limits.batch_bytes, share)
            events = await decoded(context, decode, body)
            request = Append(events, size=len(body))
            appended = await append(context, request, started=started, kind=CLOUDEVENTS)
    except ChronicledError as error:
        context.metrics.rejected(error)
        raise
    return receipts(appended)


async def decoded(context: Context, decode: Callable[[bytes], T], body: bytes) -> T:
    """Decode a body: a small one at once, a larger one elsewhere so that others go on."""
    if len(body) <= SMALL_BODY_BYTES:
        return decode(body)
    return await context.decoders.run(decode, body)


def receipts(appended: Appended, **more: int) -> Receipts:
    """Answer with the receipts: 201, or 200 when nothing was new."""
    documents = []
    status_code = 200
    for receipt in appended.receipts:
        documents.append(receipt_document(receipt))
        if not receipt.duplicate:
            status_code = 201
    document = {"events": documents, **more, "as_of": appended.head}
    return Receipts(document, status_code=status_code, as_of=appended.head)


def decoder(request: Headers, limits: Limits) -> Decode:
    """Choose the decoder by the content type and the headers, before the body is read.

    Raises:
        UnsupportedMediaType: none fits.

    """
    name = media_type(request)
    if name == STRUCTURED:
        return partial(_structured, limits=limits)
    if name == BATCH:
        return partial(from_batch, limits=limits)
    if name in LINES:
        return partial(from_ndjson, limits=limits)
    if b"ce-specversion" in request.headers and (not name or name.endswith(("/json", "+json"))):
        return partial(_binary, header_texts(request.headers), limits=limits)
    if name == PLAIN:
        return partial(from_json_or_batch, limits=limits)
    raise UnsupportedMediaType(
        f"The content type {name[:80]!r} is not read here." if name else "There is no content type."
    )


def _structured(body: bytes, limits: Limits) -> list[NewEvent]:
    return [from_json(body, limits)]


def header_texts(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return headers as texts."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}


def _binary(headers: dict[str, str], body: bytes, limits: Limits) -> list[NewEvent]:
    return [from_binary(headers, body, limits)]
