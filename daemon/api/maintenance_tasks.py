"""The daemon's housekeeping over HTTP: how each task stands, its runs, and asking for one."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import Path
from pydantic import AwareDatetime, Field
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import NO_STORE, Encoded, JsonResponse, encode, respond
from daemon.api.context import Context, InContext
from daemon.api.operations import Progress, Work
from daemon.api.schemas import AsOf, Shape
from daemon.maintenance.board import TaskStatus
from daemon.maintenance.runs import Reason, Result, Run
from daemon.maintenance.scheduler import Scheduler
from domain.errors import Fault, Invalid, NotReady

RUNS: Final = 20
"""How many runs of a task are shown."""
_LOOK_SECONDS: Final = 1.0
"""How often it is looked whether the daemon stops while a run is waited for (seconds)."""
_TIME: Final = 1_770_172_200_000_000

TaskName = Annotated[str, Path(alias="name", description="The name of the task.")]


class RunShape(Shape):
    """One run of a task; without an end it goes on."""

    started: AwareDatetime
    ended: AwareDatetime | None
    reason: Literal["schedule", "catch-up", "asked"]
    by: str | None = Field(description="Who asked for it.")
    due: AwareDatetime | None = Field(description="The newest due time that was seen to with it.")
    outcome: Literal["succeeded", "failed", "interrupted", "skipped"] | None
    counts: dict[str, int]
    message: str | None


class LastRunShape(RunShape):
    """The last run; one that found nothing to do need not be in the log."""

    recorded: bool


class TaskStateShape(Shape):
    """How a task of the housekeeping stands."""

    name: str
    summary: str
    schedule: str = Field(description="off, hourly, daily, weekly, a cron line, or whose it is.")
    state: Literal["waiting", "asked", "running", "failing", "off"]
    next: AwareDatetime | None = Field(description="When it runs next by its schedule.")
    running_since: AwareDatetime | None
    succeeded: AwareDatetime | None = Field(description="When a run ended well last.")
    last: LastRunShape | None


class TaskDetail(TaskStateShape):
    """How a task stands, and its newest runs in the log."""

    runs: list[RunShape]
    as_of: int = AsOf


async def list_maintenance(context: InContext) -> Response:
    """List the tasks of the daemon's housekeeping, and how each of them stands."""
    statuses = [] if context.maintenance is None else context.maintenance.statuses()
    items = [status.document() for status in statuses]
    document = {"items": items, "next": None, "as_of": context.log.head()}
    return JsonResponse(document, headers=NO_STORE)


async def get_maintenance(request: Request, context: InContext, name: TaskName) -> Response:
    """Say how a task stands, and how its newest runs went."""
    return respond(request, await context.readers.run(_detail, context, name))


def _detail(context: Context, name: str) -> Encoded:
    scheduler = _scheduler(context)
    as_of = context.log.head()
    document = scheduler.status(name).document()
    runs = [run.document() for run in scheduler.runs(name, RUNS)]
    return encode({**document, "runs": runs}, as_of)


def maintenance_work(context: Context, task: str | None, by: str | None) -> Work:
    """Return a run of a task, ready to be started as an operation.

    Raises:
        Invalid: no task is named.
        NotFound: there is no such task.

    """
    scheduler = _scheduler(context)
    if task is None:
        detail = "maintenance needs the name of a task"
        raise Invalid(detail, errors=[Fault(detail, "/task")])
    scheduler.status(task)
    return partial(_run, scheduler, task, by)


def _run(scheduler: Scheduler, task: str, by: str | None, progress: Progress) -> dict[str, Any]:
    asked = scheduler.ask(task, by)
    while not asked.ended.wait(_LOOK_SECONDS):
        progress(0, 1)
    if asked.run is None:
        raise NotReady("The daemon stopped before the run had ended.")
    return {"ok": asked.run.result is Result.SUCCEEDED, "task": task, **asked.run.document()}


def _scheduler(context: Context) -> Scheduler:
    if context.maintenance is None:
        raise NotReady("This daemon keeps no house: it only shows a moment of the past.")
    return context.maintenance


def _example_run() -> Run:
    started = Run(_TIME, Reason.SCHEDULE, _TIME)
    return started.end(_TIME + 41_000, Result.SUCCEEDED, {"pages": 812, "bytes": 3_325_952}, None)


def task_example() -> dict[str, Any]:
    """Return how a task stands, as the interface's document shows it."""
    run = _example_run()
    return TaskStatus(
        "vacuum",
        "Give free pages of log.db back to the disk.",
        "20 * * * *",
        next_turn=_TIME + 3_600_000_000,
        last=run,
        succeeded=run.ended,
    ).document()


def detail_example() -> dict[str, Any]:
    """Return the same with the runs of the task."""
    return {**task_example(), "runs": [_example_run().document()]}
