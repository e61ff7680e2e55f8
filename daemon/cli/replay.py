"""``chronicled replay``: history as a debugging instrument."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from daemon.cli.emit import emit_history
from daemon.cli.session import DataOption, JsonOption, data_directory
from daemon.cli.step import step

LISTEN: Final = "127.0.0.1:8322"
"""Where a read-only daemon listens unless told otherwise: beside the daemon of the log itself."""

app = typer.Typer(help="Replay: go back in history, and look around there.")
app.command("step")(step)
app.command("emit")(emit_history)


@app.callback(invoke_without_command=True, no_args_is_help=True)
def go_back(
    context: typer.Context,
    until: Annotated[
        str | None,
        typer.Option(
            "--until", metavar="POSITION|TIME", help="The moment: a position, a time, or -2h."
        ),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(
            "--into", metavar="FILE", help="Keep the views of the moment in this SQLite file."
        ),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve the moment, read-only, until interrupted.")
    ] = False,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where --serve listens.")
    ] = LISTEN,
    skip_unknown: Annotated[
        bool,
        typer.Option(
            "--skip-unknown",
            help="Leave out events of newer releases. For debugging only: the views lack them.",
        ),
    ] = False,
    data: DataOption = "data",
    as_json: JsonOption = False,
) -> None:
    """Go back to any moment: build its views into a file, or serve them read-only.

    Only the log is read, also beside the daemon that writes it. A replay that was ended goes on
    where it was, when the same FILE is named.
    """
    if context.invoked_subcommand is not None:
        return
    if until is None:
        raise typer.BadParameter("say which moment", param_hint="--until")
    if into is None and not serve:
        raise typer.BadParameter("say where to: --into FILE, --serve, or both", param_hint="--into")
    # Imported here: other commands start faster without it.
    from daemon.cli.moment import go_back_to

    go_back_to(
        data_directory(data),
        until,
        into=into,
        listen=listen if serve else None,
        skip_unknown=skip_unknown,
        as_json=as_json,
    )
