"""Workflow files as they were loaded: what is in each, what starts what, and when it is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import Encoded, encode, respond
from daemon.api.as_of import Shown, answer
from daemon.api.context import Context, InContext
from daemon.api.parameters import Listing, MemberId, Name, Reading
from daemon.workflows.graph import graph_of, next_of
from domain.errors import NotFound
from domain.suggest import shorten
from projections.workflows import LOADED, WorkflowFilter

VIEWS: Final = ("workflows",)


class WorkflowsParameters(Listing):
    """Filters of the list of workflow files."""

    state: Literal["loaded", "removed"] | None = None
    issues: Annotated[
        bool | None, Field(description="Whether something is wrong with the file.")
    ] = None
    q: Annotated[Name | None, Field(description="A part of the path.")] = None


async def list_workflows(
    request: Request, context: InContext, asked: Annotated[WorkflowsParameters, Query()]
) -> Response:
    """List the workflow files, by path, each as it was loaded last.

    `graph` says which phase starts which, `next` when those with a schedule are due after now, in
    UTC; with `as_of` the files as they were known then, and when they were due after that.
    """
    return respond(request, await answer(context, asked, VIEWS, partial(_list, context, asked)))


def _list(context: Context, asked: WorkflowsParameters, shown: Shown) -> Encoded:
    wanted = WorkflowFilter(**asked.filters())
    page = shown.views.list_workflows(wanted, asked.limit, shown.cursor)
    after = _after(context, asked, page.as_of)
    for item in page.items:
        item.update(_derived(item, after))
    return shown.encode(page)


async def get_workflow(
    request: Request, context: InContext, path: MemberId, asked: Annotated[Reading, Query()]
) -> Response:
    """Show one workflow file as it was loaded last; with `as_of`, as it was known then."""
    return respond(
        request, await answer(context, asked, VIEWS, partial(_find, context, path, asked))
    )


def _find(context: Context, path: str, asked: Reading, shown: Shown) -> Encoded:
    item, as_of = shown.views.workflow(path)
    if item is None:
        raise NotFound(f"There is no workflow {shorten(path)}.")
    return encode({**item, **_derived(item, _after(context, asked, as_of))}, as_of)


async def list_versions(
    request: Request, context: InContext, path: MemberId, asked: Annotated[Listing, Query()]
) -> Response:
    """List the versions of a workflow file, the newest first, its removals among them."""
    return respond(request, await answer(context, asked, VIEWS, partial(_versions, path, asked)))


def _versions(path: str, asked: Listing, shown: Shown) -> Encoded:
    page = shown.views.list_workflow_versions(path, asked.limit, shown.cursor)
    for item in page.items:
        del item["versions"]
    return shown.encode(page)


def _derived(item: dict[str, Any], after: datetime) -> dict[str, Any]:
    """Return what follows from the phases of a file."""
    phases = item["phases"]
    due = next_of(phases, after) if item["state"] == LOADED else []
    return {"graph": graph_of(phases), "next": due}


def _after(context: Context, asked: Reading, as_of: int) -> datetime:
    """Return the moment that an answer is about: now, or when its last event was recorded."""
    moment = context.clock()
    if asked.point is not None:
        events = context.log.read(as_of - 1, 1) if as_of else []
        then = asked.point.moment_at(moment)
        recorded = events[0].recordedtime if events else moment
        moment = recorded if then is None else then
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment)
