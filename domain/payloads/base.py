"""What every payload model has in common."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, TypeAlias

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from domain.limits import INTEGER_MAX
from domain.timestamps import parse_timestamp

_SHALLOW_BYTES: Final = 2 * 200
"""Of 254 levels that can be written, an answer may put eight around a payload or a part of it."""


def example(**fields: Any) -> ConfigDict:
    """Return a model configuration that carries one example of the payload."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


def encode_payload(payload: object) -> bytes:
    """Return the JSON bytes of a payload, as they are stored.

    What is nested so deeply that it could be written alone, but not within an answer that shows
    it, is not taken either: one such job would be in the way of every list it is in.

    Raises:
        TypeError: it cannot be written as JSON.

    """
    data = orjson.dumps(payload)
    # So short a text cannot be nested too deeply: each level takes two characters.
    if len(data) > _SHALLOW_BYTES:
        orjson.dumps([[[[[[[[payload]]]]]]]])
    return data


def _check_timestamp(text: str) -> str:
    parse_timestamp(text)
    return text


Count: TypeAlias = Annotated[int, Field(ge=0, le=INTEGER_MAX)]
Integer: TypeAlias = Annotated[int, Field(ge=-INTEGER_MAX, le=INTEGER_MAX)]
Timestamp: TypeAlias = Annotated[
    str,
    AfterValidator(_check_timestamp),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Sha256: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
JsonObject: TypeAlias = dict[str, Any]


class Payload(BaseModel):
    """The ``data`` of one event type.

    Fields are checked strictly (no text for a number, no boolean for an integer), unknown ones are
    refused, and ``null`` says the same as a field that is not there. Text is bounded by the size
    limit of the event alone.

    A type whose fields change their meaning raises ``class_version`` and gets a static method
    ``upcast_v1_v2(payload) -> payload`` for what the log already holds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    event_type: ClassVar[str]
    class_version: ClassVar[int] = 1

    extra: JsonObject | None = Field(
        default=None, description="Whatever the model has no field for."
    )
