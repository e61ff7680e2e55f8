"""Objects in a directory: ``file:///dir``. A killed process leaves no half object behind.

Beside the objects the directory holds, hidden: ``.metadata/NAME.json`` (what is known of each),
``.partial`` (what is being written) and ``.lock`` (the flock under which names appear and go).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

import google_crc32c
import orjson

from daemon.backup.checksum import crc32c_of, verified
from daemon.backup.errors import (
    AlreadyThere,
    ObjectMissing,
    StoreRefused,
    StoreUnavailable,
    SwapLost,
)
from daemon.backup.store import (
    CHUNK_BYTES,
    MANIFEST,
    Capabilities,
    StoredObject,
    Versioned,
    checked_name,
)
from daemon.syncing import sync

_LOCK: Final = ".lock"
_METADATA: Final = ".metadata"
_PARTIAL: Final = ".partial"
_PAUSE_SECONDS: Final = 0.01
_MISSING: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""A part of a name may be an object, or a name the folder of others: either is no such object."""
_REFUSED: Final = {
    errno.EACCES: "this user may not",
    errno.EPERM: "this user may not, or the file system has no hard links",
    errno.EROFS: "the file system is read-only",
    errno.ENOTSUP: "the file system has no hard links",
    errno.ENOENT: "there is no such directory",
    errno.ENOTDIR: "a part of the path is not a directory",
    errno.EEXIST: "a part of the path is not a directory",
    errno.EISDIR: "it is a directory",
    errno.ELOOP: "symbolic links lead in a circle",
    errno.ENAMETOOLONG: "the name is too long for the file system",
}
"""What does not pass by itself, in words for the operator."""
_DIRECTORY: Final = (
    "Check [backup] url, that the disk is mounted, and that the daemon's user may write there."
)


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if words := _REFUSED.get(error.errno or 0):
            raise StoreRefused(f"{what}: {words}", hint=_DIRECTORY) from error
        raise StoreUnavailable(f"{what}: {error.strerror}") from error


class _Directory:
    """The files of a place, and the lock under which they change."""

    def __init__(self, root: Path, timeout_seconds: float) -> None:
        self.root = root
        self._timeout_seconds = timeout_seconds
        self._swept = False

    def exists(self) -> bool:
        """Return whether it is there; it is made by the first write, and only it."""
        try:
            mode = self.root.stat().st_mode
        except FileNotFoundError:
            if not self.root.parent.is_dir():
                raise StoreRefused(
                    f"{self.root.parent}: there is no such directory", hint=_DIRECTORY
                ) from None
            return False
        if not stat.S_ISDIR(mode):
            raise StoreRefused(f"{self.root}: it is not a directory", hint=_DIRECTORY)
        return True

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the place; nobody else makes a name appear or go meanwhile."""
        if not self.exists():
            self._make(self.root)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self.root / _LOCK, flags, 0o600)
        try:
            self._lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        deadline = time.monotonic() + self._timeout_seconds
        pause = threading.Event()
        while True:
            with contextlib.suppress(BlockingIOError):
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"{self.root} is locked by another process")
            pause.wait(_PAUSE_SECONDS)

    @contextlib.contextmanager
    def partial(self) -> Iterator[tuple[BinaryIO, Path]]:
        """Lend a new file that nobody lists. It is gone after, whatever happens.

        Its own flock says that its writer lives. It is taken before the place is let go, so that
        `_sweep` never meets a new file without it.
        """
        with self.locked():
            self._make(self.root / _PARTIAL)
            self._sweep()
            path = self.root / _PARTIAL / secrets.token_hex(16)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            file = os.fdopen(os.open(path, flags, 0o600), "w+b", buffering=0)
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            with file:
                yield file, path
        finally:
            path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what killed processes were writing: files without a lock on them."""
        if self._swept:
            return
        for path in (self.root / _PARTIAL).iterdir():
            # One that is gone was put away by its writer meanwhile.
            with contextlib.suppress(BlockingIOError, FileNotFoundError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
        self._swept = True

    def replace(self, path: Path, content: bytes) -> None:
        """Put a small file in the place of another one, at once; the place is locked."""
        self._make(path.parent)
        self._make(self.root / _PARTIAL)
        # The lock of the place keeps `_sweep` away, and one name is enough: what a killed process
        # has left of it is written over.
        temporary = self.root / _PARTIAL / "replacing"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync(path.parent)

    def link(self, source: Path, path: Path) -> None:
        """Give a file its name, which nothing has yet; the place is locked."""
        self._make(path.parent)
        os.link(source, path)
        sync(path.parent)

    def _make(self, path: Path) -> None:
        if path.is_dir():
            return
        if path != self.root:
            self._make(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        sync(path.parent)


class DirectoryStore:
    """The objects of a place in a directory; see `daemon.backup.store.ObjectStore`."""

    capabilities = Capabilities()

    def __init__(self, root: Path, *, timeout_seconds: float = 60.0) -> None:
        """Use a directory; waiting for another process's lock ends after ``timeout_seconds``."""
        self._directory = _Directory(root, timeout_seconds)
        self._root = root

    @property
    def url(self) -> str:
        """Where this is."""
        return self._root.as_uri()

    def put_if_absent(
        self, name: str, source: BinaryIO, size: int, metadata: Mapping[str, str]
    ) -> StoredObject:
        """Store an object; see the protocol."""
        path = self._path(name)
        with _translated(name), self._directory.partial() as (file, partial):
            crc = _copy(source, file, size)
            os.fsync(file.fileno())
            stored = StoredObject(name, size, crc, time.time_ns() // 1000, dict(metadata))
            with self._directory.locked():
                if path.exists():
                    return self._same(path, stored)
                # The description comes first: an object is never seen without it.
                self._directory.replace(self._description(name), _described(stored))
                self._directory.link(partial, path)
        return stored

    def _same(self, path: Path, wanted: StoredObject) -> StoredObject:
        there = self._describe(path, wanted.name)
        if (path.stat().st_size, there.crc32c) != (wanted.size, wanted.crc32c):
            raise AlreadyThere(f"{wanted.name} is there, and holds something else")
        # Whoever stored it may have been killed before the disk kept its name.
        sync(path.parent)
        return there

    def find(self, name: str) -> StoredObject | None:
        """Describe an object; see the protocol."""
        path = self._path(name)
        with _translated(name):
            if not self._directory.exists():
                return None
            with contextlib.suppress(*_MISSING):
                return self._describe(path, name)
            return None

    def get(self, name: str, start: int = 0) -> Iterator[bytes]:
        """Yield the content of an object; see the protocol."""
        stored = self.find(name)
        if stored is None:
            raise ObjectMissing(f"{name} is not there")
        yield from verified(self._pieces(name, start), stored, start)

    def _pieces(self, name: str, start: int) -> Iterator[bytes]:
        with _translated(name), self._opened(name) as file:
            file.seek(start)
            while piece := file.read(CHUNK_BYTES):
                yield piece

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """Return a part of an object; see the protocol."""
        with _translated(name), self._opened(name) as file:
            file.seek(start)
            return file.read(length)

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        """Yield the objects of a prefix by name; see the protocol."""
        with _translated(prefix or "the list"):
            names = sorted(self._names(prefix)) if self._directory.exists() else []
        for name in names:
            if name > after and (stored := self.find(name)):
                yield stored

    def _names(self, prefix: str) -> Iterator[str]:
        """Yield the names in the folders that a prefix reaches, hidden ones apart."""
        folder = prefix.rpartition("/")[0]
        if folder:
            checked_name(folder)
        for top, folders, files in os.walk(self._root / folder, onerror=_unless_missing):
            folders[:] = [name for name in folders if name[0] != "."]
            for file in files:
                name = (Path(top) / file).relative_to(self._root).as_posix()
                if file[0] != "." and name.startswith(prefix):
                    yield name

    def delete(self, name: str) -> None:
        """Remove an object; see the protocol."""
        path = self._path(name)
        with _translated(name):
            if not self._directory.exists():
                return
            with self._directory.locked():
                path.unlink(missing_ok=True)
                self._description(name).unlink(missing_ok=True)
                if path.parent.is_dir():
                    sync(path.parent)

    def _path(self, name: str) -> Path:
        return self._root / checked_name(name)

    def _description(self, name: str) -> Path:
        return self._root / _METADATA / f"{name}.json"

    def _opened(self, name: str) -> BinaryIO:
        path = self._path(name)
        if self._directory.exists():
            with contextlib.suppress(*_MISSING):
                return path.open("rb")
        raise ObjectMissing(f"{name} is not there")

    def _describe(self, path: Path, name: str) -> StoredObject:
        """Return what was written down of an object; without that, what its file says."""
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(errno.ENOENT, "not an object")
        try:
            known = orjson.loads(self._description(name).read_bytes())
            return StoredObject(
                name, known["size"], known["crc32c"], known["created"], known["metadata"]
            )
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            with path.open("rb") as file:
                crc = crc32c_of(file, status.st_size)
            return StoredObject(name, status.st_size, crc, status.st_mtime_ns // 1000, {})


def _copy(source: BinaryIO, target: BinaryIO, size: int) -> int:
    """Copy bytes from one file to another, and return their checksum."""
    crc, left = 0, size
    while left:
        piece = source.read(min(CHUNK_BYTES, left))
        if not piece:
            raise ValueError(f"the source ends {left} bytes too early")
        crc = google_crc32c.extend(crc, piece)
        rest = memoryview(piece)
        while rest:
            rest = rest[target.write(rest) :]
        left -= len(piece)
    return crc


def _described(stored: StoredObject) -> bytes:
    return orjson.dumps(
        {
            "size": stored.size,
            "crc32c": stored.crc32c,
            "created": stored.created,
            "metadata": dict(stored.metadata),
        }
    )


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


class DirectoryRegister:
    """The register of a place in a directory; see `daemon.backup.store.Register`."""

    def __init__(self, root: Path, *, timeout_seconds: float = 60.0) -> None:
        """Use the file of that purpose in a directory."""
        self._directory = _Directory(root, timeout_seconds)
        self._path = root / MANIFEST

    def read(self) -> Versioned | None:
        """Return what it holds; see the protocol."""
        with _translated(MANIFEST):
            if not self._directory.exists():
                return None
            try:
                content = self._path.read_bytes()
            except FileNotFoundError:
                return None
        return Versioned(content, _version(content))

    def swap(self, content: bytes, version: str | None) -> str:
        """Replace what it holds; see the protocol."""
        with _translated(MANIFEST), self._directory.locked():
            held = self.read()
            if held and held.content == content:
                sync(self._path.parent)
                return held.version
            if (held.version if held else None) != version:
                raise SwapLost("the manifest is no longer what was read")
            self._directory.replace(self._path, content)
        return _version(content)


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
