"""``chronicled append``: NDJSON in, receipts out, each line exactly once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Final
from uuid import uuid4

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from daemon.cli.delivery import Delivery, Link, Totals
from daemon.cli.failures import CommandError
from daemon.cli.following import follow_file
from daemon.cli.lines import LINE_BYTES_MAX, LineChunks, StopRequest
from daemon.cli.output import notice, print_json_lines, print_line
from daemon.cli.session import Session, with_session

STDIN: Final = "-"

_NAME_MAX: Final = 1000

FilesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FILE...|-]", help="Files of NDJSON; - or nothing reads the input."),
]
FormatOption = Annotated[
    str, typer.Option("--format", metavar="FORMAT", help="The producer format of the lines.")
]
SourceOption = Annotated[
    str | None, typer.Option("--source", help="Record this source in place of the format's own.")
]
FollowOption = Annotated[
    Path | None,
    typer.Option(
        "--follow",
        metavar="FILE",
        help="Follow this file as it grows and is rotated, from where an earlier run ended.",
    ),
]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait for the daemon to be there.")]


@with_session
def append(
    session: Session,
    files: FilesArgument = None,
    format: FormatOption = "cloudevents",  # noqa: A002 - the option's name
    source: SourceOption = None,
    follow: FollowOption = None,
    wait: WaitOption = False,
) -> None:
    """Append lines of NDJSON to the log, from files or from a pipe.

    Each line is recorded exactly once, also when the daemon goes away in the middle: the command
    then waits for it and goes on. A line that cannot be decoded goes to the dead letters.
    """
    if follow is not None and files:
        raise typer.BadParameter("goes with no other file", param_hint="--follow")
    names = [] if follow else files or [STDIN]
    for name in names:
        _check_readable(name)
    totals = Totals()
    with StopRequest() as stop, closing(Link(session.target, stop)) as link:
        link.open(wait=wait)
        try:
            with _progress(names, totals) as on_progress:
                for name in [*names, *([str(follow)] if follow else [])]:
                    if stop.requested:
                        break
                    delivery = Delivery(
                        link,
                        format=format,
                        follow=_follow_name(name),
                        source=source,
                        totals=totals,
                        on_receipts=print_json_lines if session.as_json else None,
                    )
                    if follow:
                        follow_file(follow.absolute(), delivery, link, stop)
                    else:
                        _feed(name, delivery, stop, on_progress)
        finally:
            (notice if session.as_json else print_line)(str(totals))


def _check_readable(name: str) -> None:
    if name == STDIN:
        return
    try:
        with Path(name).open("rb") as file:
            file.read(0)
    except OSError as error:
        raise typer.BadParameter(f"{name}: {error.strerror}", param_hint="FILE") from error


def _follow_name(name: str) -> str:
    """Return a name for this reading of a file or pipe that no other reading has."""
    if name == STDIN:
        return f"pipe:{uuid4().hex}"
    path = os.fsencode(Path(name).absolute()).decode(errors="replace")
    return f"file:{path[-_NAME_MAX:]}#{uuid4().hex}"


def _feed(
    name: str, delivery: Delivery, stop: StopRequest, on_progress: Callable[[int], None]
) -> None:
    descriptor = _standard_input() if name == STDIN else os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = LineChunks(descriptor, stop)
        for chunk in chunks:
            delivery.send(chunk)
            on_progress(len(chunk.body))
    finally:
        if name != STDIN:
            os.close(descriptor)
    if chunks.cut_lines:
        notice(f"{name}: {chunks.cut_lines} lines over {LINE_BYTES_MAX} bytes were cut there.")
    if chunks.unfinished:
        notice(f"{name}: stopped within a line; its start was not sent.")


def _standard_input() -> int:
    # Where it was closed at the start, its number is by now that of something else.
    if sys.stdin is None:
        raise CommandError("The input cannot be read", "the standard input is closed")
    return sys.stdin.fileno()


@contextmanager
def _progress(names: list[str], totals: Totals) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how far it is; yield what is called with the bytes of each chunk."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    size = None if STDIN in names else sum(Path(name).stat().st_size for name in names)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=size)
        yield lambda count: bar.update(task, advance=count, description=str(totals))
