"""The shapes of the answers about tasks of flowlord, and their examples; see `schemas`."""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime, Field

from daemon.api.examples import task_line
from daemon.api.schemas import Answer, Shape


class TaskShape(Shape):
    """A task of flowlord: one attempt."""

    type: str
    job: str
    info: str
    id: str = Field(description="Of the run: every task and attempt of it has the same.")
    meta: str = Field(description="As the newest message spells it.")
    result: str = Field(description="Empty while there is none.")
    msg: str
    created: str = Field(description="RFC 3339, unless the message had something else.")
    started: str | None
    ended: str | None
    workflow: str | None
    phase: str | None
    attempt: int
    queue_seconds: float | None
    task_seconds: float | None
    job_id: str = Field(description="The id of the job under `/api/jobs`.")
    task_time: AwareDatetime | None = Field(
        description="The hour or day that the task is about, by its schedule or its `info`."
    )


class TaskRun(Answer):
    """The tasks of one run, as flowlord shows them."""

    last_update: AwareDatetime = Field(alias="LastUpdate")
    completed: bool = Field(alias="Completed", description="Whether one of them has a result.")
    events: list[dict[str, Any]] = Field(
        alias="Events", description="Its messages, the oldest first; what is empty is left out."
    )


def task() -> dict[str, Any]:
    """Return a task."""
    said = task_line()
    kind, name, run, created = (said[name] for name in ("type", "job", "id", "created"))
    return {
        **said,
        "msg": "",
        "workflow": "etl/hourly.toml",
        "phase": f"{kind}:{name}",
        "attempt": 1,
        "queue_seconds": 1.0,
        "task_seconds": 15.0,
        "job_id": f"{kind}:{name}:{run}:{created}:1",
        "task_time": "2026-02-04T06:00:00Z",
    }


def run() -> dict[str, Any]:
    """Return a run of one task."""
    said = task_line()
    return {"LastUpdate": said["ended"], "Completed": True, "Events": [said]}
