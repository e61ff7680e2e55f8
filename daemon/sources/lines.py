"""Whole lines out of one open file, from an offset on; and which file it is.

A file is known by its device, its inode and a digest of its first bytes: names change when files
are rotated, and inodes are used again.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

HEAD_BYTES: Final = 1024
"""So much of a file's beginning tells it from others."""
READ_BYTES: Final = 256 * 1024
"""How much is read at once, and the most that the lines of one stretch hold, but for one line."""
LINES_MAX: Final = 1000
"""Most lines in one stretch."""
_READS_MAX: Final = 16
"""How many reads one step looks for the end of one line."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive lines of a file, and the offset behind each of them."""

    start: int
    lines: tuple[bytes, ...]
    ends: tuple[int, ...]

    @property
    def end(self) -> int:
        """The offset behind the last line."""
        return self.ends[-1]

    @property
    def body(self) -> bytes:
        """The lines as NDJSON."""
        return b"\n".join(self.lines) + b"\n"

    def smaller(self) -> tuple[Stretch, ...]:
        """Return the same in smaller pieces: two halves, or the first half of a single line."""
        middle = len(self.lines) // 2
        if not middle:
            line = self.lines[0]
            return (replace(self, lines=(line[: len(line) // 2],)),)
        return (
            Stretch(self.start, self.lines[:middle], self.ends[:middle]),
            Stretch(self.ends[middle - 1], self.lines[middle:], self.ends[middle:]),
        )


@dataclass(frozen=True, slots=True)
class Place:
    """A file that is read, and up to where: the ``generation``-th one of those that follow."""

    generation: int
    device: int
    inode: int
    length: int
    """How many first bytes the digest is of."""
    digest: str
    offset: int

    def name(self, prefix: str) -> str:
        """Return what the log calls it; of the offset nothing is in it."""
        identity = f"{self.device}:{self.inode}:{self.length}:{self.digest}"
        return f"{prefix}{self.generation:012d}:{identity}"

    @classmethod
    def parse(cls, prefix: str, name: str, offset: int) -> Self:
        """Read back what `name` wrote."""
        generation, device, inode, length, digest = name.removeprefix(prefix).split(":")
        return cls(int(generation), int(device), int(inode), int(length), digest, offset)

    @classmethod
    def before_all(cls) -> Self:
        """Return the place before the first file: none was read yet."""
        return cls(0, 0, 0, 0, head_digest(b""), 1)


def head_digest(head: bytes) -> str:
    """Return the digest of the first bytes of a file."""
    return sha256(head).hexdigest()[:32]


class OpenFile:
    """A regular file that is open for reading; it stays the same one, whatever its name becomes."""

    def __init__(self, path: Path, line_bytes_max: int) -> None:
        """Open it.

        Raises:
            OSError: it cannot be opened, or is not a regular file.

        """
        # A pipe would wait here for its writer.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        self._descriptor = os.open(path, flags)
        self._line_bytes_max = line_bytes_max
        self._long_from = self._looked = 0
        self.looking = False
        """Whether a line is so long that its end is still looked for."""
        if not stat.S_ISREG(self.stat().st_mode):
            self.close()
            raise OSError(f"{path} is not a regular file")

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)

    def stat(self) -> os.stat_result:
        """Return what the system says of it now."""
        return os.fstat(self._descriptor)

    def head(self) -> bytes:
        """Return its first bytes."""
        return os.pread(self._descriptor, HEAD_BYTES, 0)

    def digest(self) -> str:
        """Return the sha256 of its contents."""
        digest, at = sha256(), 0
        while text := os.pread(self._descriptor, READ_BYTES, at):
            digest.update(text)
            at += len(text)
        return digest.hexdigest()

    def whole(self) -> bytes:
        """Return its contents, for as long as it is not longer than a line may be."""
        return os.pread(self._descriptor, self._line_bytes_max, 0)

    def is_at(self, place: Place) -> bool:
        """Return whether it still begins as it did, and has what was read of it."""
        digest = head_digest(self.head()[: place.length])
        return digest == place.digest and self.stat().st_size >= place.offset

    def is_of(self, place: Place) -> bool:
        """Return whether it is the very file of a place, and still has what was read of it."""
        found = self.stat()
        return (found.st_dev, found.st_ino) == (place.device, place.inode) and self.is_at(place)

    def ends_line(self, offset: int) -> bool:
        """Return whether a line ends right before an offset."""
        return offset == 0 or os.pread(self._descriptor, 1, offset - 1) == b"\n"

    def read(self, offset: int, *, final: bool = False) -> Stretch | None:
        """Return lines from an offset on; None where the next one has not ended.

        With ``final`` nothing more comes: what is left without an end is a line then.
        """
        self.looking = False
        text = os.pread(self._descriptor, READ_BYTES, offset)
        lines = text.split(b"\n", LINES_MAX)
        lines.pop()
        if not lines:
            return self._read_long(offset, final=final)
        ends, end = [], offset
        for line in lines:
            end += len(line) + 1
            ends.append(end)
        return Stretch(offset, tuple(lines), tuple(ends))

    def _read_long(self, offset: int, *, final: bool) -> Stretch | None:
        """Return one line that is longer than a read, or without an end."""
        if self._long_from != offset or self._looked > self.stat().st_size:
            self._long_from = self._looked = offset
        for _ in range(_READS_MAX):
            text = os.pread(self._descriptor, READ_BYTES, self._looked)
            if (at := text.find(b"\n")) >= 0:
                return self._line(offset, self._looked + at, self._looked + at + 1)
            if len(text) < READ_BYTES:
                end = self._looked + len(text)
                return self._line(offset, end, end) if final and end > offset else None
            self._looked += len(text)
        self.looking = True
        return None

    def _line(self, offset: int, upto: int, end: int) -> Stretch:
        """Return one line; of a long one the start, which is longer than any that is taken."""
        length = min(upto - offset, self._line_bytes_max)
        return Stretch(offset, (os.pread(self._descriptor, length, offset),), (end,))
