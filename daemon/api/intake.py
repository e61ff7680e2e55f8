"""Producer formats over HTTP: ``POST /api/intake/{format}`` and how far a followed file was read.

With ``on_error=reject`` (the default) a body is taken as a whole or refused as a whole. With
``on_error=deadletter`` each line of NDJSON stands alone: what cannot be taken is put aside, in the
transaction that holds the others and the offset of the followed file.
"""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import Annotated, Literal

from fastapi import Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import JsonResponse, Receipts
from daemon.api.bodies import Incoming, media_type, read_body
from daemon.api.context import Context, InContext
from daemon.api.ingest import decoded, receipts
from daemon.api.parameters import Name, Parameters, Position, read_parameters
from daemon.api.problems import ParameterFault
from daemon.api.writing import append
from daemon.eventlog.requests import Append, Appended, DeadLetter, Follow, Work
from daemon.eventlog.transaction import Transaction
from daemon.intake.formats import (
    Decoded,
    Format,
    decode_body,
    decode_lines,
    find_format,
    make_dead_letter,
)
from daemon.intake.media import LINES
from domain.errors import ChronicledError, Invalid, TooLarge, UnsupportedMediaType, VersionConflict


class IntakeParameters(Parameters):
    """How a body is taken."""

    on_error: Annotated[
        Literal["reject", "deadletter"],
        Field(description="What becomes of input that cannot be taken."),
    ] = "reject"
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

    def stretch(self) -> Follow | None:
        """Return the stretch of the followed file, None when none is followed.

        Raises:
            Invalid: one of the three parameters is missing, or the end is not after the start.

        """
        given = (self.follow, self.start, self.end)
        if given == (None, None, None):
            return None
        if self.follow is None or self.start is None or self.end is None:
            raise _invalid("follow", "follow, start and end belong together")
        if self.end <= self.start:
            # An empty stretch is always "recorded before": its dead letters would be dropped.
            raise _invalid("end", "the end has to be after the start")
        return Follow(self.follow, self.start, self.end)


class OffsetsParameters(Parameters):
    """Which followed file is asked for."""

    follow: Annotated[Name, Field(description="The name the file is followed by.")]


def _invalid(parameter: str, detail: str) -> Invalid:
    return Invalid(detail, errors=[ParameterFault(detail=detail, parameter=parameter)])


async def post_intake(context: Context, request: Incoming) -> Receipts:
    """Append what a producer's messages say."""
    started = perf_counter()
    try:
        chosen = find_format(request.scope["path_params"]["format"])
        asked = read_parameters(IntakeParameters, Request(request.scope))
        stretch = asked.stretch()
        lenient = asked.on_error == "deadletter"
        if media_type(request) not in LINES and lenient:
            raise UnsupportedMediaType("on_error=deadletter reads NDJSON (application/x-ndjson).")
        with context.bodies.hold() as share:
            body = await read_body(request, context.limits.batch_bytes, share)
            work: Append | Work
            if lenient:
                work = await decoded(context, partial(_lenient, context, chosen, asked), body)
            else:
                events = await decoded(
                    context,
                    partial(
                        decode_body,
                        chosen,
                        content_type=request.header(b"content-type"),
                        limits=context.limits,
                        source=asked.source,
                    ),
                    body,
                )
                work = Append(events, follow=stretch)
            appended = await append(context, work, started=started, kind=chosen.name)
    except ChronicledError as error:
        context.metrics.rejected(error)
        raise
    return receipts(appended, dead_letters=appended.dead_letters)


def _lenient(
    context: Context, chosen: Format, asked: IntakeParameters, body: bytes
) -> Append | Work:
    """Return what the writer has to do for the lines of a body."""
    limits, stretch = context.limits, asked.stretch()
    origin = asked.follow or "http"
    if body.count(b"\n") > limits.batch_events:
        raise TooLarge(f"The body has more than {limits.batch_events} lines.")
    lines = decode_lines(chosen, body, limits, origin, asked.source)
    letters = [line.dead_letter for line in lines if line.dead_letter is not None]
    events = [event for line in lines for event in line.events]
    if len(events) > limits.batch_events:
        raise TooLarge(f"The body has more than {limits.batch_events} events.")
    if all(event.expected_version is None for event in events):
        return Append(events, letters, stretch)
    run = partial(_append_lines, lines, letters, stretch, chosen.name, origin)
    return Work(run, events=len(events), size=len(body))


def _append_lines(
    lines: list[Decoded],
    letters: list[DeadLetter],
    stretch: Follow | None,
    format_name: str,
    origin: str,
    transaction: Transaction,
) -> Appended:
    """Append each line by itself, all in one transaction; a conflict makes it a dead letter."""
    receipts = []
    conflicts = []
    for line in lines:
        mark = transaction.mark()
        try:
            receipts += transaction.append(Append(line.events)).receipts
        except VersionConflict as error:
            transaction.undo(mark)
            conflicts.append(make_dead_letter(format_name, line.raw, error, origin))
    last = transaction.append(Append((), [*letters, *conflicts], stretch))
    return Appended(receipts, last.head, last.dead_letters)


async def get_offset(context: InContext, asked: Annotated[OffsetsParameters, Query()]) -> Response:
    """Say how far a followed file or pipe was read; 0 when it is not known."""
    offset = await context.readers.run(context.log.follow_offset, asked.follow)
    return JsonResponse({"follow": asked.follow, "offset": offset})
