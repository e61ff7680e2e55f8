"""The tasks of flowlord in their own shape: the list, and all of one run."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import Query
from pydantic import BeforeValidator, Field
from starlette.requests import Request
from starlette.responses import Response

from daemon.api.answers import Encoded, encode, respond
from daemon.api.as_of import Shown, answer
from daemon.api.context import InContext
from daemon.api.parameters import Listing, MemberId, Name, Reading, Since, Until, words
from daemon.intake.task_time import task_time
from domain.errors import NotFound
from domain.suggest import shorten
from domain.timestamps import MICROSECONDS
from projections.paging import LIMIT_MAX
from projections.tasks import TIMES, TaskFilter

VIEWS: Final = ("tasks", "jobs")
MESSAGE: Final = ("type", "job", "info", "created", "id", "meta", "result", "msg", *TIMES[1:])
"""The fields of a message, in the order in which flowlord writes them."""
_ALWAYS: Final = ("type", "info")
_DAY: Final = 24 * 3600 * MICROSECONDS
_DAY_TEXT: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)

Result = Literal["complete", "error", "alert", "warn", "running"]


def _written_out(value: object) -> object:
    # Pydantic takes a number for seconds since 1970.
    if isinstance(value, str) and _DAY_TEXT.fullmatch(value) is None:
        raise ValueError(f"{shorten(value)} is no date such as 2026-02-04")
    return value


Day = Annotated[date, BeforeValidator(_written_out)]


class TasksParameters(Listing):
    """Filters of the list of tasks."""

    type: Annotated[Name | None, Field(description="The kind of worker.")] = None
    job: Annotated[Name | None, Field(description="The name of the job of that type.")] = None
    id: Annotated[Name | None, Field(description="The id of the run, as the messages have it.")] = (
        None
    )
    result: Annotated[
        list[Result],
        BeforeValidator(words),
        Field(
            default_factory=list,
            min_length=1,
            description="One or several results; `running` = none yet.",
            examples=[["error", "alert"]],
        ),
    ]
    day: Annotated[
        Day | None, Field(alias="date", description="The day of the creation, in UTC.")
    ] = None
    since: Since = None
    until: Until = None

    def wanted(self) -> TaskFilter:
        """Return what the tasks of the list have to fit."""
        since, until = self.since, self.until
        if self.day is not None:
            first = int(datetime(*self.day.timetuple()[:3], tzinfo=UTC).timestamp()) * MICROSECONDS
            last = first + _DAY - 1
            since = first if since is None else max(since, first)
            until = last if until is None else min(until, last)
        return TaskFilter(self.type, self.job, self.id, self.result, since, until)


async def list_tasks(
    request: Request, context: InContext, asked: Annotated[TasksParameters, Query()]
) -> Response:
    """List the tasks of flowlord, the newest first, each attempt for itself.

    The fields of its messages, and `task_time` (the hour or day that the task is about), how long
    it waited and ran, which attempt it is, and `job_id`: the job under `/api/jobs`. `since`,
    `until` and `date` are about the creation.
    """
    return respond(request, await answer(context, asked, VIEWS, partial(_list, asked)))


def _list(asked: TasksParameters, shown: Shown) -> Encoded:
    page = shown.views.list_tasks(asked.wanted(), asked.limit, shown.cursor)
    for item in page.items:
        del item["updated"]
        cron = item.pop("cron")
        about = task_time(item["info"], cron)
        item["task_time"] = None if about is None else f"{about:%Y-%m-%dT%H:%M:%SZ}"
    return shown.encode(page)


async def get_task(
    request: Request, context: InContext, run_id: MemberId, asked: Annotated[Reading, Query()]
) -> Response:
    """Show the tasks of one run as flowlord shows them: its messages, the oldest first.

    `Completed` says that one of them has a result. Of a very long run the newest 1,000.
    """
    return respond(request, await answer(context, asked, VIEWS, partial(_run, run_id)))


def _run(run_id: str, shown: Shown) -> Encoded:
    page = shown.views.list_tasks(TaskFilter(id=run_id), LIMIT_MAX)
    if not page.items:
        raise NotFound(f"There is no run {shorten(run_id)}.")
    document: dict[str, Any] = {
        "LastUpdate": max(item["updated"] for item in page.items),
        "Completed": any(item["result"] for item in page.items),
        "Events": [_message(item) for item in reversed(page.items)],
    }
    return encode(document, page.as_of)


def _message(item: dict[str, Any]) -> dict[str, Any]:
    """Return a task as a message: what is empty is left out."""
    return {name: item[name] for name in MESSAGE if item[name] or name in _ALWAYS}
