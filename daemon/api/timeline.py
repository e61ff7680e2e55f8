"""One story: the events of an entity, or of a run, and of everything tied to it."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

import orjson
from fastapi import Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import Encoded, encode, respond
from daemon.api.context import Context, InContext
from daemon.api.log_reads import deadline_of, position_of, read_through
from daemon.api.parameters import Listing, Name
from daemon.api.problems import refused_parameter
from daemon.api.waiting import wait_for_views
from daemon.replay.timeline import Key, Member, Timeline, search
from domain.catalog import event_types
from domain.cloudevents import to_json
from domain.epochs import require_reached
from domain.errors import InvalidCursor, NotFound
from domain.suggest import did_you_mean, shorten
from projections.cursor import decode_cursor, encode_cursor, fingerprint
from projections.paging import PAGE_BYTES
from projections.relations import ENTITIES_MAX, Related, Relation
from projections.views import TIES

_RELATIONS: Final = tuple(Relation)
_SHAPE: Final = (int, int, int, int, str)


class TimelineParameters(Listing):
    """Whose story: one of the three is given."""

    job: Annotated[Name | None, Field(description="The id of a job.", examples=["job-17"])] = None
    stream: Annotated[Name | None, Field(description="Any entity: `alert/ID`, `file/PATH`.")] = None
    correlation: Annotated[
        Name | None, Field(description="A whole run, by its `correlationid`.")
    ] = None


async def get_timeline(
    request: Request, context: InContext, asked: Annotated[TimelineParameters, Query()]
) -> Response:
    """Tell the events of an entity and of all that is tied to it, in order of time.

    Tied are: parents, children and attempts of a job with all of theirs; the alerts, files and
    results that name one of them; what they are linked with; what caused their events and what
    their events caused; and what has the correlation of the entity itself. `truncated`: there is
    more than 500 entities or 10,000 events. `unresolved` are causes that were not found.

    With `as_of` each entity as the log knew it then; what is tied to what, is known now.
    """
    start = _start(asked)
    await wait_for_views(context, asked, TIES)
    return respond(request, await context.readers.run(_tell, context, asked, start))


def _start(asked: TimelineParameters) -> str | None:
    """Return the stream that is asked for, None for a run."""
    if [asked.job, asked.stream, asked.correlation].count(None) != 2:
        raise refused_parameter("job", "give one of job, stream and correlation")
    if asked.job is not None:
        return f"job/{asked.job}"
    if asked.stream is None:
        return None
    category, _, subject = asked.stream.partition("/")
    known = {entry.category for entry in event_types()}
    if not subject or category not in known:
        detail = f"{shorten(asked.stream)} is no stream; write category/subject"
        raise refused_parameter("stream", f"{detail}: {did_you_mean(category, known)}")
    return asked.stream


def _tell(context: Context, asked: TimelineParameters, start: str | None) -> Encoded:
    bound_to = fingerprint("timeline", start, asked.correlation, asked.as_of)
    deadline = deadline_of(context)
    read = partial(read_through, context, deadline=deadline, archived=False)
    after: Key | None = None
    if asked.cursor is None:
        timeline = _searched(context, asked, start, deadline)
    else:
        as_of, truncated, time, position, members = decode_cursor(bound_to, asked.cursor, _SHAPE)
        after = (int(time), int(position))
        require_reached(context.log, int(as_of))
        timeline = Timeline(read, int(as_of), of_run=start is None)
        for related in _related(context, str(members)):
            timeline.tell(related)
        timeline.truncated |= bool(truncated)
    if not timeline.told:
        what = f"correlation {shorten(asked.correlation or '')}" if start is None else start[:80]
        raise NotFound(f"There was no {what} at position {timeline.as_of}.")
    items, last = _items(context, timeline, after, asked.limit)
    cursor = None
    if last is not None:
        place = (timeline.as_of, int(timeline.truncated), *last, _packed(timeline.members()))
        cursor = encode_cursor(bound_to, place)
    document = {
        "items": items,
        "entities": timeline.documents(),
        "truncated": timeline.truncated,
        "unresolved": sorted(timeline.causes),
        "next": cursor,
    }
    return encode(document, timeline.as_of, cursor)


def _searched(
    context: Context, asked: TimelineParameters, start: str | None, deadline: float
) -> Timeline:
    """Return the story as a first page finds it."""
    if start is None:
        relations, as_of = context.views.run(asked.correlation or "")
    else:
        family, as_of = context.views.family(start)
        if family is None:
            raise NotFound(f"There is no {shorten(start)}.")
        relations = family
    if asked.point is not None:
        as_of = min(as_of, position_of(context, asked.point))
    read = partial(read_through, context, deadline=deadline, archived=False)
    timeline = Timeline(read, as_of, of_run=start is None)
    search(timeline, relations, context.views, context.log, deadline)
    return timeline


def _items(
    context: Context, timeline: Timeline, after: Key | None, limit: int
) -> tuple[list[dict[str, Any]], Key | None]:
    """Return the next items, and the place of the last one where more follow."""
    items: list[dict[str, Any]] = []
    size, last = 0, after
    for key, told in timeline.after(after):
        if len(items) == limit or size > PAGE_BYTES:
            return items, last
        [event] = context.log.read(key[1] - 1, 1)
        text = to_json(event)
        related = told.related
        item = {"event": orjson.Fragment(text), "entity": related.stream}
        items.append(item | {"relation": related.relation})
        size, last = size + len(text), key
    return items, None


def _packed(members: list[Member]) -> str:
    """Return entities as a cursor holds them."""
    return ",".join(
        f"{each.number}.{_RELATIONS.index(each.relation)}.{each.origin}" for each in members
    )


def _related(context: Context, packed: str) -> list[Related]:
    """Return the entities of a cursor: each is named by its first event."""
    found: list[Related] = []
    try:
        for text in packed.split(",")[:ENTITIES_MAX]:
            number, relation, origin = map(int, text.split("."))
            [event] = context.log.read(number - 1, 1)
            reached_from = found[origin].stream if 0 <= origin < len(found) else None
            found.append(Related(event.stream, _RELATIONS[relation], reached_from))
    except (ValueError, IndexError, OverflowError):
        raise InvalidCursor("the cursor is damaged, or of another log") from None
    return found
