"""The command ``chronicled``: what it can do, and how every error of it ends."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli import (
    alerts,
    archive,
    backup,
    configuration,
    deadletters,
    demo,
    events,
    files,
    jobs,
    maintenance,
    maintenance_tasks,
    queues,
    redact,
    replay,
    retention,
    size,
    sources,
    story,
    summary,
    webhooks,
    workflows,
)
from daemon.cli.append import append
from daemon.cli.configuration import DataOption, FileOption
from daemon.cli.failures import CommandError
from daemon.cli.output import print_line
from domain.errors import ChronicledError

app = typer.Typer(
    name="chronicled",
    help="An event-sourced persistence daemon for everything that runs jobs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_line(f"chronicled {version('chronicled')}")
        raise typer.Exit


@app.callback()
def _program(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


@app.command("serve")
def serve(
    file: FileOption = None,
    data: DataOption = None,
    listen: Annotated[
        str | None, typer.Option("--listen", metavar="HOST:PORT", help="The TCP address.")
    ] = None,
    socket: Annotated[
        Path | None, typer.Option("--socket", metavar="PATH", help="The Unix socket.")
    ] = None,
    allow_empty: Annotated[
        bool,
        typer.Option(
            "--allow-empty",
            help="Begin an empty log where there is none and the backup cannot be reached.",
        ),
    ] = False,
) -> None:
    """Run the daemon in the foreground until SIGTERM or SIGINT."""
    # Imported here: the daemon's parts take longer to load than most commands take to run.
    from daemon.lifecycle import spare_collector

    spare_collector()
    from daemon.config import load
    from daemon.service import serve as run_daemon

    config = load(file=file, data=data, listen=listen, socket=socket)
    raise typer.Exit(run_daemon(config, allow_empty=allow_empty))


app.command("append")(append)
app.add_typer(jobs.app, name="jobs")
app.add_typer(alerts.app, name="alerts")
app.add_typer(queues.app, name="queues")
app.add_typer(files.app, name="files")
app.add_typer(events.app, name="events")
app.command("summary")(summary.summary)
app.command("diff")(story.diff)
app.command("timeline")(story.timeline)
app.command("trace")(story.trace)
app.add_typer(deadletters.app, name="deadletters")
app.add_typer(workflows.app, name="workflows")
app.add_typer(sources.app, name="sources")
app.add_typer(webhooks.app, name="webhooks")
app.command("size")(size.size)
app.command("verify")(maintenance.verify)
app.command("rebuild")(maintenance.rebuild)
app.add_typer(archive.app, name="archive")
app.add_typer(maintenance_tasks.app, name="maintenance")
app.command("redact")(redact.redact)
app.add_typer(backup.app, name="backup")
app.add_typer(retention.app, name="retention")
app.add_typer(replay.app, name="replay")
app.add_typer(configuration.app, name="config")
app.command("demo")(demo.demo)


def run() -> None:
    """Run the command line; every foreseen error is one message and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows its escape, not a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="chronicled")
    except ChronicledError as error:
        failure = CommandError.of_error(error)
    except CommandError as error:
        failure = error
    except OSError as error:
        failure = CommandError.of_system(error)
    else:
        return
    failure.show()
    sys.exit(failure.exit_code)
