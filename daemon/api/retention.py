"""Retention over HTTP: the policies, what is due by them, and what others would do."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import Encoded, encode, respond
from daemon.api.asked import read_asked
from daemon.api.context import Context, InContext
from daemon.api.operations import Progress, Work
from daemon.api.parameters import Cursor, Limit, Parameters
from daemon.api.retention_shapes import PreviewBody
from daemon.retention.plan import Plan
from daemon.retention.recording import listing, recorded
from daemon.retention.retention import Retention
from domain.errors import Fault, Invalid, InvalidCursor, NotReady
from domain.policies import PolicyError, preset, read_policies
from domain.retention import Policies, Policy
from projections.cursor import decode_cursor, encode_cursor, fingerprint
from projections.paging import LIMIT_DEFAULT

_BOUND = fingerprint("retention")


class PlanParameters(Parameters):
    """How much of a plan is shown."""

    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


class PreviewParameters(Parameters):
    """How much is shown of what other policies would do."""

    limit: Limit = LIMIT_DEFAULT


def retention_of(context: Context) -> Retention:
    """Return the retention of a daemon.

    Raises:
        NotReady: it is a moment of the past, of which nothing is due.

    """
    if context.retention is None:
        raise NotReady("Nothing is due here: this is a moment of the past.")
    return context.retention


async def list_policies(request: Request, context: InContext) -> Response:
    """List the policies in the order in which they decide, with since when, and by whom.

    Of those that fit an entity the first one decides. What they were before is told by the events
    of type `policy.changed`.
    """
    return respond(request, await context.readers.run(_policies, context))


def _policies(context: Context) -> Encoded:
    retention = retention_of(context)
    as_of = context.log.head()
    items = listing(retention.policies, recorded(context.log))
    archive = retention.archiver is not None
    document = {"items": items, "apply": retention.applies, "archive": archive, "next": None}
    return encode(document, as_of)


async def get_plan(
    request: Request, context: InContext, asked: Annotated[PlanParameters, Query()]
) -> Response:
    """Say what is due, why, and how much it is: the plan, the oldest first.

    A first page makes a plan, and its cursors lead through just that one. The newest plans are
    remembered, to be paged through and applied; nothing is changed here.
    """
    return respond(request, await context.readers.run(_plan, context, asked))


def _plan(context: Context, asked: PlanParameters) -> Encoded:
    retention, start = retention_of(context), 0
    if asked.cursor is None:
        plan = retention.plan(context.clock())
    else:
        plan_id, place = decode_cursor(_BOUND, asked.cursor, (str, int))
        kept, start = retention.kept(str(plan_id)), int(place)
        if kept is None:
            raise InvalidCursor("the plan of this cursor is no longer remembered")
        plan = kept
    return _page(plan, start, asked.limit)


def _page(plan: Plan, start: int, limit: int, *, paged: bool = True) -> Encoded:
    items = [item.document() for item in plan.items[max(start, 0) :][:limit]]
    end = start + limit
    following = None
    if paged and end < len(plan.items):
        following = encode_cursor(_BOUND, (plan.id, end))
    return encode({**plan.head(), "items": items, "next": following}, plan.as_of, following)


async def preview_policies(
    request: Request, context: InContext, asked: Annotated[PreviewParameters, Query()]
) -> Response:
    """Say what would be due by other policies; nothing is recorded, and nothing can be applied.

    The answer is as that of `GET /api/retention`, with the first `limit` items.
    """
    body = await read_asked(request, PreviewBody)
    return respond(request, await context.readers.run(_preview, context, body, asked.limit))


def _preview(context: Context, body: PreviewBody, limit: int) -> Encoded:
    policies = _read(body)
    plan = retention_of(context).preview(policies, context.clock(), archiving=body.archive)
    return _page(plan, 0, limit, paged=False)


def _read(body: PreviewBody) -> Policies:
    found: list[Policy] = []
    faults = []
    try:
        found += read_policies(body.policies)
    except PolicyError as error:
        faults.append(Fault(f"policies: {error}", "/policies"))
    try:
        found += preset(body.preset)
    except PolicyError as error:
        faults.append(Fault(f"preset: {error}", "/preset"))
    if faults:
        raise Invalid("; ".join(fault.detail for fault in faults), errors=faults)
    return Policies(found)


def apply_work(context: Context, plan_id: str | None, limit: int | None, by: str | None) -> Work:
    """Return the operation that applies a plan, ready to be started."""
    return partial(_apply, context, retention_of(context), plan_id, limit, by)


def _apply(
    context: Context,
    retention: Retention,
    plan_id: str | None,
    limit: int | None,
    by: str | None,
    progress: Progress,
) -> dict[str, Any]:
    now = context.clock()
    plan = retention.plan(now) if plan_id is None else retention.find(plan_id, now)
    return retention.apply(plan, now, actor=by, limit=limit, progress=progress).document()
