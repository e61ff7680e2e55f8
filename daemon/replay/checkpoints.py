"""Checkpoints: compressed copies of the views at positions, so that a replay starts near its goal.

A checkpoint is a whole views file, compressed with zstd and named by its position. All are of one
log and one version of the projections: those of others lie in another folder, which is removed. So
are those at positions of a tail that was lost; those before it stay good in every later epoch.
There are a bounded number of them, with a bounded size together; where one has to go, it is the one
whose neighbours are nearest to each other.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from contextlib import AbstractContextManager, closing
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import apsw
import zstandard

from daemon.replay.limits import Bounds
from daemon.storage_errors import as_storage_errors
from domain.epochs import lost_at, lost_before
from domain.errors import DiskFull
from projections import store as storage
from projections.registry import PROJECTIONS
from projections.seam import Feed

FOLDER: Final = "replay"
"""The folder in the data directory that holds the checkpoints, and the moments asked for."""
LEVEL: Final = 1
"""zstd's level: a quarter of the size, at some hundred megabytes a second."""
SUFFIX: Final = ".db.zst"
_PART: Final = ".part"
_ROOM_BYTES: Final = 256 << 20


class Checkpoint(NamedTuple):
    """One checkpoint; its size is that of the compressed file (bytes)."""

    position: int
    path: Path
    size: int


class Checkpoints:
    """The checkpoints of one log in a data directory; several processes may use them at once.

    Each is written under another name and renamed when it is whole, so one that is there is whole.
    """

    def __init__(self, data: Path, log: Feed, bounds: Bounds) -> None:
        self.folder = data / FOLDER / f"checkpoints-{_key(log.log_id)}"
        self.bounds = bounds
        self._log = log

    def list(self) -> list[Checkpoint]:
        """Return the checkpoints, by position."""
        lost = self._log.lost_stretches()
        found = []
        with contextlib.suppress(FileNotFoundError):
            for path in self.folder.glob(f"*{SUFFIX}"):
                with contextlib.suppress(ValueError, FileNotFoundError):
                    position = int(path.name.removesuffix(SUFFIX))
                    if lost_at(position, lost) is None:
                        found.append(Checkpoint(position, path, path.stat().st_size))
        return sorted(found)

    def nearest(self, position: int) -> Checkpoint | None:
        """Return the newest checkpoint that is not beyond a position."""
        before = [each for each in self.list() if each.position <= position]
        return before[-1] if before else None

    def spacing(self, head: int) -> int:
        """Return how far apart checkpoints are to be in a log with this head."""
        return max(self.bounds.spacing, -(-self.count(0, head) // max(self.bounds.count, 1)))

    def count(self, low: int, high: int) -> int:
        """Return how many positions after one up to another are not lost."""
        lost = self._log.lost_stretches()
        return high - low - lost_before(high, lost) + lost_before(low, lost)

    def beyond(self, low: int, count: int) -> int:
        """Return the position so many positions beyond one, those that are lost not counted."""
        position = low + count
        for each in self._log.lost_stretches():
            if low <= each.complete_to < position:
                position += each.length
        return position

    def is_wanted(self, position: int, head: int) -> bool:
        """Return whether a checkpoint at a position would not be too near to others."""
        if self.bounds.count < 1 or self.count(0, position) < self.bounds.spacing // 2:
            return False
        near = self.spacing(head) // 2
        places = (sorted((each.position, position)) for each in self.list())
        return all(self.count(low, high) >= near for low, high in places)

    def gap(self, head: int) -> tuple[int, int] | None:
        """Return the newest stretch without checkpoints that is too long: its two ends."""
        if self.bounds.count < 1:
            return None
        ends = [0, *(each.position for each in self.list()), head]
        for low, high in reversed(list(pairwise(ends))):
            if self.count(low, high) > self.spacing(head) * 3 // 2:
                return low, high
        return None

    def save(self, views: Path, head: int) -> Checkpoint | None:
        """Keep a copy of a views file as it is now; None where it is not whole at one position.

        Raises:
            StorageFailed, DiskFull: the disk refused.

        """
        self._make()
        require_room(self.folder, views)
        raw = self.folder / f"{os.getpid()}.db{_PART}"
        try:
            with _as_storage_errors():
                copy_views(views, raw)
                position = whole_at(raw)
                if position is None:
                    return None
                path = self.folder / f"{position:020d}{SUFFIX}"
                _compress(raw, path)
        finally:
            remove_database(raw)
        self.thin(head)
        return Checkpoint(position, path, path.stat().st_size) if path.exists() else None

    def take(self, checkpoint: Checkpoint, target: Path) -> bool:
        """Write the views of a checkpoint to a file; False, and it is gone, where it is damaged.

        Raises:
            StorageFailed, DiskFull: the disk refused.

        """
        part = target.with_name(target.name + _PART)
        try:
            with checkpoint.path.open("rb") as source, _as_storage_errors(), new_file(part) as sink:
                zstandard.ZstdDecompressor().copy_stream(source, sink)
            part.replace(target)
        except (zstandard.ZstdError, FileNotFoundError):
            checkpoint.path.unlink(missing_ok=True)
            return False
        finally:
            part.unlink(missing_ok=True)
        return True

    def thin(self, head: int) -> None:
        """Remove what is beyond the bounds, where it is missed least; never the newest."""
        present = self.list()
        while len(present) > 1 and (
            len(present) > self.bounds.count
            or sum(each.size for each in present) > self.bounds.bytes
        ):
            ends = [0, *(each.position for each in present), head]
            place = min(range(len(present) - 1), key=lambda at: self.count(ends[at], ends[at + 2]))
            present.pop(place).path.unlink(missing_ok=True)

    def clean(self) -> None:
        """Remove the checkpoints of other logs and versions and of lost tails, and remains."""
        for folder in self.folder.parent.glob("checkpoints-*"):
            if folder != self.folder:
                shutil.rmtree(folder, ignore_errors=True)
        for path in self.folder.glob(f"*{_PART}*"):
            path.unlink(missing_ok=True)
        kept = {each.path for each in self.list()}
        for path in self.folder.glob(f"*{SUFFIX}"):
            if path not in kept:
                path.unlink(missing_ok=True)

    def forget(self) -> None:
        """Throw away every checkpoint; nobody writes one meanwhile."""
        with _as_storage_errors():
            for folder in self.folder.parent.glob("checkpoints-*"):
                shutil.rmtree(folder)

    def _make(self) -> None:
        with _as_storage_errors():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _key(log_id: str) -> str:
    """Return what differs when views of one cannot be gone on with by another."""
    versions = [(each.name, each.version, each.schema("")) for each in PROJECTIONS]
    told = repr((log_id, storage.SCHEMA_VERSION, versions))
    return sha256(told.encode()).hexdigest()[:16]


def copy_views(source_path: Path, target_path: Path) -> None:
    """Copy a database as it is at one moment, whoever writes it."""
    flags = apsw.SQLITE_OPEN_READONLY
    remove_database(target_path)
    new_file(target_path).close()
    with (
        closing(apsw.Connection(str(source_path), flags=flags)) as source,
        closing(apsw.Connection(str(target_path))) as target,
    ):
        source.set_busy_timeout(storage.BUSY_TIMEOUT_MS)
        target.pragma("synchronous", "OFF")
        with target.backup("main", source, "main") as backup:
            backup.step(-1)


def whole_at(path: Path) -> int | None:
    """Return the position of views that are complete, all at one; None for others."""
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
        if (db.pragma("application_id"), db.pragma("user_version")) != (
            storage.APPLICATION_ID,
            storage.SCHEMA_VERSION,
        ):
            return None
        found = storage.list_generations(db)
    wanted = {(each.name, each.version) for each in PROJECTIONS}
    if any(not each.live or each.error for each in found):
        return None
    positions = {each.position for each in found}
    if {(each.name, each.version) for each in found} != wanted or len(positions) != 1:
        return None
    return positions.pop()


def remove_database(path: Path) -> None:
    """Remove a database with what SQLite keeps beside it."""
    for part in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + part).unlink(missing_ok=True)


def require_room(folder: Path, views: Path, copies: int = 2) -> None:
    """Raise unless the disk has room for some copies of a views file, and some to spare.

    Raises:
        DiskFull: it has not.

    """
    size = views.stat().st_size if views.exists() else 0
    if shutil.disk_usage(folder).free < size * copies + _ROOM_BYTES:
        raise DiskFull("the disk of the data directory has no room for a copy of the views")


def _compress(source: Path, target: Path) -> None:
    part = target.with_name(f"{target.name}.{os.getpid()}{_PART}")
    try:
        with source.open("rb") as whole, new_file(part) as sink:
            zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).copy_stream(whole, sink)
            sink.flush()
            os.fsync(sink.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def new_file(path: Path) -> BinaryIO:
    """Open an empty file to write, for nobody else to read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _as_storage_errors() -> AbstractContextManager[None]:
    return as_storage_errors("a copy of the views", storage.translate, storage.STORAGE)
