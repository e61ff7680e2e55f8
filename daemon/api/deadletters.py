"""Input that could not become events, as it was put aside."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import Encoded, encode_page, respond
from daemon.api.context import Context, InContext
from daemon.api.parameters import Cursor, Limit, Name, Parameters
from projections.cursor import decode_cursor, encode_cursor, fingerprint
from projections.paging import LIMIT_DEFAULT


class DeadLettersParameters(Parameters):
    """Filters of the list of dead letters."""

    format: Annotated[Name | None, Field(description="The format it was read as.")] = None
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


async def list_dead_letters(
    request: Request, context: InContext, asked: Annotated[DeadLettersParameters, Query()]
) -> Response:
    """List what was put aside, the oldest first; secrets in it are masked."""
    return respond(request, await context.readers.run(_page, context, asked))


def _page(context: Context, asked: DeadLettersParameters) -> Encoded:
    bound = fingerprint("deadletters", asked.format)
    after = 0
    if asked.cursor is not None:
        after = int(decode_cursor(bound, asked.cursor, (int,))[0])
    as_of = context.log.head()
    items = context.log.list_dead_letters(after, asked.limit, asked.format)
    following = None
    if items and context.log.list_dead_letters(items[-1]["id"], 1, asked.format):
        following = encode_cursor(bound, (items[-1]["id"],))
    return encode_page(items, following, as_of)
