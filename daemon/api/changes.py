"""What changed: between two points of history, or with each event of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Final

import orjson
from fastapi import Query
from pydantic import BeforeValidator, Field
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import Encoded, encode, encode_page, respond
from daemon.api.context import Context, InContext
from daemon.api.log_reads import deadline_of, position_of, read_through
from daemon.api.parameters import AsOf, Cursor, Limit, Name, Parameters, Position, words
from daemon.api.problems import refused_parameter
from daemon.replay.changed_jobs import ChangedJobFilter, Range, list_changed_jobs
from domain.changes import CATEGORIES, Category, Change, Step, compare, steps
from domain.clock import effective_time
from domain.cloudevents import to_structured
from domain.epochs import require_reached
from domain.errors import InvalidCursor, NotFound
from domain.events import RecordedEvent
from domain.job import JobStatus
from domain.moments import Point
from domain.suggest import did_you_mean, shorten
from domain.timestamps import format_timestamp
from projections.cursor import decode_cursor, encode_cursor, fingerprint
from projections.paging import LIMIT_DEFAULT, PAGE_BYTES

_OF_JOBS: Final = ("kind", "name", "status", "limit", "cursor")
"""The parameters of a difference of jobs that one of a stream has not."""

_STREAM: Final = Field(description="`job/ID`, `alert/ID` or `file/PATH`.", examples=["job/job-17"])


class DiffParameters(Parameters):
    """Which difference, and between which points."""

    stream: Annotated[Name | None, _STREAM] = None
    jobs: bool = Field(False, description="`true`: which jobs appeared, changed status or ended.")
    from_: AsOf | None = Field(
        None,
        alias="from",
        description="The earlier point: a position, an RFC 3339 date-time, a date, or how long "
        "ago (`-2h`). Default: before the first event.",
        examples=[17],
    )
    to: AsOf | None = Field(
        None, description="The later point; default: the head of the log.", examples=["-2h"]
    )
    kind: Annotated[Name | None, Field(description="With `jobs`: of this kind.")] = None
    name: Annotated[Name | None, Field(description="With `jobs`: of this name.")] = None
    status: Annotated[
        Sequence[JobStatus],
        BeforeValidator(words),
        Field(min_length=1, description="With `jobs`: one or several statuses at the later point."),
    ] = ()
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


class StepsParameters(Parameters):
    """Whose steps, and from where on."""

    stream: Annotated[Name, _STREAM]
    after: Position = Field(0, description="Only events after this version of the stream.")
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


async def get_diff(
    request: Request, context: InContext, asked: Annotated[DiffParameters, Query()]
) -> Response:
    """Compare two points of history: one stream field by field, or all jobs by their status.

    With `stream`: each field that differs, and the event that changed it last. With `jobs=true`: a
    list of the jobs that appeared, changed their status or ended between the two points; a page
    looks at a bounded stretch of the log, so it may be short, or empty, and still have a `next`.
    """
    if asked.jobs == (asked.stream is not None):
        raise refused_parameter("stream", "give either a stream, or jobs=true")
    if asked.stream is None:
        return respond(request, await context.readers.run(_jobs, context, asked))
    for name in _OF_JOBS:
        if name in asked.model_fields_set:
            raise refused_parameter(name, f"{name} belongs to jobs=true, not to a stream")
    category = _category(asked.stream)
    encoded = await context.readers.run(_compare, context, asked, asked.stream, category)
    return respond(request, encoded)


def _category(stream: str) -> Category:
    """Return the category of a stream whose entity has a state."""
    name, _, subject = stream.partition("/")
    if not subject:
        raise refused_parameter("stream", f"{shorten(stream)} is no stream; write category/subject")
    category = CATEGORIES.get(name)
    if category is None:
        detail = f"no states are kept of {shorten(name)}; {did_you_mean(name, CATEGORIES)}"
        raise refused_parameter("stream", detail)
    return category


def _range(context: Context, asked: DiffParameters) -> Range:
    def position(point: str | None, default: int) -> int:
        return default if point is None else position_of(context, Point.parse(point))

    since, upto = position(asked.from_, 0), position(asked.to, context.log.head())
    if since > upto:
        raise refused_parameter("from", f"from (position {since}) lies after to (position {upto})")
    return Range(since, upto)


def _compare(context: Context, asked: DiffParameters, stream: str, category: Category) -> Encoded:
    between = _range(context, asked)
    found = compare(category, read_through(context, stream, between.upto), between.since)
    if found.after is None:
        raise NotFound(f"There was no {shorten(stream)} at position {between.upto}.")
    document = {
        "stream": stream,
        "from": between.since,
        "to": between.upto,
        "changes": [
            _change(difference.change) | {"event": _brief(difference.event)}
            for difference in found.differences
        ],
        "events": found.events,
        "before": found.before,
        "after": found.after,
    }
    return encode(document, between.upto)


def _change(change: Change) -> dict[str, Any]:
    return {"field": change.field, "from": change.before, "to": change.after}


def _brief(event: RecordedEvent) -> dict[str, Any]:
    return {
        "id": event.id,
        "type": event.type,
        "position": event.position,
        "time": format_timestamp(effective_time(event)),
    }


def _jobs(context: Context, asked: DiffParameters) -> Encoded:
    wanted = ChangedJobFilter(asked.kind, asked.name, asked.status)
    bound_to = fingerprint("changed jobs", asked.from_, asked.to, wanted)
    if asked.cursor is None:
        between = _range(context, asked)
        after = between.since
    else:
        # Of the first page, so that points in words (-2h) mean the same on each.
        since, upto, after = map(int, decode_cursor(bound_to, asked.cursor, (int, int, int)))
        require_reached(context.log, since, after, upto)
        if not 0 <= since <= after <= upto:
            raise InvalidCursor("the cursor is damaged, or of another log")
        between = Range(since, upto)
    deadline = deadline_of(context)
    read = partial(read_through, context, deadline=deadline)
    items, following = list_changed_jobs(
        context.log, read, between, after, asked.limit, wanted, deadline
    )
    cursor = None if following is None else encode_cursor(bound_to, (*between, following))
    document = {"items": items, "next": cursor, "from": between.since, "to": between.upto}
    return encode(document, between.upto, cursor)


async def get_steps(
    request: Request, context: InContext, asked: Annotated[StepsParameters, Query()]
) -> Response:
    """List the events of a stream: what each of them changed, and the state after it.

    Fields are named by their JSON pointers; what every event moves (`updated`, `last_position`,
    `events`) is left out. Of `late` ones something later was known when they were recorded.
    """
    category = _category(asked.stream)
    return respond(request, await context.readers.run(_steps, context, asked, category))


def _steps(context: Context, asked: StepsParameters, category: Category) -> Encoded:
    bound_to = fingerprint("steps", asked.stream, asked.after)
    upto, after = context.log.head(), asked.after
    if asked.cursor is not None:
        upto, after = map(int, decode_cursor(bound_to, asked.cursor, (int, int)))
        require_reached(context.log, upto)
    items: list[orjson.Fragment] = []
    size, version = 0, None
    for step in steps(category, read_through(context, asked.stream, upto), after):
        if len(items) == asked.limit or size > PAGE_BYTES:
            following = encode_cursor(bound_to, (upto, version or 0))
            return encode_page(items, following, upto)
        text = orjson.dumps(_step(step))
        items.append(orjson.Fragment(text))
        size, version = size + len(text), step.event.version
    if not items and not context.log.read_stream(asked.stream, limit=1):
        raise NotFound(f"There is no {shorten(asked.stream)}.")
    return encode_page(items, None, upto)


def _step(step: Step) -> dict[str, Any]:
    return {
        "event": to_structured(step.event),
        "changes": [_change(change) for change in step.changes],
        "state": step.state,
        "late": step.late,
    }
