"""``chronicled maintenance``: the tasks of the daemon's housekeeping, and having one run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from daemon.cli.listing import show_list
from daemon.cli.operation import operate
from daemon.cli.output import (
    Column,
    column,
    plain,
    print_fields,
    print_json,
    print_line,
    print_list,
)
from daemon.cli.progress import progress_shown
from daemon.cli.session import Session, user, with_session

EXIT_FAILED: Final = 1

app = typer.Typer(help="Housekeeping: list its tasks, show one, run one.", no_args_is_help=True)

TaskArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name of the task.")]

LIST_COLUMNS: Final = (
    column("name", whole=True),
    column("state", state=True, whole=True),
    column("schedule", whole=True),
    column("next", whole=True),
    Column("last run", lambda item: (item["last"] or {}).get("started"), whole=True),
    Column("outcome", lambda item: (item["last"] or {}).get("outcome"), state=True),
    Column("did", lambda item: _did(item["last"] or {})),
)
RUN_COLUMNS: Final = (
    column("started", whole=True),
    column("ended", whole=True),
    column("reason", whole=True),
    column("outcome", state=True, whole=True),
    Column("did", lambda item: _did(item)),
)


@app.command("list")
@with_session
def list_tasks(session: Session) -> None:
    """List the tasks of the daemon's housekeeping, and how each of them stands."""
    answer = session.daemon("chronicled maintenance list").get("/api/maintenance")
    show_list(session, answer, LIST_COLUMNS)


@app.command("show")
@with_session
def show(session: Session, name: TaskArgument) -> None:
    """Show a task, and its newest runs."""
    daemon = session.daemon("chronicled maintenance show")
    task = daemon.get(f"/api/maintenance/{quote(name, safe='')}")
    if session.as_json:
        print_json(task)
        return
    runs = task.pop("runs")
    task.pop("last")
    print_fields(task)
    print_line()
    print_list(RUN_COLUMNS, runs)


@app.command("run")
@with_session
def run(
    session: Session,
    name: TaskArgument,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the run has ended, and say how.")
    ] = False,
    by: Annotated[str | None, typer.Option("--by", help="Who asks for it; else the user.")] = None,
) -> None:
    """Have the daemon run a task now, as soon as no other runs.

    With --wait it exits with 1 when the run did not succeed.
    """
    daemon = session.daemon("chronicled maintenance run")
    asked = {"kind": "maintenance", "task": name, "by": by or user()}
    if not wait:
        operation = daemon.post("/api/operations", asked)
        if session.as_json:
            print_json(operation)
        else:
            print_line(f"{plain(name)}: asked for; chronicled maintenance show {plain(name)}")
        return
    with progress_shown(name) as on_progress:
        result = operate(daemon, asked, on_progress)
    if session.as_json:
        print_json(result)
    else:
        print_line(f"{plain(name)}: {plain(result['outcome'])}; {_did(result) or 'nothing to do'}")
    if not result["ok"]:
        raise typer.Exit(EXIT_FAILED)


def _did(run: Mapping[str, Any]) -> str:
    """Return in a few words what a run did."""
    counts = [f"{count} {name}" for name, count in (run.get("counts") or {}).items() if count]
    told = [", ".join(counts)] if counts else []
    return "; ".join([*told, *([run["message"]] if run.get("message") else [])])
