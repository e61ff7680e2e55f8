"""The shape of long work, as the OpenAPI document states it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime

from daemon.api.operations import Kind
from daemon.api.schemas import Problem, Progress, Shape


class OperationShape(Shape):
    """Long work inside the daemon."""

    id: str
    kind: Kind
    projection: str | None
    state: Literal["running", "succeeded", "failed"]
    started: AwareDatetime
    ended: AwareDatetime | None
    progress: Progress
    result: dict[str, Any] | None
    error: Problem | None
