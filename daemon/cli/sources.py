"""``chronicled sources``: what the daemon reads by itself."""

from __future__ import annotations

import typer

from daemon.cli.listing import show_list
from daemon.cli.output import Column, column
from daemon.cli.session import Session, with_session

app = typer.Typer(help="Sources: what the daemon reads by itself.", no_args_is_help=True)

LIST_COLUMNS = (
    column("name", whole=True),
    column("kind", whole=True),
    column("state", state=True, whole=True),
    column("messages", right=True),
    column("events", right=True),
    column("duplicates", right=True),
    column("dead letters", "dead_letters", right=True),
    column("lag", right=True),
    column("last message", "last_message", whole=True),
    column("detail"),
    Column("last error", lambda item: (item["last_error"] or {}).get("detail")),
)


@app.command("list")
@with_session
def list_sources(session: Session) -> None:
    """List the sources of the daemon, and how each of them stands."""
    daemon = session.daemon("chronicled sources list")
    show_list(session, daemon.get("/api/sources"), LIST_COLUMNS)
