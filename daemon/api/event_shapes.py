"""The shapes of events on their way in, and of what streams send."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from daemon.api.schemas import Shape
from domain.envelope import JSON_TYPE_PATTERN, TEXT_PATTERN
from domain.limits import INTEGER_MAX

Text = Annotated[str, Field(min_length=1, pattern=TEXT_PATTERN)]
"""What the text of an attribute of a CloudEvent may hold."""
_MaybeText = Annotated[str, Field(pattern=TEXT_PATTERN)] | None


class NewCloudEvent(BaseModel):
    """A CloudEvent 1.0 on its way in; further attributes are extensions and kept as given.

    An extension's name is made of lower-case letters and digits, its value is text, an integer or
    a boolean. `data_base64` may hold the data, as JSON in base64, in the place of `data`.
    """

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "propertyNames": {"pattern": "^([a-z0-9]+|data_base64)$"},
            "additionalProperties": {
                "anyOf": [
                    {"type": "string", "pattern": TEXT_PATTERN},
                    {"type": "integer", "minimum": -INTEGER_MAX, "maximum": INTEGER_MAX},
                    {"type": "boolean"},
                    {"type": "null"},
                ]
            },
        },
    )

    specversion: Literal["1.0"]
    id: Text = Field(description="With `source` the key for idempotency.")
    source: str = Field(
        min_length=1,
        description="What sends it.",
        json_schema_extra={"format": "uri-reference"},
    )
    type: str
    subject: Text = Field(description="The job id, alert id or file path.")
    time: AwareDatetime | None = Field(None, description="When it happened; default: now.")
    datacontenttype: Annotated[str, Field(pattern=JSON_TYPE_PATTERN)] | None = None
    data: dict[str, Any] | None = Field(None, description="Checked against the type's model.")
    expectedversion: (
        Annotated[int, Field(ge=0, le=INTEGER_MAX)]
        | Annotated[str, Field(pattern="^[0-9]{1,18}$")]
        | None
    ) = Field(None, description="Append only when the stream is at this version (0 = new).")
    correlationid: _MaybeText = Field(None, description="What belongs together, such as a run.")
    causationid: _MaybeText = Field(None, description="The id of the event that caused this one.")
    traceparent: _MaybeText = Field(None, description="The trace it is a part of.")
    actor: _MaybeText = Field(None, description="Who did it.")


class _Streamed(Shape):
    """One event of a stream of Server-Sent Events."""

    event: str
    data: str


class StreamedEvent(_Streamed):
    """One event of the live stream: `event` is the type, `data` the CloudEvent as JSON."""

    id: str | None = Field(None, pattern="^[0-9]+$", description="The position.")


class StreamedChange(_Streamed):
    """One change of an operation: `event` is its state, `data` the operation as JSON."""

    event: Literal["running", "succeeded", "failed"]
