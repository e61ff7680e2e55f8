"""A disk below SQLite: it fails on demand, and knows what a power cut would leave of every file.

It is SQLite's default file system while it is mounted, so that every database of the process goes
through it. What programs see is on the real disk. Beside it, for each file below ``root``, this
keeps what is durable: the content as of the last sync, and what was written since. A power cut
leaves the durable content and any part of the rest, sector by sector.

A sync that fails makes nothing durable; and what it was to write may be taken for written
afterwards, as Linux does: a later sync that succeeds does not write it again.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable
from contextlib import suppress
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
        self._known: dict[str, int] = {}
        self._durable: dict[str, bytearray] = {}
        self._written: dict[str, list[_Write]] = {}
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
        super().xDelete(path, sync)
        self.forget(path)

    def know(self, path: str) -> None:
        """Take a file that was opened for durable, unless it is known."""
        there = Path(path)
        number = there.stat().st_ino
        if self._known.get(path) != number:
            self._known[path] = number
            self._durable[path] = bytearray(there.read_bytes())
            self._written[path] = []

    def forget(self, path: str) -> None:
        """Forget a file that was removed or replaced."""
        self._known.pop(path, None)
        self._durable.pop(path, None)
        self._written.pop(path, None)

    def note(self, path: str, write: _Write) -> None:
        """Note a write that is not durable yet."""
        self._written.setdefault(path, []).append(write)

    def synced(self, path: str) -> None:
        """Make durable what was written."""
        content = self._durable.setdefault(path, bytearray())
        for write in self._written.get(path, ()):
            _apply(content, write)
        self._written[path] = []

    def sync_failed(self, path: str) -> None:
        """Let what was written be taken for written, or not, as chance will have it."""
        if self.faults.random.random() < 0.5:
            self._written[path] = []

    def sync_wal(self, path: Path) -> None:
        """Sync a write-ahead log for somebody who does it past SQLite (`daemon.emptying`)."""
        wal = f"{path}-wal"
        if wal in self._known:
            if kind := self.faults.meet("sync", wal):
                raise OSError(errno.EIO, kind)
            self.synced(wal)

    def renew_wal(self, path: Path) -> None:
        """Write and sync a write-ahead log anew, past SQLite (`daemon.emptying`)."""
        wal = f"{path}-wal"
        if wal in self._known:
            self.note(wal, (0, Path(wal).read_bytes()))
            self.sync_wal(path)

    # -- what is left ---------------------------------------------------------------------------

    def image(self, *, power_cut: bool) -> dict[str, bytes]:
        """Return the content of every file as an end of the process leaves it."""
        found = {}
        for path in sorted(Path(self._root).rglob("*")):
            if path.is_file() and not path.name.endswith(_SHM):
                found[str(path)] = path.read_bytes()
        if power_cut:
            for path in self._durable:
                if path in found:
                    found[path] = self._survived(path)
        return found

    def settle(self, image: dict[str, bytes], *, power_cut: bool) -> None:
        """Make the files what an image says; nothing may have a database open.

        Without a power cut what was not synced is still not durable: the next process finds it,
        and may lose it. Files that are no databases keep their place on the disk, as some know it
        by.
        """
        waiting = {
            path: (self._durable[path], self._written[path])
            for path in self._known
            if path in image and not power_cut
        }
        for path in list(self._known):
            self.forget(path)
        for there in Path(self._root).rglob("*"):
            if there.is_file() and (str(there) not in image or ".db" in there.name):
                there.unlink()
        for name, content in image.items():
            there = Path(name)
            if not there.exists() or there.read_bytes() != content:
                there.parent.mkdir(parents=True, exist_ok=True)
                there.write_bytes(content)
        for path, (durable, written) in waiting.items():
            self._known[path] = Path(path).stat().st_ino
            self._durable[path], self._written[path] = durable, written

    def _survived(self, path: str) -> bytes:
        """Return the durable content and what chance leaves of what was written since."""
        random = self.faults.random
        content = bytearray(self._durable[path])
        written = self._written[path]
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
            _apply(content, write)
        return bytes(content)


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
        disk.know(path)

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
            self._disk.note(self._path, (offset, part))
        if kind:
            raise _error(kind)
        super().xWrite(data, offset)
        self._disk.note(self._path, (offset, bytes(data)))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        """Cut the file."""
        self._meet("truncate")
        super().xTruncate(size)
        self._disk.note(self._path, (size, None))

    def xSync(self, flags: int) -> None:  # noqa: N802
        """Make durable what was written."""
        if self._path.endswith("log.db-wal"):
            self._disk.beside()
        kind = self._disk.faults.meet("sync", self._path)
        if kind == "sync error":
            self._disk.sync_failed(self._path)
        if kind:
            raise _error(kind)
        # The real disk is spared: nothing of it has to survive the machine it is on.
        self._disk.synced(self._path)
