"""Input that could not become events: what was put aside, and deciding what becomes of it."""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import Encoded, encode, encode_page, respond
from daemon.api.asked import By, Reason, read_asked
from daemon.api.context import Context, InContext
from daemon.api.ingest import receipts
from daemon.api.parameters import Cursor, Limit, Name, Parameters
from daemon.api.writing import DECIDED, append
from daemon.eventlog.deadletters import KeptLetter, LetterFilter, LetterState
from daemon.intake.retrying import Retry, discard_request, no_letter, retry_request
from domain.limits import INTEGER_MAX
from projections.cursor import decode_cursor, encode_cursor, fingerprint
from projections.paging import LIMIT_DEFAULT

LetterId = Annotated[
    int, Path(alias="id", ge=1, le=INTEGER_MAX, description="The id out of the list.")
]


class DeadLettersParameters(Parameters):
    """Filters of the list of dead letters."""

    format: Annotated[Name | None, Field(description="The format it was read as.")] = None
    origin: Annotated[Name | None, Field(description="The file, pipe or source it came by.")] = None
    reason: Annotated[Name | None, Field(description="The error code it was refused with.")] = None
    state: Annotated[
        LetterState | None, Field(description="What was decided about it; open = nothing yet.")
    ] = None
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


class Discarding(BaseModel):
    """Who throws a dead letter away, and why."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"example": {"by": "ana", "reason": "a test"}},
    )

    by: By = None
    reason: Reason = None


class Retrying(BaseModel):
    """How to read a dead letter again."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"example": {"by": "ana", "reason": "the limit was raised"}},
    )

    by: By = None
    reason: Reason = None
    format: Annotated[Name | None, Field(description="Read it as this format instead.")] = None
    source: Annotated[
        Name | None, Field(description="Recorded in place of the format's own source.")
    ] = None
    body: Annotated[
        str | None, Field(description="Read this instead of what is kept; a line a message.")
    ] = None


async def list_dead_letters(
    request: Request, context: InContext, asked: Annotated[DeadLettersParameters, Query()]
) -> Response:
    """List what was put aside, the oldest first; secrets in it are masked."""
    return respond(request, await context.readers.run(_page, context, asked))


def _page(context: Context, asked: DeadLettersParameters) -> Encoded:
    wanted = LetterFilter(asked.format, asked.origin, asked.reason, asked.state)
    bound = fingerprint("deadletters", *wanted)
    after = 0
    if asked.cursor is not None:
        after = int(decode_cursor(bound, asked.cursor, (int,))[0])
    as_of = context.log.head()
    letters = context.log.list_dead_letters(after, asked.limit, wanted)
    following = None
    if letters and context.log.list_dead_letters(letters[-1].id, 1, wanted):
        following = encode_cursor(bound, (letters[-1].id,))
    return encode_page([letter.document() for letter in letters], following, as_of)


async def get_dead_letter(request: Request, context: InContext, letter_id: LetterId) -> Response:
    """Show one dead letter with every byte that is kept of it.

    `raw` is text, or base64 where it is not UTF-8. Only a `complete` one can be retried from here.
    """
    return respond(request, await context.readers.run(_whole, context, letter_id))


def _whole(context: Context, letter_id: int) -> Encoded:
    as_of = context.log.head()
    return encode(_find(context, letter_id).whole_document(), as_of)


def _find(context: Context, letter_id: int) -> KeptLetter:
    letter: KeptLetter | None = context.log.dead_letter(letter_id)
    if letter is None:
        raise no_letter(letter_id)
    return letter


async def retry_dead_letter(request: Request, context: InContext, letter_id: LetterId) -> Response:
    """Decode a dead letter again, and append its events: records `deadletter.retried`.

    They have the ids and the times that they would have had. Where it still cannot be decoded, 422
    says why and nothing changes. The last receipt is that of the decision.
    """
    started = perf_counter()
    asked = await read_asked(request, Retrying, context.limits.batch_bytes)
    letter = await context.readers.run(_find, context, letter_id)
    retry = Retry(**asked.model_dump())
    work = await context.readers.run(partial(retry_request, letter, retry, context.limits))
    kind = retry.format or letter.format
    return receipts(await append(context, work, started=started, kind=kind))


async def discard_dead_letter(
    request: Request, context: InContext, letter_id: LetterId
) -> Response:
    """Say that a dead letter is of no use: records `deadletter.discarded`."""
    started = perf_counter()
    asked = await read_asked(request, Discarding)
    letter = await context.readers.run(_find, context, letter_id)
    work = discard_request(letter, asked.by, asked.reason)
    return receipts(await append(context, work, started=started, kind=DECIDED))
