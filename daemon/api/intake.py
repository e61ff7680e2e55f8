"""Producer formats over HTTP: ``POST /api/intake/{format}`` and how far a followed file was read.

With ``on_error=reject`` a body is taken as a whole or refused as a whole. With
``on_error=deadletter`` each line of NDJSON stands alone, and a body of another type is one message:
what cannot be taken is put aside, in the transaction that holds the others and the offset of the
followed file. The default is to refuse; a push envelope, which would be sent again for ever, is put
aside.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Annotated, Literal

import orjson
from fastapi import Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import JsonResponse, Receipts
from daemon.api.bodies import Incoming, media_type, read_body
from daemon.api.context import Context, InContext
from daemon.api.ingest import decoded, header_texts, receipts
from daemon.api.parameters import Name, Parameters, Position, read_parameters
from daemon.api.problems import ParameterFault
from daemon.api.writing import append
from daemon.eventlog.requests import Append, Follow, Work
from daemon.intake.formats import (
    FORMATS,
    PUSH,
    Format,
    decode_body,
    decode_message,
    find_format,
    push_format,
)
from daemon.intake.media import BATCH, LINES, PLAIN, STRUCTURED
from daemon.intake.pubsub_push import is_unwrapped, wrap
from daemon.intake.recording import body_request, line_request, read_lines
from domain.cloudevents import read_binary
from domain.errors import ChronicledError, Invalid, UnsupportedMediaType
from domain.limits import Limits
from domain.suggest import did_you_mean
from domain.timestamps import format_timestamp


class IntakeParameters(Parameters):
    """How a body is taken."""

    on_error: Annotated[
        Literal["reject", "deadletter"] | None,
        Field(description="What becomes of input that cannot be taken."),
    ] = None
    inner: Annotated[Name | None, Field(description="The format of what push envelopes hold.")] = (
        None
    )
    source: Annotated[
        Name | None, Field(description="Recorded in place of the format's own source.")
    ] = None
    follow: Annotated[
        Name | None, Field(description="The followed file or pipe that the body is a part of.")
    ] = None
    start: Annotated[Position | None, Field(description="Where in it the body begins.")] = None
    end: Annotated[
        Position | None,
        Field(description="Where in it the body ends; a stretch recorded before adds nothing."),
    ] = None

    replaces: Annotated[
        Name | None,
        Field(description="Another `follow` that this one goes on from; it is forgotten."),
    ] = None

    def format(self, name: str) -> Format:
        """Return the format of this name; one of envelopes holds messages of the inner format.

        Raises:
            NotFound: there is no such format.
            Invalid: an inner format is named that is none, or where there is no envelope.

        """
        chosen = find_format(name)
        if self.inner is None:
            return chosen
        if chosen.name != PUSH or self.inner == PUSH or self.inner not in FORMATS:
            options = [name for name in FORMATS if name != PUSH]
            raise _invalid("inner", f"for {PUSH} alone; {did_you_mean(self.inner, options)}")
        return push_format(find_format(self.inner))

    def lenient(self, chosen: Format) -> bool:
        """Return whether what cannot be taken is put aside."""
        return (self.on_error or ("deadletter" if chosen.name == PUSH else "reject")) != "reject"

    def stretch(self) -> Follow | None:
        """Return the stretch of the followed file, None when none is followed.

        Raises:
            Invalid: one of the three parameters is missing, or the end is not after the start.

        """
        given = (self.follow, self.start, self.end, self.replaces)
        if given == (None, None, None, None):
            return None
        if self.follow is None or self.start is None or self.end is None:
            raise _invalid("follow", "follow, start and end belong together")
        if self.end <= self.start:
            # An empty stretch is always "recorded before": its dead letters would be dropped.
            raise _invalid("end", "the end has to be after the start")
        return Follow(self.follow, self.start, self.end, self.replaces)


class OffsetsParameters(Parameters):
    """Which followed file is asked for."""

    follow: Annotated[Name, Field(description="The name the file is followed by.")]
    latest: Annotated[
        bool, Field(description="Take `follow` for the start of names, and tell of the last one.")
    ] = False


def _invalid(parameter: str, detail: str) -> Invalid:
    return Invalid(detail, errors=[ParameterFault(detail=detail, parameter=parameter)])


async def post_intake(context: Context, request: Incoming) -> Receipts:
    """Append what a producer's messages say."""
    return await _post(context, request, request.scope["path_params"]["format"])


async def post_lineage(context: Context, request: Incoming) -> Receipts:
    """Append what OpenLineage events say.

    The path that the clients of OpenLineage send to; the same as the format openlineage.
    """
    return await _post(context, request, "openlineage")


async def _post(context: Context, request: Incoming, name: str) -> Receipts:
    started = perf_counter()
    try:
        find_format(name)
        asked = read_parameters(IntakeParameters, Request(request.scope))
        chosen = asked.format(name)
        content_type, text_of = _reading(context, chosen, request)
        asked.stretch()
        with context.bodies.hold() as share:
            body = await read_body(request, context.limits.batch_bytes, share)
            decode = partial(_request, context, chosen, asked, content_type, text_of)
            work = await decoded(context, decode, body)
            appended = await append(context, work, started=started, kind=chosen.name)
    except ChronicledError as error:
        context.metrics.rejected(error)
        raise
    return receipts(appended, dead_letters=appended.dead_letters)


def _reading(
    context: Context, chosen: Format, request: Incoming
) -> tuple[str, Callable[[bytes], bytes]]:
    """Return the content type, and what makes one text of a body and of what its headers say.

    Raises:
        UnsupportedMediaType: the body is encoded, or its charset is not UTF-8.

    """
    name = media_type(request)
    headers = header_texts(request.headers)
    if chosen.name == PUSH and is_unwrapped(headers):
        # Such a message has the type that its publisher gave it, or none.
        return PLAIN, partial(wrap, headers)
    if chosen.cloudevents and "ce-specversion" in headers and name not in {BATCH, *LINES}:
        return STRUCTURED, partial(_structured, headers, context.limits)
    return name, bytes


def _structured(headers: dict[str, str], limits: Limits, body: bytes) -> bytes:
    return orjson.dumps(read_binary(headers, body, limits))


def _request(
    context: Context,
    chosen: Format,
    asked: IntakeParameters,
    content_type: str,
    text_of: Callable[[bytes], bytes],
    body: bytes,
) -> Append | Work:
    """Return what the writer has to do for a body."""
    stretch, source, limits = asked.stretch(), asked.source, context.limits
    text = text_of(body)
    if not asked.lenient(chosen):
        events = decode_body(chosen, text, content_type, limits, source)
        return body_request(chosen, events, stretch, len(body))
    origin = asked.follow or "http"
    if content_type in LINES:
        lines = read_lines(chosen, text, limits, origin, source)
    elif content_type in (PLAIN, STRUCTURED):
        lines = decode_message(chosen, text, limits, origin, source)
    else:
        raise UnsupportedMediaType(f"on_error=deadletter reads {PLAIN} and NDJSON.")
    return line_request(chosen, lines, origin, stretch, len(body))


async def get_offset(context: InContext, asked: Annotated[OffsetsParameters, Query()]) -> Response:
    """Say how far a followed file or pipe was read; 0 when it is not known."""
    if asked.latest:
        rows = await context.readers.run(context.log.follow_offsets, asked.follow)
        if rows:
            name, offset, updated = rows[-1]
            document = {"follow": name, "offset": offset, "updated": format_timestamp(updated)}
            return JsonResponse(document)
    offset = await context.readers.run(context.log.follow_offset, asked.follow)
    return JsonResponse({"follow": asked.follow, "offset": offset})
