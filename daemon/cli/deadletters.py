"""``chronicled deadletters``: input that could not become events."""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.cli.listing import CursorOption, LimitOption, given, read_list, show_list
from daemon.cli.output import column
from daemon.cli.session import Session, with_session

app = typer.Typer(help="Dead letters: input that could not be decoded.", no_args_is_help=True)

LIST_COLUMNS = (
    column("id", right=True, whole=True),
    column("last seen", "last_seen", whole=True),
    column("count", right=True),
    column("format", whole=True),
    column("reason", whole=True),
    column("detail"),
    column("origin"),
    column("raw"),
)


@app.command("list")
@with_session
def list_dead_letters(
    session: Session,
    format: Annotated[  # noqa: A002 - the option's name
        str | None, typer.Option("--format", help="The producer format it came as.")
    ] = None,
    limit: LimitOption = 50,
    cursor: CursorOption = None,
) -> None:
    """List dead letters, the oldest first; secrets in them are masked."""
    answer = read_list(
        session.reader(), "/api/deadletters", given(format=format), limit=limit, cursor=cursor
    )
    show_list(session, answer, LIST_COLUMNS)
