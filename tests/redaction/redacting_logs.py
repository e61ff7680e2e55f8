"""Events in which there is something to hide, and hiding it."""

from __future__ import annotations

from typing import Any

import orjson

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Work
from daemon.redaction.redacting import Redacted, Redaction
from domain.catalog import validate_payload
from domain.events import NewEvent

SECRET = "tok-5up3r-s3cr3t-value"
POINTER = "/data/params/token"


def job(subject: str, id_: str, **payload: Any) -> NewEvent:
    """Return a job.submitted with a payload."""
    data = validate_payload("job.submitted", orjson.dumps(payload))
    return NewEvent("job.submitted", subject, "/tests", id_, data)


def secret_jobs() -> list[NewEvent]:
    """Return three jobs, of which the second has the secret in its parameters."""
    params = {"token": SECRET, "n": [1, SECRET]}
    return [job("j1", "e1", kind="k"), job("j2", "e2", kind="k", params=params),
            job("j3", "e3", kind="k")]  # fmt: skip


def redact(log: EventLog, position: int, pointer: str = POINTER) -> Redacted:
    """Redact, as an operation does."""
    done: Redacted = log.work(Work(Redaction(position, pointer, "a token", "ana").run))
    return done
