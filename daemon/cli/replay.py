"""``chronicled replay``: history as a debugging instrument."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import typer

from daemon.cli.directory import require_log
from daemon.cli.failures import CommandError
from daemon.cli.output import notice, print_json, print_line
from daemon.cli.progress import progress_shown
from daemon.cli.session import DataOption, JsonOption, data_directory
from daemon.config import Address
from daemon.lifecycle import settle_collector, system_clock
from daemon.lock import LOG_FILE, VIEWS_FILE, find_daemon
from daemon.replay.checkpoints import Bounds, Checkpoints
from daemon.replay.points import find_position
from daemon.replay.replay import check_target, replay
from daemon.replay.resting import RestingLog
from domain.moments import Point

LISTEN: Final = "127.0.0.1:8322"
"""Where a read-only daemon listens unless told otherwise: beside the daemon of the log itself."""

app = typer.Typer(help="Replay: go back in history, and look around there.")


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
    address = _address(listen)
    with _log_at(data_directory(data), until) as (log, checkpoints), _place(into) as path:
        # A daemon keeps checkpoints itself.
        leaving = find_daemon(data_directory(data)) is None
        told = _replay(log, path, checkpoints, leaving=leaving)
        if as_json:
            print_json(told | {"file": str(path) if into else None})
        else:
            rate = int(told["events"] / max(told["seconds"], 0.001))
            print_line(
                f"Position {told['position']}: {told['events']} events replayed in "
                f"{told['seconds']:.1f} s ({rate} a second)" + (f", into {path}" if into else "")
            )
        if serve:
            from daemon.replay.serve import serve_moment

            serve_moment(
                log,
                path,
                address,
                checkpoints,
                lambda listeners: notice(f"Read-only at {listeners.url}; end it with Ctrl-C."),
            )


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--listen") from None


@contextmanager
def _log_at(data: Path, until: str) -> Iterator[tuple[RestingLog, Checkpoints]]:
    """Open the log of a directory as it was at a moment."""
    try:
        point = Point.parse(until)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--until") from None
    log = RestingLog(require_log(data))
    try:
        position = find_position(log, point, system_clock())
        log.upto = position
        yield log, Checkpoints(data, log.log_id, log.epoch, Bounds())
    finally:
        log.close()


@contextmanager
def _place(into: Path | None) -> Iterator[Path]:
    """Yield the file that the views go to: the one that is named, or one that goes in the end."""
    if into is not None:
        if into.name in (LOG_FILE, VIEWS_FILE) and (into.parent / LOG_FILE).exists():
            raise CommandError(
                "Not into a data directory", f"{into} belongs to a daemon", hint="Name another."
            )
        into.parent.mkdir(parents=True, exist_ok=True)
        yield into
        return
    with TemporaryDirectory(prefix="chronicled-") as scratch:
        yield Path(scratch) / VIEWS_FILE


def _replay(
    log: RestingLog, path: Path, checkpoints: Checkpoints, *, leaving: bool
) -> dict[str, Any]:
    """Build the views of the log's moment into a file; the file has its name when it is whole."""
    position = log.head()
    part = path.with_name(f"{path.name}.part")
    for each in (path, part):
        check_target(each, log)
    if path.exists():
        path.replace(part)
    settle_collector()
    started = time.monotonic()
    with progress_shown("replay") as on_progress:
        replayed = replay(
            log, part, position, checkpoints=checkpoints, leaving=leaving, progress=on_progress
        )
    part.replace(path)
    return {
        "position": position,
        "events": replayed,
        "seconds": round(time.monotonic() - started, 3),
    }
