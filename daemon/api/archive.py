"""The archive over HTTP: which jobs are in it, where, and bringing one back."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

from fastapi import Query
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import NO_STORE, Encoded, JsonResponse, encode, encode_page, respond
from daemon.api.asked import By, Reason, read_asked
from daemon.api.context import Context, InContext
from daemon.api.guard import by_socket
from daemon.api.operations import Kind, Progress, Work
from daemon.api.parameters import Cursor, Limit, MemberId, Parameters
from daemon.archive.checking import check_all, why_unreadable
from daemon.archive.documents import detail_document, item_document
from daemon.archive.errors import NoArchive, NotArchived
from daemon.archive.marker import Marker, find_marker
from daemon.archive.opening import Archive
from domain.errors import Forbidden
from domain.suggest import shorten
from projections.cursor import decode_cursor, encode_cursor, fingerprint
from projections.paging import LIMIT_DEFAULT

_BOUND_TO: Final = fingerprint("archive")


class ArchiveParameters(Parameters):
    """Which page of the archive."""

    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


class Restoring(BaseModel):
    """Who brings a job back, and why."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"example": {"by": "mara", "reason": "a question of the customer"}},
    )

    by: By = None
    reason: Reason = None


async def list_archive(
    request: Request, context: InContext, asked: Annotated[ArchiveParameters, Query()]
) -> Response:
    """List the jobs in the archive, the newest first.

    A page looks at a bounded stretch of the log, so one may be short, or empty, and still have a
    `next`. Nothing is asked of the archive itself.
    """
    return respond(request, await context.readers.run(_list, context, asked))


def _list(context: Context, asked: ArchiveParameters) -> Encoded:
    before = None
    if asked.cursor is not None:
        before = int(decode_cursor(_BOUND_TO, asked.cursor, (int,))[0])
    found, following = context.archive_reader().list_markers(before, asked.limit)
    cursor = None if following is None else encode_cursor(_BOUND_TO, (following,))
    return encode_page([item_document(*each) for each in found], cursor, context.log.head())


async def get_archived(request: Request, context: InContext, job_id: MemberId) -> Response:
    """Show a job in the archive, its objects, and whether they are there."""
    return respond(request, await context.store_readers.run(_get, context, job_id))


def _get(context: Context, job_id: str) -> Encoded:
    marker = find_marker(context.log, job_id)
    if marker is None:
        raise NotArchived(f"The job {shorten(job_id)} is not in the archive.")
    [event] = context.log.read_stream(f"job/{job_id}", after_version=marker.version - 1, limit=1)
    return encode(detail_document(marker, event, _note(context, marker)), context.log.head())


def _note(context: Context, marker: Marker) -> str | None:
    try:
        return why_unreadable(context.archive_reader().shelf, marker)
    except NoArchive as error:
        return error.detail


async def restore_archived(request: Request, context: InContext, job_id: MemberId) -> Response:
    """Bring a job back: put its files in their places again. Only over the Unix socket.

    Never over another file. The archive stays as it is; the work is an operation.
    """
    if not by_socket(request.scope):
        raise Forbidden("Jobs are brought back over the Unix socket only.")
    asked = await read_asked(request, Restoring)
    archive = archive_of(context)
    found = await context.readers.run(find_marker, context.log, job_id)
    if found is None:
        raise NotArchived(f"The job {shorten(job_id)} is not in the archive.")
    work = partial(archive.restorer.restore, job_id, asked.reason, asked.by)
    operation = context.operations.start(Kind.RESTORE, work)
    return JsonResponse(
        operation.document(),
        status_code=202,
        headers={"location": f"/api/operations/{operation.id}", **NO_STORE},
    )


def archive_of(context: Context) -> Archive:
    """Return the archive of a daemon.

    Raises:
        NoArchive: none is configured.

    """
    if context.archive is None:
        raise NoArchive("No archive is configured.")
    return context.archive


def check_work(context: Context) -> Work:
    """Return the operation that reads the whole archive, ready to be started."""
    return partial(_check, archive_of(context))


def _check(archive: Archive, progress: Progress) -> dict[str, Any]:
    return check_all(archive.reader, progress)
