"""The sources that the daemon reads by itself, and how each of them stands."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, Field
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import encode_page, respond
from daemon.api.context import InContext
from daemon.api.schemas import Shape
from daemon.sources.board import SourceStatus
from domain.timestamps import format_timestamp


class SourceError(Shape):
    """What went wrong last."""

    code: str
    detail: str
    time: AwareDatetime


class SourceShape(Shape):
    """A source and how it stands; counts are since the start of the daemon."""

    name: str
    kind: Literal["file", "folder", "nats"]
    format: str
    state: Literal["running", "waiting", "failing"]
    detail: str | None = Field(description="What it waits for, or why it fails.")
    messages: int
    events: int
    duplicates: int
    dead_letters: int
    lag: int = Field(description="What waits to be read: bytes, files or messages, by kind.")
    last_message: AwareDatetime | None
    idle_seconds: float | None = Field(description="Since its last message.")
    last_error: SourceError | None


async def list_sources(request: Request, context: InContext) -> Response:
    """List the sources of the configuration, in its order."""
    now = context.clock()
    items = [_document(board.status, now) for board in context.sources]
    return respond(request, encode_page(items, None, context.log.head()))


def _document(status: SourceStatus, now: int) -> dict[str, Any]:
    last, failed = status.last_message, status.last_error_time
    return {
        "name": status.name,
        "kind": status.kind,
        "format": status.format,
        "state": status.state,
        "detail": status.detail or None,
        "messages": status.messages,
        "events": status.events,
        "duplicates": status.duplicates,
        "dead_letters": status.dead_letters,
        "lag": status.lag,
        "last_message": None if last is None else format_timestamp(last),
        "idle_seconds": None if last is None else max(now - last, 0) / 1_000_000,
        "last_error": None
        if failed is None
        else {
            "code": status.last_error_code,
            "detail": status.last_error,
            "time": format_timestamp(failed),
        },
    }


def example() -> dict[str, Any]:
    """Return a source as the interface's document shows it."""
    time = 1_770_199_531_000_000
    status = SourceStatus(
        "worker", "file", "flowlord-task", messages=3, events=9, last_message=time
    )  # fmt: skip
    return _document(status, time)
