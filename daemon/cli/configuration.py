"""``chronicled config``: every setting, its value, and where the value came from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.output import column, notice, print_json, print_line, print_list
from daemon.cli.session import JsonOption

if TYPE_CHECKING:
    from daemon.config import Config

app = typer.Typer(help="The configuration: show it, check it.", no_args_is_help=True)

FileOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The TOML file; else $CONFIGURATION_DIRECTORY/chronicled.toml where it exists.",
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Data directory; else $STATE_DIRECTORY or ./data."),
]

COLUMNS = (
    column("setting", "key", whole=True),
    column("value", whole=True),
    column("origin"),
)


@app.command("show")
def show(file: FileOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show every setting with its value and where the value came from."""
    config = _load(file, data)
    settings = [setting._asdict() for setting in config.settings()]
    if as_json:
        print_json({"settings": settings})
    else:
        print_list(COLUMNS, settings)


@app.command("check")
def check(file: FileOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Check the configuration; exit with 2 and name each fault where there is one."""
    config = _load(file, data)
    if as_json:
        print_json({"ok": True, "files": _files(config)})
    else:
        notice(f"Read: {', '.join(_files(config)) or 'no file; defaults and the environment'}")
        print_line("The configuration is fine.")


def _load(file: Path | None, data: Path | None) -> Config:
    # Imported here: the tables of settings take longer to load than most commands take to run.
    from daemon.config import load

    return load(file=file, data=data)


def _files(config: Config) -> list[str]:
    origins = {origin for origin in config.origin.values() if origin.startswith("file ")}
    return sorted(origin.removeprefix("file ") for origin in origins)
