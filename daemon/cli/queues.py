"""``chronicled queues``: what is in a queue, and recovering it after a restart."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from daemon.cli.connection import queue_path
from daemon.cli.listing import (
    AsOfOption,
    CursorOption,
    LimitOption,
    ask,
    given,
    read_list,
    show_list,
)
from daemon.cli.output import column, print_json, print_line, print_list, visible
from daemon.cli.session import Session, with_session

app = typer.Typer(help="Queues: list them, show one, recover one.", no_args_is_help=True)

QueueArgument = Annotated[str, typer.Argument(metavar="QUEUE", help="The name of the queue.")]

LIST_COLUMNS = (
    column("waiting", "waiting_total", right=True),
    column("running", "running_total", right=True),
    column("ended", "recent_total", right=True),
    column("paused"),
    column("name", whole=True),
)
JOB_COLUMNS = (
    column("submitted", whole=True),
    column("status", state=True, whole=True),
    column("priority", right=True),
    column("name"),
    column("message"),
    column("id", whole=True),
)


@app.command("list")
@with_session
def list_queues(
    session: Session,
    limit: LimitOption = 50,
    cursor: CursorOption = None,
    as_of: AsOfOption = None,
) -> None:
    """List queues by name, with how many jobs wait, run and ended."""
    params = given(as_of=as_of)
    answer = read_list(session.reader(), "/api/queues", params, limit=limit, cursor=cursor)
    show_list(session, answer, LIST_COLUMNS)


@app.command("show")
@with_session
def show_queue(
    session: Session,
    queue: QueueArgument,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=1000, help="Most jobs of each section.")
    ] = 50,
    as_of: AsOfOption = None,
) -> None:
    """Show the jobs of a queue: those that run, that wait in their order, that ended last."""
    answer = ask(session.reader(), queue_path(queue), given(limit=limit, as_of=as_of))
    if session.as_json:
        print_json(answer)
        return
    paused = "; paused" if answer["paused"] else ""
    print_line(
        f"{visible(queue)}: {answer['running_total']} running, {answer['waiting_total']} waiting, "
        f"{answer['recent_total']} ended{paused}"
    )
    print_list(JOB_COLUMNS, [*answer["running"], *answer["waiting"], *answer["recent"]])


@app.command("recover")
@with_session
def recover_queue(
    session: Session,
    queue: QueueArgument,
    by: Annotated[str | None, typer.Option("--by", help="Who does it.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why.")] = None,
    id_: Annotated[
        str | None, typer.Option("--id", help="For a retry that must not do it twice.")
    ] = None,
) -> None:
    """Say that the queue's program was restarted: what ran is interrupted, and shown."""
    daemon = session.daemon("chronicled queues recover")
    order = given(by=by, reason=reason, id=id_)
    answer: dict[str, Any] = daemon.post(f"{queue_path(queue)}/recover", order)
    if session.as_json:
        print_json(answer)
        return
    more = ", and there are more: recover again" if answer["more"] else ""
    print_line(f"{visible(queue)}: {answer['count']} interrupted{more}")
    if answer["jobs"]:
        print_list(JOB_COLUMNS, answer["jobs"])
