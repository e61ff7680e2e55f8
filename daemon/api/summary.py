"""The summary: kept counts, and how long jobs take."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

from fastapi import Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import Encoded, encode, respond
from daemon.api.as_of import Shown, answer
from daemon.api.context import InContext
from daemon.api.parameters import Name, Reading, Since, Until

VIEWS: Final = ("summary",)


class SummaryParameters(Reading):
    """What is summed up."""

    since: Since = None
    until: Until = None
    kind: Annotated[Name | None, Field(description="Only jobs of this kind.")] = None


async def get_summary(
    request: Request, context: InContext, asked: Annotated[SummaryParameters, Query()]
) -> Response:
    """Sum up jobs, alerts and files: of all time, or of the UTC days that a range touches.

    A job counts for the day it was submitted. With a range within one day, also by hour.
    """
    return respond(request, await answer(context, asked, VIEWS, partial(_sum_up, asked)))


def _sum_up(asked: SummaryParameters, shown: Shown) -> Encoded:
    found = shown.views.summary(asked.since, asked.until, asked.kind)
    return encode(found, found.pop("as_of"))
