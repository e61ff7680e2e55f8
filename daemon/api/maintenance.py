"""Long work over HTTP: starting it, and watching how far it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import orjson
from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import NO_STORE, JsonResponse
from daemon.api.archive import check_work
from daemon.api.asked import By
from daemon.api.backup import TASKS, backup_work
from daemon.api.bodies import Incoming, media_type, read_body
from daemon.api.context import Context, InContext
from daemon.api.guard import by_socket
from daemon.api.maintenance_tasks import maintenance_work
from daemon.api.operations import Kind, Operation, Progress, Work
from daemon.api.problems import invalid_body
from daemon.api.retention import apply_work
from daemon.api.sse import EventStream, frame, wait_or_heartbeat
from daemon.intake.media import PLAIN
from daemon.projector.rebuilding import rebuild
from daemon.redaction.redacting import Redaction, find_position
from daemon.replay.verifier import verify_apart
from domain.errors import Fault, Forbidden, Invalid, NotFound, UnsupportedMediaType
from domain.redaction import parse_pointer
from domain.suggest import did_you_mean, shorten
from domain.timestamps import format_timestamp

if TYPE_CHECKING:
    from daemon.eventlog.log import EventLog
    from daemon.redaction.cleansing import Cleansing

_BODY_BYTES_MAX: Final = 64 * 1024
OperationId = Annotated[
    str, Path(alias="id", description="The id that the start of the operation answered.")
]


class Asked(BaseModel):
    """Which operation is asked for."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"example": {"kind": "verify"}}
    )

    kind: Kind = Field(description="What to do; for restore see `/api/archive/{id}/restore`.")
    projection: str | None = Field(
        None, max_length=64, description="For rebuild: which one; default: all."
    )
    quick: bool = Field(False, description="For verify: the newest events and the counters only.")
    snapshot: str | None = Field(
        None, max_length=200, description="For prove: the name of one; default: the newest."
    )
    dry_run: bool = Field(False, description="For prune: say what it would remove, no more.")
    plan: str | None = Field(
        None, max_length=64, description="For retention-apply: the plan; default: a new one."
    )
    limit: int | None = Field(
        None, ge=1, description="For retention-apply: so many items of the plan at the most."
    )
    task: str | None = Field(
        None, max_length=64, description="For maintenance: the name of the task to run."
    )
    position: int | None = Field(None, ge=1, description="For redact: the event.")
    source: str | None = Field(
        None, max_length=4096, description="For redact, in place of the position: its source,"
    )
    id: str | None = Field(None, max_length=4096, description="and its id.")
    pointer: str | None = Field(
        None,
        max_length=4096,
        description="For redact: what is taken out, a JSON pointer that begins with `/data/`.",
    )
    why: str | None = Field(None, min_length=1, max_length=4096, description="For redact.")
    by: By = None


async def start_operation(request: Request, context: InContext) -> Response:
    """Start long work; one operation runs at a time. Only over the Unix socket."""
    if not by_socket(request.scope):
        raise Forbidden("Operations are started over the Unix socket only.")
    incoming = Incoming(request.scope, request.receive)
    if media_type(incoming) != PLAIN:
        raise UnsupportedMediaType(f"The body has to be {PLAIN}.")
    body = await read_body(incoming, _BODY_BYTES_MAX)
    try:
        asked = Asked.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise invalid_body(error, Asked) from None
    work = _work(context, asked)
    operation = context.operations.start(asked.kind, work, asked.projection)
    return JsonResponse(
        operation.document(),
        status_code=202,
        headers={"location": f"/api/operations/{operation.id}", **NO_STORE},
    )


def _work(context: Context, asked: Asked) -> Work:
    if asked.kind is Kind.VERIFY:
        return partial(_verify, context, asked.quick)
    if asked.kind is Kind.ARCHIVE_VERIFY:
        return check_work(context)
    if asked.kind is Kind.MEASURE:
        return partial(_measure, context)
    if asked.kind in TASKS:
        arguments = {"snapshot": asked.snapshot, "dry_run": asked.dry_run}
        return backup_work(context, asked.kind, arguments)
    if asked.kind is Kind.RETENTION_APPLY:
        return apply_work(context, asked.plan, asked.limit, asked.by)
    if asked.kind is Kind.RESTORE:
        raise Invalid("Say which job: POST /api/archive/{id}/restore.")
    if asked.kind is Kind.MAINTENANCE:
        return maintenance_work(context, asked.task, asked.by)
    if asked.kind is Kind.REDACT:
        return _redaction(context, asked)
    known = [status.name for status in context.runner.status()]
    if asked.projection is not None and asked.projection not in known:
        hint = did_you_mean(asked.projection, known)
        raise NotFound(f"There is no projection {shorten(asked.projection)}; {hint}")
    return partial(rebuild, context.runner, asked.projection)


def _redaction(context: Context, asked: Asked) -> Work:
    """Return the work of a redaction, when all is said that it takes."""
    named = asked.position is not None, asked.source is not None and asked.id is not None
    missing = [name for name in ("pointer", "why") if not getattr(asked, name)]
    if named[0] == named[1] or (asked.source is None) != (asked.id is None):
        missing.append("position")
    if missing or context.redaction is None:
        wanted = "redact takes pointer, why, and position, or source and id in its place"
        raise Invalid(wanted, errors=[Fault(wanted, f"/{name}") for name in missing])
    parse_pointer(asked.pointer or "")
    return partial(_redact, context.log, context.redaction, asked)


def _redact(
    log: EventLog, cleansing: Cleansing, asked: Asked, progress: Progress
) -> dict[str, Any]:
    position = asked.position or find_position(log, asked.source or "", asked.id or "")
    redaction = Redaction(position, asked.pointer or "", asked.why or "", asked.by)
    return cleansing.redact(redaction, progress)


def _verify(context: Context, quick: bool, progress: Progress) -> dict[str, Any]:
    with context.log.keeping("a verification"):
        return verify_apart(context.files["log"], context.files["views"], quick, progress)


def _measure(context: Context, progress: Progress) -> dict[str, Any]:
    measured = context.sizes.measure(progress)
    return {"ok": True, "measured": format_timestamp(measured.time), "seconds": measured.seconds}


async def get_operation(context: InContext, operation_id: OperationId) -> Response:
    """Say how far an operation is, and how it ended."""
    return JsonResponse(context.operations.find(operation_id).document(), headers=NO_STORE)


async def list_operations(context: InContext) -> Response:
    """List the operations since the start that are remembered, the newest first."""
    items = [operation.document() for operation in context.operations.recent()]
    document = {"items": items, "next": None, "as_of": context.log.head()}
    return JsonResponse(document, headers=NO_STORE)


async def stream_operation(context: InContext, operation_id: OperationId) -> Response:
    """Send each change of an operation (Server-Sent Events) until it has ended."""
    context.operations.find(operation_id)
    return EventStream(
        _changes(context, operation_id), clients=context.clients, stop=context.stopping
    )


async def _changes(context: Context, operation_id: str) -> AsyncGenerator[bytes, None]:
    said: Operation | None = None
    with context.operations.changed.listen() as woken:
        while said is None or said.state == "running":
            woken.clear()
            operation = context.operations.find(operation_id)
            if operation != said:
                yield frame(orjson.dumps(operation.document()), kind=operation.state)
                said = operation
            else:
                yield await wait_or_heartbeat(woken, context.heartbeat_seconds)
