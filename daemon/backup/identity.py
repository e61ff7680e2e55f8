"""Who ships from a data directory: an id that a copy of the directory does not share."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import orjson

from daemon.backup.manifest import Writer
from daemon.syncing import sync

FOLDER: Final = "backup"
"""The folder in the data directory for what the backup keeps and works with."""
FILE: Final = "writer.json"
PLACE_FILE: Final = "place"
"""The name of the file that holds the url of the place that was shipped to."""


def identify(folder: Path) -> Writer:
    """Return the writer that a folder of the backup makes of this process.

    The id is kept in a file together with the number that the file system gave that file: in a copy
    of the directory the numbers differ, and the copy gets an id of its own.

    Raises:
        OSError: the folder cannot be written.

    """
    path = folder / FILE
    known = _read(path)
    if known is None:
        known = str(uuid.uuid4())
        _write(path, known)
    return Writer(id=known, session=str(uuid.uuid4()), host=socket.gethostname()[:64])


class PlaceMark:
    """Whether a place has had the backup of this directory.

    A place that had it and is empty was not begun yet: a disk is not mounted, or somebody removed
    everything. Nobody but its operator knows which.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self._path = folder / PLACE_FILE
        self._url = url

    @property
    def known(self) -> bool:
        """Whether it has had it."""
        with suppress(OSError):
            return self._path.read_text() == self._url
        return False

    def set(self) -> None:
        """Note that it has it now.

        Raises:
            OSError: the folder cannot be written.

        """
        if not self.known:
            _write_whole(self._path, lambda _: self._url.encode())

    def clear(self) -> None:
        """Let it be begun."""
        self._path.unlink(missing_ok=True)


def _read(path: Path) -> str | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = orjson.loads(path.read_bytes())
        if kept["inode"] == path.stat().st_ino and isinstance(kept["id"], str):
            return kept["id"]
    return None


def _write(path: Path, writer: str) -> None:
    # A place that was claimed under an id belongs to it for ever.
    _write_whole(path, lambda inode: orjson.dumps({"id": writer, "inode": inode}))


def _write_whole(path: Path, content: Callable[[int], bytes]) -> None:
    """Write a file that survives a power cut whole or not at all; ``content`` of its inode."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content(os.fstat(descriptor).st_ino))
        file.flush()
        os.fsync(descriptor)
    part.rename(path)
    sync(path.parent)
