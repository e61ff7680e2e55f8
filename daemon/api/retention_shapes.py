"""The shapes of answers about retention, and an example of each."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from daemon.api.schemas import Answer, Shape
from daemon.retention.plan import Item, Part, Plan
from domain.policies import PRESETS
from domain.retention import Action

_NOW = 1_770_185_567_000_000


class PolicyShape(Shape):
    """A policy, since when it holds, and by whom."""

    name: str
    category: Literal["job", "alert", "file", "maintenance", "backup"]
    kind: str | None
    status: str | None
    age: Literal["submitted", "ended", "archived", "last_event"]
    archive_after: str = Field(description="Such as `7d`, or `forever` for never.")
    purge_after: str = Field(description="Such as `90d`, or `forever` for never.")
    preset: str | None = Field(description="The preset that it is from.")
    since: AwareDatetime | None = Field(description="None until it is recorded.")
    by: str | None = Field(description="Who started the daemon that has it so.")
    reason: str | None


class PoliciesShape(Answer):
    """The policies, in the order in which they decide."""

    items: list[PolicyShape]
    apply: bool = Field(description="Whether the daemon applies them by itself.")
    archive: bool = Field(description="Whether there is an archive.")
    next: None


class TotalShape(Shape):
    """How much one rule does."""

    rule: str
    category: str
    action: Action
    entities: int
    events: int
    bytes: int


class UpcomingShape(Shape):
    """How many become due within so many days."""

    days: int
    rule: str
    action: Action
    entities: int


class ItemShape(Shape):
    """What is due, and why."""

    action: Action
    category: str
    id: str
    rule: str
    reason: str
    due: AwareDatetime
    events: int
    bytes: int
    version: int = Field(description="That of its stream; when it moves on, it is left.")
    results: list[str] = Field(description="The results that go with it.")


class PlanShape(Answer):
    """A plan: what is due, in totals, and item by item."""

    plan: str = Field(description="Its id: the digest over its items. `apply` takes it.")
    now: AwareDatetime
    entities: int
    events: int
    bytes: int
    totals: list[TotalShape]
    more: int = Field(description="How many more are due than a plan may have.")
    unarchivable: int = Field(description="Jobs that would be archived if there were an archive.")
    upcoming: list[UpcomingShape]
    items: list[ItemShape]
    next: str | None


class PreviewBody(BaseModel):
    """Policies to try out."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "example": {"policies": [{"category": "job", "age": "ended", "purge_after": "90d"}]}
        },
    )

    preset: str = Field("", max_length=64, description="The name of a preset.")
    policies: list[dict[str, Any]] = Field(
        default=[], max_length=200, description="Policies as the configuration has them."
    )
    archive: bool | None = Field(
        None, description="Whether there would be an archive; without it, as there is one now."
    )


def policies() -> dict[str, Any]:
    """Return the policies of a daemon."""
    policy = PRESETS["flowlord"][0].document()
    said = {"since": "2026-02-04T06:12:46.000000Z", "by": "chronicled", "reason": "preset flowlord"}
    items = [{**policy, **said}]
    return {"items": items, "apply": True, "archive": False, "next": None, "as_of": 42}


def plan() -> dict[str, Any]:
    """Return a plan with one job."""
    item = Item(
        Action.PURGE, "job", "job-17", "flowlord.job.succeeded", "90 days after it ended", _NOW,
        5, 2210, 4, (Part("result/job-17/gff3", 1),),
    )  # fmt: skip
    made = Plan(_NOW, 42, [item])
    return {**made.head(), "items": [item.document()], "next": None, "as_of": made.as_of}


def preview() -> dict[str, Any]:
    """Return policies to try out."""
    return {"policies": [{"category": "job", "age": "ended", "purge_after": "90d"}]}
