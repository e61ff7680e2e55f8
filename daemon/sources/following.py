"""Following a file as it grows, is rotated, truncated or replaced: each line once, in order.

What follows one after another are files, not a name: the file that is read is read to its end
whatever it is called by then, and after it comes the next one that had the name. The position is
not kept here: whoever records lines says so (`advance`), and gives the last position back at the
next start (`resume`).
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from daemon.sources.lines import HEAD_BYTES, OpenFile, Place, Stretch, head_digest

QUIET_SECONDS: Final = 2.0
"""For how long nothing may have been written to a rotated file before it is left."""


class Follower:
    """Reads the files that have one name, one after another."""

    def __init__(self, path: Path, line_bytes_max: int) -> None:
        self.path = path
        self.busy = False
        """Whether the last `read` stopped because it had done enough, not at the end."""
        self._line_bytes_max = line_bytes_max
        self._file: OpenFile | None = None
        self._place = Place.before_all()
        self._since = 0
        self._read_place = self._place

    @property
    def place(self) -> Place:
        """What was recorded up to now."""
        return self._place

    def resume(self, place: Place, updated: int) -> None:
        """Go on from a place that was recorded at a time (microseconds)."""
        self.close()
        self._place, self._since = place, updated
        self._file = self._find(place)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def read(self, now: int) -> Stretch | None:
        """Return the next lines, None when there are none for now.

        Raises:
            OSError: the file is there but cannot be read.

        """
        self.busy = False
        file = self._file or self._open_next()
        if file is None:
            return None
        place = self._place
        if not file.is_at(place):
            self._begin_anew(file)
            return None
        head = file.head()
        stretch = file.read(place.offset, final=self._is_left(file, now))
        if stretch is not None:
            return self._checked(file, head, stretch)
        self.busy = file.looking
        if not self.busy and self._is_left(file, now) and self._next() is not None:
            self.close()
            self.busy = True
        return None

    def place_after(self, stretch: Stretch) -> Place:
        """Return the place behind the lines that were read last, or behind a piece of them."""
        return replace(self._read_place, offset=stretch.end)

    def advance(self, place: Place) -> None:
        """Go on behind what was recorded."""
        self._place = place
        if self._file is not None:
            self._since = self._file.stat().st_mtime_ns // 1000

    def behind(self) -> int:
        """Return how many bytes wait to be read, in this file and in the newest."""
        found = 0 if self._file is None else self._file.stat().st_size - self._place.offset
        with suppress(OSError):
            newest = self.path.stat()
            if self._file is None or not _is_same(newest, self._file.stat()):
                found += newest.st_size
        return max(found, 0)

    @property
    def waiting(self) -> bool:
        """Whether there is no file to read."""
        return self._file is None

    # -- which file -------------------------------------------------------------------------------

    def _checked(self, file: OpenFile, head: bytes, stretch: Stretch) -> Stretch | None:
        """Return the lines if the file was not written anew while they were read."""
        after = file.head()
        if after[: len(head)] != head:
            self.busy = True
            return None
        known = after[: min(stretch.end, HEAD_BYTES)]
        self._read_place = replace(self._place, length=len(known), digest=head_digest(known))
        return stretch

    def _is_left(self, file: OpenFile, now: int) -> bool:
        """Return whether another file has the name by now, and nobody writes to this one."""
        own = file.stat()
        try:
            newest = self.path.stat()
        except FileNotFoundError:
            return False
        quiet = abs(now - own.st_mtime_ns // 1000) >= QUIET_SECONDS * 1_000_000
        return quiet and not _is_same(newest, own)

    def _begin_anew(self, before: OpenFile) -> None:
        """Go on in a copy of a file that has lost what was read of it, or at its start."""
        self._file = self._find_copy(self._place)
        if self._file is None:
            self._begin(before)
        else:
            before.close()
            found = self._file.stat()
            self._place = replace(self._place, device=found.st_dev, inode=found.st_ino)
        self.busy = True

    def _begin(self, file: OpenFile) -> None:
        """Read a file from its start, as the next one."""
        found = file.stat()
        generation = self._place.generation + 1
        self._file = file
        self._place = Place(generation, found.st_dev, found.st_ino, 0, head_digest(b""), offset=0)

    def _open_next(self) -> OpenFile | None:
        path = self._next()
        if path is None:
            return None
        try:
            file = OpenFile(path, self._line_bytes_max)
        except FileNotFoundError:
            # It was renamed a moment ago.
            return None
        self._begin(file)
        return file

    def _next(self) -> Path | None:
        """Return the file that comes after the present one, None when there is none yet.

        Where the present one is gone, that is the oldest that was written to since then.
        """
        files = [*rotated(self.path), self.path]
        for index, path in enumerate(files):
            if self._has(path, self._place):
                return next((other for other in files[index + 1 :] if other.exists()), None)
        for path in files:
            with suppress(FileNotFoundError):
                if path.stat().st_mtime_ns // 1000 > self._since or path == self.path:
                    return path
        return None

    def _has(self, path: Path, place: Place) -> bool:
        """Return whether a path is that of the file of a place."""
        try:
            found = path.stat()
            if (found.st_dev, found.st_ino) != (place.device, place.inode):
                return False
            file = OpenFile(path, self._line_bytes_max)
        except FileNotFoundError:
            return False
        try:
            return file.is_of(place)
        finally:
            file.close()

    def _find(self, place: Place) -> OpenFile | None:
        """Open the file of a place, by whatever name, or a copy of it; None when it is gone."""
        for path in (self.path, *reversed(rotated(self.path))):
            with suppress(FileNotFoundError):
                if self._has(path, place):
                    file = OpenFile(path, self._line_bytes_max)
                    if file.is_of(place):
                        return file
                    file.close()
        copy = self._find_copy(place)
        if copy is not None:
            found = copy.stat()
            self._place = replace(place, device=found.st_dev, inode=found.st_ino)
        return copy

    def _find_copy(self, place: Place) -> OpenFile | None:
        """Open what a file was copied to before it was truncated in its place."""
        try:
            own = self.path.stat()
        except FileNotFoundError:
            return None
        if (own.st_dev, own.st_ino) != (place.device, place.inode) or not place.length:
            return None
        for path in reversed(rotated(self.path)):
            with suppress(FileNotFoundError):
                file = OpenFile(path, self._line_bytes_max)
                if file.is_at(place) and file.ends_line(place.offset):
                    return file
                file.close()
        return None


def _is_same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def rotated(path: Path) -> list[Path]:
    """Return the rotated files beside a file, the oldest first: ``NAME.1``, ``NAME-20260204``."""
    number, date = r"[.-]([0-9][0-9T_.:-]*)", r"[.-]([0-9]{6}[0-9T_.:-]*)"
    stem, suffix = re.escape(path.stem), re.escape(path.suffix)
    # Before the suffix a date only: `worker-1.log` is what another worker writes.
    pattern = re.compile(f"(?:{re.escape(path.name)}{number}|{stem}{date}{suffix})")
    found: list[tuple[int, str, Path]] = []
    counted = True
    with suppress(OSError):
        for entry in os.scandir(path.parent):
            match = pattern.fullmatch(entry.name)
            if match is None or entry.name == path.name:
                continue
            with suppress(OSError):
                said = match[1] or match[2]
                counted &= said.isdecimal() and len(said) < 5
                found.append((entry.stat().st_mtime_ns, said, path.parent / entry.name))
    if counted:
        return [file for _, _, file in sorted(found, key=lambda row: -int(row[1]))]
    return [file for _, _, file in sorted(found)]
