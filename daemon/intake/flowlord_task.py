"""Tasks of flowlord and its workers: the same JSON object for what is to do and what is done.

Every message yields the events it implies, each with an id made of decoded fields, so that a to-do
message, its done message and any repeat of them agree on what they have in common.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from daemon.intake.message import EventMaker, Message, Moment, Options, identity
from daemon.intake.meta import Meta
from domain.events import NewEvent

SOURCE: Final = "/flowlord/tasks"

_SUCCESSES: Final = ("complete", "warn")
_RETRIES: Final = re.compile(r"\s*\+?([0-9]{1,9})")


@dataclass(frozen=True)
class Task:
    """One task message, decoded."""

    kind: str
    name: str
    id: str
    info: str
    result: str
    msg: str
    created: Moment
    started: Moment
    ended: Moment
    meta: Meta
    other: Mapping[str, Any]

    @property
    def phase(self) -> str:
        """The name of the workflow phase that this is a task of."""
        return f"{self.kind}:{self.name}" if self.name else self.kind

    @property
    def exhausted(self) -> bool:
        """Whether this message says that no retry follows."""
        ended_badly = self.result not in ("", *_SUCCESSES)
        return ended_badly and self.meta.first("retry") == "failed"

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        retry = self.meta.first("retry")
        match = _RETRIES.fullmatch(self.meta.first("retried") if retry == "failed" else retry)
        return 1 + int(match[1]) if match else 1

    @cached_property
    def job_id(self) -> str:
        """The id of this attempt; see DESIGN.md."""
        names = (self.kind, self.name, self.id)
        parts = [name.replace("%", "%25").replace(":", "%3A") for name in names]
        job_id = f"{':'.join(parts)}:{self.created.text}:{self.attempt}"
        if self.id and self.created.text:
            return job_id
        run = "" if self.created.text else self.started.text or self.ended.text
        told = identity(self.info, self.meta.first("cron"), self.meta.first("workflow"), run)
        return f"{job_id}~{told[:12]}"

    @cached_property
    def times(self) -> tuple[int | None, int | None, int | None]:
        """When it was submitted, started and ended, as far as that can be told.

        They never run backwards: the message itself says what came first, whatever the clocks of
        the hosts that stamped it. Where the creation time cannot be read none is used, as the
        to-do message then sorts by when it was recorded, and its done message has to as well.
        """
        if self.created.unreadable:
            return None, None, None
        submitted = _first(self.created.time, self.started.time, self.ended.time)
        started = _latest(submitted, self.started.time)
        ended = _latest(started, self.ended.time)
        return submitted, started, ended

    @property
    def has_start(self) -> bool:
        """Whether there is a start to record.

        A start without a readable time is recorded only while it is the newest that is known: a
        made-up time would make up a duration.
        """
        readable = self.started.time is not None and not self.created.unreadable
        return readable or (bool(self.started.text) and not self.result)

    @property
    def extra(self) -> dict[str, Any]:
        """What no event has a field for."""
        submitted, started, ended = self.times
        used = {
            "created": (self.created, submitted),
            "started": (self.started, started if self.has_start else None),
            "ended": (self.ended, ended if self.result else None),
        }
        times = {
            name: moment.text
            for name, (moment, time) in used.items()
            if moment.unreadable or moment.time != time
        }
        said = {
            "meta": self.meta.values,
            "meta_raw": self.meta.raw,
            **times,
            "msg": "" if self.result else self.msg,
            "fields": self.other,
        }
        return {name: value for name, value in said.items() if value}


def decode_task(fields: Mapping[str, Any], options: Options) -> list[NewEvent]:
    """Return the events that a task message implies.

    Raises:
        Invalid: a field is missing or has a wrong JSON type; ``errors`` says which.
        TooLarge: what is made of it is over a limit.

    """
    task = _read(fields)
    correlation = {"correlationid": task.id} if task.id else {}
    make = EventMaker(options.source or SOURCE, options.limits, correlation)
    submitted, started, _ = task.times
    steps: list[tuple[str, str, int | None, dict[str, Any]]] = [
        ("job.submitted", identity("submitted", task.job_id), submitted, _submitted(task))
    ]
    if task.has_start:
        told = identity("started", task.job_id, task.started.text)
        steps.append(("job.started", told, started, {"attempt": task.attempt}))
    if task.result:
        steps.append(_end(task))
    # Only the newest step has the message's own details: what it implies about earlier steps is
    # what their own messages say as well.
    steps[-1][3]["extra"] = task.extra
    events = [make.event(kind, task.job_id, id_, time, said) for kind, id_, time, said in steps]
    if task.result == "alert" or task.exhausted:
        events.append(_alert(task, make))
    return events


def _read(fields: Mapping[str, Any]) -> Task:
    message = Message(fields)
    meta = Meta(message.raw_text("meta"))
    task = Task(
        kind=message.text("type", required=True),
        name=message.text("job") or meta.first("job"),
        id=message.text("id"),
        info=message.text("info"),
        result=message.text("result"),
        msg=message.text("msg"),
        created=message.moment("created"),
        started=message.moment("started"),
        ended=message.moment("ended"),
        meta=meta,
        other=message.rest(),
    )
    message.check()
    return task


def _submitted(task: Task) -> dict[str, Any]:
    """Return what a to-do message and its done message both say."""
    params = {"info": task.info, "cron": task.meta.first("cron")}
    return {
        "kind": task.kind,
        "name": task.name,
        "params": {name: value for name, value in params.items() if value},
        "workflow": task.meta.first("workflow"),
        "phase": task.phase,
        "attempt": task.attempt,
    }


def _end(task: Task) -> tuple[str, str, int | None, dict[str, Any]]:
    """Return the terminal step.

    Its id leaves out ``meta``: the message that says that no retry follows repeats the done
    message with another ``meta``, and is the same end.
    """
    said: dict[str, Any] = {"native_status": task.result}
    if task.result in _SUCCESSES:
        kind = "job.succeeded"
        said["message" if task.result == "complete" else "warning"] = task.msg
    elif task.result in ("error", "alert"):
        kind = "job.failed"
        error = {"class": task.result, "message": task.msg}
        said["error"] = {name: value for name, value in error.items() if value}
    else:
        kind = "job.lost"
        said["reason"] = task.msg or "unknown result"
    return kind, identity("ended", *_end_parts(task)), task.times[2], said


def _end_parts(task: Task) -> tuple[str, ...]:
    return task.job_id, task.result, task.started.text, task.ended.text, task.msg


def _alert(task: Task, make: EventMaker) -> NewEvent:
    """Return the alert; where its end is a repeat, it is the only event with this ``meta``."""
    kind = "retries_exhausted" if task.exhausted else "task_alert"
    labels = {name: task.meta.first(name) for name in ("workflow", "cron")}
    said = {
        "severity": "error",
        "kind": kind,
        "title": f"{task.phase}: {'no retries left' if task.exhausted else 'alert'}",
        "message": task.msg,
        "fingerprint": task.phase,
        "job": task.job_id,
        "labels": {name: value for name, value in labels.items() if value},
        "extra": task.extra if task.exhausted else None,
    }
    told = identity(kind, *_end_parts(task))
    return make.event("alert.raised", f"{task.job_id}:{kind}", told, task.times[2], said)


def _first(*times: int | None) -> int | None:
    return next((time for time in times if time is not None), None)


def _latest(*times: int | None) -> int | None:
    return max((time for time in times if time is not None), default=None)
