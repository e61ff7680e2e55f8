"""Messages of every format for what is delivered again, and the log that they are delivered to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Self

import orjson
from intake_lines import DONE, TO_DO
from standard_messages import SAMPLES as STANDARDS

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Append, Work
from daemon.intake.formats import FORMATS, decode_body
from daemon.intake.recording import body_request, line_request, read_lines
from domain.alert import fold_alert
from domain.events import RecordedEvent
from domain.file import fold_file
from domain.job import fold_job
from domain.limits import Limits

LIMITS: Final = Limits()
START: Final = 1_770_300_000_000_000
"""When the first message is delivered: the day after that of the samples."""
Message = dict[str, Any]


def _event(number: int, type_: str, subject: str, minute: int, **data: Any) -> Message:
    return {
        "specversion": "1.0",
        "id": f"e{number}",
        "source": "/test",
        "type": type_,
        "subject": subject,
        "time": f"2026-02-04T06:{minute:02}:00Z",
        "data": data,
    }


def _state(saved: float, **more: Any) -> Message:
    flags = {"is_processing": False, "should_stop": False, "current_task": None}
    return {**flags, "queue": [], "history": [], "saved_at": saved, **more}


def _task(path: str, status: str, created: float, **more: Any) -> Message:
    empty = {"progress": 0.0, "error": None, "started_at": None, "completed_at": None}
    return {"image_path": path, "status": status, "created_at": created, **empty, **more}


_NOON: Final = 1_770_206_400.0
_RETRY: Final = TO_DO | {"created": "2026-02-04T10:07:00Z"}
_FAILED: Final = DONE | {"result": "error", "msg": "connection refused"}
_RETRIED: Final = {
    "created": "2026-02-04T10:07:00Z",
    "started": "2026-02-04T10:07:05Z",
    "ended": "2026-02-04T10:08:00Z",
    "meta": "cron=2026-02-04T06&job=events&retry=1&workflow=etl%2Fhourly.toml",
}
_EXHAUSTED: Final = (
    "cron=2026-02-04T06&job=events&retried=1&retry=failed&workflow=etl%2Fhourly.toml"
)
_WAITING: Final = _task("a.tif", "pending", _NOON)
_RUNNING: Final = _WAITING | {"status": "processing", "started_at": _NOON + 5}
_ENDED: Final = _RUNNING | {"status": "completed", "progress": 1.0, "completed_at": _NOON + 60}

SAMPLES: Final[Mapping[str, Sequence[Message]]] = {
    **STANDARDS,
    "cloudevents": [
        _event(1, "job.submitted", "j1", 0, kind="load", phase="load:a"),
        _event(2, "job.started", "j1", 1, attempt=1),
        _event(3, "job.failed", "j1", 2, error={"class": "error", "message": "no"}),
        _event(
            4, "alert.raised", "a1", 3, severity="error", kind="task_alert", title="no", job="j1"
        ),
        _event(5, "alert.resolved", "a1", 4),
        _event(6, "file.observed", "/in/a.csv", 5, size=3),
    ],
    "flowlord-task": [
        TO_DO,
        _FAILED,
        _RETRY | {"meta": _RETRIED["meta"]},
        _FAILED | _RETRIED,
        _FAILED | _RETRIED | {"meta": _EXHAUSTED},
        TO_DO | {"id": "run-2"},
        DONE | {"id": "run-2"},
        DONE | {"id": "run-3", "result": "alert", "msg": "12 null values"},
    ],
    "flowlord-file": [
        {"path": "s3://etl/out/1.json.gz", "size": 5, "created": "2026-02-04T06:10:01Z"},
        {"path": "s3://etl/out/1.json.gz", "size": 6, "created": "2026-02-04T06:20:01Z"},
        {"path": "/data/in/2.txt", "size": 19, "created": "2026-02-04T06:00:00-07:00"},
    ],
    "queue-state": [
        _state(_NOON + 1, queue=[_WAITING]),
        _state(_NOON + 10, is_processing=True, current_task=_RUNNING),
        _state(_NOON + 61, history=[_ENDED]),
    ],
}
"""For each format messages that belong together, in the order in which they happened."""

SOURCES: Final = {"queue-state": "/queue/images"}
"""The source of formats whose messages do not say it."""
FOLDS: Final[Mapping[str, Callable[[None, list[RecordedEvent]], Any]]] = {
    "job": fold_job,
    "alert": fold_alert,
    "file": fold_file,
}
PLACES: Final = {"first_position", "last_position", "events", "clock"}
"""What of a state is about the log: where its events are, and how many say the same."""


class Receiver:
    """A log that messages are delivered to; it tells what each delivery added."""

    def __init__(self, directory: Path) -> None:
        self._now = START
        directory.mkdir()
        self.log = EventLog.open(directory / "log.db", clock=self._clock, synchronous="NORMAL")
        self.log.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.log.close()

    def _clock(self) -> int:
        self._now += 1
        return self._now

    def strict(self, name: str, messages: Iterable[Message]) -> int:
        """Deliver messages as one body each, all or none; return how many events that added."""
        return sum(self._strict(name, message) for message in messages)

    def _strict(self, name: str, message: Message) -> int:
        events = decode_body(
            FORMATS[name], orjson.dumps(message), "application/json", LIMITS, SOURCES.get(name)
        )
        return self._added(body_request(FORMATS[name], events))

    def lenient(self, name: str, messages: Iterable[Message]) -> int:
        """Deliver messages as lines of one body; return how many events that added."""
        chosen = FORMATS[name]
        bodies = list(map(orjson.dumps, messages))
        added = 0
        for body in bodies if chosen.whole else [b"\n".join(bodies)]:
            lines = read_lines(chosen, body, LIMITS, "test", SOURCES.get(name))
            assert [line.dead_letter for line in lines if line.dead_letter is not None] == []
            added += self._added(line_request(chosen, lines, "test", None, len(body)))
        return added

    def _added(self, request: Append | Work) -> int:
        before = self.log.head()
        if isinstance(request, Append):
            self.log.append(
                request.events, dead_letters=request.dead_letters, follow=request.follow
            )
        else:
            self.log.work(request)
        return self.log.head() - before

    def states(self) -> dict[str, dict[str, Any]]:
        """Return what the jobs, alerts and files are, but for their places in the log."""
        streams: dict[str, list[RecordedEvent]] = {}
        for event in self.log.read(0, 10_000):
            streams.setdefault(event.stream, []).append(event)
        return {
            stream: _without_places(asdict(FOLDS[category](None, events)))
            for stream, events in streams.items()
            if (category := stream.partition("/")[0]) in FOLDS
        }


def _without_places(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name not in PLACES}
