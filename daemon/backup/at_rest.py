"""What the commands of the backup do where no daemon runs: on the directory and the place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.backup.board import Board
from daemon.backup.manifest import Manifest, require
from daemon.backup.positions import PlacePositions
from daemon.backup.recovery import Recovery
from daemon.backup.restore import Restoring
from daemon.backup.settings import Settings
from daemon.backup.shipped_log import ShippedLog
from daemon.backup.snapshots import StepFailed
from daemon.backup.status import BackupStatus, Progress, unwatched
from daemon.backup.store import ObjectStore, Place
from daemon.backup.workshop import Workshop, contents, mark_of, place_of, shown, writer_of
from daemon.eventlog.copying import copy_log
from daemon.lifecycle import system_clock
from daemon.lock import LOG_FILE, DataDirectory
from daemon.replay.points import find_position
from domain.errors import BeyondHead, ConfigurationError, HistoryConflict, NotFound
from domain.timestamps import format_timestamp

if TYPE_CHECKING:
    from daemon.config import Config
    from domain.moments import Point


def _opened(config: Config) -> tuple[Settings, Place]:
    settings = Settings.of(config)
    if not settings.url:
        raise ConfigurationError(
            "no backup is configured", hint="Set [backup] url, or name a place by --from URL."
        )
    return settings, place_of(settings)


@contextmanager
def _workshop(config: Config) -> Iterator[Workshop]:
    """Lend the parts of the backup, as the writer of the place, under the directory's lock.

    Everything that is in the log is shipped first.

    Raises:
        DirectoryLocked: a daemon runs.
        NotTheWriter: the place is another daemon's.

    """
    settings, place = _opened(config)
    path = config.data / LOG_FILE
    if not path.exists():
        raise NotFound(f"There is no log in {config.data}.")

    def copy(target: Path, progress: Progress) -> None:
        copy_log(path, target)
        progress(1, 1)

    with DataDirectory.acquire(config.data):
        board = Board(BackupStatus(url=place.objects.url), system_clock)
        workshop = Workshop(
            settings, place, writer_of(settings), board, copy, threading.Event(), system_clock
        )
        with closing(workshop):
            workshop.clean()
            workshop.shipper.ship_all(system_clock)
            try:
                yield workshop
            except StepFailed as failed:
                raise failed.error from None


def status_of(config: Config) -> dict[str, Any]:
    """Return what the place says of the backup, beside what is in the directory."""
    _, place = _opened(config)
    manifest, _ = require(place.register)
    newest, proved = manifest.newest(), manifest.newest(proved=True)
    head, log_id = _local(config.data)
    return {
        "state": "at_rest",
        "url": place.objects.url,
        "log_id": manifest.log_id,
        "epoch": manifest.epoch,
        "shipped": manifest.shipped,
        "shipped_at": format_timestamp(manifest.shipped_at),
        "reported_head": manifest.head,
        "head": head,
        "local_log_id": log_id,
        "writer": manifest.writer.host,
        "snapshot": newest and shown(newest),
        "proved": proved and shown(proved),
    }


def _local(data: Path) -> tuple[int | None, str | None]:
    path = data / LOG_FILE
    if not path.exists():
        return None, None
    with closing(ShippedLog(path)) as log:
        return log.newest()[0], log.log_id


def list_place(config: Config) -> dict[str, Any]:
    """Return what there is in the place."""
    _, place = _opened(config)
    manifest, _ = require(place.register)
    return contents(place.objects, manifest)


def create(config: Config, progress: Progress = unwatched) -> dict[str, Any]:
    """Ship the log and take a snapshot of it."""
    with _workshop(config) as workshop:
        return workshop.create(progress)


def prove(config: Config, snapshot: str | None, progress: Progress = unwatched) -> dict[str, Any]:
    """Prove a snapshot, the newest unless one is named."""
    with _workshop(config) as workshop:
        return workshop.prove(snapshot, progress)


def prune(config: Config, dry_run: bool) -> dict[str, Any]:
    """Remove what no rule keeps."""
    with _workshop(config) as workshop:
        return workshop.prune(dry_run)


def takeover(
    config: Config, reason: str, progress: Progress = unwatched, *, skip_letters: bool = False
) -> dict[str, Any]:
    """Make the log of this directory the one that the place goes on with.

    Raises:
        DirectoryLocked: a daemon runs on the directory.
        RestoreRefused: the log and the backup went different ways.

    """
    settings, place = _opened(config)
    with DataDirectory.acquire(config.data):
        writer = writer_of(settings)
        recovery = Recovery(
            config.data,
            place,
            writer,
            system_clock(),
            progress,
            mark=mark_of(settings, place),
            options=settings.options,
        )
        outcome = recovery.take_over(reason, skip_letters=skip_letters)
    return {
        "action": outcome.action,
        "detail": outcome.detail,
        "position": outcome.position,
        "epoch": outcome.epoch,
    }


def restore(
    config: Config,
    point: Point | None,
    into: Path,
    progress: Progress = unwatched,
    *,
    dry_run: bool = False,
    skip_letters: bool = False,
) -> dict[str, Any]:
    """Bring the log back into a directory, as of a moment, or the newest.

    With ``skip_letters`` dead letters that cannot be had are done without, and the answer says so.

    Raises:
        HistoryConflict: there is a log in the directory.
        BeyondHead: the backup does not reach that moment.

    """
    _, place = _opened(config)
    manifest, _ = require(place.register)
    if (into / LOG_FILE).exists():
        raise HistoryConflict(
            f"there is a log in {into}", hint="Restore into a directory that has none."
        )
    if dry_run:
        restoring = Restoring(place.objects, manifest, into, skip_letters=skip_letters)
        return _planned(restoring, manifest, _position(place.objects, restoring, manifest, point))
    with DataDirectory.acquire(into):
        restoring = Restoring(
            place.objects, manifest, into, progress=progress, skip_letters=skip_letters
        )
        upto = _position(place.objects, restoring, manifest, point)
        restoring.run(upto)
    return _planned(restoring, manifest, upto) | {"into": str(into), "dry_run": False}


def _planned(restoring: Restoring, manifest: Manifest, upto: int | None) -> dict[str, Any]:
    chosen = restoring.plan(upto)
    sizes = restoring.listing.sizes
    size = sum(sizes[each.segment] for each in chosen.segments)
    return {
        "dry_run": True,
        "log_id": manifest.log_id,
        "position": chosen.position,
        "snapshot": chosen.snapshot and shown(chosen.snapshot),
        "segments": [each.segment for each in chosen.segments],
        "bytes": size + (chosen.snapshot.bytes if chosen.snapshot else 0),
        "skipped_letters": [list(gap) for gap in chosen.gaps],
    }


def _position(
    place: ObjectStore, restoring: Restoring, manifest: Manifest, point: Point | None
) -> int | None:
    """Return the position that a point names in the backup, None for the newest."""
    if point is None:
        return None
    positions = PlacePositions(place, manifest, restoring.listing)
    try:
        return find_position(positions, point, system_clock())
    except BeyondHead as error:
        if error.operator_hint != BeyondHead.hint:
            raise
        # That hint is of answers by a daemon.
        hint = f"The backup is complete up to {manifest.shipped}; without --to that is restored."
        raise BeyondHead(error.detail, hint=hint) from None
