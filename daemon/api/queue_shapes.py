"""The shapes of answers about queues, and an example of each."""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime, Field

from daemon.api import examples
from daemon.api.schemas import Answer, Job, Shape
from domain.queue import QueueState, queue_view


class QueueSummary(Shape):
    """What is said of a queue, and how many jobs of it have which status."""

    name: str
    paused: bool
    changed: AwareDatetime | None = Field(description="When it was last paused or resumed.")
    reason: str | None = Field(description="Why that was.")
    by: str | None = Field(description="Who did it.")
    cleared: AwareDatetime | None = Field(description="When it was last cleared.")
    cleared_count: int | None
    recovered: AwareDatetime | None = Field(description="When its program last came back.")
    recovered_count: int | None
    counts: dict[str, int] = Field(description="Jobs by status.")
    waiting_total: int
    running_total: int
    recent_total: int


class QueueDetail(QueueSummary, Answer):
    """A queue with the jobs in it."""

    waiting: list[Job] = Field(description="In the order in which they have their turn.")
    running: list[Job] = Field(description="The longest first.")
    recent: list[Job] = Field(description="Those that ended, the newest end first.")


class RecoveryShape(Answer):
    """What was interrupted."""

    name: str
    count: int
    jobs: list[Job] = Field(description="The interrupted jobs, as they stood before.")
    more: bool = Field(description="Whether other jobs run still.")


class ClearingShape(Answer):
    """What was thrown away."""

    name: str
    count: int
    more: bool = Field(description="Whether other jobs wait still.")


def queue() -> dict[str, Any]:
    """Return a queue."""
    totals = {"waiting_total": 1, "running_total": 0, "recent_total": 0}
    return {**queue_view(QueueState("images", 1)), "counts": {"submitted": 1}, **totals}


def queue_with_jobs() -> dict[str, Any]:
    """Return a queue with the jobs in it."""
    return {**queue(), "waiting": [examples.job()], "running": [], "recent": []}


def recovery() -> dict[str, Any]:
    """Return what was interrupted."""
    return {"name": "images", "count": 1, "jobs": [examples.job()], "more": False}


def clearing() -> dict[str, Any]:
    """Return what was thrown away."""
    return {"name": "images", "count": 54, "more": False}
