"""What of a write-ahead log SQLite does not read, although it was committed.

SQLite reads a write-ahead log up to the first frame that is not as it was written, and takes what
comes after it for a transaction that never ended. It says nothing when there are commits behind.
Layout: https://www.sqlite.org/fileformat2.html#walformat and https://www.sqlite.org/walformat.html.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

import apsw

_HEADER: Final = struct.Struct(">8I")
"""magic, version, page size, checkpoint, salt, salt, checksum, checksum."""
_FRAME: Final = struct.Struct(">6I")
"""page, size of the database after a commit (else 0), salt, salt, checksum, checksum."""
_FRAMES_READ: Final = struct.Struct("=I")
_FRAMES_READ_AT: Final = 16
"""Where the wal-index says how many frames are read."""
_MAGIC: Final = 0x377F0682


def lost_commits(path: Path, db: apsw.Connection) -> str | None:
    """Return how a write-ahead log is damaged, None where all of its commits are read.

    ``db`` is a connection to the database at ``path``, and nobody writes. A crash of the machine in
    the middle of a commit can look the same: then what is lost was not acknowledged.
    """
    wal, index = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
    try:
        file = wal.open("rb")
    except FileNotFoundError:
        return None
    with file:
        # Reading makes SQLite look through the log, and note in the index how far it is sound.
        db.execute("BEGIN; SELECT 1 FROM sqlite_schema").fetchall()
        try:
            read = _frames_read(index)
        finally:
            db.execute("ROLLBACK")
        head = file.read(_HEADER.size)
        if read is None or len(head) < _HEADER.size:
            return None
        magic, _, page_size, _, *salts, one, two = _HEADER.unpack(head)
        frame_size = _FRAME.size + page_size
        frames = (os.fstat(file.fileno()).st_size - _HEADER.size) // max(frame_size, 1)
        if frames and (magic & ~1 != _MAGIC or _checksum(head[:24], magic & 1) != (one, two)):
            return "the write-ahead log has another header than was written; none of it is read"
        for number in range(read, frames):
            file.seek(_HEADER.size + number * frame_size)
            _, committed, *frame_salts, _, _ = _FRAME.unpack(file.read(_FRAME.size))
            if committed and frame_salts == salts:
                return (
                    f"the write-ahead log is read up to frame {read} of {frames}: it is damaged "
                    f"there, and the commit at frame {number + 1} behind it is lost"
                )
    return None


def _frames_read(index: Path) -> int | None:
    """Return how many frames readers of the database read, None where that is not known."""
    with suppress(FileNotFoundError), index.open("rb") as file:
        file.seek(_FRAMES_READ_AT)
        number = file.read(_FRAMES_READ.size)
        if len(number) == _FRAMES_READ.size:
            return int(_FRAMES_READ.unpack(number)[0])
    return None


def _checksum(head: bytes, big_endian: int) -> tuple[int, int]:
    """Return the checksum of a header, whose words are read in the order that its magic names."""
    first = second = 0
    words = struct.unpack(f"{'>' if big_endian else '<'}{len(head) // 4}I", head)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
