"""The backup over HTTP: how it stands, what there is, and the work that it can be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import NO_STORE, Encoded, JsonResponse, encode, respond
from daemon.api.context import Context, InContext
from daemon.api.operations import Kind, Progress, Work
from daemon.backup.documents import Lag, listing_document, result_document, status_document
from daemon.backup.errors import NoBackup
from daemon.backup.status import Backup
from daemon.backup.status import Kind as Task

TASKS: Final = {Kind.BACKUP: Task.CREATE, Kind.PROVE: Task.PROVE, Kind.PRUNE: Task.PRUNE}
"""The operations that are the backup's."""


async def get_backup(context: InContext) -> Response:
    """Say how the backup stands, and how far it is behind. Nothing is asked of the store."""
    head = context.log.head()
    status = context.backup_status()
    document = status_document(status, Lag.of(status, context.log, context.clock()))
    return JsonResponse({**document, "as_of": head}, headers=NO_STORE)


async def list_snapshots(request: Request, context: InContext) -> Response:
    """List the snapshots in the store, the newest first, and sum up the segments.

    The store is asked, so that this may take as long as one answer of it.
    """
    return respond(request, await context.store_readers.run(_snapshots, context))


def _snapshots(context: Context) -> Encoded:
    found = backup_of(context).perform(Task.LIST, {}, _unwatched)
    document = listing_document(found, context.log.head())
    return encode(document, document.pop("as_of"))


def _unwatched(_done: int, _total: int) -> None:
    """Watch nothing: who lists is not told how far that is."""


def backup_of(context: Context) -> Backup:
    """Return the backup of a daemon.

    Raises:
        NoBackup: none is configured.

    """
    if context.backup is None:
        raise NoBackup("No backup is configured.", hint="Set [backup] url, and start again.")
    return context.backup


def backup_work(context: Context, kind: Kind, arguments: Mapping[str, Any]) -> Work:
    """Return one of the backup's operations, ready to be started."""
    return partial(_perform, backup_of(context), TASKS[kind], arguments)


def _perform(
    backup: Backup, task: Task, arguments: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    return result_document(backup.perform(task, arguments, progress))
