"""``chronicled jobs``: the present state and the history of jobs."""

from __future__ import annotations

from typing import Annotated
from uuid import uuid4

import typer

from daemon.cli.connection import job_path
from daemon.cli.listing import (
    AsOfOption,
    CursorOption,
    LimitOption,
    SinceOption,
    UntilOption,
    given,
    read_list,
    show_list,
)
from daemon.cli.output import (
    Column,
    column,
    print_fields,
    print_json,
    print_line,
    seconds,
    visible,
)
from daemon.cli.session import Session, user, with_session

app = typer.Typer(help="Jobs: list, show and pin them, tell their history.", no_args_is_help=True)

SOURCE = "/chronicled/cli"
"""The source of the events that commands about jobs record."""

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="The id of the job.")]

LIST_COLUMNS = (
    column("submitted", whole=True),
    column("status", state=True, whole=True),
    column("kind"),
    column("name"),
    column("attempt", right=True),
    Column("run", lambda job: seconds(job.get("run_seconds")), right=True),
    column("id", whole=True),
)

HISTORY_COLUMNS = (
    column("time", whole=True),
    column("event", "type", whole=True),
    column("to", state=True, whole=True),
    column("attempt", right=True),
    column("stage"),
    column("percent", right=True),
    Column("flags", lambda entry: " ".join(f for f in ("late", "skewed") if entry.get(f))),
    column("message"),
)


@app.command("list")
@with_session
def list_jobs(
    session: Session,
    status: Annotated[list[str] | None, typer.Option(help="A status; may be repeated.")] = None,
    kind: Annotated[str | None, typer.Option(help="The kind of job.")] = None,
    name: Annotated[str | None, typer.Option(help="The name of the job.")] = None,
    owner: Annotated[str | None, typer.Option(help="Its owner.")] = None,
    queue: Annotated[str | None, typer.Option(help="Its queue.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Its workflow.")] = None,
    parent: Annotated[str | None, typer.Option(help="The id of its parent job.")] = None,
    correlation: Annotated[str | None, typer.Option(help="The run it belongs to.")] = None,
    search: Annotated[
        str | None, typer.Option("-q", "--search", help="Words of its name, error or message.")
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    sort: Annotated[
        str, typer.Option(help="submitted or updated; with - in front the newest first.")
    ] = "-submitted",
    limit: LimitOption = 50,
    cursor: CursorOption = None,
    as_of: AsOfOption = None,
) -> None:
    """List jobs; `--since` and `--until` are about the time a job was submitted."""
    params = given(
        status=status,
        kind=kind,
        name=name,
        owner=owner,
        queue=queue,
        workflow=workflow,
        parent=parent,
        correlation=correlation,
        q=search,
        since=since,
        until=until,
        sort=sort,
        as_of=as_of,
    )
    answer = read_list(session.reader(), "/api/jobs", params, limit=limit, cursor=cursor)
    show_list(session, answer, LIST_COLUMNS)


@app.command("show")
@with_session
def show_job(session: Session, job: JobArgument, as_of: AsOfOption = None) -> None:
    """Show everything that is known of one job."""
    answer = session.reader().get(job_path(job), given(as_of=as_of))
    if session.as_json:
        print_json(answer)
    else:
        print_fields(answer)


@app.command("history")
@with_session
def job_history(
    session: Session,
    job: JobArgument,
    all_attempts: Annotated[
        bool, typer.Option("--all-attempts", help="The whole chain of attempts, in order.")
    ] = False,
    as_of: AsOfOption = None,
    limit: LimitOption = 1000,
) -> None:
    """Tell what happened to one job, one line for each transition and step of progress."""
    params = given(attempts="all" if all_attempts else None, as_of=as_of)
    answer = read_list(session.reader(), f"{job_path(job)}/history", params, limit=limit)
    show_list(session, answer, HISTORY_COLUMNS)


ByOption = Annotated[str | None, typer.Option("--by", help="Who does it; else the user.")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why.")]


@app.command("pin")
@with_session
def pin_job(
    session: Session, job: JobArgument, reason: ReasonOption = None, by: ByOption = None
) -> None:
    """Keep a job, whatever its age: it is neither archived nor purged while it is pinned."""
    _say(session, job, "pin", reason, by)


@app.command("unpin")
@with_session
def unpin_job(
    session: Session, job: JobArgument, reason: ReasonOption = None, by: ByOption = None
) -> None:
    """Let a pinned job go again when its time comes."""
    _say(session, job, "unpin", reason, by)


def _say(session: Session, job: str, verb: str, reason: str | None, by: str | None) -> None:
    daemon = session.daemon(f"chronicled jobs {verb}")
    # Asked first: an event about a job that nobody knows would make one.
    daemon.get(job_path(job))
    event = {
        "specversion": "1.0",
        "id": uuid4().hex,
        "source": SOURCE,
        "type": f"job.{verb}ned",
        "subject": job,
        "data": given(reason=reason),
        "actor": by or user(),
    }
    answer = daemon.post("/api/events", event)
    if session.as_json:
        print_json(answer)
    else:
        print_line(f"{visible(job)}: {verb}ned")
