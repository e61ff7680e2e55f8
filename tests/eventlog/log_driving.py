"""Logs for tests: events to append, a clock to set, and the writer driven by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Append, Outcome, Request
from domain.events import NewEvent

START = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z in microseconds."""


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        """Return the time."""
        return self.now


def event(number: int, subject: str = "j1", **fields: Any) -> NewEvent:
    """Return an event with an id of its own."""
    fields.setdefault("data", b'{"number":%d}' % number)
    fields.setdefault("type", "job.progressed")
    return NewEvent(subject=subject, source="/test", id=f"e{number}", **fields)


def large(number: int, size: int) -> NewEvent:
    """Return an event whose payload has about this size (bytes)."""
    return event(number, data=b'{"text":"%s"}' % (b"x" * size))


def events(first: int, count: int, subject: str = "j1") -> list[NewEvent]:
    """Return events with consecutive numbers."""
    return [event(number, subject) for number in range(first, first + count)]


def submit(log: EventLog, *requests: Request | Sequence[NewEvent]) -> list[Outcome]:
    """Queue requests; their outcomes come into the list that is returned."""
    outcomes: list[Outcome] = []
    for request in requests:
        wanted = Append(request) if isinstance(request, Sequence) else request
        log.submit(wanted, outcomes.append)
    return outcomes


def drive(log: EventLog, *requests: Request | Sequence[NewEvent]) -> list[Outcome]:
    """Queue requests, let the writer take one step, and return their outcomes in order."""
    outcomes = submit(log, *requests)
    log.writer.step(log.writer._clock())
    return outcomes


def one(log: EventLog, request: Request | Sequence[NewEvent]) -> Any:
    """Do one request; return what was answered, raise what was raised."""
    (outcome,) = drive(log, request)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def sql(path: object, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
    """Run a statement on a file through a connection of its own."""
    connection = apsw.Connection(str(path))
    try:
        return connection.execute(statement, parameters).fetchall()
    finally:
        connection.close()
