"""A disk below SQLite: it fails on demand, and knows what a power cut would leave of every file.

It is SQLite's default file system while it is mounted, so that every database of the process goes
through it. What programs see is on the real disk. Beside it, for each file below ``root``, this
keeps what is durable: the content as of the last sync, and what was written since. A power cut
leaves the durable content and any part of the rest, sector by sector. Of a file that is written
past SQLite only the syncs are seen (`Disk.fsync`): what lies between two of them is one write.

A sync that fails makes nothing durable; and what it was to write may be taken for written
afterwards, as Linux does: a later sync that succeeds does not write it again.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final
from weakref import WeakSet

import apsw
from faults import Faults

SECTOR_BYTES: Final = 512
_BASE: Final = "unix"
_SHM: Final = "-shm"
_numbers = itertools.count(1)

_Write = tuple[int, bytes | None]
"""An offset and what is written there; None cuts the file at the offset."""


@dataclass(slots=True)
class _Content:
    """What is durable of a file, and what was written since; ``path`` is where it was opened."""

    path: str
    durable: bytearray = field(default_factory=bytearray)
    written: list[_Write] = field(default_factory=list)
    is_database: bool = True
    failures: int = 0
    """How many syncs of it have failed."""


def _error(kind: str) -> apsw.Error:
    """Return what SQLite makes of a fault."""
    if kind == "no room":
        return apsw.FullError("no room on the device")
    if kind == "read only":
        return apsw.ReadOnlyError("the device is read-only")
    error = apsw.IOError("the device failed")
    code = {"sync error": apsw.SQLITE_IOERR_FSYNC, "read error": apsw.SQLITE_IOERR_READ}
    error.extendedresult = code.get(kind, apsw.SQLITE_IOERR_WRITE)
    return error


class Disk(apsw.VFS):
    """The file system; ``beside`` is what others do while a write-ahead log is being synced."""

    def __init__(self, root: Path, faults: Faults) -> None:
        self.beside: Callable[[], None] = lambda: None
        self.root = root
        self._root = f"{root}/"
        self.faults = faults
        faults.on_sync_lost = self._lose
        self._contents: dict[int, _Content] = {}
        """By the number of the file, which it keeps when it is renamed."""
        self._left: dict[str, _Content] = {}
        self._open = os.open
        self._told: dict[int, int] = {}
        """Of descriptors, of how many failures they were told, or came after."""
        super().__init__(f"simulated-{next(_numbers)}", _BASE, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  SQLite's name
        """Open a file; those elsewhere are none of ours."""
        path = name if isinstance(name, str) or name is None else name.filename()
        if path is None or not path.startswith(self._root):
            return apsw.VFSFile(_BASE, name, flags)
        return File(self, path, name, flags)

    def xDelete(self, path: str, sync: bool) -> None:  # noqa: N802
        """Remove a file: SQLite does so when it is not needed any more."""
        if self.faults.meet("delete", path):
            raise _error("write error")
        self._contents.pop(_number(Path(path)), None)
        super().xDelete(path, sync)

    def know(self, path: str) -> _Content:
        """Return what is known of a file that SQLite has opened.

        What was not synced of one that somebody else has written is not durable. A number may be
        given again: a file that is empty, and elsewhere, is new.
        """
        there = Path(path)
        content = self._contents.get(_number(there))
        if content is None or (content.path != path and not there.stat().st_size):
            content = _Content(path, is_database=False)
            self._contents[_number(there)] = content
        if not content.is_database or content.path != path:
            content.path, content.is_database = path, True
            self._catch_up(there, content)
        return content

    @staticmethod
    def _catch_up(path: Path, content: _Content) -> None:
        """Take what was written past SQLite for one write."""
        now = path.read_bytes()
        seen = bytearray(content.durable)
        for write in content.written:
            _apply(seen, write)
        if seen != now:
            content.written += [(len(now), None), (0, now)]

    def renew_wal(self, path: Path) -> None:
        """Write and sync a write-ahead log anew, past SQLite (`daemon.emptying`)."""
        wal = Path(f"{path}-wal")
        if content := self._contents.get(_number(wal)):
            content.written.append((0, wal.read_bytes()))
        self._sync(wal)

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        """Open a file for somebody who does it past SQLite."""
        descriptor = self._open(path, flags, mode, dir_fd=dir_fd)
        content = self._contents.get(os.fstat(descriptor).st_ino)
        self._told[descriptor] = 0 if content is None else content.failures
        return descriptor

    def fsync(self, descriptor: int) -> None:
        """Sync a file for somebody who does it past SQLite; directories are durable at once.

        Who had it open while somebody else's sync failed is told so, once.
        """
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if not stat.S_ISREG(os.fstat(descriptor).st_mode) or not str(path).startswith(self._root):
            return
        try:
            self._sync(path)
        finally:
            content = self._contents.get(_number(path))
            failures = 0 if content is None else content.failures
            told, self._told[descriptor] = self._told.get(descriptor, failures), failures
        if told < failures:
            raise OSError(errno.EIO, "the device failed")

    def _sync(self, path: Path) -> None:
        if not path.exists():
            return
        content = self._contents.setdefault(_number(path), _Content(str(path), is_database=False))
        if not content.is_database:
            self._catch_up(path, content)
        self.sync(content, str(path), OSError(errno.EIO, "the device failed"))

    def sync(self, content: _Content, path: str, error: Exception | None = None) -> None:
        """Make durable what was written.

        Where that fails, it may be taken for written, or not, as chance will have it.
        """
        kind = self.faults.meet("sync", path)
        if kind == "sync error" and self.faults.random.random() < 0.5:
            content.written = []
        if kind:
            content.failures += 1
            raise error or _error(kind)
        for write in content.written:
            _apply(content.durable, write)
        content.written = []

    def _lose(self, path: str) -> None:
        """Have what was written to a file taken for durable, which it is not."""
        if content := self._contents.get(_number(Path(path))):
            content.written = []

    # -- what is left ---------------------------------------------------------------------------

    def image(self, *, power_cut: bool) -> dict[str, bytes]:
        """Return the content of every file as an end of the process leaves it."""
        found = {}
        for path in sorted(Path(self._root).rglob("*")):
            if path.is_file() and not path.name.endswith(_SHM):
                found[str(path)] = path.read_bytes()
        self._left = {path: self._content_of(Path(path)) for path in found}
        if power_cut:
            found = {path: self._survived(content) for path, content in self._left.items()}
        return found

    def _content_of(self, path: Path) -> _Content:
        """Return what is known of a file now, whoever has written it."""
        content = self._contents.setdefault(_number(path), _Content(str(path), is_database=False))
        if not content.is_database:
            self._catch_up(path, content)
        return content

    def settle(self, image: dict[str, bytes], *, power_cut: bool) -> None:
        """Make the files what an image says; nothing may have a database open.

        Without a power cut what was not synced is still not durable: the next process finds it,
        and may lose it. Files that are no databases keep their place on the disk, as some know it
        by.
        """
        for path in Path(self._root).rglob("*"):
            if path.is_file() and (str(path) not in image or ".db" in path.name):
                path.unlink()
        self._contents.clear()
        for name, data in image.items():
            path = Path(name)
            if not path.exists() or path.read_bytes() != data:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            content = _Content(name, bytearray(data)) if power_cut else self._left[name]
            self._contents[_number(path)] = content

    def _survived(self, content: _Content) -> bytes:
        """Return the durable content and what chance leaves of what was written since."""
        random = self.faults.random
        left, written = bytearray(content.durable), content.written
        match random.choice(("nothing", "some", "the first", "torn")):
            case "the first":
                written = written[: random.randint(0, len(written))]
            case "some":
                written = [write for write in written if random.random() < 0.5]
            case "torn":
                written = [piece for write in written for piece in _sectors(write)]
                written = [piece for piece in written if random.random() < 0.7]
            case _:
                written = []
        for write in written:
            _apply(left, write)
        return bytes(left)


def _number(path: Path) -> int:
    """Return the number of a file, 0 where there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _apply(content: bytearray, write: _Write) -> None:
    offset, data = write
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _sectors(write: _Write) -> list[_Write]:
    offset, data = write
    if data is None:
        return [write]
    first = SECTOR_BYTES - offset % SECTOR_BYTES
    cuts = [0, *range(first, len(data), SECTOR_BYTES), len(data)]
    return [(offset + a, data[a:b]) for a, b in itertools.pairwise(cuts)]


class Connection(apsw.Connection):
    """A connection whose end is quiet.

    The last one to read a database tries to lock it for writing when it closes, which fails where
    it was opened for reading only. SQLite takes no notice; apsw raises what went through Python.
    """

    opened: ClassVar[WeakSet[Connection]] = WeakSet()
    """Those that may be open."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.opened.add(self)

    @classmethod
    def close_all(cls) -> None:
        """Close what a process that has ended had open, while its disk takes nothing any more.

        One that was closed later would remove the write-ahead log of the next process by its name.
        """
        for each in list(cls.opened):
            with suppress(apsw.Error):
                each.close(True)
        cls.opened.clear()

    def is_within(self) -> bool:
        """Return whether it is open and within a transaction, if only because it reads."""
        try:
            return self.txn_state() != apsw.SQLITE_TXN_NONE
        except apsw.ConnectionClosedError:
            return False

    def close(self, force: bool = False) -> None:
        """Close."""
        try:
            reads_only = self.readonly("main")
        except apsw.ConnectionClosedError:
            return
        try:
            super().close(force)
        except apsw.IOError:
            if not reads_only:
                raise


class File(apsw.VFSFile):
    """A file on the disk."""

    def __init__(self, disk: Disk, path: str, name: Any, flags: list[int]) -> None:
        if kind := disk.faults.meet("open", path):
            raise apsw.CantOpenError(kind)
        super().__init__(_BASE, name, flags)
        self._disk = disk
        self._path = path
        self._content = disk.know(path)

    def _meet(self, word: str) -> None:
        if kind := self._disk.faults.meet(word, self._path):
            raise _error(kind)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        """Read."""
        self._meet("read")
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        """Write, perhaps only a part."""
        kind = self._disk.faults.meet("write", self._path)
        if kind == "torn write":
            part = bytes(data)[: self._disk.faults.random.randrange(len(data))]
            super().xWrite(part, offset)
            self._content.written.append((offset, part))
        if kind:
            raise _error(kind)
        super().xWrite(data, offset)
        self._content.written.append((offset, bytes(data)))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        """Cut the file."""
        self._meet("truncate")
        super().xTruncate(size)
        self._content.written.append((size, None))

    def xSync(self, flags: int) -> None:  # noqa: N802
        """Make durable what was written."""
        if self._path.endswith("log.db-wal"):
            self._disk.beside()
        # The real disk is spared: nothing of it has to survive the machine it is on.
        self._disk.sync(self._content, self._path)
