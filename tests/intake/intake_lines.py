"""Lines in the producers' formats, for the tests of intake."""

from __future__ import annotations

from typing import Any

import orjson

from daemon.intake.formats import decode_body, decode_lines
from domain.events import NewEvent
from domain.limits import Limits

LIMITS = Limits()
TO_DO: dict[str, Any] = {
    "type": "load",
    "job": "events",
    "info": "gs://in/2026/02/04/06/part.json?table=ev",
    "created": "2026-02-04T10:00:00Z",
    "id": "5b0e9d5c-0f3e-4f53-9f6e-6f2f8b1c7a10",
    "meta": "workflow=etl/hourly.toml&cron=2026-02-04T06&job=events",
}
DONE: dict[str, Any] = TO_DO | {
    "meta": "cron=2026-02-04T06&job=events&workflow=etl%2Fhourly.toml",
    "result": "complete",
    "msg": "wrote 12 rows",
    "started": "2026-02-04T10:00:05Z",
    "ended": "2026-02-04T10:05:30Z",
}
JOB = "load:events:5b0e9d5c-0f3e-4f53-9f6e-6f2f8b1c7a10:2026-02-04T10:00:00Z:1"


def task(**fields: Any) -> list[NewEvent]:
    """Return the events of one task message; a field given as None is left out."""
    return decode("flowlord-task", **fields)


def decode(format: str, **fields: Any) -> list[NewEvent]:  # noqa: A002
    """Return the events of one message."""
    message = {name: value for name, value in fields.items() if value is not None}
    return decode_body(format, orjson.dumps(message), "application/json", LIMITS)


def lines(format: str, *messages: bytes | dict[str, Any]) -> list[Any]:  # noqa: A002
    """Return what each line became, in the lenient way."""
    body = b"\n".join(m if isinstance(m, bytes) else orjson.dumps(m) for m in messages)
    return decode_lines(format, body, LIMITS, "test.ndjson")


def keys(events: list[NewEvent]) -> list[tuple[str, str, str]]:
    """Return what makes each event the same as its repeat: stream, source and id."""
    return [(event.stream, event.source, event.id) for event in events]


def types(events: list[NewEvent]) -> list[str]:
    """Return the types of the events."""
    return [event.type for event in events]


def payload(event: NewEvent) -> Any:
    """Return the decoded payload of an event."""
    return orjson.loads(event.data)
