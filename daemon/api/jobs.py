"""Jobs: the list, one job, and its history; now, or as the log knew them at some point."""

from __future__ import annotations

from typing import Annotated, Final

import orjson
from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import Encoded, encode, encode_found, encode_page, respond
from daemon.api.context import Context, InContext
from daemon.api.log_reads import deadline_of, position_of, read_through
from daemon.api.parameters import HistoryParameters, JobsParameters, MemberId, Reading
from daemon.api.waiting import wait_for_views
from domain.errors import NotFound
from domain.history import HistoryEntry, history_of, history_view
from domain.job import JobState, advance_job, job_view
from domain.moments import Point
from domain.suggest import shorten
from projections.cursor import decode_cursor, encode_cursor, fingerprint
from projections.job_history import entry_rank
from projections.job_list import JobFilter

VIEWS: Final = ("jobs",)
SEARCH_VIEWS: Final = ("jobs", "search")
HISTORY_VIEWS: Final = ("job_history",)
CHAIN_VIEWS: Final = ("job_history", "jobs")


async def list_jobs(
    request: Request, context: InContext, asked: Annotated[JobsParameters, Query()]
) -> Response:
    """List jobs, the newest first unless `sort` says otherwise.

    `since` and `until` are about the time of submission. With `q` (words that all occur in name,
    error or message) the order is the newest first, and no other. A page looks at a bounded number
    of jobs, so one with filters that few of them fit may be short, or empty, and still have a
    `next`.
    """
    await wait_for_views(context, asked, VIEWS if asked.q is None else SEARCH_VIEWS)
    return respond(request, await context.readers.run(_list, context, asked))


def _list(context: Context, asked: JobsParameters) -> Encoded:
    wanted = JobFilter(**asked.filters())
    return encode_found(
        context.views.list_jobs(wanted, asked.sort, asked.limit, asked.cursor, orjson.Fragment)
    )


async def get_job(
    request: Request,
    context: InContext,
    job_id: MemberId,
    asked: Annotated[Reading, Query()],
) -> Response:
    """Show everything that is known of one job.

    With `as_of` the job as the log knew it then; 404 when it was not there yet.
    """
    await wait_for_views(context, asked, VIEWS)
    return respond(request, await context.readers.run(_find, context, job_id, asked.point))


def _find(context: Context, job_id: str, point: Point | None) -> Encoded:
    if point is not None:
        position = position_of(context, point)
        return encode(job_view(_fold(context, job_id, position)), position)
    job, as_of = context.views.job(job_id, orjson.Fragment)
    if job is None:
        raise NotFound(f"There is no job {shorten(job_id)}.")
    return encode(job, as_of)


def _fold(context: Context, job_id: str, position: int) -> JobState:
    state: JobState | None = None
    for event in read_through(context, f"job/{job_id}", position):
        state = advance_job(state, event)
    if state is None:
        raise _no_job_then(job_id, position)
    return state


async def get_history(
    request: Request,
    context: InContext,
    job_id: MemberId,
    asked: Annotated[HistoryParameters, Query()],
) -> Response:
    """Tell what happened to a job, or to every attempt of its chain, in order of time.

    A chain is the jobs with the same correlation, kind and name. With `as_of` the history as the
    log knew it then. The id may hold slashes: only a literal `/history` at the end of the path
    is this route, so the id "a/history" is asked for as `/api/jobs/a%2Fhistory`.
    """
    views = HISTORY_VIEWS if asked.attempts == "one" else CHAIN_VIEWS
    await wait_for_views(context, asked, views)
    return respond(request, await context.readers.run(_history, context, job_id, asked))


def _history(context: Context, job_id: str, asked: HistoryParameters) -> Encoded:
    whole_chain = asked.attempts == "all"
    point = asked.point
    if point is None:
        return encode_found(context.views.history(job_id, whole_chain, asked.limit, asked.cursor))
    position = position_of(context, point)
    if not context.log.read_stream(f"job/{job_id}", upto=position, limit=1):
        raise _no_job_then(job_id, position)
    bound_to = fingerprint("history as of", job_id, whole_chain, position)
    start = int(decode_cursor(bound_to, asked.cursor, (int,))[0]) if asked.cursor else 0
    # Which jobs belong together is what the views know now; what each had done then, the log.
    jobs = context.views.chain(job_id) if whole_chain else [job_id]
    deadline = deadline_of(context)
    entries = [
        history_view(entry, job=job if whole_chain else None)
        for job in jobs
        for entry in _entries(context, job, position, deadline)
    ]
    end = max(start, 0) + asked.limit
    following = encode_cursor(bound_to, (end,)) if end < len(entries) else None
    return encode_page(entries[max(start, 0) : end], following, position)


def _entries(context: Context, job_id: str, position: int, deadline: float) -> list[HistoryEntry]:
    """Return what happened to a job up to a position, in the order that the views have too."""
    events = read_through(context, f"job/{job_id}", position, deadline=deadline)
    entries = history_of(events)
    return sorted(entries, key=lambda entry: (entry.time, entry_rank(entry), entry.position))


def _no_job_then(job_id: str, position: int) -> NotFound:
    return NotFound(f"There was no job {shorten(job_id)} at position {position}.")
