"""The parts of the backup wired together, for the process that makes it and for a log at rest."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from daemon.backup.board import Board
from daemon.backup.errors import NoBackup
from daemon.backup.forgetting import Forgetter
from daemon.backup.identity import PlaceMark, identify
from daemon.backup.keeping import Keep
from daemon.backup.manifest import Ledger, Manifest, Snapshot, Writer
from daemon.backup.places import open_place
from daemon.backup.proof import VIEWS_SECONDS, Prover
from daemon.backup.restore import Listing
from daemon.backup.settings import Settings
from daemon.backup.shipped_log import ShippedLog
from daemon.backup.shipper import Shipper
from daemon.backup.snapshots import MakeCopy, Ship, Snapshots
from daemon.backup.status import Progress
from daemon.backup.store import ObjectStore, Place
from daemon.backup.tidying import Removal, Tidying
from daemon.lifecycle import Clock
from daemon.lock import LOG_FILE, VIEWS_FILE
from domain.errors import StorageFailed
from domain.timestamps import format_timestamp


def place_of(settings: Settings) -> Place:
    """Return the place that the settings name.

    Raises:
        ConfigurationError: they name none.

    """
    return open_place(
        settings.url,
        data=Path(settings.data),
        timeout_seconds=settings.timeout_seconds,
        credentials=Path(settings.credentials) if settings.credentials else None,
    )


def writer_of(settings: Settings) -> Writer:
    """Return who writes from this data directory, in this process.

    Raises:
        StorageFailed: the folder of the backup cannot be written.

    """
    try:
        return identify(settings.folder)
    except OSError as error:
        raise StorageFailed(f"{settings.folder} cannot be written: {error.strerror}") from error


def mark_of(settings: Settings, place: Place) -> PlaceMark:
    """Return the mark of the place in the data directory."""
    return PlaceMark(settings.folder, place.objects.url)


_DAY: Final = 86_400_000_000


class Workshop:
    """Everything that works on the backup of one log; made when the log is there.

    ``ship`` makes sure that a position is shipped; without it, this does it at once, by itself.
    """

    def __init__(
        self,
        settings: Settings,
        place: Place,
        writer: Writer,
        board: Board,
        copy: MakeCopy,
        stopping: threading.Event,
        clock: Clock,
        ship: Ship | None = None,
    ) -> None:
        store, data = place.objects, Path(settings.data)
        self.log = ShippedLog(data / LOG_FILE)
        self.ledger = Ledger(place.register, writer)
        self.shipper = Shipper(
            store,
            self.ledger,
            self.log,
            board,
            mark_of(settings, place),
            seconds=settings.segment_seconds,
            events=settings.segment_events,
        )
        self._board = board
        self._clock = clock
        # Where nobody else ships, nobody brings the views on either.
        patience = 0.0 if ship is None else VIEWS_SECONDS
        ship = ship or self._ship_here
        self._store = store
        self._keep = Keep.parse(settings.keep)
        self.snapshots = Snapshots(
            store, self.ledger, self.log, settings.folder, copy, ship, board, stopping
        )
        self.prover = Prover(
            store,
            self.ledger,
            data / VIEWS_FILE,
            settings.folder,
            ship,
            stopping,
            settings.bytes_per_second,
            patience,
        )
        self.tidying = Tidying(store, self.ledger, self.log)
        forget_after = round(settings.forget_after_days * _DAY)
        self.forgetter = Forgetter(store, self.ledger, self.log, self.tidying, forget_after)

    def _ship_here(self, position: int, _: float) -> bool:
        self.shipper.ship_all(self._clock)
        return self.ledger.manifest.shipped >= position

    def close(self) -> None:
        """Close the log."""
        self.log.close()

    def clean(self) -> None:
        """Remove what a process that was killed left."""
        self.snapshots.clean()
        self.prover.clean()

    # -- what can be asked for ------------------------------------------------------------------

    def create(self, progress: Progress) -> dict[str, Any]:
        """Take a snapshot, unless nothing is new."""
        snapshot = self.snapshots.create(self._clock(), progress)
        if snapshot is None:
            newest = self.ledger.manifest.newest()
            return {"skipped": True, "snapshot": newest and shown(newest)}
        return {"skipped": False, "snapshot": shown(snapshot)}

    def prove(self, name: str | None, progress: Progress) -> dict[str, Any]:
        """Prove a snapshot, the newest unless one is named."""
        proved = self.prover.prove(find_snapshot(self.ledger.manifest, name), self._clock, progress)
        self._board.show_manifest(self.ledger.manifest)
        return {"ok": proved.proved, "snapshot": shown(proved)}

    def prune(self, dry_run: bool) -> dict[str, Any]:
        """Remove what no rule keeps, or say what that is."""
        done = self.tidying.removable(self._keep) if dry_run else self.tidying.prune(self._keep)
        self._board.show_manifest(self.ledger.manifest)
        return shown_removal(done, dry_run)

    def forget(self, stopping: Callable[[], bool]) -> int:
        """Replace or remove what holds removed and redacted values for too long."""
        gone = self.forgetter.forget(self._clock(), stopping)
        self._board.show_manifest(self.ledger.manifest)
        return gone

    def list(self) -> dict[str, Any]:
        """Say what there is in the place."""
        return contents(self._store, self.ledger.manifest)


def find_snapshot(manifest: Manifest, name: str | None) -> Snapshot:
    """Return a snapshot by its name, or the end of its name; the newest where none is named.

    Raises:
        NoBackup: there is none.

    """
    if name is None:
        found = manifest.newest()
    else:
        named = [each for each in manifest.snapshots if each.name.endswith(name)]
        found = named[0] if len(named) == 1 else None
        if len(named) > 1:
            raise NoBackup(f"{len(named)} snapshots have names that end in {name[:80]!r}")
    if found is None:
        raise NoBackup(
            f"there is no snapshot {name[:80]!r}"
            if name
            else "there is no snapshot yet: `chronicled backup create` takes one",
        )
    return found


def contents(store: ObjectStore, manifest: Manifest) -> dict[str, Any]:
    """Return what a place holds, without reading any of it."""
    listing = Listing.of(store, manifest)
    segments = listing.segments
    return {
        "url": store.url,
        "log_id": manifest.log_id,
        "epoch": manifest.epoch,
        "shipped": manifest.shipped,
        "shipped_at": format_timestamp(manifest.shipped_at),
        "reported_head": manifest.head,
        "writer": manifest.writer.host,
        "snapshots": [shown(each) for each in reversed(manifest.snapshots)],
        "segments": {
            "count": len(segments),
            "bytes": sum(listing.sizes[each.segment] for each in segments),
            "first": min((each.first for each in segments), default=None),
            "last": max((each.last for each in segments), default=None),
        },
        "epochs": [
            each.model_dump() | {"began": format_timestamp(each.began)} for each in manifest.epochs
        ],
    }


def shown(snapshot: Snapshot) -> dict[str, Any]:
    """Return a snapshot as people are told of it."""
    return snapshot.model_dump() | {
        "taken": format_timestamp(snapshot.taken),
        "proved_at": snapshot.proved_at and format_timestamp(snapshot.proved_at),
    }


def shown_removal(removal: Removal, dry_run: bool) -> dict[str, Any]:
    """Return what was removed, or would be."""
    return {
        "dry_run": dry_run,
        "snapshots": [each.name for each in removal.snapshots],
        "strays": list(removal.strays),
        "bytes": removal.bytes,
    }
