"""The file of the log, for commands that read it themselves, beside a daemon or without one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.connection import Target
from daemon.cli.failures import CommandError
from daemon.lifecycle import system_clock
from daemon.lock import LOG_FILE
from domain.moments import Point

if TYPE_CHECKING:
    # Imported where it is used: most commands start faster without the log's code.
    from daemon.eventlog.log_file import LogFile


def parse_point(text: str) -> Point:
    """Return the point of history that an option names."""
    try:
        return Point.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


FromOption = Annotated[
    Point | None,
    typer.Option(
        "--from",
        metavar="POSITION|TIME",
        parser=parse_point,
        help="The first position, or after when.",
    ),
]
ToOption = Annotated[
    Point | None,
    typer.Option(
        "--to",
        metavar="POSITION|TIME",
        parser=parse_point,
        help="The last position, or until when.",
    ),
]


def require_log(data: Path) -> Path:
    """Return the log file of a data directory.

    Raises:
        CommandError: there is none.

    """
    path = data / LOG_FILE
    if not path.exists():
        raise CommandError(
            "No event log",
            f"{data} holds none, and no daemon runs on it",
            hint="Name the data directory by --data, or a daemon by --socket or --url.",
        )
    return path


def open_log(target: Target) -> LogFile:
    """Open the log of a data directory to read it; a daemon may run on it.

    Raises:
        CommandError: no directory is named, or it has no log.

    """
    if target.url or target.socket:
        raise CommandError(
            "The log itself is read",
            f"{target} names a daemon, not where its log is",
            hint="Name its data directory by --data.",
        )
    from daemon.eventlog.log_file import LogFile

    return LogFile(require_log(target.data))


def stretch_of(log: LogFile, start: Point | None, end: Point | None) -> range:
    """Return the positions between two points."""
    from daemon.replay.stretch import find_stretch

    return find_stretch(log, start, end, system_clock())
