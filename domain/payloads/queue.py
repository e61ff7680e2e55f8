"""Payloads of ``queue.*`` events; the subject is the queue's name."""

from __future__ import annotations

from typing import ClassVar, Final

from pydantic import Field

from domain.payloads.base import Count, Payload, example


class _QueueChanged(Payload):
    """Why a queue changed, and how many jobs it touched."""

    reason: str | None = None
    count: Count | None = Field(default=None, description="Jobs in the queue at that moment.")


class QueuePaused(_QueueChanged):
    """No job of the queue starts any more."""

    model_config = example(reason="disk is full", count=12)
    event_type: ClassVar[str] = "queue.paused"


class QueueResumed(_QueueChanged):
    """Jobs of the queue start again."""

    model_config = example(reason="disk has room", count=12)
    event_type: ClassVar[str] = "queue.resumed"


class QueueCleared(_QueueChanged):
    """The waiting jobs of the queue were thrown away."""

    model_config = example(reason="sent by mistake", count=54)
    event_type: ClassVar[str] = "queue.cleared"


class QueueRecovered(_QueueChanged):
    """The queue's program came back, and what it had been at was interrupted."""

    model_config = example(reason="host restarted", count=1)
    event_type: ClassVar[str] = "queue.recovered"


PAYLOADS: Final[tuple[type[Payload], ...]] = (
    QueuePaused,
    QueueResumed,
    QueueCleared,
    QueueRecovered,
)
