"""Dead letters as they are documented: their shapes and examples."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from daemon.api.schemas import AsOf, Shape


class DeadLetter(Shape):
    """A piece of input that could not become events; secrets in it are masked."""

    id: int
    state: Literal["open", "retried", "discarded"]
    format: str
    origin: str
    reason: str
    detail: str
    raw: str
    length: int
    sha256: str
    first_seen: AwareDatetime
    last_seen: AwareDatetime
    count: int


class DeadLetterDetail(DeadLetter):
    """A dead letter with every byte that is kept of it."""

    encoding: Literal["text", "base64"] = Field(description="How `raw` is to be read.")
    complete: bool = Field(description="Whether `raw` is what came: neither masked nor cut.")
    as_of: int = AsOf


def dead_letter() -> dict[str, Any]:
    """Return a dead letter."""
    return {
        "id": 1,
        "state": "open",
        "format": "flowlord-task",
        "origin": "http",
        "reason": "undecodable",
        "detail": "not JSON: unexpected end of data: line 1 column 9 (char 8)",
        "raw": '{"type":',
        "length": 8,
        "sha256": "d4e1f4cd4e0d0a0c1c4ea3b1f6d0d6f3a7d3c3a5e3f5e0f3bd1f0e8a5d9a4c11",
        "first_seen": "2026-02-04T06:12:47Z",
        "last_seen": "2026-02-04T06:12:47Z",
        "count": 1,
    }


def whole_dead_letter() -> dict[str, Any]:
    """Return a dead letter with what is kept of it."""
    return {**dead_letter(), "encoding": "text", "complete": True, "as_of": 4711}


def discarding() -> dict[str, Any]:
    """Return who throws a dead letter away, and why."""
    return {"by": "ana", "reason": "a test"}


def retrying() -> dict[str, Any]:
    """Return who has a dead letter read again, and why."""
    return {"by": "ana", "reason": "the limit was raised"}
