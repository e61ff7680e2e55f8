"""Queues: the list, one with the jobs in it, and what is done to a whole queue."""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote

import orjson
from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.alerts import SOURCE
from daemon.api.answers import AS_OF_HEADER, Encoded, JsonResponse, encode, respond
from daemon.api.as_of import Shown, answer
from daemon.api.asked import By, EventId, Reason, read_asked
from daemon.api.context import Context, InContext
from daemon.api.ingest import receipts
from daemon.api.log_reads import read_through
from daemon.api.parameters import Limit, Listing, Reading
from daemon.api.waiting import wait_for_views
from daemon.api.writing import DECIDED, append
from daemon.eventlog.requests import Append, Appended, Work
from daemon.intake.message import EventMaker, identity
from daemon.queues.changing import Change, Clearing, Recovery
from daemon.queues.jobs import JOBS_MAX, Known
from domain.errors import NotFound
from domain.job import job_view
from domain.queue import QueueState, advance_queue
from domain.suggest import shorten
from projections.paging import LIMIT_DEFAULT
from projections.views import QUEUES

C = TypeVar("C", bound=Change)

QueueName = Annotated[
    str,
    Path(
        alias="name",
        description="The queue's name; a `/` in it may stand as it is or as `%2F`, every other "
        "reserved character percent-encoded.",
    ),
    AfterValidator(unquote),
]


class QueueParameters(Reading):
    """How much of a queue is shown."""

    limit: Annotated[Limit, Field(description="Most jobs of each section.")] = LIMIT_DEFAULT


class QueueOrder(BaseModel):
    """Who changes a queue, and why."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"example": {"by": "ana", "reason": "host restarted"}},
    )

    by: By = None
    reason: Reason = None
    id: EventId = None


async def list_queues(
    request: Request, context: InContext, asked: Annotated[Listing, Query()]
) -> Response:
    """List queues by name, each with how many jobs of it have which status."""
    return respond(request, await answer(context, asked, QUEUES, partial(_list, asked)))


def _list(asked: Listing, shown: Shown) -> Encoded:
    return shown.encode(shown.views.list_queues(asked.limit, shown.cursor))


async def get_queue(
    request: Request,
    context: InContext,
    name: QueueName,
    asked: Annotated[QueueParameters, Query()],
) -> Response:
    """Show a queue: the jobs that wait in their order, that run, and that ended last.

    A queue is known once a job names it as its `queue`, or an event tells of it. `waiting` is in
    the order of `priority` (the greater first; none is 0), then of submission; `running` begins
    with the longest, `recent` with the newest end. A section holds `limit` jobs at the most, fewer
    where they are large; its `_total` says how many there are. `GET /api/jobs?queue=` lists all.
    """
    return respond(request, await answer(context, asked, QUEUES, partial(_find, name, asked)))


def _find(name: str, asked: QueueParameters, shown: Shown) -> Encoded:
    queue, as_of = shown.views.queue(name, asked.limit, orjson.Fragment)
    if queue is None:
        raise NotFound(f"There is no queue {shorten(name)}.")
    return encode(queue, as_of)


async def pause_queue(request: Request, context: InContext, name: QueueName) -> Response:
    """Say that no job of a queue starts any more: records `queue.paused`."""
    return await _turn(request, context, name, "queue.paused")


async def resume_queue(request: Request, context: InContext, name: QueueName) -> Response:
    """Say that jobs of a queue start again: records `queue.resumed`."""
    return await _turn(request, context, name, "queue.resumed")


async def _turn(request: Request, context: Context, name: str, kind: str) -> Response:
    started = perf_counter()
    order = await read_asked(request, QueueOrder)
    state = await context.readers.run(_fold, context, name)
    # The same said again is the same event, until the opposite was said.
    turns = state.resumes if kind == "queue.paused" else state.pauses
    told = order.id or identity(kind, name, turns, order.by or "")
    time = max(context.clock(), state.changed or 0)
    actor = {} if order.by is None else {"actor": order.by}
    make = EventMaker(SOURCE, context.limits, actor)
    event = make.event(kind, name, told, time, {"reason": order.reason})
    return receipts(await append(context, Append([event]), started=started, kind=DECIDED))


def _fold(context: Context, name: str) -> QueueState:
    """Return the queue as the log has it now; one that nothing tells of is a new one."""
    state: QueueState | None = None
    for event in read_through(context, f"queue/{name}"):
        state = advance_queue(state, event)
    return QueueState(name, 0) if state is None else state


async def recover_queue(request: Request, context: InContext, name: QueueName) -> Response:
    """Say that a queue's program was restarted: every job of it that runs is interrupted.

    Records `queue.recovered` and a `job.interrupted` for each, in one transaction; `jobs` in the
    answer are these jobs as they stood before. What waits stays. Nothing is recorded where nothing
    runs, so asking again answers with an empty list. A retry with the same `id` is answered as the
    first time. 1,000 jobs are interrupted at the most; `more` says that others run.
    """
    change, appended = await _change(request, context, name, Recovery)
    return _changed(change, appended, jobs=[job_view(job) for job in change.jobs])


async def clear_queue(request: Request, context: InContext, name: QueueName) -> Response:
    """Throw away the jobs that wait in a queue.

    Records `queue.cleared` and a `job.cancelled` for each, in one transaction; what runs goes on.
    Nothing is recorded where nothing waits. A retry with the same `id` is answered as the first
    time. 1,000 jobs are cancelled at the most; `more` says that others wait.
    """
    return _changed(*await _change(request, context, name, Clearing))


async def _change(
    request: Request, context: Context, name: str, kind: type[C]
) -> tuple[C, Appended]:
    """Change a queue in one transaction of the log."""
    started = perf_counter()
    order = await read_asked(request, QueueOrder)
    head = await context.readers.run(context.log.head)
    await wait_for_views(context, Reading.model_validate({"wait_for": head}), QUEUES)
    find = partial(context.views.queued_ids, name, kind.section, JOBS_MAX + 1)
    known = Known(*await context.readers.run(find))
    change = kind(name, known, context.clock(), context.limits, **order.model_dump())
    work = Work(change.run, events=JOBS_MAX)
    return change, await append(context, work, started=started, kind=DECIDED)


def _changed(change: Change, appended: Appended, **found: Any) -> Response:
    as_of = appended.head
    said = {"name": change.queue, "count": len(change.jobs), **found, "more": change.more}
    status = 201 if appended.receipts else 200
    return JsonResponse({**said, "as_of": as_of}, status, {AS_OF_HEADER: str(as_of)})
