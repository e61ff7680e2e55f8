"""``chronicled events export`` and ``chronicled events import``: history as a file, and back."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Annotated, Any, Final
from uuid import uuid4

import typer

from daemon.cli.delivery import Delivery, Link, Totals
from daemon.cli.failures import CommandError
from daemon.cli.lines import CHUNK_BYTES, CHUNK_LINES, Chunk, StopRequest
from daemon.cli.log_files import FromOption, ToOption, open_log, stretch_of
from daemon.cli.output import notice, print_json, print_json_lines, print_line
from daemon.cli.progress import progress_shown
from daemon.cli.session import Session, with_session
from daemon.lifecycle import settle_collector

STDIO: Final = "-"

FileArgument = Annotated[str, typer.Argument(metavar="[FILE|-]", help="The file; - for the pipe.")]


@with_session
def export_events(
    session: Session,
    file: FileArgument = STDIO,
    start: FromOption = None,
    end: ToOption = None,
    stream: Annotated[str | None, typer.Option(help="The stream: category/subject.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Export history as NDJSON, one CloudEvent a line, beside a daemon or at rest.

    A name that ends in .zst is compressed. What was exported whole can be imported again exactly as
    it was, positions, times and digests included.
    """
    # Imported here: the commands that only talk to a daemon start faster without.
    from daemon.replay.export import export
    from daemon.replay.whole_file import whole_file

    settle_collector()
    path = None if file == STDIO else Path(file)
    if path is not None and path.exists() and not force:
        raise CommandError("The file is there already", file, hint="--force overwrites it.")
    with closing(open_log(session.target)) as log:
        positions = stretch_of(log, start, end)
        with (
            progress_shown("export") as on_progress,
            whole_file(path) if path else _standard_output() as write,
        ):
            trailer = export(
                log,
                write,
                first=positions.start,
                last=positions.stop - 1,
                stream=stream,
                progress=on_progress,
            )
    told = (
        f"exported {trailer.count} events, positions {trailer.first} to {trailer.last}: "
        f"{'a whole history' if trailer.complete else 'a part of the history'}"
    )
    if path is None:
        notice(told)
    elif session.as_json:
        print_json(trailer.model_dump(by_alias=True))
    else:
        print_line(told)


@contextmanager
def _standard_output() -> Iterator[Any]:
    output = sys.stdout.buffer
    yield output.write
    output.flush()


@with_session
def import_events(
    session: Session,
    file: FileArgument = STDIO,
    append: Annotated[
        bool,
        typer.Option("--append", help="Append the events through the running daemon, as new ones."),
    ] = False,
) -> None:
    """Import an export of a whole history into a data directory without a log, exactly as it was.

    With --append the events of any export, or plain CloudEvents, are appended through the daemon
    instead: with new positions, each that is not there already.
    """
    with _opened(file) as opened:
        if append:
            _append(session, opened)
        else:
            _import(session, opened)


def _opened(file: str) -> IO[bytes]:
    if file == STDIO:
        if sys.stdin is None:
            raise CommandError("The input cannot be read", "the standard input is closed")
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    return Path(file).open("rb")


def _import(session: Session, opened: IO[bytes]) -> None:
    from daemon.replay.importing import import_history
    from daemon.replay.line_child import batches_of

    if session.target.url or session.target.socket:
        raise CommandError(
            "A data directory is needed",
            f"{session.target} names a daemon, and a log is imported where none runs",
            hint="Name the directory by --data, or append the events by --append.",
        )
    settle_collector()
    with closing(batches_of(opened)) as batches, progress_shown("import") as on_progress:
        trailer = import_history(batches, session.target.data, progress=on_progress)
    if session.as_json:
        print_json({"ok": True, **trailer.model_dump(by_alias=True)})
    else:
        print_line(f"imported {trailer.count} events: the log {trailer.log_id}, as it was")


def _append(session: Session, opened: IO[bytes]) -> None:
    totals = Totals()
    skipped = 0
    with StopRequest() as stop, closing(Link(session.target, stop)) as link:
        link.open(wait=False)
        delivery = Delivery(
            link,
            format="cloudevents",
            follow=f"import:{uuid4().hex}",
            source=None,
            totals=totals,
            on_receipts=print_json_lines if session.as_json else None,
        )
        try:
            for chunk, left_out in _chunks(opened):
                skipped += left_out
                if chunk.lines:
                    delivery.send(chunk)
                if stop.requested:
                    break
        finally:
            tell = notice if session.as_json else print_line
            tell(f"{totals}, left out {skipped} that only the daemon records")


def _chunks(opened: IO[bytes]) -> Iterator[tuple[Chunk, int]]:
    """Yield chunks of lines that can be appended, and how many events each leaves out."""
    from daemon.replay.lines import appendable, read_lines

    lines: list[bytes] = []
    number = size = skipped = 0
    for number, line in read_lines(opened, whole=False):
        kept, is_event = appendable(line)
        if kept is not None:
            lines.append(kept)
            size += len(kept)
        elif is_event:
            skipped += 1
        if len(lines) == CHUNK_LINES or size >= CHUNK_BYTES:
            yield Chunk(number - len(lines), tuple(lines)), skipped
            lines, size, skipped = [], 0, 0
    yield Chunk(number - len(lines), tuple(lines)), skipped
