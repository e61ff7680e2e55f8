"""Small JSON bodies that say what is asked for: who does it, and why."""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, Field, ValidationError
from starlette.requests import Request

from daemon.api.bodies import Incoming, media_type, read_body
from daemon.api.problems import invalid_body
from daemon.intake.media import PLAIN
from domain.envelope import TEXT_PATTERN
from domain.errors import UnsupportedMediaType

BODY_BYTES_MAX: Final = 64 * 1024

_Word = Annotated[str, Field(min_length=1, max_length=256, pattern=TEXT_PATTERN)]
By = Annotated[_Word | None, Field(description="Who does it.")]
EventId = Annotated[
    _Word | None,
    Field(description="The id of the event, for a retry that must not do it twice."),
]
Reason = Annotated[str | None, Field(max_length=4096, description="Why.")]

Asked = TypeVar("Asked", bound=BaseModel)


async def read_asked(
    request: Request, model: type[Asked], limit_bytes: int = BODY_BYTES_MAX
) -> Asked:
    """Return what the body of a request asks for; no body asks for nothing in particular.

    Raises:
        UnsupportedMediaType, Undecodable, Invalid, TooLarge: it is no such body.

    """
    incoming = Incoming(request.scope, request.receive)
    name = media_type(incoming)
    body = await read_body(incoming, limit_bytes)
    if not body:
        return model()
    if name != PLAIN:
        raise UnsupportedMediaType(f"The body has to be {PLAIN}.")
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise invalid_body(error, model) from None
