"""The shapes of the answers about changes and ties, and their examples; see `schemas`."""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime, Field

from daemon.api.schemas import AsOf, Event, Shape
from domain.job import JobStatus
from projections.relations import Relation

_POINTER = Field(description="The field's JSON pointer in the state.")


class BriefEvent(Shape):
    """Which event it was."""

    id: str
    type: str
    position: int
    time: AwareDatetime = Field(description="When it counts as happened.")


class ChangeShape(Shape):
    """One field that an event changed; null is not there."""

    field: str = _POINTER
    before: Any = Field(alias="from")
    after: Any = Field(alias="to")


class DifferenceShape(ChangeShape):
    """One field that differs, and the event that changed it last."""

    event: BriefEvent


class StreamDiff(Shape):
    """How an entity differs between two positions."""

    stream: str
    since: int = Field(alias="from", description="The position it is compared with.")
    upto: int = Field(alias="to")
    changes: list[DifferenceShape]
    events: int = Field(description="How many events of it lie between.")
    before: dict[str, Any] | None = Field(description="Null: it was not there yet.")
    after: dict[str, Any]
    as_of: int = AsOf


class ChangedJob(Shape):
    """A job that appeared, changed its status or ended between two positions."""

    id: str
    kind: str | None
    name: str | None
    appeared: bool
    ended: bool
    before: JobStatus | None = Field(alias="from", description="Null: it was not there yet.")
    after: JobStatus = Field(alias="to")
    from_attempt: int | None
    to_attempt: int
    events: int = Field(description="How many events of it lie between.")
    position: int = Field(description="Of the event that moved the status last.")
    time: AwareDatetime = Field(description="When that counts as happened.")


class JobsDiff(Shape):
    """One page of the jobs that differ between two positions."""

    items: list[ChangedJob]
    next: str | None = Field(description="The cursor of the next page; null at the end.")
    since: int = Field(alias="from", description="The position they are compared with.")
    upto: int = Field(alias="to")
    as_of: int = AsOf


class StepShape(Shape):
    """One event of an entity."""

    event: Event
    changes: list[ChangeShape]
    state: dict[str, Any] = Field(description="The entity after it, as its own route shows it.")
    late: bool = Field(description="Something later was known when it was recorded.")


class TimelineItem(Shape):
    """One event of a story."""

    event: Event
    entity: str = Field(description="The stream of the event.")
    relation: Relation


class TimelineEntity(Shape):
    """One entity of a story."""

    stream: str
    relation: Relation
    origin: str | None = Field(alias="from", description="The stream that it was reached from.")
    status: str | None = Field(description="The status or state; of others their last verb.")
    kind: str | None
    name: str | None
    attempt: int | None
    started: AwareDatetime | None
    ended: AwareDatetime | None
    run_seconds: float | None
    events: int
    first: AwareDatetime = Field(description="When its first event counts as happened.")
    last: AwareDatetime
    truncated: bool = Field(description="Not all of its events are in the story.")


class TimelineShape(Shape):
    """One page of a story."""

    items: list[TimelineItem]
    entities: list[TimelineEntity] = Field(description="Of the whole story, on every page.")
    truncated: bool = Field(description="There is more than one story may hold.")
    unresolved: list[str] = Field(description="Ids of causes that were not found.")
    next: str | None = Field(description="The cursor of the next page; null at the end.")
    as_of: int = AsOf
