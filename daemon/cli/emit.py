"""``chronicled replay emit``: history sent once more, to another instance or into a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.connection import Target
from daemon.cli.delivery import Link
from daemon.cli.lines import StopRequest
from daemon.cli.log_files import FromOption, ToOption, open_log, stretch_of
from daemon.cli.output import notice, print_json, print_line
from daemon.cli.progress import progress_shown
from daemon.cli.session import Session, with_session

if TYPE_CHECKING:
    from daemon.replay.emit import Emitted, Send

EVENTS_PATH = "/api/events"
HISTORY_PATH = "/api/history"


@with_session
def emit_history(
    session: Session,
    start: FromOption = None,
    end: ToOption = None,
    speed: Annotated[
        str, typer.Option(metavar="SPEED", help="1x as it was, 10x, 0.5x; max: without waiting.")
    ] = "1x",
    to_url: Annotated[
        str | None, typer.Option("--to-url", metavar="URL", help="The instance to send it to.")
    ] = None,
    to_stdout: Annotated[
        bool, typer.Option("--to-stdout", help="Write NDJSON to the standard output.")
    ] = False,
    preserve: Annotated[
        bool,
        typer.Option(
            "--preserve", help="Into an empty instance: positions, versions and times are kept."
        ),
    ] = False,
) -> None:
    """Send history again as CloudEvents, in the order of the log and in its own time.

    What is not acknowledged is sent again, also after the other side was away; an event that is
    there already is a duplicate and does no harm.
    """
    # Imported here: the commands that only talk to a daemon start faster without.
    from daemon.replay.emit import Emitted, emit, outgoing, outgoing_preserved

    pace = _speed(speed)
    if (to_url is None) == (not to_stdout):
        raise typer.BadParameter("name one of --to-url and --to-stdout")
    if preserve and to_url is None:
        raise typer.BadParameter("--preserve needs --to-url; `chronicled events export` for a file")
    with closing(open_log(session.target)) as log, StopRequest() as stop:
        positions = stretch_of(log, start, end)
        emitted = Emitted(positions.start - 1)
        events = (outgoing_preserved if preserve else outgoing)(log, positions)
        with (
            _sender(session.target, to_url, stop, preserve=preserve) as send,
            progress_shown("emit") as on_progress,
            _told(emitted),
        ):
            emit(
                events,
                send,
                emitted,
                speed=pace,
                clock=time.monotonic,
                wait=stop.wait,
                on_progress=lambda at: on_progress(at - positions.start + 1, len(positions)),
            )
    if to_stdout:
        notice(_summary(emitted))
    elif session.as_json:
        print_json(asdict(emitted))
    else:
        print_line(_summary(emitted))


def _speed(text: str) -> float | None:
    from daemon.replay.emit import parse_speed

    try:
        return parse_speed(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--speed") from None


@contextmanager
def _sender(
    target: Target, to_url: str | None, stop: StopRequest, *, preserve: bool
) -> Iterator[Send]:
    """Yield what sends lines until they are acknowledged."""
    if to_url is None:
        yield _write
        return
    with closing(Link(Target(target.data, url=to_url), stop)) as link:
        path = HISTORY_PATH if preserve else EVENTS_PATH

        def send(lines: bytes) -> int:
            return sum(1 for receipt in link.send(path, lines) if receipt["duplicate"])

        yield send


def _write(lines: bytes) -> int:
    sys.stdout.buffer.write(lines)
    sys.stdout.buffer.flush()
    return 0


@contextmanager
def _told(emitted: Emitted) -> Iterator[None]:
    """Say where to go on, whenever it ends early."""
    try:
        yield
    except BaseException:
        emitted.stopped = True
        raise
    finally:
        if emitted.stopped:
            position = emitted.position
            notice(f"Stopped after position {position}. Go on with --from {position + 1}.")


def _summary(emitted: Emitted) -> str:
    return (
        f"emitted {emitted.events} events up to position {emitted.position}, "
        f"duplicates {emitted.duplicates}, left out {emitted.skipped}"
    )
