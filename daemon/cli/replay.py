"""``chronicled replay``: history as a debugging instrument."""

from __future__ import annotations

import typer

from daemon.cli.step import step

app = typer.Typer(help="Replay: go back in history, and look around there.", no_args_is_help=True)


@app.callback()
def replay() -> None:
    """Go back in history, and look around there."""


app.command("step")(step)
