"""Reading the log itself: ``GET /api/events`` and the live stream of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from functools import partial
from typing import Annotated, Final

import orjson
from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import Encoded, encode_page, respond
from daemon.api.context import Context, InContext, StreamPage
from daemon.api.parameters import EventsParameters, StreamParameters
from daemon.api.problems import ParameterFault
from daemon.api.sse import EventStream, frame, wait_or_heartbeat
from daemon.eventlog.requests import EventQuery
from domain.cloudevents import to_json
from domain.epochs import require_reached
from domain.errors import InvalidCursor
from domain.limits import INTEGER_MAX
from projections.cursor import decode_cursor, encode_cursor, fingerprint

STREAM_PAGE: Final = 64
"""How many events a stream reads and holds at once."""
_STREAM_BYTES: Final = 512 * 1024
"""The same in bytes: so much waits for each client that is slow."""
_RETRY: Final = b"retry: 2000\n\n"


async def list_events(
    request: Request, context: InContext, asked: Annotated[EventsParameters, Query()]
) -> Response:
    """List events by position, each as a structured CloudEvent.

    A page looks at a bounded stretch of the log, so one with a rare filter may be short, or
    empty, and still have a `next`.
    """
    return respond(request, await context.readers.run(_page, context, asked))


def _page(context: Context, asked: EventsParameters) -> Encoded:
    if asked.after is not None:
        require_reached(context.log, asked.after)
    query = _query(asked, before=asked.before, since=asked.since, until=asked.until)
    query = replace(query, descending=asked.order == "desc")
    bound_to = fingerprint("events", query)
    if asked.cursor is not None:
        position = int(decode_cursor(bound_to, asked.cursor, (int,))[0])
        require_reached(context.log, position)
        onward = "before" if query.descending else "after"
        query = replace(query, **{onward: position})  # type: ignore[arg-type]
    page = context.archive_reader().select(query, asked.limit)
    items = [orjson.Fragment(to_json(event)) for event in page.events]
    following = page.next_after
    cursor = None if following is None else encode_cursor(bound_to, (following,))
    return encode_page(items, cursor, page.as_of)


def _query(asked: StreamParameters, **bounds: int | None) -> EventQuery:
    return EventQuery(
        stream=asked.stream,
        types=tuple(asked.type),
        source=asked.source,
        correlation=asked.correlation,
        after=asked.after,
        **bounds,  # type: ignore[arg-type]
    )


def _position(text: str) -> int | None:
    """Return the position that a text names, None where it names none."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    position = int(text)
    return position if position <= INTEGER_MAX else None


async def stream_events(
    request: Request, context: InContext, asked: Annotated[StreamParameters, Query()]
) -> Response:
    """Send events as they are recorded (Server-Sent Events), for ever.

    `id:` is the position, `event:` the type, `data:` the structured CloudEvent. A client that
    comes back with `Last-Event-ID` (or `after`, if there is no such header) misses nothing and
    gets nothing twice; without either the stream starts with the next event.
    """
    after = _last_event_id(request)
    if after is None:
        after = context.log.head() if asked.after is None else asked.after
    # Not by the readers: after a restart all streams come back at once, and browsers do not ask
    # again for one that was refused.
    await context.stream_openers.run(require_reached, context.log, after)
    return EventStream(
        _follow(context, _query(asked), after), clients=context.clients, stop=context.stopping
    )


def _last_event_id(request: Request) -> int | None:
    text = request.headers.get("last-event-id", "").strip()
    if not text:
        return None
    position = _position(text)
    if position is None:
        fault = ParameterFault("not a position", code="invalid", parameter="Last-Event-ID")
        raise InvalidCursor("Last-Event-ID is not a position of this log.", errors=[fault])
    return position


async def _follow(
    context: Context, query: EventQuery, position: int
) -> AsyncGenerator[bytes, None]:
    """Yield frames from a position on: what is there, then what comes."""
    yield _RETRY
    with context.committed.listen() as woken:
        while not context.draining:
            woken.clear()
            query = replace(query, after=position)
            frames, following, as_of = await context.stream_pages.ask(
                (query, context.log.head()), partial(_frames, context, query)
            )
            yield frames
            if following is None:
                position = max(position, as_of)
                yield await wait_or_heartbeat(woken, context.heartbeat_seconds)
            else:
                position = following


def _frames(context: Context, query: EventQuery) -> StreamPage:
    """Read the next frames of a stream."""
    page = context.log.select(query, STREAM_PAGE, _STREAM_BYTES)
    frames = [frame(to_json(event), kind=event.type, id=event.position) for event in page.events]
    return b"".join(frames), page.next_after, page.as_of
