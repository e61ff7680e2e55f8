"""Snapshots: full copies of the log, compressed and stored, each of them whole in itself."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

import zstandard

from daemon.backup.board import Board
from daemon.backup.container import LEVEL, Header
from daemon.backup.errors import AlreadyThere, BackupError, StoreUnavailable
from daemon.backup.manifest import Ledger, Snapshot
from daemon.backup.names import snapshot_name
from daemon.backup.shipped_log import ShippedLog
from daemon.backup.status import Progress
from daemon.backup.store import CHUNK_BYTES, ObjectStore, StoredObject
from daemon.eventlog.connection import SCHEMA_VERSION, translate
from daemon.release import PROGRAM_VERSION
from daemon.replay.checkpoints import new_file, remove_database
from daemon.storage_errors import as_storage_errors
from daemon.unallocated import clear_unallocated
from domain.errors import ChronicledError, NotReady, StorageFailed

COPY: Final = "copy.db"
PACKED: Final = "copy.db.zst"
"""The names of what a snapshot is made of, in the folder of the backup."""
SHIP_SECONDS: Final = 120.0
"""How long a snapshot waits until its events are shipped too (seconds)."""

MakeCopy = Callable[[Path, Progress], None]
"""Writes a full copy of the log to a file that is not there yet."""
Ship = Callable[[int, float], bool]
"""Ships at once; returns whether a position is shipped in time."""


class StepFailed(Exception):
    """A step of a snapshot failed: which, and why."""

    def __init__(self, step: str, error: ChronicledError) -> None:
        super().__init__(step)
        self.step = step
        self.error = error


@contextmanager
def step(name: str) -> Iterator[None]:
    """Name the step of whatever fails inside."""
    try:
        with as_storage_errors("a snapshot", translate):
            yield
    except ChronicledError as error:
        raise StepFailed(name, error) from error


class Snapshots:
    """Takes snapshots of one log; ``copy`` makes the copies, in ``folder``."""

    def __init__(
        self,
        store: ObjectStore,
        ledger: Ledger,
        log: ShippedLog,
        folder: Path,
        copy: MakeCopy,
        ship: Ship,
        board: Board,
        stopping: threading.Event,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._log = log
        self._folder = folder
        self._copy = copy
        self._ship = ship
        self._board = board
        self._stopping = stopping

    def create(self, now: int, progress: Progress) -> Snapshot | None:
        """Take a snapshot; None when nothing is new since the last one.

        Raises:
            StepFailed: with the step, and why.

        """
        newest = self._ledger.manifest.newest()
        usable = newest is not None and newest.proof != "failed"
        if not self._log.has_news(newest.position if newest and usable else 0):
            return None
        copy, packed = self._folder / COPY, self._folder / PACKED
        self.clean()
        try:
            with step("copy"):
                self._copy(copy, lambda done, total: progress(done, 4 * total))
                if not clear_unallocated(copy):
                    raise StorageFailed("the unallocated space of the copy cannot be cleared")
                header = self._header(copy)
                header = self._pack(copy, packed, header, progress)
            with step("upload"):
                snapshot = self._upload(packed, header, now)
            with step("manifest"):
                if not self._ship(snapshot.position, SHIP_SECONDS):
                    raise StoreUnavailable("the events of the snapshot are not shipped yet")
                self._ledger.change(lambda manifest: manifest.with_snapshot(snapshot))
        finally:
            self.clean()
        self._board.show_manifest(self._ledger.manifest)
        return snapshot

    def clean(self) -> None:
        """Remove what an attempt left."""
        remove_database(self._folder / COPY)
        (self._folder / PACKED).unlink(missing_ok=True)

    def _header(self, copy: Path) -> Header:
        """Say what a copy holds: it is asked itself."""
        with closing(ShippedLog(copy)) as held:
            position, letters = held.newest()
            digest = held.digest_at(position)
            epoch, log_id = held.epoch, held.log_id
        if digest is None or log_id != self._log.log_id:
            raise BackupError("the copy does not hold the log")
        return Header(
            kind="snapshot", log_id=log_id, epoch=epoch, schema_version=SCHEMA_VERSION,
            release=PROGRAM_VERSION, first=1, last=position, count=0, digest_after=digest.hex(),
            letters=letters, raw_bytes=copy.stat().st_size, raw_sha256="0" * 64,
        )  # fmt: skip

    def _pack(self, copy: Path, packed: Path, header: Header, progress: Progress) -> Header:
        """Compress a copy behind its header, and remove it; return the header with its checksum."""
        digest, done = sha256(), 0
        compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        with copy.open("rb") as source, new_file(packed) as sink:
            sink.write(header.frame())
            with compressor.stream_writer(sink, size=header.raw_bytes, closefd=False) as writer:
                while chunk := source.read(CHUNK_BYTES):
                    self._require_time()
                    digest.update(chunk)
                    writer.write(chunk)
                    done += len(chunk)
                    progress(header.raw_bytes + done, 4 * header.raw_bytes)
            header = header.model_copy(update={"raw_sha256": digest.hexdigest()})
            # As long as the one before it: only the checksum differs.
            sink.seek(0)
            sink.write(header.frame())
            sink.flush()
            os.fsync(sink.fileno())
        remove_database(copy)
        return header

    def _upload(self, packed: Path, header: Header, now: int) -> Snapshot:
        name = snapshot_name(header.epoch, header.last)
        self._make_way(name)
        checksum, size = checksum_of(packed), packed.stat().st_size
        metadata = header.metadata(checksum) | {"taken": str(now)}
        with _Watched(packed, self._require_time) as source:
            try:
                stored = self._store.put_if_absent(name, source, size, metadata)
            except AlreadyThere:
                # Stored by a run that did not get to say so.
                found = self._store.find(name)
                if found is None or not _same(found, header):
                    raise
                stored = found
        self._board.stored("snapshot", stored.size)
        return described(stored, header, now)

    def _make_way(self, name: str) -> None:
        """Remove an object of this name that was proved wrong: nobody restores from it."""
        named = [each for each in self._ledger.manifest.snapshots if each.name == name]
        if named and named[0].proof == "failed":
            self._ledger.change(lambda manifest: manifest.without_snapshots([name]))
            self._store.delete(name)

    def _require_time(self) -> None:
        if self._stopping.is_set():
            raise NotReady("The daemon is stopping.")


class _Watched(io.FileIO):
    """A file whose reading ends when there is no time left."""

    def __init__(self, path: Path, require_time: Callable[[], None]) -> None:
        super().__init__(path, "rb")
        self._require_time = require_time

    def read(self, size: int | None = -1, /) -> bytes:
        """Read from the file."""
        self._require_time()
        return super().read(-1 if size is None else size)


def described(stored: StoredObject, header: Header, now: int) -> Snapshot:
    """Return what the manifest says of a snapshot that is stored."""
    metadata = stored.metadata
    raw = Header.of_metadata(metadata) or header
    return Snapshot(
        name=stored.name,
        epoch=header.epoch,
        position=header.last,
        digest=header.digest_after,
        taken=int(metadata.get("taken", now)),
        bytes=stored.size,
        sha256=metadata["sha256"],
        raw_bytes=raw.raw_bytes,
        raw_sha256=raw.raw_sha256,
        schema_version=raw.schema_version,
        release=raw.release,
        letters=raw.letters,
    )


def checksum_of(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _same(stored: StoredObject, header: Header) -> bool:
    there = Header.of_metadata(stored.metadata)
    return (
        there is not None
        and "sha256" in stored.metadata
        and (there.log_id, there.digest_after) == (header.log_id, header.digest_after)
    )
