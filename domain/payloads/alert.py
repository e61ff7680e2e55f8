"""Payloads of ``alert.*`` events; the subject is the alert's id."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Final

from pydantic import Field

from domain.payloads.base import Payload, example


class Severity(StrEnum):
    """How bad it is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class AlertRaised(Payload):
    """Something needs attention; a repeat with a new event id raises the count."""

    model_config = example(
        severity="error",
        kind="retries_exhausted",
        title="sql-load:events gave up",
        message="dial tcp: connection refused",
        fingerprint="sql-load:events",
        job="sql-load:events:3f0c6a52:2026-02-04T10:12:40Z:4",
        labels={"workflow": "etl/hourly.toml"},
    )
    event_type: ClassVar[str] = "alert.raised"

    severity: Annotated[Severity, Field(strict=False)] | None = None
    kind: str | None = None
    title: str | None = None
    message: str | None = None
    fingerprint: str | None = Field(
        default=None, description="The same for alerts that have the same cause."
    )
    job: str | None = Field(default=None, description="The id of the job it is about.")
    labels: dict[str, str] | None = None


class _AlertFollowed(Payload):
    """Who did something about an alert, why, and by which channel."""

    by: str | None = None
    reason: str | None = None
    channel: str | None = None


class AlertAcknowledged(_AlertFollowed):
    """Somebody looks after it."""

    model_config = example(by="mara", reason="looking at the database")
    event_type: ClassVar[str] = "alert.acknowledged"


class AlertResolved(_AlertFollowed):
    """It is over."""

    model_config = example(by="mara", reason="database is back")
    event_type: ClassVar[str] = "alert.resolved"


class AlertNotified(_AlertFollowed):
    """Somebody was told."""

    model_config = example(by="pager", channel="#pipeline")
    event_type: ClassVar[str] = "alert.notified"


PAYLOADS: Final[tuple[type[Payload], ...]] = (
    AlertRaised,
    AlertAcknowledged,
    AlertResolved,
    AlertNotified,
)
