"""The runs of a task: how each went, and the events of the log that say so.

The stream of a task is ``maintenance/<task>``: a run is one ``maintenance.started``, and one
``maintenance.finished`` at its end. The id of an event is made from its version in that stream, so
that an event whose commit was not seen is not recorded again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Self

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import EventQuery
from daemon.eventlog.statements import SQL
from daemon.intake.message import identity
from domain.catalog import validate_payload
from domain.events import NewEvent, RecordedEvent
from domain.timestamps import format_optional, parse_timestamp

SOURCE: Final = "/chronicled/maintenance"
STARTED: Final = "maintenance.started"
FINISHED: Final = "maintenance.finished"
MESSAGE_MAX: Final = 2_000
"""A longer message is cut (characters)."""


class Reason(StrEnum):
    """Why a task ran."""

    SCHEDULE = "schedule"
    CATCH_UP = "catch-up"
    """Due times passed while nobody could see to them; one run stands for all of them."""
    ASKED = "asked"


class Result(StrEnum):
    """How a run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The daemon stopped, or was ended, before the run had ended."""
    SKIPPED = "skipped"
    """It could not be done then."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a task; times are microseconds UTC.

    ``due`` is the newest due time that is seen to with it, ``by`` who asked for it. Without a
    ``result`` it has not ended.
    """

    started: int
    reason: Reason
    due: int | None = None
    by: str | None = None
    ended: int | None = None
    result: Result | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    message: str | None = None

    @property
    def idle(self) -> bool:
        """Whether it ended well and there was nothing to do."""
        return self.result is Result.SUCCEEDED and not any(self.counts.values())

    def end(self, now: int, result: Result, counts: Mapping[str, int], message: str | None) -> Self:
        """Return the run as it ended; a clock that was set back ends none before its start."""
        short = None if message is None else message[:MESSAGE_MAX]
        ended = max(now, self.started)
        return replace(self, ended=ended, result=result, counts=dict(counts), message=short)

    def document(self) -> dict[str, Any]:
        """Return the run as JSON."""
        return {
            "started": format_optional(self.started),
            "ended": format_optional(self.ended),
            "reason": self.reason,
            "by": self.by,
            "due": format_optional(self.due),
            "outcome": self.result,
            "counts": dict(self.counts),
            "message": self.message,
        }

    # -- in the log ---------------------------------------------------------------------------

    def begun(self, task: str, version: int) -> NewEvent:
        """Return the event of its start, which is to have this version."""
        payload = {"kind": task, "reason": self.reason, "due": format_optional(self.due)}
        return self._event(STARTED, task, version, self.started, payload)

    def finished(self, task: str, version: int) -> NewEvent:
        """Return the event of its end, which is to have this version."""
        payload = {
            "kind": task,
            "reason": self.reason,
            "outcome": self.result,
            "counts": dict(self.counts),
            "message": self.message,
        }
        return self._event(FINISHED, task, version, self.ended or self.started, payload)

    def _event(
        self, type_: str, task: str, version: int, time: int, payload: Mapping[str, Any]
    ) -> NewEvent:
        told = {name: value for name, value in payload.items() if value is not None}
        actor = {} if self.by is None else {"actor": self.by}
        return NewEvent(
            type_,
            task,
            SOURCE,
            identity(type_, task, version),
            validate_payload(type_, told),
            time,
            actor,
            version - 1,
        )

    @classmethod
    def of(cls, started: RecordedEvent, finished: RecordedEvent | None) -> Self:
        """Return the run of its events."""
        payload = started.payload
        actor = started.extensions.get("actor")
        run = cls(
            started.time,
            _member(Reason, payload.get("reason")) or Reason.SCHEDULE,
            None if payload.get("due") is None else parse_timestamp(payload["due"]),
            None if actor is None else str(actor),
        )
        if finished is None:
            return run
        told = finished.payload
        result = _member(Result, told.get("outcome")) or Result.FAILED
        return run.end(finished.time, result, told.get("counts") or {}, told.get("message"))


def _member(kind: Any, value: object) -> Any:
    return kind(value) if value in list(kind) else None


def stream_of(task: str) -> str:
    """Return the stream of a task's runs."""
    return f"maintenance/{task}"


def newest_events(log: EventLog, stream: str, limit: int) -> list[RecordedEvent]:
    """Return the newest events of a stream, the newest first."""
    found: list[RecordedEvent] = []
    before: int | None = None
    while len(found) < limit:
        query = EventQuery(stream=stream, before=before, descending=True)
        page = log.select(query, limit - len(found))
        found += page.events
        before = page.next_after
        if before is None:
            break
    return found


def recorded_runs(log: EventLog, task: str, limit: int) -> tuple[int, list[Run]]:
    """Return the version of a task's stream, and its newest runs, the newest first."""
    events = newest_events(log, stream_of(task), 2 * limit)
    version = events[0].version if events else 0
    return version, list(_runs(events))[:limit]


def _runs(events: list[RecordedEvent]) -> Iterator[Run]:
    finished: RecordedEvent | None = None
    for event in events:
        if event.type == STARTED:
            yield Run.of(event, finished)
            finished = None
        else:
            finished = event


def created(log: EventLog) -> int:
    """Return when a log was made (microseconds UTC), 0 where that is not known."""
    with log.reading().connection() as db:
        return int(db.execute(SQL["find_meta"], ("created",)).get or 0)
