"""The operations of the archive."""

from __future__ import annotations

from typing import Final

from daemon.api import archive, archive_shapes, examples, schemas
from daemon.api.operation_shapes import OperationShape
from daemon.api.operations import OperationRunningError
from daemon.api.route import Content, Route, ok
from daemon.archive.errors import NoArchive, NotArchived
from domain.errors import (
    Invalid,
    InvalidCursor,
    NotReady,
    QueryTimeout,
    TooLarge,
    Undecodable,
    UnsupportedMediaType,
)

ARCHIVE_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        "GET",
        "/api/archive",
        archive.list_archive,
        "archive",
        ok(examples.page(archive_shapes.archived_job), schemas.Page[archive_shapes.ArchivedJob]),
        (Invalid, InvalidCursor, NotReady, QueryTimeout),
    ),
    Route(
        "GET",
        "/api/archive/{id}",
        archive.get_archived,
        "archive",
        ok(
            examples.detail(archive_shapes.archived_job_detail),
            archive_shapes.ArchivedJobDetail,
        ),
        (NotArchived, Invalid, NotReady),
    ),
    Route(
        "POST",
        "/api/archive/{id}/restore",
        archive.restore_archived,
        "archive",
        {202: Content(examples.operation, OperationShape)},
        (
            *(NotArchived, NoArchive, OperationRunningError, Undecodable),
            *(TooLarge, UnsupportedMediaType, Invalid, NotReady),
        ),
        bodies=(Content(examples.decision, archive.Restoring),),
        body_required=False,
    ),
)
