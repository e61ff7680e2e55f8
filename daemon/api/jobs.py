"""Jobs: the list, one job, and its history; now, or as the log knew them at some point."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

import orjson
from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import Encoded, encode, respond
from daemon.api.as_of import Place, Shown, answer
from daemon.api.context import Context, InContext
from daemon.api.log_reads import position_of, read_through
from daemon.api.parameters import HistoryParameters, JobsParameters, MemberId, Reading
from daemon.api.waiting import wait_for_views
from daemon.archive.documents import with_archive
from domain.errors import NotFound
from domain.history import HistoryEntry, history_of, history_view
from domain.job import JobState, job_after, job_view
from domain.lives import PURGED
from domain.moments import Point
from domain.suggest import shorten
from domain.timestamps import format_timestamp
from projections.cursor import decode_cursor, encode_cursor, fingerprint
from projections.job_history import entry_rank
from projections.job_list import JobFilter
from projections.paging import Page

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
    views = VIEWS if asked.q is None else SEARCH_VIEWS
    return respond(request, await answer(context, asked, views, partial(_list, asked)))


def _list(asked: JobsParameters, shown: Shown) -> Encoded:
    wanted = JobFilter(**asked.filters())
    page = shown.views.list_jobs(wanted, asked.sort, asked.limit, shown.cursor, orjson.Fragment)
    return shown.encode(page)


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
    marker = context.archive_reader().marker(f"job/{job_id}")
    if point is not None:
        as_of = position_of(context, point)
        marker = marker if marker and marker.position <= as_of else None
        job: dict[str, Any] | None = job_view(_fold(context, job_id, as_of, whole=marker is None))
    else:
        job, as_of = context.views.job(job_id, orjson.Fragment)
    if job is None:
        raise _no_job(context, job_id)
    return encode(with_archive(context.archive_reader(), job, marker), as_of)


def _fold(context: Context, job_id: str, position: int, *, whole: bool) -> JobState:
    """Return a job as of a position; unless ``whole``, what stands for archived events will do."""
    state: JobState | None = None
    for event in read_through(context, f"job/{job_id}", position, archived=whole):
        state = job_after(state, event)
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
    if asked.point is not None and asked.attempts == "one":
        await wait_for_views(context, asked, HISTORY_VIEWS)
        then = partial(_history_then, context, job_id, asked, asked.point)
        return respond(request, await context.readers.run(then))
    views = HISTORY_VIEWS if asked.attempts == "one" else CHAIN_VIEWS
    query = partial(_history, context, job_id, asked)
    return respond(request, await answer(context, asked, views, query))


def _history(context: Context, job_id: str, asked: HistoryParameters, shown: Shown) -> Encoded:
    whole_chain = asked.attempts == "all"
    earlier = partial(_archived_entries, context, shown.views.position)
    try:
        page = shown.views.history(job_id, whole_chain, asked.limit, shown.cursor, earlier)
    except NotFound:
        raise _no_job(context, job_id) from None
    return shown.encode(page)


def _archived_entries(context: Context, upto: int | None, job_id: str) -> list[HistoryEntry]:
    """Return what the archive knows to have happened to a job, up to a position."""
    return history_of(context.archive_reader().between(f"job/{job_id}", 0, None, upto))


def _history_then(context: Context, job_id: str, asked: HistoryParameters, point: Point) -> Encoded:
    """Return a page of what had happened to a job, folded from the log."""
    place = Place.of(context, asked, point)
    entries = _entries(context, job_id, place.position)
    if not entries:
        raise _no_job_then(job_id, place.position)
    bound_to = fingerprint("history as of", job_id)
    start = int(decode_cursor(bound_to, place.cursor, (int,))[0]) if place.cursor else 0
    end = max(start, 0) + asked.limit
    following = encode_cursor(bound_to, (end,)) if end < len(entries) else None
    shown = [history_view(entry) for entry in entries[max(start, 0) : end]]
    return place.encode(Page(shown, following, place.position))


def _entries(context: Context, job_id: str, position: int) -> list[HistoryEntry]:
    """Return what happened to a job up to a position, in the order that the views have too."""
    events = read_through(context, f"job/{job_id}", position)
    entries = history_of(events)
    return sorted(entries, key=lambda entry: (entry.time, entry_rank(entry), entry.position))


def _no_job(context: Context, job_id: str) -> NotFound:
    """Return the error about a job that the views do not have; a tombstone says where it went."""
    events = context.log.read_stream(f"job/{job_id}")
    if not events or events[-1].type not in PURGED:
        return NotFound(f"There is no job {shorten(job_id)}.")
    detail = f"The job {shorten(job_id)} was purged at {format_timestamp(events[-1].time)}."
    return NotFound(detail, hint="The events of its stream say by which rule, and by whom.")


def _no_job_then(job_id: str, position: int) -> NotFound:
    return NotFound(f"There was no job {shorten(job_id)} at position {position}.")
