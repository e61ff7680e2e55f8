"""How the daemon is: health, readiness, and its numbers for people and for Prometheus."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import AS_OF_HEADER, NO_STORE, JsonResponse
from daemon.api.context import Context, InContext
from daemon.backup.status import BackupStatus, State
from daemon.eventlog.requests import LogHealth
from daemon.metrics import database_sizes, disk_free
from daemon.release import PROGRAM_VERSION
from daemon.size.documents import disk_document
from daemon.size.guard import DiskState
from domain.errors import ChronicledError, DiskFull, NotReady, QueueFull
from domain.timestamps import format_timestamp
from projections.seam import ProjectionStatus

PING_SECONDS: Final = 2.0
"""How long the writer may take to answer before the daemon is not ready."""


async def healthz() -> Response:
    """Say that the process is alive: always 200."""
    return JsonResponse({"status": "alive", "version": PROGRAM_VERSION}, headers=NO_STORE)


async def readyz(context: InContext) -> Response:
    """Say whether the daemon can do its work.

    200 when the writer answers and the projections have caught up once since the start; a failed
    projection, a backup that cannot go on, or a disk that is low, shows as `degraded`, still 200.
    503 while starting or stopping, while the disk or the writer fails, or while the disk has too
    little room for events.
    """
    answers = await _writer_answers(context)
    projections = context.runner.status()
    health, backup = log_health(context), context.backup_status()
    disk = _disk_document(context)
    if context.draining:
        status = "stopping"
    elif not (answers and health.ok):
        status = "failed"
    elif not context.runner.caught_up:
        status = "starting"
    elif (
        backup.state in (State.UNAVAILABLE, State.REFUSED)
        or any(projection.state == "failed" for projection in projections)
        or (disk is not None and disk["state"] != DiskState.OK)
    ):
        status = "degraded"
    else:
        status = "ready"
    document = {
        "status": status,
        "log": {
            "position": context.log.head(),
            "epoch": context.log.epoch,
            "ok": answers and health.ok,
            "code": health.code or None,
            "error": health.error or (None if answers else "the writer does not answer"),
            "since": format_timestamp(health.since),
        },
        "projections": [projection_document(projection) for projection in projections],
        "disk": disk,
        "backup": _backup_document(backup),
        "workflows": _workflows_document(context),
        "draining": context.draining,
        "readonly": context.readonly,
    }
    ready = status in ("ready", "degraded")
    headers = NO_STORE if ready else {**NO_STORE, "retry-after": "1"}
    return JsonResponse(document, status_code=200 if ready else 503, headers=headers)


def log_health(context: Context) -> LogHealth:
    """Return whether the log takes events: it can be written, and there is room for them."""
    health, reason = context.log.health, context.gate.reason
    if reason is None or not health.ok:
        return health
    return LogHealth(False, DiskFull.code, reason, context.sizes.disk().since)


def _disk_document(context: Context) -> dict[str, Any] | None:
    try:
        disk = context.sizes.disk()
    except OSError:
        return None
    return disk_document(disk)


def _backup_document(status: BackupStatus) -> dict[str, Any]:
    if status.state is State.OFF:
        return {"state": State.OFF}
    return {"state": status.state, "detail": status.detail or None}


def _workflows_document(context: Context) -> dict[str, Any] | None:
    if (follower := context.follower) is None:
        return None
    return {"position": follower.position, "waits_for_views": follower.waits_for_views}


async def _writer_answers(context: Context) -> bool:
    """Ask the writer for a sign of life; while its disk fails that is known already."""
    if not context.log.health.ok:
        return True
    loop = asyncio.get_running_loop()
    answered = asyncio.Event()

    def answer() -> None:
        # The loop may have closed meanwhile; then nobody waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(answered.set)

    with context.committed.listen() as committed, suppress(NotReady, TimeoutError):
        async with asyncio.timeout(PING_SECONDS):
            try:
                context.log.ping(answer)
            except QueueFull:
                # There is no room to ask; but a writer that commits is alive.
                answered = committed
            await answered.wait()
            return True
    return False


def projection_document(status: ProjectionStatus) -> dict[str, Any]:
    """Return how a projection stands as JSON."""
    document = asdict(status)
    recorded = document.pop("recordedtime")
    document["last_processed"] = None if recorded is None else format_timestamp(recorded)
    return document


async def prometheus(request: Request, context: InContext) -> Response:
    """Give the metrics to a scraper, as Prometheus text or as OpenMetrics."""
    accept = request.headers.get("accept", "")
    text, content_type = await context.readers.run(context.metrics.exposition, accept)
    return Response(text, headers={"content-type": content_type, **NO_STORE})


async def numbers(context: InContext) -> Response:
    """Give the numbers people chart: position, rates, sizes, queue, projections, jobs."""
    document = await context.readers.run(_numbers, context)
    headers = {AS_OF_HEADER: str(document["as_of"]), **NO_STORE}
    return JsonResponse(document, headers=headers)


def _numbers(context: Context) -> dict[str, Any]:
    log, rates = context.log, context.metrics.rates
    return {
        "log": {"position": log.head(), "log_id": log.log_id, "epoch": log.epoch},
        "rates": {
            "events_per_second_1m": rates.per_second(60),
            "events_per_second_5m": rates.per_second(300),
        },
        "writer": {
            "queue_events": log.writer.queued_events,
            "queue_capacity_events": log.writer.bounds.queue_events,
        },
        "sizes": {
            "databases": {
                name: size._asdict() for name, size in database_sizes(context.files).items()
            },
            "disk_free": disk_free(context.files.values()),
        },
        "projections": [projection_document(status) for status in context.runner.status()],
        "jobs": _job_counts(context),
        "dead_letters": {
            name: {"letters": letters, "count": count}
            for name, (letters, count) in log.dead_letter_counts().items()
        },
        "streams": context.clients.open,
        "as_of": log.head(),
        "readonly": context.readonly,
    }


def _job_counts(context: Context) -> dict[str, int]:
    # Before the views are first built there is nothing to count.
    with suppress(ChronicledError):
        return context.views.job_counts()
    return {}
