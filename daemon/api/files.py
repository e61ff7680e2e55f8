"""Files: the messages that announced them, and what matched each."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

from fastapi import Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import Encoded, respond
from daemon.api.as_of import Shown, answer
from daemon.api.context import InContext
from daemon.api.parameters import Listing, Name, Since, Until
from projections.files import FileFilter

VIEWS: Final = ("files",)


class FilesParameters(Listing):
    """Filters of the list of files."""

    path: Annotated[Name | None, Field(description="The whole path.")] = None
    prefix: Annotated[
        Name | None, Field(description="How the path begins; the list is by path then.")
    ] = None
    matched: Annotated[
        bool | None,
        Field(description="Whether a rule matched; false: none did, or none was asked."),
    ] = None
    since: Since = None
    until: Until = None


async def list_files(
    request: Request, context: InContext, asked: Annotated[FilesParameters, Query()]
) -> Response:
    """List the messages about files, the newest first, each with what matched it.

    A page looks at a bounded number of messages, so one may be short, or empty, and still have a
    `next`.
    """
    return respond(request, await answer(context, asked, VIEWS, partial(_list, asked)))


def _list(asked: FilesParameters, shown: Shown) -> Encoded:
    wanted = FileFilter(**asked.filters())
    return shown.encode(shown.views.list_files(wanted, asked.limit, shown.cursor))
