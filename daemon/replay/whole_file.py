"""Files that are there when they are whole, and compressed where their name says so."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

import zstandard

from daemon.syncing import sync

COMPRESSED: Final = ".zst"
"""The end of the names of compressed files."""
_LEVEL: Final = 3


@contextmanager
def whole_file(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Yield what writes a file: it stands beside, and takes the name when all was written.

    Compressed with zstandard where the name ends in ``.zst``.
    """
    part = path.with_name(f"{path.name}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
        try:
            os.fchmod(file.fileno(), 0o600)
            with _compressed(file, path) as write:
                yield write
            file.flush()
            os.fsync(file.fileno())
            part.rename(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
    sync(path.parent)


@contextmanager
def _compressed(file: IO[bytes], path: Path) -> Iterator[Callable[[bytes], object]]:
    if path.suffix != COMPRESSED:
        yield file.write
        return
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    with compressor.stream_writer(file, closefd=False) as writer:
        yield writer.write
