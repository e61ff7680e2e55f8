"""Every operation of the interface: method, path, what answers it, and how it is documented."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from daemon.api import (
    alerts,
    changes,
    deadletters,
    events,
    examples,
    files,
    health,
    history,
    ingest,
    intake,
    jobs,
    maintenance,
    pages,
    schemas,
    story_shapes,
    summary,
    timeline,
)
from daemon.api.operations import OperationRunningError
from daemon.api.parameters import Parameters
from daemon.intake.media import BATCH, PLAIN, STRUCTURED
from domain.errors import (
    BeforeHistory,
    BeyondHead,
    ChronicledError,
    DiskFull,
    Forbidden,
    HistoryConflict,
    Invalid,
    InvalidCursor,
    NewerEvent,
    NotFound,
    NotReady,
    QueryTimeout,
    QueueFull,
    ReservedType,
    StorageFailed,
    TooLarge,
    Unavailable,
    Undecodable,
    UnknownField,
    UnknownType,
    UnsupportedMediaType,
    VersionConflict,
)

Errors = tuple[type[ChronicledError], ...]
LINES: Final = "application/x-ndjson"

ALWAYS: Final[Errors] = (Forbidden, ChronicledError)
READ: Final[Errors] = (BeyondHead, BeforeHistory, Invalid, NewerEvent, NotReady, QueryTimeout)
LIST: Final[Errors] = (*READ, InvalidCursor)
WRITE: Final[Errors] = (
    Undecodable,
    VersionConflict,
    TooLarge,
    UnsupportedMediaType,
    UnknownField,
    UnknownType,
    ReservedType,
    Invalid,
    QueueFull,
    NotReady,
    StorageFailed,
    DiskFull,
)


@dataclass(frozen=True, slots=True)
class Content:
    """A body as it is documented: its media type, shape and example."""

    example: examples.Example
    shape: Any = None
    media_type: str = PLAIN


@dataclass(frozen=True, slots=True)
class Route:
    """One operation. ``plain`` ones are served without the web framework's layers."""

    method: str
    path: str
    endpoint: Callable[..., Any]
    tag: str
    answers: Mapping[int, Content]
    errors: Errors
    bodies: tuple[Content, ...] = ()
    body_required: bool = True
    plain: bool = False
    parameters: type[Parameters] | None = None
    """For plain ones: the query parameters."""

    @property
    def operation_id(self) -> str:
        """The stable name of the operation for generated clients."""
        return self.endpoint.__name__

    @property
    def summary(self) -> str:
        """What it does, in one sentence."""
        return self._said.partition("\n")[0].rstrip(".")

    @property
    def description(self) -> str:
        """The rest of what is to be said about it."""
        return "\n".join(line.strip() for line in self._said.splitlines()[1:]).strip()

    @property
    def _said(self) -> str:
        return self.endpoint.__doc__ or ""


def _ok(example: examples.Example, shape: Any) -> dict[int, Content]:
    return {200: Content(example, shape)}


_EVENTS_IN: Final = (
    Content(examples.new_event, schemas.NewCloudEvent, PLAIN),
    Content(examples.new_event, schemas.NewCloudEvent, STRUCTURED),
    Content(examples.new_batch, list[schemas.NewCloudEvent], BATCH),
    Content(examples.new_lines, str, LINES),
)
_MESSAGES_IN: Final = (
    Content(examples.task_line, dict[str, Any], PLAIN),
    Content(examples.task_lines, str, LINES),
)
_DECIDED: Final = {
    201: Content(examples.receipts, schemas.Receipts),
    200: Content(examples.repeated_receipts, schemas.Receipts),
}
_DECISION: Final[Errors] = (
    *(NotFound, NewerEvent, Undecodable, UnsupportedMediaType, Invalid),
    *WRITE[-4:],
)

ROUTES: Final = (
    Route(
        "POST",
        "/api/events",
        ingest.post_events,
        "events",
        {
            201: Content(examples.receipts, schemas.Receipts),
            200: Content(examples.repeated_receipts, schemas.Receipts),
        },
        WRITE,
        bodies=_EVENTS_IN,
        plain=True,
    ),
    Route(
        "POST",
        "/api/intake/{format}",
        intake.post_intake,
        "events",
        {
            201: Content(examples.intake_receipts, schemas.Receipts),
            200: Content(examples.repeated_intake, schemas.Receipts),
        },
        (NotFound, *WRITE),
        bodies=_MESSAGES_IN,
        plain=True,
        parameters=intake.IntakeParameters,
    ),
    Route(
        "POST",
        "/api/history",
        history.post_history,
        "events",
        {
            201: Content(examples.receipts, schemas.Receipts),
            200: Content(examples.repeated_receipts, schemas.Receipts),
        },
        (HistoryConflict, NewerEvent, *(each for each in WRITE if each is not VersionConflict)),
        bodies=(Content(examples.history_line, str, LINES),),
        plain=True,
    ),
    Route(
        "GET",
        "/api/intake/offsets",
        intake.get_offset,
        "events",
        _ok(examples.offset, schemas.Offset),
        (Invalid, Unavailable),
    ),
    Route(
        "GET",
        "/api/events",
        events.list_events,
        "events",
        _ok(examples.page(examples.event), schemas.Page[schemas.Event]),
        (Invalid, UnknownType, InvalidCursor, Unavailable),
    ),
    Route(
        "GET",
        "/api/events/stream",
        events.stream_events,
        "events",
        {200: Content(examples.event_stream, str, "text/event-stream")},
        (BeyondHead, Invalid, UnknownType, InvalidCursor, Unavailable),
    ),
    Route(
        "GET",
        "/api/jobs",
        jobs.list_jobs,
        "jobs",
        _ok(examples.page(examples.job), schemas.Page[schemas.Job]),
        LIST,
    ),
    Route(
        "GET",
        "/api/jobs/{id}",
        jobs.get_job,
        "jobs",
        _ok(examples.detail(examples.job), schemas.JobDetail),
        (NotFound, *READ),
    ),
    Route(
        "GET",
        "/api/jobs/{id}/history",
        jobs.get_history,
        "jobs",
        _ok(examples.page(examples.history_entry), schemas.Page[schemas.HistoryEntry]),
        (NotFound, *LIST),
    ),
    Route(
        "GET",
        "/api/alerts",
        alerts.list_alerts,
        "alerts",
        _ok(examples.page(examples.alert), schemas.Page[schemas.Alert]),
        LIST,
    ),
    Route(
        "GET",
        "/api/alerts/{id}",
        alerts.get_alert,
        "alerts",
        _ok(examples.detail(examples.alert_with_timeline), schemas.AlertDetail),
        (NotFound, *READ),
    ),
    Route(
        "POST",
        "/api/alerts/{id}/acknowledge",
        alerts.acknowledge_alert,
        "alerts",
        _DECIDED,
        _DECISION,
        bodies=(Content(examples.decision, alerts.Decision),),
        body_required=False,
    ),
    Route(
        "POST",
        "/api/alerts/{id}/resolve",
        alerts.resolve_alert,
        "alerts",
        _DECIDED,
        _DECISION,
        bodies=(Content(examples.decision, alerts.Decision),),
        body_required=False,
    ),
    Route(
        "GET",
        "/api/files",
        files.list_files,
        "files",
        _ok(examples.page(examples.file), schemas.Page[schemas.File]),
        LIST,
    ),
    Route(
        "GET",
        "/api/summary",
        summary.get_summary,
        "summary",
        _ok(examples.summary, schemas.Summary),
        READ,
    ),
    Route(
        "GET",
        "/api/diff",
        changes.get_diff,
        "history",
        {200: Content(examples.stream_diff, story_shapes.StreamDiff | story_shapes.JobsDiff)},
        (NotFound, BeyondHead, BeforeHistory, Invalid, InvalidCursor, QueryTimeout),
    ),
    Route(
        "GET",
        "/api/steps",
        changes.get_steps,
        "history",
        _ok(examples.page(examples.step), schemas.Page[story_shapes.StepShape]),
        (NotFound, Invalid, InvalidCursor, QueryTimeout),
    ),
    Route(
        "GET",
        "/api/timeline",
        timeline.get_timeline,
        "history",
        _ok(examples.timeline, story_shapes.TimelineShape),
        (NotFound, *LIST),
    ),
    Route(
        "GET",
        "/api/metrics",
        health.numbers,
        "daemon",
        _ok(examples.numbers, schemas.Numbers),
        (Unavailable,),
    ),
    Route(
        "GET",
        "/api/deadletters",
        deadletters.list_dead_letters,
        "events",
        _ok(examples.page(examples.dead_letter), schemas.Page[schemas.DeadLetter]),
        (Invalid, InvalidCursor, Unavailable),
    ),
    Route(
        "POST",
        "/api/operations",
        maintenance.start_operation,
        "daemon",
        {202: Content(examples.operation, schemas.OperationShape)},
        (NotFound, OperationRunningError, UnsupportedMediaType, Invalid, NotReady),
        bodies=(Content(examples.asked_operation, maintenance.Asked),),
    ),
    Route(
        "GET",
        "/api/operations",
        maintenance.list_operations,
        "daemon",
        _ok(examples.page(examples.operation), schemas.Page[schemas.OperationShape]),
        (),
    ),
    Route(
        "GET",
        "/api/operations/{id}",
        maintenance.get_operation,
        "daemon",
        _ok(examples.operation, schemas.OperationShape),
        (NotFound,),
    ),
    Route(
        "GET",
        "/api/operations/{id}/stream",
        maintenance.stream_operation,
        "daemon",
        {200: Content(examples.operation_stream, str, "text/event-stream")},
        (NotFound, Unavailable),
    ),
    Route(
        "GET",
        "/metrics",
        health.prometheus,
        "daemon",
        {200: Content(examples.exposition, str, "text/plain")},
        (Unavailable,),
    ),
    Route("GET", "/healthz", health.healthz, "daemon", _ok(examples.health, schemas.Health), ()),
    Route(
        "GET",
        "/readyz",
        health.readyz,
        "daemon",
        {
            200: Content(examples.readiness, schemas.Readiness),
            503: Content(examples.unreadiness, schemas.Readiness),
        },
        (),
    ),
    Route(
        "GET",
        "/openapi.json",
        pages.openapi_json,
        "documents",
        _ok(lambda: {"openapi": "3.1.0"}, dict[str, Any]),
        (),
        plain=True,
    ),
    Route(
        "GET",
        "/docs",
        pages.docs_page,
        "documents",
        {200: Content(lambda: "<!doctype html>", str, "text/html")},
        (),
        plain=True,
    ),
    Route(
        "GET",
        "/docs/errors",
        pages.errors_page,
        "documents",
        {200: Content(lambda: "<!doctype html>", str, "text/html")},
        (),
        plain=True,
    ),
)
"""Every operation, those under most load first."""
