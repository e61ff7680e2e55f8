"""The objects of the archive: their names, storing them for sure, and reading them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from daemon.archive.container import Head, Packed, Unpacking
from daemon.archive.errors import ArchiveDamaged
from daemon.backup.errors import AlreadyThere, ObjectDamaged, ObjectMissing
from daemon.backup.store import ObjectStore
from domain.timestamps import MICROSECONDS

_FOLDER: Final = "jobs"
_DIGITS: Final = 32


def location_of(log_id: str, job: str, begun: int) -> str:
    """Return where the objects of a job are: the same place for all of its life in the log.

    ``begun`` is when its first event was recorded.
    """
    digest = sha256(f"{log_id}\0{job}".encode()).hexdigest()[:_DIGITS]
    return f"{_FOLDER}/{datetime.fromtimestamp(begun / MICROSECONDS, UTC):%Y/%m}/{digest}"


def events_name(location: str, version: int) -> str:
    """Return the name of the object that holds a job's events up to a version."""
    return f"{location}/events-{version}.ndjson.zst"


def file_name(location: str, result: str, digest: str) -> str:
    """Return the name of the object that holds a file of a result, whose SHA-256 is given."""
    return f"{location}/file-{sha256(result.encode()).hexdigest()[:8]}-{digest[:_DIGITS]}.zst"


class Shelf:
    """Stores and reads the objects of one archive; ``folder`` is for files without a name."""

    def __init__(self, store: ObjectStore, folder: Path) -> None:
        self._store = store
        self.folder = folder

    @property
    def url(self) -> str:
        """Where the archive is, as it may be shown."""
        return self._store.url

    @property
    def directory(self) -> Path | None:
        """The directory that the archive is in, None where it is no directory."""
        parts = urlsplit(self._store.url)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None

    def put(self, name: str, packed: Packed) -> None:
        """Store an object, and read all of it back; one that is there and differs is replaced.

        Only an attempt that died has left one, or one that the log has forgotten: what a marker
        names holds the same, or is not whole any more.

        Raises:
            ArchiveDamaged: it cannot be read back as it was written.
            StoreUnavailable, StoreRefused: the store does not take it.

        """
        for attempt in (1, 2):
            packed.file.seek(0)
            try:
                told = {"sha256": packed.sha256}
                self._store.put_if_absent(name, packed.file, packed.size, told)
                self.check(name, packed.sha256)
            except (AlreadyThere, ArchiveDamaged):
                if attempt == 2:
                    raise
                self._store.delete(name)
            else:
                return

    def read(self, name: str, digest: str | None = None) -> Unpacking:
        """Return the content of an object, which has this SHA-256 where one is given.

        Raises:
            ArchiveDamaged: it is missing, or not what was stored; also out of the content.

        """
        try:
            return Unpacking(self._pieces(name), name, digest)
        except ObjectMissing:
            raise ArchiveDamaged(f"{name} is missing") from None

    def _pieces(self, name: str) -> Iterator[bytes]:
        try:
            yield from self._store.get(name)
        except ObjectDamaged as error:
            raise ArchiveDamaged(error.detail) from None

    def check(self, name: str, digest: str | None = None, content: str | None = None) -> Head:
        """Read all of an object; return its head.

        Raises:
            ArchiveDamaged: it is missing, or not what was stored.

        """
        reading = self.read(name, digest)
        for _ in reading:
            pass
        if content not in (None, reading.head.raw_sha256):
            raise ArchiveDamaged(f"{name} holds another content than it should")
        return reading.head

    def has(self, name: str) -> bool:
        """Return whether there is an object of a name."""
        return self._store.find(name) is not None

    def names(self, location: str) -> frozenset[str]:
        """Return the names of the objects of a location."""
        return frozenset(each.name for each in self._store.list(f"{location}/"))

    def later_events(self, location: str, version: int) -> list[str]:
        """Return the names of the objects that hold a job's events beyond a version."""
        return [name for later, name in self._events(location) if later > version]

    def free_name(self, location: str) -> str:
        """Return a name for a job's events that no object has: it is later than all of them."""
        newest = max((version for version, _ in self._events(location)), default=0)
        return events_name(location, newest + 1)

    def _events(self, location: str) -> list[tuple[int, str]]:
        begin = f"{location}/events-"
        return sorted((_version(each.name, begin), each.name) for each in self._store.list(begin))

    def clear(self, location: str, keep: frozenset[str] = frozenset()) -> int:
        """Delete the objects of a location but those to keep; return how many."""
        names = self.names(location) - keep
        for name in sorted(names):
            self._store.delete(name)
        if not keep and (root := self.directory) is not None:
            _prune(root, location)
        return len(names)


def _version(name: str, begin: str) -> int:
    text = name.removeprefix(begin).partition(".")[0]
    return int(text) if text.isdecimal() else 0


def _prune(root: Path, location: str) -> None:
    """Remove the folder of a location that has become empty; those above are shared."""
    for folder in (root / location, root / ".metadata" / location):
        try:
            folder.rmdir()
        except OSError:
            continue
