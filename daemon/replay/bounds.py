"""The first and the last line of an export: what it holds, and what it held in the end."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from daemon.eventlog.epochs import SOURCE
from domain.envelope import SPECVERSION
from domain.errors import Invalid
from domain.payloads.base import Count, Integer, Sha256

BEGINS: Final = "export.begins"
"""The type of the first line."""
ENDS: Final = "export.ends"
"""The type of the last line."""
B = TypeVar("B", bound=BaseModel)

FORMAT: Final = 1
"""The version of the format of exports."""


class Header(BaseModel):
    """What an export is of: positions ``from`` to ``to`` of a log, or of one stream of it.

    ``removed`` is how many of these positions have no events any more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1] = FORMAT
    log_schema: Count
    release: str
    log_id: str
    epoch: Count
    created: Integer
    first: Count = Field(alias="from")
    last: Count = Field(alias="to")
    stream: str | None
    digest_before: Sha256
    removed: Count = 0


class Trailer(Header):
    """The same, with the number of events, and whether they are the whole history up to ``to``."""

    count: Count
    complete: bool
    digest: Sha256


def bound_line(bound: Header) -> bytes:
    """Return the first line for a header, the last for a trailer."""
    data = bound.model_dump(by_alias=True, exclude={"removed"})
    if bound.removed:
        data["removed"] = bound.removed
    event = {
        "specversion": SPECVERSION,
        "id": f"{bound.log_id}/{bound.first}-{bound.last}",
        "source": SOURCE,
        "type": ENDS if isinstance(bound, Trailer) else BEGINS,
        "subject": bound.log_id,
        "datacontenttype": "application/json",
        "data": data,
    }
    return orjson.dumps(event)


def bound_type(line: bytes) -> str | None:
    """Return the type of a first or last line, None for any other."""
    # Looked for in the text: nearly all lines are events, and are decoded elsewhere.
    if b'"export.' not in line:
        return None
    found = _decoded(line)
    name = found.get("type") if isinstance(found, dict) else None
    return name if name in (BEGINS, ENDS) else None


def read_header(line: bytes) -> Header:
    """Return what a first line says.

    Raises:
        Invalid: it is none.

    """
    if bound_type(line) != BEGINS:
        raise Invalid("this is not an export: its first line is not that of one")
    return _read(Header, line)


def read_trailer(line: bytes) -> Trailer:
    """Return what a last line says, as `read_header` does."""
    return _read(Trailer, line)


def _read(model: type[B], line: bytes) -> B:
    found = _decoded(line)
    try:
        return model.model_validate(found.get("data"))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        if place == "format":
            raise Invalid("the export is in a format that this program does not know") from None
        raise Invalid(f"{place}: {first['msg']}") from None


def _decoded(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
