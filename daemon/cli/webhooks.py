"""``chronicled webhooks``: how the receivers of events stand, and having one try again."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from daemon.cli.listing import show_list
from daemon.cli.output import column, print_json, print_line, visible
from daemon.cli.session import Session, with_session

app = typer.Typer(help="Webhooks: how they stand; have one try again.", no_args_is_help=True)

LIST_COLUMNS = (
    column("name", whole=True),
    column("state", state=True, whole=True),
    column("host"),
    column("position", right=True),
    column("lag", right=True),
    column("delivered", right=True),
    column("failures", right=True),
    column("last error", "last_error"),
)


@app.command("list")
@with_session
def list_webhooks(session: Session) -> None:
    """List the webhooks of the running daemon."""
    answer = session.daemon("chronicled webhooks list").get("/api/webhooks")
    show_list(session, answer, LIST_COLUMNS)


@app.command("resume")
@with_session
def resume(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the webhook.")],
    skip: Annotated[
        bool, typer.Option("--skip", help="Leave out the first event that was not taken.")
    ] = False,
) -> None:
    """Have a webhook try again at once, also one that was given up."""
    daemon = session.daemon("chronicled webhooks resume")
    path = f"/api/webhooks/{quote(name, safe='')}/resume?skip={str(skip).lower()}"
    answer = daemon.post(path, {})
    if session.as_json:
        print_json(answer)
    else:
        print_line(f"{visible(name)}: resumed")
