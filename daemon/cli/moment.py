"""Going back to a moment: what ``chronicled replay --until`` does."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer

from daemon.cli.failures import CommandError
from daemon.cli.log_files import require_log
from daemon.cli.output import notice, print_json, print_line
from daemon.cli.progress import progress_shown
from daemon.lifecycle import settle_collector, system_clock
from daemon.lock import LOG_FILE, VIEWS_FILE, find_daemon
from daemon.replay.checkpoints import Checkpoints
from daemon.replay.folding import FoldingChildren
from daemon.replay.limits import Bounds
from daemon.replay.points import find_position
from daemon.replay.replay import Base, check_target, position_in, replay
from daemon.replay.resting import RestingLog
from daemon.settings import Address
from domain.moments import Point
from projections.store import file_at


def go_back_to(
    data: Path,
    until: str,
    *,
    into: Path | None,
    listen: str | None,
    skip_unknown: bool,
    as_json: bool,
) -> None:
    """Build the views of a moment into a file, and serve them where an address is given."""
    address = None if listen is None else _address(listen)
    with _log_at(data, until, skip_unknown=skip_unknown) as log, _place(into, data) as path:
        # With events left out nothing is what others would find in a checkpoint.
        checkpoints = None if skip_unknown else _checkpoints(data, log)
        # A daemon keeps checkpoints itself.
        told = _replay(log, path, checkpoints, leaving=find_daemon(data) is None)
        if as_json:
            print_json(told | {"file": str(path) if into else None})
        else:
            rate = int(told["events"] / max(told["seconds"], 0.001))
            print_line(
                f"Position {told['position']}: {told['events']} events replayed in "
                f"{told['seconds']:.1f} s ({rate} a second)" + (f", into {path}" if into else "")
            )
        if address is not None:
            from daemon.replay.serve import serve_moment

            serve_moment(
                log,
                path,
                address,
                checkpoints,
                lambda listeners: notice(f"Read-only at {listeners.url}; end it with Ctrl-C."),
            )


def _checkpoints(data: Path, log: RestingLog) -> Checkpoints:
    return Checkpoints(data, log, Bounds())


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--listen") from None


@contextmanager
def _log_at(data: Path, until: str, *, skip_unknown: bool) -> Iterator[RestingLog]:
    """Open the log of a directory as it was at a moment."""
    try:
        point = Point.parse(until)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--until") from None
    log = RestingLog(require_log(data), skip_unknown=skip_unknown)
    try:
        position = find_position(log, point, system_clock())
        log.upto = position
        yield log
    finally:
        log.close()


@contextmanager
def _place(into: Path | None, data: Path) -> Iterator[Path]:
    """Yield the file that the views go to: the one that is named, or one that goes in the end."""
    if into is None:
        with TemporaryDirectory(prefix="chronicled-") as scratch:
            yield Path(scratch) / VIEWS_FILE
        return
    into = into.resolve()
    own = (LOG_FILE, VIEWS_FILE)
    if (into.name in own and (into.parent / LOG_FILE).exists()) or any(
        into.exists() and (data / name).exists() and into.samefile(data / name) for name in own
    ):
        raise CommandError(
            "Not into a data directory", f"{into} belongs to a daemon", hint="Name another."
        )
    into.parent.mkdir(parents=True, exist_ok=True)
    with _alone(into):
        yield into


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other commands from writing the same file; a lock that a killed one left is none."""
    place = path.with_name(f"{path.name}.lock")
    while True:
        descriptor = os.open(place, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise CommandError(
                "The file is being written", f"another replay writes {path}", hint="Name another."
            ) from None
        # Whoever had it may have removed it between the two lines above.
        if file_at(place) == (os.fstat(descriptor).st_dev, os.fstat(descriptor).st_ino):
            break
        os.close(descriptor)
    try:
        yield
    finally:
        place.unlink(missing_ok=True)
        os.close(descriptor)


def _replay(
    log: RestingLog, path: Path, checkpoints: Checkpoints | None, *, leaving: bool
) -> dict[str, Any]:
    """Build the views of the log's moment into a file; the file has its name when it is whole."""
    position = log.head()
    part = path.with_name(f"{path.name}.part")
    for each in (path, part):
        check_target(each, log)
    earlier = position_in(path)
    settle_collector()
    started = time.monotonic()
    with progress_shown("replay") as on_progress:
        replayed = replay(
            log,
            part,
            position,
            checkpoints=checkpoints,
            bases=[] if earlier is None else [Base(earlier, path)],
            leaving=leaving,
            folding=partial(FoldingChildren.start, Path(log.path)) if checkpoints else None,
            progress=on_progress,
        )
    for left in ("-wal", "-shm"):
        # Of a file that was there and was read: they are not those of the new one.
        path.with_name(path.name + left).unlink(missing_ok=True)
    part.replace(path)
    return {
        "position": position,
        "events": replayed,
        "seconds": round(time.monotonic() - started, 3),
    }
