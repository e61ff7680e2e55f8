"""The query parameters of the reading routes, and what all of them have in common.

A parameter that is not known is refused with the nearest known one: a misspelt filter must not
answer with everything.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import unquote

from fastapi import Path
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from starlette.requests import Request
from starlette.types import Scope

from daemon.api.problems import ParameterFault, invalid_parameters
from domain.catalog import event_types, find_type
from domain.errors import Invalid
from domain.job import JobStatus
from domain.limits import INTEGER_MAX
from domain.moments import AGO_PATTERN, Point
from domain.suggest import did_you_mean, shorten
from domain.timestamps import parse_timestamp
from projections.paging import LIMIT_DEFAULT, LIMIT_MAX

_CURSOR_MAX: Final = 16_384

TIMEOUT_SECONDS_MAX: Final = 30.0
"""Longest wait for a position (seconds)."""


def _moment(value: object) -> int:
    text = str(value)
    # A "+" of an offset that was not percent-encoded arrives as a space.
    if text[-6:-5] == " " and text[-3:-2] == ":" and "T" in text:
        text = f"{text[:-6]}+{text[-5:]}"
    return parse_timestamp(text)


def _checked_point(text: str) -> str:
    Point.parse(text)
    return text


def words(value: object) -> list[str]:
    """Split comma-separated values, so that ``a=1&a=2`` and ``a=1,2`` are the same."""
    values = value if isinstance(value, list) else [value]
    found = [word for part in values for word in str(part).split(",") if word]
    if not found:
        raise ValueError("no value is given")
    return found


def _known_types() -> list[str]:
    return [entry.name for entry in event_types()]


def _event_types(value: object) -> list[str]:
    names = words(value)
    for name in names:
        if find_type(name) is None:
            raise ValueError(
                f"unknown event type {shorten(name)}; {did_you_mean(name, _known_types())}"
            )
    return names


Moment = Annotated[
    int,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""An RFC 3339 date-time with an offset; microseconds UTC inside."""

AsOf = Annotated[
    str,
    AfterValidator(_checked_point),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "format": "date-time"},
                {"type": "string", "format": "date"},
                {"type": "string", "pattern": AGO_PATTERN},
            ]
        }
    ),
]
"""A position, an RFC 3339 date-time, a date, or how long ago: see `domain.moments`."""

Position = Annotated[int, Field(ge=0, le=INTEGER_MAX)]

MemberId = Annotated[
    str,
    Path(
        alias="id",
        description="The id; a `/` in it may stand as it is or as `%2F`, every other reserved "
        "character percent-encoded.",
    ),
    AfterValidator(unquote),
]
"""The id of one job or alert out of the path, where it stands percent-encoded."""


def _instead(name: str, known: list[str]) -> str:
    return did_you_mean(name, known) if known else "this route has none"


class Parameters(BaseModel):
    """The parameters of one route; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, given: Any) -> Any:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        unknown = [name for name in given if name not in known] if given else []
        if unknown:
            faults = [
                ParameterFault(
                    detail=f"unknown parameter {shorten(name)}; {_instead(name, known)}",
                    code="unknown_parameter",
                    parameter=name[:80],
                )
                for name in unknown[:10]
            ]
            raise Invalid(faults[0].detail, errors=faults, hint="See /docs for the parameters.")
        return given


class Reading(Parameters):
    """What every read of the views may ask for."""

    wait_for: Position | None = Field(
        None,
        description="Answer only when the views have reached this log position (the `as_of` of "
        "an append). Beyond the head of the log: 409; not reached in time: 503.",
        examples=[42],
    )
    timeout: float = Field(
        5.0, ge=0, le=TIMEOUT_SECONDS_MAX, description="How long `wait_for` may wait (seconds)."
    )
    as_of: AsOf | None = Field(
        None,
        description="The answer as the log knew it then: a position, an RFC 3339 date-time, a "
        "date (its beginning in UTC), or how long ago (`-2h`). In the future or beyond the head "
        "of the log: 409; before the kept history: 410.",
        examples=[42],
    )

    @property
    def point(self) -> Point | None:
        """The point that is asked for; None = now."""
        return None if self.as_of is None else Point.parse(self.as_of)


Limit = Annotated[int, Field(ge=1, le=LIMIT_MAX, description="Most items of the page.")]
Cursor = Annotated[
    Annotated[
        str,
        Field(max_length=_CURSOR_MAX),
        WithJsonSchema(
            {"type": "string", "pattern": "^([0-9]+[.])?[A-Za-z0-9_-]+$", "maxLength": _CURSOR_MAX}
        ),
    ]
    | None,
    Field(description="The `next` of the page before, with the same filters."),
]


class Listing(Reading):
    """What every list may ask for."""

    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None

    def filters(self) -> dict[str, Any]:
        """Return what the items of the list have to fit."""
        return self.model_dump(exclude={*Listing.model_fields, "sort"})


Since = Annotated[Moment | None, Field(description="Not before this time.")]
Until = Annotated[Moment | None, Field(description="Not after this time.")]
Name = Annotated[str, Field(min_length=1, max_length=4096)]


class JobsParameters(Listing):
    """Filters and order of the job list."""

    status: Annotated[
        list[JobStatus],
        BeforeValidator(words),
        Field(
            default_factory=list,
            min_length=1,
            description="One or several canonical statuses.",
            examples=[["failed", "lost"]],
        ),
    ]
    kind: Name | None = None
    name: Name | None = None
    owner: Name | None = None
    queue: Name | None = None
    workflow: Name | None = None
    parent: Name | None = None
    correlation: Name | None = None
    since: Since = None
    until: Until = None
    q: Annotated[
        str | None, Field(max_length=256, description="Words in name, error or message.")
    ] = None
    sort: Annotated[
        Literal["-submitted", "submitted", "-updated", "updated"],
        Field(description="The order; `-` = newest first."),
    ] = "-submitted"


class HistoryParameters(Listing):
    """How to look at the history of one job."""

    attempts: Literal["one", "all"] = Field(
        "one", description="`all` = the history of every attempt of the job's chain."
    )
    limit: Limit = LIMIT_MAX


EventType = Annotated[
    list[Annotated[str, WithJsonSchema({"type": "string", "enum": _known_types()})]],
    BeforeValidator(_event_types),
    Field(
        default_factory=list,
        min_length=1,
        description="One or several event types.",
        examples=[["job.failed"]],
    ),
]


class StreamParameters(Parameters):
    """Which events a live stream sends, and where it starts."""

    stream: Annotated[Name | None, Field(description="The stream: `category/subject`.")] = None
    type: EventType
    source: Name | None = None
    correlation: Annotated[Name | None, Field(description="The `correlationid`.")] = None
    after: Annotated[
        Position | None, Field(description="Only events after this position.", examples=[41])
    ] = None


class EventsParameters(StreamParameters):
    """Filters and order of the event list."""

    before: Annotated[Position | None, Field(description="Only events before this position.")] = (
        None
    )
    since: Since = None
    until: Until = None
    order: Annotated[Literal["asc", "desc"], Field(description="By position.")] = "asc"
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


P = TypeVar("P", bound=Parameters)


def refuse_parameters(scope: Scope) -> None:
    """Refuse every query parameter: for a route that has none.

    Raises:
        Invalid: one is given.

    """
    if scope["query_string"]:
        read_parameters(Parameters, Request(scope))


async def take_no_parameters(request: Request) -> None:
    """Do the same, as the web framework calls it."""
    refuse_parameters(request.scope)


def read_parameters(model: type[P], request: Request) -> P:
    """Return the query parameters of a route that the web framework does not read them for.

    Raises:
        Invalid: they do not fit the model.

    """
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        faults = [{**fault, "loc": ("query", *fault["loc"])} for fault in error.errors()]
        raise invalid_parameters(faults) from None
