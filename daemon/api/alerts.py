"""Alerts: the list, one alert, and saying that somebody deals with it or that it is over."""

from __future__ import annotations

from functools import partial
from hashlib import blake2b
from time import perf_counter
from typing import Annotated, Final

import orjson
from fastapi import Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import Encoded, encode, respond
from daemon.api.as_of import Shown, answer
from daemon.api.asked import By, EventId, Reason, read_asked
from daemon.api.context import Context, InContext
from daemon.api.ingest import receipts
from daemon.api.log_reads import position_of, read_through
from daemon.api.parameters import Listing, MemberId, Name, Reading, Since, Until, words
from daemon.api.waiting import wait_for_views
from daemon.api.writing import DECIDED, append
from daemon.eventlog.requests import Append
from domain.alert import AlertState, AlertStatus, alert_after
from domain.cloudevents import from_structured
from domain.errors import NotFound
from domain.events import NewEvent
from domain.moments import Point
from domain.payloads.alert import Severity
from domain.suggest import shorten
from domain.timestamps import format_timestamp
from projections.alerts import AlertFilter, alert_of

SOURCE: Final = "/chronicled/api"
"""The source of events that the daemon records because somebody asked it over HTTP."""
VIEWS: Final = ("alerts",)


class AlertsParameters(Listing):
    """Filters of the alert list."""

    state: Annotated[
        list[AlertStatus],
        BeforeValidator(words),
        Field(default_factory=list, min_length=1, description="One or several states."),
    ]
    severity: Severity | None = None
    kind: Name | None = None
    fingerprint: Name | None = None
    job: Annotated[Name | None, Field(description="The id of the job it is about.")] = None
    since: Since = None
    until: Until = None


class Decision(BaseModel):
    """What somebody says about an alert."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"example": {"by": "ana", "reason": "the disk was full"}},
    )

    by: By = None
    reason: Reason = None
    id: EventId = Field(
        None,
        description="The id of the event, for a retry that must not record it twice. Without "
        "one, a repeat by the same person since the alert was last raised is the same event.",
    )


async def list_alerts(
    request: Request, context: InContext, asked: Annotated[AlertsParameters, Query()]
) -> Response:
    """List alerts, the newest first.

    `since` and `until` are about when an alert was first seen. A page looks at a bounded number of
    alerts, so one may be short, or empty, and still have a `next`.
    """
    return respond(request, await answer(context, asked, VIEWS, partial(_list, asked)))


def _list(asked: AlertsParameters, shown: Shown) -> Encoded:
    wanted = AlertFilter(**asked.filters())
    return shown.encode(shown.views.list_alerts(wanted, asked.limit, shown.cursor))


async def get_alert(
    request: Request,
    context: InContext,
    alert_id: MemberId,
    asked: Annotated[Reading, Query()],
) -> Response:
    """Show one alert with its timeline.

    With `as_of` the alert as the log knew it then; 404 when it was not there yet.
    """
    await wait_for_views(context, asked, VIEWS)
    return respond(request, await context.readers.run(_find, context, alert_id, asked.point))


def _find(context: Context, alert_id: str, point: Point | None) -> Encoded:
    if point is None:
        alert, as_of = context.views.alert(alert_id)
    else:
        as_of = position_of(context, point)
        alert = alert_of(read_through(context, f"alert/{alert_id}", as_of))
    if alert is None:
        raise _no_alert(alert_id)
    return encode(alert, as_of)


def _no_alert(alert_id: str) -> NotFound:
    return NotFound(f"There is no alert {shorten(alert_id)}.")


async def acknowledge_alert(request: Request, context: InContext, alert_id: MemberId) -> Response:
    """Say that somebody deals with an alert: records `alert.acknowledged`."""
    return await _decide(request, context, alert_id, "alert.acknowledged")


async def resolve_alert(request: Request, context: InContext, alert_id: MemberId) -> Response:
    """Say that an alert is over: records `alert.resolved`."""
    return await _decide(request, context, alert_id, "alert.resolved")


async def _decide(request: Request, context: Context, alert_id: str, kind: str) -> Response:
    started = perf_counter()
    decision = await read_asked(request, Decision)
    state = await context.readers.run(_fold, context, alert_id)
    event = _event(context, state, decision, kind)
    appended = await append(context, Append([event]), started=started, kind=DECIDED)
    return receipts(appended)


def _fold(context: Context, alert_id: str) -> AlertState:
    """Return the alert as the log has it now: the views may be behind."""
    state: AlertState | None = None
    for event in read_through(context, f"alert/{alert_id}"):
        state = alert_after(state, event)
    if state is None:
        raise _no_alert(alert_id)
    return state


def _event(context: Context, state: AlertState, decision: Decision, kind: str) -> NewEvent:
    said = {"by": decision.by, "reason": decision.reason}
    same = orjson.dumps([kind, state.id, state.count, decision.by])
    # An alert whose producer's clock runs ahead must not stay open because it is "newer".
    time = max(context.clock(), state.updated)
    event = {
        "specversion": "1.0",
        "id": decision.id or blake2b(same, digest_size=16).hexdigest(),
        "source": SOURCE,
        "type": kind,
        "subject": state.id,
        "time": format_timestamp(time),
        "actor": decision.by,
        "data": {name: value for name, value in said.items() if value is not None},
    }
    return from_structured(event, context.limits)
