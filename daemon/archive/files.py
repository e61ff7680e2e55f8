"""The files of results on this machine: reading, deleting and putting back, below one root.

What an event says of a path is what its producer says. So nothing is deleted or written but below
the root, where no part of the path is a symbolic link; a file elsewhere is read where it can be,
and left alone. The directories of the daemon itself are not touched at all.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import IO, Final, NamedTuple

from daemon.archive.container import PIECE_BYTES
from daemon.archive.errors import FileInTheWay

_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""To go through a folder; who may do so need not be allowed to list it."""
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_GONE: Final = (errno.ENOENT, errno.ENOTDIR)
_NO_FILE: Final = (errno.ELOOP, errno.ENXIO, errno.EISDIR)
_PARTIAL: Final = ".chronicled-restoring-"


class Deletion(StrEnum):
    """What became of an original."""

    DELETED = "deleted"
    GONE = "gone"
    CHANGED = "changed"
    KEPT = "kept"
    """It is where nothing is deleted."""


class Presence(StrEnum):
    """Whether a file of the archive is in its place."""

    SAME = "same"
    MISSING = "missing"
    DIFFERENT = "different"
    ELSEWHERE = "elsewhere"
    """Its place is one where nothing is written, and it is not there."""


class _Place(NamedTuple):
    """A path: whole and without symbolic links, and below the root where it is its own."""

    real: Path
    own: tuple[str, ...]


class ResultFiles:
    """The files of results; ``root`` is None where relative paths lead nowhere.

    ``kept`` are directories that are left alone altogether: the daemon's own.
    """

    def __init__(self, root: Path | None, kept: Sequence[Path] = ()) -> None:
        self._root = None if root is None else Path(os.path.realpath(root))
        self._kept = [Path(os.path.realpath(each)) for each in kept]

    def locate(self, path: str) -> Path | None:
        """Return where a path leads, None where it leads nowhere or out of the root."""
        place = self._place(path)
        return None if place is None else place.real

    def open(self, path: str) -> IO[bytes] | None:
        """Return a regular file, to be read; None where there is none that can be."""
        place = self._place(path)
        if place is None:
            return None
        with ExitStack() as stack:
            try:
                return _regular(*self._folder(place, stack))
            except OSError:
                return None

    def is_missing(self, path: str) -> bool:
        """Return whether a path leads somewhere, and nothing is there."""
        place = self._place(path)
        if place is None:
            return False
        try:
            place.real.lstat()
        except OSError as error:
            return error.errno in _GONE
        return False

    def delete(self, path: str, digest: str) -> tuple[Deletion, str]:
        """Delete an original that has this SHA-256; return what became of it, and its digest.

        Raises:
            OSError: it cannot be read or deleted.

        """
        place = self._place(path)
        if place is None or not place.own:
            return Deletion.KEPT, ""
        with ExitStack() as stack:
            try:
                folder, name = self._folder(place, stack)
                file = _regular(folder, name)
            except OSError as error:
                if error.errno in _GONE:
                    return Deletion.GONE, ""
                if error.errno in _NO_FILE:
                    return Deletion.KEPT, ""
                raise
            if file is None:
                return Deletion.KEPT, ""
            before = os.fstat(stack.enter_context(file).fileno())
            found = digest_of(file)
            if found != digest:
                return Deletion.CHANGED, found
            if _marks(os.stat(name, dir_fd=folder, follow_symlinks=False)) != _marks(before):
                return Deletion.CHANGED, found
            os.unlink(name, dir_fd=folder)
            _sync(folder)
        return Deletion.DELETED, found

    def presence(self, path: str, digest: str) -> Presence:
        """Return whether the file that has this SHA-256 is where it belongs."""
        if file := self.open(path):
            with file:
                return Presence.SAME if digest_of(file) == digest else Presence.DIFFERENT
        place = self._place(path)
        if place is None:
            return Presence.ELSEWHERE
        if not self.is_missing(path):
            return Presence.DIFFERENT
        return Presence.MISSING if place.own else Presence.ELSEWHERE

    def sweep(self, path: str, digest: str) -> None:
        """Remove what a killed process has left beside a file that it had just put back."""
        place = self._place(path)
        if place is None or not place.own:
            return
        with ExitStack() as stack, suppress(OSError):
            folder, _ = self._folder(place, stack)
            os.unlink(_partial(digest), dir_fd=folder)

    def put_back(self, path: str, pieces: Iterable[bytes], digest: str) -> None:
        """Write a file that is not there; it has its name when all of it is on the disk.

        Raises:
            FileInTheWay: there is one after all.
            OSError: it cannot be written.

        """
        place = self._place(path)
        if place is None or not place.own:
            raise FileInTheWay(f"{path} is not below the root of the files")
        with ExitStack() as stack:
            folder, name = self._folder(place, stack, make=True)
            partial = _partial(digest)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                with os.fdopen(os.open(partial, flags, 0o600, dir_fd=folder), "wb") as file:
                    for piece in pieces:
                        file.write(piece)
                    file.flush()
                    # Who may look into the folder may read what is in it.
                    os.fchmod(file.fileno(), os.fstat(folder).st_mode & 0o666)
                    os.fsync(file.fileno())
                os.link(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
            except FileExistsError:
                raise FileInTheWay(f"{path}: another file is there") from None
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(partial, dir_fd=folder)
            _sync(folder)

    def _place(self, path: str) -> _Place | None:
        """Return where a path leads; ``own`` is empty where nothing is deleted or written."""
        if not path or "\0" in path or "://" in path:
            # An address is no path: what it leads to is none of our files.
            return None
        given = Path(path)
        if given.is_absolute():
            whole = Path(os.path.normpath(given))
        elif self._root is None or ".." in given.parts:
            return None
        else:
            whole = self._root / given
        real = Path(os.path.realpath(whole))
        if any(real.is_relative_to(each) for each in self._kept):
            return None
        if self._root is None or not real.is_relative_to(self._root):
            # A relative path has led out of the root by a symbolic link.
            return _Place(real, ()) if given.is_absolute() else None
        own = real.relative_to(self._root).parts
        return _Place(real, own if self._is_plain(whole, real) else ())

    def _is_plain(self, whole: Path, real: Path) -> bool:
        """Return whether no part of a path below the root is a symbolic link."""
        if whole == real:
            return True
        # An absolute path may come to the root by another way.
        own = real.relative_to(self._root or real).parts
        below = [whole, *whole.parents][: len(own)]
        return whole.parts[-len(own) :] == own and not any(each.is_symlink() for each in below)

    def _folder(self, place: _Place, stack: ExitStack, *, make: bool = False) -> tuple[int, str]:
        """Return the open folder that a file is in, and its name; no link is followed to it."""
        parts = place.own if make else place.real.parts[1:]
        if not parts:
            raise FileNotFoundError(errno.ENOENT, "no file", str(place.real))
        start = str(self._root) if make else place.real.anchor
        folder = _opened(start, None, stack)
        for part in parts[:-1]:
            if make:
                _make(part, folder)
            folder = _opened(part, folder, stack)
        return folder, parts[-1]


def digest_of(file: IO[bytes]) -> str:
    """Return the SHA-256 of what is left of a file."""
    digest = sha256()
    while piece := file.read(PIECE_BYTES):
        digest.update(piece)
    return digest.hexdigest()


def _partial(digest: str) -> str:
    """Return the name of a file that is being written: the same for each attempt."""
    return f"{_PARTIAL}{digest[:32]}"


def _regular(folder: int, name: str) -> IO[bytes] | None:
    """Open what is to be read, None where it is no regular file."""
    descriptor = os.open(name, _READ, dir_fd=folder)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    return None


def _opened(name: str, folder: int | None, stack: ExitStack) -> int:
    descriptor = os.open(name, _DIRECTORY, dir_fd=folder)
    stack.callback(os.close, descriptor)
    return descriptor


def _make(name: str, folder: int) -> None:
    """Make a folder in another one, with the rights that this one has."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)
        os.chmod(name, 0o777 & os.fstat(folder).st_mode, dir_fd=folder)
        _sync(folder)


def _sync(folder: int) -> None:
    """Have what changed in a folder survive a power cut."""
    descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _marks(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
