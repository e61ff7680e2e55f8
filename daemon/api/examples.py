"""Examples for the OpenAPI document, made by the code that makes the real answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson

from daemon.api.health import projection_document
from daemon.api.operations import Kind, Operation
from daemon.api.problems import ParameterFault, problem_document
from daemon.api.writing import receipt_document
from daemon.release import PROGRAM_VERSION
from daemon.size.disk import Lines
from daemon.size.documents import disk_document
from daemon.size.guard import Disk, DiskState
from domain.alert import alert_view, fold_alert
from domain.changes import CATEGORIES, steps
from domain.cloudevents import example_event, from_structured, to_json, to_line, to_structured
from domain.errors import ChronicledError, Fault, Invalid, UnknownField
from domain.events import Receipt, RecordedEvent
from domain.file import FACTS, fold_file
from domain.history import history_of, history_view
from domain.job import fold_job, job_view
from domain.limits import Limits
from domain.timestamps import format_timestamp
from projections.seam import ProjectionStatus

Example = Callable[[], Any]

_NOW: Final = 1_770_185_567_000_000
_HEAD: Final = 42
_OPERATION: Final = "5f0c9a7be0c94f1d8a4b0a2f6e1d3c55"


def _recorded(*types: str) -> list[RecordedEvent]:
    """Return the typical events of some types as the log would hold them."""
    events = [from_structured(example_event(type_), Limits()) for type_ in types]
    return [
        RecordedEvent(
            position=_HEAD - len(events) + version,
            stream=event.stream,
            version=version,
            type=event.type,
            time=event.time or _NOW,
            recordedtime=_NOW,
            source=event.source,
            id=event.id,
            data=event.data,
            payload=orjson.loads(event.data),
            extensions=event.extensions or {},
        )
        for version, event in enumerate(events, 1)
    ]


def page(item: Example) -> Example:
    """Return the example of a list with one such item."""
    return lambda: {"items": [item()], "next": None, "as_of": _HEAD}


def detail(item: Example) -> Example:
    """Return the example of one such item asked for by its id."""
    return lambda: {**item(), "as_of": _HEAD}


def event() -> dict[str, Any]:
    """Return an event as it is recorded."""
    return to_structured(_recorded("job.submitted")[0])


def event_stream() -> dict[str, Any]:
    """Return an event of the live stream."""
    first = _recorded("job.submitted")[0]
    return {"event": first.type, "id": str(first.position), "data": to_json(first).decode()}


def new_event() -> dict[str, Any]:
    """Return an event as a producer sends it."""
    return example_event("job.submitted")


def new_batch() -> list[dict[str, Any]]:
    """Return a batch as a producer sends it."""
    return [example_event("job.submitted"), {**example_event("job.started"), "id": "01JK7Z3W6R-2"}]


def new_lines() -> str:
    """Return the same batch as NDJSON."""
    return "".join(f"{orjson.dumps(each).decode()}\n" for each in new_batch())


def history_line() -> str:
    """Return a recorded event as a line of an export."""
    return to_line(_recorded("job.submitted")[0], bytes(32)).decode() + "\n"


def task_line() -> dict[str, Any]:
    """Return a flowlord task message."""
    return {
        "type": "csv2json",
        "job": "hourly",
        "info": "gs://raw/2026/02/04/06/in.csv",
        "created": "2026-02-04T06:12:46Z",
        "id": "3f0c6a52-8d5e-4d6e-9c55-0f2a3a1f7b10",
        "meta": "workflow=etl/hourly.toml&cron=2026-02-04T06",
        "result": "complete",
        "started": "2026-02-04T06:12:47Z",
        "ended": "2026-02-04T06:13:02Z",
    }


def task_lines() -> str:
    """Return the same as NDJSON."""
    return f"{orjson.dumps(task_line()).decode()}\n"


def run_event() -> dict[str, Any]:
    """Return an OpenLineage event."""
    return {
        "eventType": "START",
        "eventTime": "2026-02-04T06:12:46Z",
        "run": {"runId": "0194cf2b-6a30-7c1e-9d64-3d1f1a0c8e52"},
        "job": {"namespace": "etl", "name": "hourly.load_events"},
        "producer": "https://example.org/etl",
    }


def receipts() -> dict[str, Any]:
    """Return the answer to an append."""
    receipt = Receipt("01JK7Z3W6R-1", _HEAD, "job/job-17", 1)
    return {"events": [receipt_document(receipt)], "as_of": _HEAD}


def repeated_receipts() -> dict[str, Any]:
    """Return the answer to an append of what was there already."""
    receipt = Receipt("01JK7Z3W6R-1", _HEAD, "job/job-17", 1, duplicate=True)
    return {"events": [receipt_document(receipt)], "as_of": _HEAD}


def intake_receipts() -> dict[str, Any]:
    """Return the answer to an intake."""
    return {**receipts(), "dead_letters": 0}


def repeated_intake() -> dict[str, Any]:
    """Return the answer to an intake of what was there already."""
    return {**repeated_receipts(), "dead_letters": 0}


def job() -> dict[str, Any]:
    """Return a job."""
    return job_view(fold_job(None, _recorded("job.submitted", "job.started", "job.succeeded")))


def history_entry() -> dict[str, Any]:
    """Return an entry of a job's history."""
    return history_view(history_of(_recorded("job.submitted"))[0])


def alert() -> dict[str, Any]:
    """Return an alert."""
    return alert_view(fold_alert(None, _recorded("alert.raised")))


def alert_with_timeline() -> dict[str, Any]:
    """Return an alert with its timeline."""
    first = _recorded("alert.raised")[0]
    entry = {
        "position": first.position,
        "version": first.version,
        "type": first.type,
        "time": format_timestamp(first.time),
        "recordedtime": format_timestamp(first.recordedtime),
        "source": first.source,
        **dict.fromkeys(("actor", "by", "reason", "channel")),
        "severity": first.payload["severity"],
        "message": first.payload["message"],
        "skewed": False,
    }
    return {**alert(), "timeline": [entry]}


def decision() -> dict[str, Any]:
    """Return what somebody says about an alert."""
    return {"by": "mara", "reason": "looking at the database"}


def file() -> dict[str, Any]:
    """Return a message about a file."""
    first, match = _recorded("file.observed", "file.matched")
    observed = fold_file(None, [first])
    return {
        "path": observed.path,
        "state": observed.state,
        **{name: observed.facts.get(name) for name in FACTS},
        "observed": format_timestamp(first.time),
        "recordedtime": format_timestamp(first.recordedtime),
        "skewed": False,
        "position": first.position,
        "event": first.id,
        "source": first.source,
        "matched": True,
        "matches": [
            {
                **{name: match.payload.get(name) for name in ("workflow", "phases", "jobs")},
                "reason": None,
                "time": format_timestamp(match.time),
                "position": match.position,
            }
        ],
    }


def step() -> dict[str, Any]:
    """Return what the last event of a job changed."""
    events = _recorded("job.submitted", "job.started", "job.succeeded")
    last = list(steps(CATEGORIES["job"], events))[-1]
    return {
        "event": to_structured(last.event),
        "changes": [{"field": field, "from": a, "to": b} for field, a, b in last.changes],
        "state": last.state,
        "late": last.late,
    }


def stream_diff() -> dict[str, Any]:
    """Return how a job differs after its last event."""
    last = step()
    event = {name: last["event"][name] for name in ("id", "type", "position", "time")}
    return {
        "stream": f"job/{last['state']['id']}",
        "from": _HEAD - 1,
        "to": _HEAD,
        "changes": [change | {"event": event} for change in last["changes"]],
        "events": 1,
        "before": None,
        "after": last["state"],
        "as_of": _HEAD,
    }


def jobs_diff() -> dict[str, Any]:
    """Return the jobs that differ: one, which ended."""
    shown = job()
    item = {
        **{name: shown[name] for name in ("id", "kind", "name")},
        "appeared": False,
        "ended": True,
        "from": "running",
        "to": shown["status"],
        "from_attempt": 1,
        "to_attempt": 1,
        "events": 1,
        "position": _HEAD,
        "time": shown["ended"],
    }
    return {"items": [item], "next": None, "from": _HEAD - 1, "to": _HEAD, "as_of": _HEAD}


def timeline() -> dict[str, Any]:
    """Return the story of a job that nothing is tied to."""
    [first] = _recorded("job.submitted")
    shown = job_view(fold_job(None, [first]))
    fields = ("status", "kind", "name", "attempt", "started", "ended", "run_seconds", "events")
    entity = {
        "stream": first.stream,
        "relation": "self",
        "from": None,
        **{name: shown[name] for name in fields},
        "first": shown["submitted"],
        "last": shown["updated"],
        "truncated": False,
    }
    item = {"event": event(), "entity": first.stream, "relation": "self"}
    return {
        "items": [item],
        "entities": [entity],
        "truncated": False,
        "unresolved": [],
        "next": None,
        "as_of": _HEAD,
    }


def summary() -> dict[str, Any]:
    """Return the summary of one job."""
    counts = {"succeeded": 1}
    half = {"count": 1, "p50": 14.7, "p95": 14.7}
    return {
        "since": None,
        "until": None,
        "jobs": {"total": 1, "by_status": counts, "by_kind": {"annotation": counts}},
        "durations": {"annotation": {"run": half, "queue": half}},
        "alerts": {"open": 0, "acknowledged": 0, "resolved": 0},
        "days": [{"date": "2026-02-04", "jobs": 1, "alerts": 0, "files": 0, "by_status": counts}],
        "as_of": _HEAD,
    }


def numbers() -> dict[str, Any]:
    """Return the numbers people chart."""
    return {
        "log": {"position": _HEAD, "log_id": "0b0b0f0e-77a4-4d6c-8a53-3f2d7a0c9f11", "epoch": 1},
        "rates": {"events_per_second_1m": 0.7, "events_per_second_5m": 0.14},
        "writer": {"queue_events": 0, "queue_capacity_events": 50_000},
        "sizes": {
            "databases": {
                "log": {"database": 77_824, "wal": 4_152},
                "views": {"database": 147_456, "wal": 0},
            },
            "disk_free": 61_203_283_968,
        },
        "projections": [projection()],
        "jobs": {"succeeded": 1},
        "dead_letters": {"flowlord-task": {"letters": 1, "count": 1}},
        "streams": 0,
        "as_of": _HEAD,
    }


def offset() -> dict[str, Any]:
    """Return how far a followed file was read."""
    return {"follow": "/var/log/tasks.ndjson", "offset": 1234}


def operation() -> dict[str, Any]:
    """Return an operation at work."""
    return Operation(_OPERATION, Kind.VERIFY, _NOW, done=20_000, total=100_000).document()


def projection() -> dict[str, Any]:
    """Return how a projection stands."""
    return projection_document(
        ProjectionStatus("jobs", 1, _HEAD, "live", recordedtime=_NOW, head=_HEAD)
    )


def asked_operation() -> dict[str, Any]:
    """Return the request for an operation."""
    return {"kind": "rebuild", "projection": "jobs"}


def operation_stream() -> dict[str, Any]:
    """Return one change of an operation as it is streamed."""
    return {"event": "running", "data": orjson.dumps(operation()).decode()}


def exposition() -> str:
    """Return some lines for a scraper."""
    return (
        "# HELP chronicled_log_position Position of the newest event.\n"
        "# TYPE chronicled_log_position gauge\n"
        f"chronicled_log_position {_HEAD}.0\n"
    )


def health() -> dict[str, Any]:
    """Return the answer to the question for life."""
    return {"status": "alive", "version": PROGRAM_VERSION}


def disk() -> dict[str, Any]:
    """Return how a disk stands."""
    lines = Lines(warn=1 << 30, refuse=256 << 20, reserve=64 << 20)
    return disk_document(Disk(DiskState.OK, 40 << 30, 21 << 30, 64 << 20, lines, _NOW))


def readiness() -> dict[str, Any]:
    """Return the answer to the question for readiness."""
    since = format_timestamp(_NOW)
    log = {"position": _HEAD, "epoch": 1, "ok": True, "code": None, "error": None, "since": since}
    return {
        "status": "ready",
        "log": log,
        "projections": [projection()],
        "disk": disk(),
        "backup": {"state": "shipping", "detail": None},
        "workflows": {"position": _HEAD, "waits_for_views": False},
        "draining": False,
        "readonly": False,
    }


def unreadiness() -> dict[str, Any]:
    """Return the answer to the question for readiness while the disk is full."""
    ready = readiness()
    log = {**ready["log"], "ok": False, "code": "disk_full", "error": "the disk is full"}
    return {**ready, "status": "failed", "log": log, "disk": {**ready["disk"], "state": "refusing"}}


_PLACES: Final[dict[type[ChronicledError], Sequence[Fault]]] = {
    UnknownField: [
        Fault("unknown field 'onwer'; did you mean 'owner'?", "/data/onwer", 3, UnknownField.code)
    ],
    Invalid: [
        ParameterFault(
            "Input should be less than or equal to 1000", parameter="limit", code="invalid"
        )
    ],
}


def problem(error: type[ChronicledError]) -> dict[str, Any]:
    """Return the problem details of an error."""
    errors = _PLACES.get(error, ())
    said = errors[0].detail if errors else (error.__doc__ or "").partition("\n")[0]
    return problem_document(error(said, errors=errors))
