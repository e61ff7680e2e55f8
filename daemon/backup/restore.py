"""Restoring a log from a place: into a file beside, which takes its name when all of it is right.

What was downloaded of a snapshot stays where an attempt ends early, and the next one goes on from
there. An object that is damaged is read once more, and then done without, where there is a way.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

import apsw
import zstandard

from daemon.backup.applying import Applier
from daemon.backup.container import HEADER_BYTES_MAX, Header, read_header
from daemon.backup.errors import BackupError, ObjectDamaged, ObjectMissing
from daemon.backup.lineage import LettersMissing, Plan, cover_letters, left_letters, plan
from daemon.backup.manifest import Manifest, Snapshot
from daemon.backup.names import LETTERS, SEGMENTS, SNAPSHOTS, Range, read_range, read_snapshot_name
from daemon.backup.segment import RAW_BYTES_MAX
from daemon.backup.settling import begin_unsettled, tell_missing
from daemon.backup.status import Progress
from daemon.backup.store import CHUNK_BYTES, MANIFEST, ObjectStore
from daemon.eventlog.connection import SCHEMA_VERSION, close, open_writer, translate
from daemon.eventlog.proof import prove_log
from daemon.eventlog.statements import SQL
from daemon.lock import LOG_FILE
from daemon.release import PROGRAM_VERSION
from daemon.replay.checkpoints import new_file, remove_database
from daemon.storage_errors import as_storage_errors
from daemon.syncing import sync
from domain.errors import DiskFull, NewerSchema

BUILDING: Final = "log.db.restore"
"""The name of a log that is being restored."""
PART: Final = ".download"
"""The end of the name of a snapshot that is being downloaded."""
CACHE_KIB: Final = 64 * 1024
_ROOM_BYTES: Final = 64 << 20
_ATTEMPTS: Final = 2

_logger = logging.getLogger(__name__)

Pace = Callable[[int], None]
"""Called with every number of bytes that was read; it may wait, or raise to end the work."""
Finish = Callable[[apsw.Connection, Plan], None]
"""Does the last thing in a log that was restored, before it takes its name."""


def unhurried(count: int) -> None:
    """Read as fast as it goes."""


@dataclass
class Listing:
    """What a place holds, by the names of its objects."""

    segments: list[Range] = field(default_factory=list)
    letters: list[Range] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, store: ObjectStore, manifest: Manifest) -> Listing:
        """List a place; objects that others stand for are left out."""
        listing = cls()
        replaced = set(manifest.replaced)
        for prefix, ranges in ((SEGMENTS, listing.segments), (LETTERS, listing.letters)):
            for stored in store.list(prefix):
                range_ = read_range(stored.name)
                if range_ is not None and stored.name not in replaced:
                    ranges.append(range_)
                    listing.sizes[stored.name] = stored.size
                    listing.metadata[stored.name] = stored.metadata
        return listing

    def header(self, store: ObjectStore, name: str) -> Header:
        """Return the header of a segment: its metadata tell, or else it does itself.

        Raises:
            BackupError: it cannot be read.

        """
        header = Header.of_metadata(self.metadata[name])
        return header or read_header(store.get_range(name, 0, HEADER_BYTES_MAX), name)[0]


def holds_objects(store: ObjectStore) -> bool:
    """Return whether a place has objects of a backup: then it has, or had, a manifest."""
    return any(next(store.list(each), None) for each in (SEGMENTS, SNAPSHOTS))


class Restoring:
    """One log on its way back from a place, into a folder.

    A snapshot that was not proved yet is verified, unless ``prove`` says that somebody else does.
    Where an object cannot be used there may be ``alternatives`` without it. With ``skip_letters``
    dead letters that cannot be had are done without.
    """

    def __init__(
        self,
        store: ObjectStore,
        manifest: Manifest,
        folder: Path,
        *,
        progress: Progress | None = None,
        pace: Pace = unhurried,
        prove: bool = True,
        alternatives: bool = True,
        skip_letters: bool = False,
    ) -> None:
        self._store = store
        self._manifest = manifest
        self._folder = folder
        self._progress = progress
        self._pace = pace
        self._prove = prove
        self._alternatives = alternatives
        self._skip_letters = skip_letters
        self._done = self._total = 0
        self.listing = Listing.of(store, manifest)
        self._damaged: set[str] = set()

    def plan(self, upto: int | None = None) -> Plan:
        """Return what there is to restore from.

        Raises:
            PositionsMissing, LettersMissing: no way leads to that position.

        """
        segments = [each for each in self.listing.segments if each.segment not in self._damaged]
        letters = [each for each in self.listing.letters if each.letters not in self._damaged]
        damaged = frozenset(self._damaged)
        return plan(
            self._manifest,
            segments,
            letters,
            upto,
            without=damaged,
            skip_letters=self._skip_letters,
        )

    def run(self, upto: int | None = None, finish: Finish | None = None) -> Plan:
        """Restore the log as of a position, or the newest; return what it was restored from.

        Raises:
            ObjectMissing, ObjectDamaged: no way leads there; nothing is left but the download.
            StoreUnavailable, StoreRefused: the store does not give what it has.
            DiskFull, StorageFailed: the disk refuses.
            NewerSchema: a newer release wrote the backup.

        """
        damage: BackupError | None = None
        while True:
            try:
                chosen = self.plan(upto)
            except LettersMissing as error:
                because = damage.detail if damage else ""
                raise LettersMissing(error.first, error.last, because) from None
            except ObjectMissing as error:
                raise damage or error from None
            try:
                with as_storage_errors("a restored log", translate):
                    self._restore(chosen, upto, finish)
            except _Damaged as error:
                if not self._alternatives:
                    raise error.error from None
                # What cannot be used is left out of the next plan, so there is a last one.
                _logger.warning("a backup's object cannot be used", extra={"object": error.object})
                self._damaged.add(error.object)
                damage = error.error
            else:
                return chosen

    def _restore(self, chosen: Plan, upto: int | None, finish: Finish | None) -> None:
        building = self._folder / BUILDING
        remove_database(building)
        self._measure(chosen)
        try:
            if chosen.snapshot is not None:
                self._unpack(chosen.snapshot, building)
            db = open_building(building)
            try:
                self._fill(db, chosen, upto)
                if finish is not None:
                    finish(db, chosen)
                tell_missing(db, self._manifest.log_id)
                db.pragma("journal_mode", "wal")
            finally:
                close(db)
            settle(building, self._folder / LOG_FILE)
        finally:
            remove_database(building)
        for part in self._parts():
            part.unlink(missing_ok=True)

    def _measure(self, chosen: Plan) -> None:
        """Say how much there is to read, and see whether the disk has room for it."""
        snapshot = chosen.snapshot
        if snapshot is not None and snapshot.schema_version > SCHEMA_VERSION:
            raise NewerSchema(
                f"{snapshot.name} has schema {snapshot.schema_version}, written by release "
                f"{snapshot.release}; this program knows {SCHEMA_VERSION}"
            )
        sizes = [self.listing.sizes[each.segment] for each in chosen.segments]
        self._done, self._total = 0, sum(sizes) + (snapshot.bytes if snapshot else 0)
        packed, raw = (snapshot.bytes, snapshot.raw_bytes) if snapshot else (0, 0)
        needed = packed + raw + sum(sizes) * 8 + _ROOM_BYTES
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise DiskFull(
                f"the disk has {free >> 20} MiB free; restoring may take {needed >> 20} MiB"
            )

    # -- the snapshot ---------------------------------------------------------------------------

    def _unpack(self, snapshot: Snapshot, building: Path) -> None:
        """Write the database of a snapshot to a file."""
        part = self._folder / f"{Path(snapshot.name).name}{PART}"
        for other in self._parts():
            if other != part:
                other.unlink()
        with _damage_of(snapshot.name):
            for attempt in range(_ATTEMPTS):
                try:
                    self._download(snapshot, part)
                    break
                except (ObjectDamaged, ObjectMissing):
                    part.unlink()
                    if attempt == _ATTEMPTS - 1:
                        raise
            unpack(part, building, snapshot)
            if (
                self._prove
                and not snapshot.proved
                and (findings := prove_log(building, at_rest=True).findings)
            ):
                raise ObjectDamaged(f"{snapshot.name} is damaged: {findings[0].kind}")

    def _parts(self) -> list[Path]:
        """Return what was downloaded of snapshots, and nothing else that lies there."""
        found = self._folder.glob(f"*{PART}")
        return [
            each for each in found if read_snapshot_name(SNAPSHOTS + each.name.removesuffix(PART))
        ]

    def _download(self, snapshot: Snapshot, part: Path) -> None:
        """Download what is not there yet.

        Raises:
            ObjectDamaged: it is not what was stored.

        """
        digest, size = sha256(), 0
        if part.exists():
            with part.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
            self._read(size)
        else:
            new_file(part).close()
        if size < snapshot.bytes:
            with part.open("ab") as file:
                for chunk in self._store.get(snapshot.name, size):
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                    self._read(len(chunk))
                    if size > snapshot.bytes:
                        break
        if size != snapshot.bytes or digest.hexdigest() != snapshot.sha256:
            raise ObjectDamaged(f"{snapshot.name} does not have its checksum")

    def _read(self, count: int) -> None:
        self._done += count
        self._pace(count)
        if self._progress is not None:
            self._progress(min(self._done, self._total), self._total)

    # -- segments -------------------------------------------------------------------------------

    def _fill(self, db: apsw.Connection, chosen: Plan, upto: int | None) -> None:
        """Apply segments, and dead letters, to what the snapshot holds."""
        introduce(db, self._manifest)
        applier = Applier(db, self._manifest.log_id)
        snapshot = chosen.snapshot
        if snapshot is not None and (applier.position, applier.digest.hex()) != (
            snapshot.position,
            snapshot.digest,
        ):
            raise _Damaged(snapshot.name, ObjectDamaged(f"{snapshot.name} holds another log"))
        begin_unsettled(db, applier.position)
        for each in chosen.segments:
            self._apply(applier, each.segment, chosen.position)
        self._require_shipped(applier, chosen)
        applier.settle()
        for each in chosen.letters:
            self._apply(applier, each.letters, None)
        if upto is not None:
            # The event itself may be gone: then as of the newest that is left.
            db.execute(
                "DELETE FROM dead_letters WHERE first_seen > coalesce((SELECT recordedtime "
                "FROM events WHERE position <= ? ORDER BY position DESC LIMIT 1), 0)",
                (applier.position,),
            )

    def _require_shipped(self, applier: Applier, chosen: Plan) -> None:
        """Raise unless a log that has all that was shipped ends as the manifest says."""
        manifest = self._manifest
        there = applier.position, applier.digest.hex()
        if chosen.position != manifest.shipped or there == (manifest.shipped, manifest.digest):
            return
        last = chosen.segments[-1].segment if chosen.segments else None
        name = last or (chosen.snapshot.name if chosen.snapshot else MANIFEST)
        damage = ObjectDamaged(f"{name} does not lead to what was shipped")
        # Without the manifest there is no other plan: it is told, and not left out of the next one.
        raise damage if name == MANIFEST else _Damaged(name, damage)

    def _apply(self, applier: Applier, name: str, upto: int | None) -> None:
        with _damage_of(name):
            for attempt in range(_ATTEMPTS):
                try:
                    content = fetch(self._store, name, self.listing.sizes[name])
                    self._read(len(content))
                    applier.apply(content, name, upto)
                except ObjectDamaged:
                    if attempt == _ATTEMPTS - 1:
                        raise
                else:
                    return


def fetch(store: ObjectStore, name: str, size: int = RAW_BYTES_MAX) -> bytes:
    """Return the content of a segment; no more than its size."""
    content = bytearray()
    for chunk in store.get(name):
        content += chunk
        if len(content) > size:
            raise ObjectDamaged(f"{name} is longer than it was")
    return bytes(content)


def take_letters(
    store: ObjectStore,
    applier: Applier,
    manifest: Manifest,
    listing: Listing,
    after: int,
    *,
    skip: bool,
) -> None:
    """Bring a log the dead letters after an id; with ``skip`` those that can be had.

    Raises:
        LettersMissing: some cannot.

    """
    told = listing.letters, after, manifest
    for each in left_letters(*told)[0] if skip else cover_letters(*told):
        try:
            applier.apply(fetch(store, each.letters), each.letters)
        except (ObjectMissing, ObjectDamaged) as error:
            if not skip:
                raise LettersMissing(each.first, each.last, error.detail) from None
            _logger.warning("dead letters are skipped", extra={"object": each.letters})


def unpack(part: Path, target: Path, snapshot: Snapshot) -> None:
    """Write the database in a downloaded snapshot to a file.

    Raises:
        ObjectDamaged: it is not what was stored.

    """
    digest = sha256()
    with part.open("rb") as file, new_file(target) as sink:
        _, start = read_header(file.read(HEADER_BYTES_MAX), snapshot.name)
        file.seek(start)
        reader = zstandard.ZstdDecompressor().stream_reader(file)
        try:
            while (chunk := reader.read(CHUNK_BYTES)) and sink.tell() <= snapshot.raw_bytes:
                digest.update(chunk)
                sink.write(chunk)
        except zstandard.ZstdError:
            raise ObjectDamaged(f"{snapshot.name} cannot be decompressed") from None
    if digest.hexdigest() != snapshot.raw_sha256:
        raise ObjectDamaged(f"{snapshot.name} does not hold the database that was copied")


def open_building(path: Path) -> apsw.Connection:
    """Open a log that nobody else opens yet; what is half done is thrown away."""
    if not path.exists():
        new_file(path).close()
    db = open_writer(str(path), synchronous="OFF")
    db.pragma("locking_mode", "exclusive")
    db.pragma("journal_mode", "memory")
    db.pragma("cache_size", -CACHE_KIB)
    return db


def settle(building: Path, path: Path) -> None:
    """Give a log that is whole its name; it survives a power cut from then on."""
    sync(building)
    remove_database(path)
    building.rename(path)
    sync(path.parent)


def introduce(db: apsw.Connection, manifest: Manifest) -> None:
    """Give a log that is restored from its first event on the identity that it had."""
    if db.execute(SQL["find_meta"], ("log_id",)).get is not None:
        return
    db.executemany(
        SQL["set_meta"],
        [
            ("log_id", manifest.log_id),
            ("epoch", 1),
            ("created", manifest.created),
            ("release", PROGRAM_VERSION),
        ],
    )


class _Damaged(Exception):
    """An object cannot be used."""

    def __init__(self, name: str, error: BackupError) -> None:
        super().__init__(name)
        self.object = name
        self.error = error


@contextmanager
def _damage_of(name: str) -> Iterator[None]:
    try:
        yield
    except (ObjectDamaged, ObjectMissing) as error:
        raise _Damaged(name, error) from None
