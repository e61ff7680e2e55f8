"""Long work over HTTP: starting verify and rebuild, and watching how far they are."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import orjson
from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import NO_STORE, JsonResponse
from daemon.api.bodies import Incoming, media_type, read_body
from daemon.api.context import Context, InContext
from daemon.api.guard import by_socket
from daemon.api.operations import Kind, Operation, Progress, Work
from daemon.api.problems import invalid_body
from daemon.api.sse import EventStream, frame, wait_or_heartbeat
from daemon.intake.media import PLAIN
from daemon.replay.verifier import verify_apart
from domain.errors import ChronicledError, Forbidden, NotFound, UnsupportedMediaType
from domain.suggest import did_you_mean, shorten

if TYPE_CHECKING:
    from projections.progress import Projector

_BODY_BYTES_MAX: Final = 64 * 1024
_LOOK_SECONDS: Final = 1.0
"""How often a rebuild looks whether the daemon stops, when nothing else happens (seconds)."""

OperationId = Annotated[
    str, Path(alias="id", description="The id that the start of the operation answered.")
]


class ProjectionFailedError(ChronicledError):
    """A projection stands still on an error."""

    code = "projection_failed"
    title = "The projection failed"
    hint = "GET /readyz and the daemon's log say at which event; the log itself is not affected."


class Asked(BaseModel):
    """Which operation is asked for."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"example": {"kind": "verify"}}
    )

    kind: Kind = Field(description="What to do.")
    projection: str | None = Field(
        None, max_length=64, description="For rebuild: which one; default: all."
    )
    quick: bool = Field(False, description="For verify: the newest events and the counters only.")


async def start_operation(request: Request, context: InContext) -> Response:
    """Start long work; one operation runs at a time. Only over the Unix socket."""
    if not by_socket(request.scope):
        raise Forbidden("Operations are started over the Unix socket only.")
    incoming = Incoming(request.scope, request.receive)
    if media_type(incoming) != PLAIN:
        raise UnsupportedMediaType(f"The body has to be {PLAIN}.")
    body = await read_body(incoming, _BODY_BYTES_MAX)
    try:
        asked = Asked.model_validate_json(body)
    except ValidationError as error:
        raise invalid_body(error) from None
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
    known = [status.name for status in context.runner.status()]
    if asked.projection is not None and asked.projection not in known:
        hint = did_you_mean(asked.projection, known)
        raise NotFound(f"There is no projection {shorten(asked.projection)}; {hint}")
    return partial(_rebuild, context.runner, asked.projection)


def _verify(context: Context, quick: bool, progress: Progress) -> dict[str, Any]:
    return verify_apart(context.files["log"], context.files["views"], quick, progress)


def _rebuild(runner: Projector, name: str | None, progress: Progress) -> dict[str, Any]:
    changed = threading.Event()
    leave = runner.on_progress(changed.set)
    try:
        runner.request_rebuild(name)
        while True:
            changed.clear()
            wanted = [status for status in runner.status() if name in (None, status.name)]
            failed = [status for status in wanted if status.state == "failed"]
            if failed:
                raise ProjectionFailedError(f"{failed[0].name}: {failed[0].error}")
            progress(
                min(status.position if status.built is None else status.built for status in wanted),
                max(status.head for status in wanted),
            )
            if all(status.state == "live" for status in wanted):
                return {"ok": True, "projections": [status.name for status in wanted]}
            changed.wait(_LOOK_SECONDS)
    finally:
        leave()


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
