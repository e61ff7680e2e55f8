"""``chronicled files``: the last that is known of each file."""

from __future__ import annotations

from typing import Annotated

import typer

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
from daemon.cli.output import Column, column
from daemon.cli.session import Session, with_session

app = typer.Typer(help="Files that were announced on a file topic.", no_args_is_help=True)

LIST_COLUMNS = (
    column("observed", whole=True),
    column("state", state=True, whole=True),
    column("size", right=True),
    Column("jobs", lambda item: sum(len(m["jobs"]) for m in item["matches"]), right=True),
    column("path", whole=True),
)


@app.command("list")
@with_session
def list_files(
    session: Session,
    path: Annotated[str | None, typer.Option(help="The path of the file.")] = None,
    prefix: Annotated[str | None, typer.Option(help="How the path starts.")] = None,
    matched: Annotated[
        bool | None, typer.Option("--matched/--unmatched", help="Whether a rule matched.")
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = 50,
    cursor: CursorOption = None,
    as_of: AsOfOption = None,
) -> None:
    """List files, the newest first."""
    params = given(path=path, prefix=prefix, matched=matched, since=since, until=until, as_of=as_of)
    answer = read_list(session.reader(), "/api/files", params, limit=limit, cursor=cursor)
    show_list(session, answer, LIST_COLUMNS)
