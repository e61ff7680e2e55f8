"""The state file of a processing queue: the whole state in one message.

Every task of the state yields the events that it implies, each with its own time and an id made of
the task, so the same state read again adds nothing. What only a difference tells (a task that is
gone, or waits again; the flags) is found in `queue_difference`, by the log.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from daemon.intake.message import EventMaker, Message, Options, identity
from domain.errors import Fault
from domain.events import NewEvent
from domain.faults import FAULTS_MAX, raise_faults
from domain.timestamps import MICROSECONDS, format_timestamp

SOURCE: Final = "/queue/images"

FINGERPRINT_MAX: Final = 200
"""How much of a normalised error tells it from others (characters)."""

_ERROR_MAX: Final = 2_000
_SECONDS_MAX: Final = 253_402_300_799
_WAITING, _RUNNING = "pending", "processing"
_ENDS: Final = {
    "completed": "job.succeeded",
    "failed": "job.failed",
    "interrupted": "job.interrupted",
}
_PATHS: Final = re.compile(
    r"""[^\s'"=(:]{0,200}[/\\][^\s'"]*|\b[\w-]+\.(?:png|jpe?g|gif|webp|tiff?|bmp)\b"""
)
_NUMBERS: Final = re.compile(r"\b(?:0x[0-9a-fA-F]+|[0-9]+)\b")


@dataclass(frozen=True)
class Task:
    """One task of the state."""

    queue: str
    path: str
    status: str
    progress: float
    error: str
    created: int
    started: int | None
    completed: int | None
    result: Any
    other: Mapping[str, Any]

    @property
    def job_id(self) -> str:
        """The id of its job: the task has none, and is told by when it was made, and its path.

        The time leads and has all its digits, so that ids are in the order of time.
        """
        return f"{job_prefix(self.queue)}{full_time(self.created)}:{self.path}"

    @property
    def fingerprint(self) -> str:
        """The error without what differs from task to task: paths and numbers."""
        text = self.error[:_ERROR_MAX].replace(self.path, "<path>")
        text = _NUMBERS.sub("<n>", _PATHS.sub("<path>", text))
        return " ".join(text.split())[:FINGERPRINT_MAX] or "no reason given"


def queue_of(source: str) -> str:
    """Return the name of the queue: the last part of the source."""
    return source.rstrip("/").rpartition("/")[2] or "queue"


def job_prefix(queue: str) -> str:
    """Return how the ids of a queue's jobs begin."""
    return queue.replace("%", "%25").replace(":", "%3A") + ":"


def full_time(moment: int) -> str:
    """Return a time with all its digits: such texts are in the order of time."""
    return f"{format_timestamp(moment - moment % MICROSECONDS)[:-1]}.{moment % MICROSECONDS:06}Z"


def decode_state(fields: Mapping[str, Any], options: Options) -> list[NewEvent]:
    """Return the events that a state implies; the last tells whether the queue is stopped.

    Raises:
        Invalid: a field is missing or has a wrong JSON type; ``errors`` says which.
        TooLarge: what is made of it is over a limit.

    """
    source = options.source or SOURCE
    queue = queue_of(source)
    message = Message(fields)
    faults: list[Fault] = []
    tasks: list[Task] = []
    for pointer, default, found in _tasks(fields, faults):
        task = Message(found)
        tasks.append(_read(queue, task, default))
        faults += [replace(each, pointer=f"{pointer}{each.pointer}") for each in task.faults]
        if len(faults) >= FAULTS_MAX:
            break
    stopped, _ = message.flag("should_stop"), message.flag("is_processing")
    saved = _time(message, "saved_at", required=True)
    raise_faults([*message.faults, *faults][:FAULTS_MAX])
    make = EventMaker(source, options.limits)
    events = [event for task in tasks for event in _events(task, make, saved or 0)]
    waiting = sum(task.status == _WAITING for task in tasks)
    turn = "queue.paused" if stopped else "queue.resumed"
    told = identity("flags", queue, saved or 0)
    return [*events, make.event(turn, queue, told, saved, {"count": waiting})]


def _tasks(
    fields: Mapping[str, Any], faults: list[Fault]
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield each task with its place, and the status that a task has there."""
    current = fields.get("current_task")
    lists = (
        ("history", "", fields.get("history")),
        ("current_task", _RUNNING, None if current is None else [current]),
        ("queue", _WAITING, fields.get("queue")),
    )
    for name, default, found in lists:
        if found is not None and not isinstance(found, list):
            faults.append(Fault(f"{name}: has to be an array", f"/{name}"))
            continue
        for number, task in enumerate(found or ()):
            pointer = f"/{name}" if name == "current_task" else f"/{name}/{number}"
            if isinstance(task, dict):
                yield pointer, default, task
            else:
                faults.append(Fault(f"{name}: a task has to be an object", pointer))


def _read(queue: str, message: Message, default: str) -> Task:
    status = message.text("status") or default
    return Task(
        queue=queue,
        path=message.text("image_path", required=True),
        # A word that is not known says no more than the place it stands in.
        status=status if status in (_WAITING, _RUNNING, *_ENDS) else default or status,
        progress=min(max(message.number("progress") or 0.0, 0.0), 1.0),
        error=message.text("error"),
        created=_time(message, "created_at", required=True) or 0,
        started=_time(message, "started_at"),
        completed=_time(message, "completed_at"),
        result=message.value("result"),
        other=message.rest(),
    )


def _time(message: Message, name: str, *, required: bool = False) -> int | None:
    """Return seconds since 1970 as whole microseconds: of the digits, not of a product."""
    seconds = message.number(name, required=required)
    if seconds is None:
        return None
    if not 0 < seconds <= _SECONDS_MAX:
        message.refuse(name, "has to be seconds since 1970")
        return None
    return round(Decimal(repr(seconds)) * MICROSECONDS)


def _events(task: Task, make: EventMaker, saved: int) -> Iterator[NewEvent]:
    job, started = task.job_id, task.started
    said: dict[str, Any] = {"kind": "image", "name": task.path, "input": task.path}
    said["queue"] = task.queue
    yield make.event("job.submitted", job, identity("submitted", job), task.created, said)
    if task.status == _WAITING:
        return
    if started is None and task.status == _RUNNING:
        started = task.created
    if started is not None:
        started = max(started, task.created)
        yield make.event("job.started", job, identity("started", job, started), started, {})
    if task.status != _RUNNING:
        yield from _end(task, make, max(task.completed or saved, started or task.created))
    elif task.progress > 0:
        told = identity("progressed", job, started or 0, repr(task.progress))
        fraction = {"fraction": task.progress}
        yield make.event("job.progressed", job, told, max(saved, started or 0), fraction)


def _end(task: Task, make: EventMaker, time: int) -> Iterator[NewEvent]:
    """Yield the end of a task; one that failed raises the alert of its error, too."""
    said: dict[str, Any] = {"native_status": task.status}
    kind = _ENDS.get(task.status, "job.lost")
    if kind == "job.succeeded":
        said["result"] = task.result
    elif kind == "job.failed":
        said["error"] = {"class": task.fingerprint, "message": task.error or task.fingerprint}
    else:
        said["reason"] = task.error
    extra = {"progress": task.progress if kind != "job.succeeded" else None, "fields": task.other}
    said["extra"] = {name: value for name, value in extra.items() if value not in (None, {})}
    told = identity("ended", task.job_id, task.status, task.completed or 0)
    yield make.event(kind, task.job_id, told, time, said)
    if kind == "job.failed":
        yield _alert(task, make, time)


def _alert(task: Task, make: EventMaker, time: int) -> NewEvent:
    """Return the alert: one for each error of a queue, raised by each task that met it."""
    told = identity("job_failed", task.queue, task.fingerprint)
    said = {
        "severity": "error",
        "kind": "job_failed",
        "title": f"{task.queue}: {task.fingerprint}",
        "message": task.error,
        "fingerprint": task.fingerprint,
        "job": task.job_id,
        "labels": {"queue": task.queue, "path": task.path},
    }
    subject = f"{job_prefix(task.queue)}job_failed:{told[:12]}"
    once = identity("job_failed", task.job_id, task.completed or 0)
    return make.event("alert.raised", subject, once, time, said)
