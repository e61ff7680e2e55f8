"""A disk that fails on demand, and that knows what a power cut would take from it.

It is a file system of SQLite's own kind: the log is opened through it by name. What the files hold
is on the real disk; failures are raised before the real call is made, or half-way through it.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import apsw

_numbers = itertools.count(1)


def no_room() -> apsw.Error:
    """Return what SQLite makes of ENOSPC."""
    return apsw.FullError("no room on the device")


def bad_sector() -> apsw.Error:
    """Return what SQLite makes of EIO."""
    error = apsw.IOError("the device failed")
    error.extendedresult = apsw.SQLITE_IOERR_WRITE
    return error


def failed_sync() -> apsw.Error:
    """Return what SQLite makes of a failing fsync."""
    error = apsw.IOError("the device failed")
    error.extendedresult = apsw.SQLITE_IOERR_FSYNC
    return error


def read_only() -> apsw.Error:
    """Return what SQLite makes of EROFS."""
    return apsw.ReadOnlyError("the device is read-only")


@dataclass
class Fault:
    """One failure: of which calls, after how many that pass, how often it fired.

    ``torn_bytes`` are written before a write fails.
    """

    operation: str
    suffix: str
    error: Callable[[], apsw.Error]
    skip: int = 0
    torn_bytes: int = 0
    fired: int = field(default=0)


class FaultyDisk(apsw.VFS):
    """A file system with faults; ``name`` is what SQLite calls it."""

    def __init__(self) -> None:
        self.name = f"faulty-{next(_numbers)}"
        super().__init__(self.name, "")
        self._lock = threading.Lock()
        self._fault: Fault | None = None
        self._undo: dict[str, list[tuple[int, bytes, int]]] = {}

    def xOpen(self, name, flags):  # noqa: N802  SQLite's name
        """Open a file."""
        return FaultyFile(self, name, flags)

    def fail(self, operation: str, suffix: str, error: Callable[[], apsw.Error], **more) -> Fault:
        """Fail these calls on files with this suffix from now on, until `heal`."""
        self._fault = Fault(operation, suffix, error, **more)
        return self._fault

    def heal(self) -> None:
        """Fail no more."""
        self._fault = None

    def check(self, operation: str, path: str) -> Fault | None:
        """Return the fault that a call meets."""
        with self._lock:
            fault = self._fault
            if not fault or fault.operation != operation or not path.endswith(fault.suffix):
                return None
            if fault.skip:
                fault.skip -= 1
                return None
            fault.fired += 1
            return fault

    def remember(self, path: str, offset: int, amount: int | None = None) -> None:
        """Note what a change is about to replace: without a sync it is lost with the power."""
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(offset)
            replaced = file.read(size - offset if amount is None else amount)
            self._undo.setdefault(path, []).append((offset, replaced, size))

    def synced(self, path: str) -> None:
        """Forget what a sync made safe."""
        self._undo.pop(path, None)

    def after_power_cut(self, path: Path, place: Path) -> Path:
        """Return a copy of a log as a power cut now would leave it: nothing that was not synced."""
        for suffix in ("", "-wal"):
            source = Path(f"{path}{suffix}")
            if not source.exists():
                continue
            copy = place / source.name
            copy.write_bytes(source.read_bytes())
            with copy.open("r+b") as file:
                for offset, before, size in reversed(self._undo.get(str(source), [])):
                    file.seek(offset)
                    file.write(before)
                    file.truncate(size)
        return place / path.name


class FaultyFile(apsw.VFSFile):
    """A file on a faulty disk."""

    def __init__(self, disk: FaultyDisk, name, flags) -> None:
        self._disk = disk
        self._path = name if isinstance(name, str) else name.filename()
        super().__init__("", name, flags)

    def _meet(self, operation: str) -> None:
        if fault := self._disk.check(operation, self._path):
            raise fault.error()

    def xRead(self, amount, offset):  # noqa: N802
        """Read."""
        self._meet("read")
        return super().xRead(amount, offset)

    def xWrite(self, content, offset):  # noqa: N802
        """Write, perhaps in part."""
        self._disk.remember(self._path, offset, len(content))
        if fault := self._disk.check("write", self._path):
            if fault.torn_bytes:
                super().xWrite(bytes(content)[: fault.torn_bytes], offset)
            raise fault.error()
        super().xWrite(content, offset)

    def xTruncate(self, size):  # noqa: N802
        """Cut the file."""
        self._disk.remember(self._path, size)
        super().xTruncate(size)

    def xSync(self, flags):  # noqa: N802
        """Make safe what was written."""
        self._meet("sync")
        super().xSync(flags)
        self._disk.synced(self._path)
