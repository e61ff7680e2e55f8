"""Alerts: the list, one alert, and saying that somebody deals with it or that it is over."""

from __future__ import annotations

from hashlib import blake2b
from time import perf_counter
from typing import Annotated, Final

import orjson
from fastapi import Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.bodies import PLAIN, media_type, read_body
from daemon.api.context import Context, InContext
from daemon.api.ingest import receipts
from daemon.api.log_reads import read_through
from daemon.api.parameters import Listing, MemberId, Name, Since, Until, words
from daemon.api.problems import invalid_body
from daemon.api.writing import append
from daemon.eventlog.requests import Append
from domain.alert import AlertState, AlertStatus, advance_alert
from domain.catalog import validate_payload
from domain.errors import NotFound, UnsupportedMediaType
from domain.events import NewEvent
from domain.payloads.alert import Severity

SOURCE: Final = "/chronicled/api"
"""The source of events that the daemon records because somebody asked it over HTTP."""
_BODY_BYTES_MAX: Final = 64 * 1024


class AlertsParameters(Listing):
    """Filters of the alert list."""

    state: Annotated[
        list[AlertStatus], BeforeValidator(words), Field(description="One or several states.")
    ] = []
    severity: Annotated[
        list[Severity], BeforeValidator(words), Field(description="One or several severities.")
    ] = []
    kind: Name | None = None
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

    by: str | None = Field(None, min_length=1, max_length=256, description="Who does it.")
    reason: str | None = Field(None, max_length=4096, description="Why.")
    id: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        description="The id of the event, for a retry that must not record it twice. Without "
        "one, a repeat by the same person since the alert was last raised is the same event.",
    )


async def acknowledge_alert(request: Request, context: InContext, alert_id: MemberId) -> Response:
    """Say that somebody deals with an alert: records `alert.acknowledged`."""
    return await _decide(request, context, alert_id, "alert.acknowledged")


async def resolve_alert(request: Request, context: InContext, alert_id: MemberId) -> Response:
    """Say that an alert is over: records `alert.resolved`."""
    return await _decide(request, context, alert_id, "alert.resolved")


async def _decide(request: Request, context: Context, alert_id: str, kind: str) -> Response:
    started = perf_counter()
    decision = await _read_decision(request)
    state = await context.readers.run(_fold, context, alert_id)
    event = _event(state, decision, kind, context.clock())
    appended = await append(context, Append([event]), started=started, kind="api")
    return receipts(appended)


async def _read_decision(request: Request) -> Decision:
    name = media_type(request)
    body = await read_body(request, _BODY_BYTES_MAX)
    if not body:
        return Decision()
    if name != PLAIN:
        raise UnsupportedMediaType(f"The body has to be {PLAIN}.")
    try:
        return Decision.model_validate_json(body)
    except ValidationError as error:
        raise invalid_body(error) from None


def _fold(context: Context, alert_id: str) -> AlertState:
    """Return the alert as the log has it now: the views may be behind."""
    state: AlertState | None = None
    for event in read_through(context, f"alert/{alert_id}"):
        state = advance_alert(state, event)
    if state is None:
        raise NotFound(f"There is no alert {alert_id[:256]!r}.")
    return state


def _event(state: AlertState, decision: Decision, kind: str, now: int) -> NewEvent:
    said = {"by": decision.by, "reason": decision.reason}
    data = {name: value for name, value in said.items() if value is not None}
    same = orjson.dumps([kind, state.id, state.count, decision.by])
    # An alert whose producer's clock runs ahead must not stay open because it is "newer".
    time = max(now, state.updated)
    return NewEvent(
        type=kind,
        subject=state.id,
        source=SOURCE,
        id=decision.id or blake2b(same, digest_size=16).hexdigest(),
        data=validate_payload(kind, data),
        time=time,
        extensions={"actor": decision.by} if decision.by else None,
    )
