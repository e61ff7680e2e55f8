"""The checksum that both stores keep of an object: CRC-32C, as a number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import google_crc32c

from daemon.backup.errors import ObjectDamaged
from daemon.backup.store import CHUNK_BYTES, StoredObject


class Source(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, none at the end."""
        ...


def crc32c_of(source: Source, size: int) -> int:
    """Return the checksum of the next ``size`` bytes.

    Raises:
        ValueError: the source ends before.

    """
    crc = 0
    while size:
        piece = source.read(min(CHUNK_BYTES, size))
        if not piece:
            raise ValueError(f"the source ends {size} bytes too early")
        crc = google_crc32c.extend(crc, piece)
        size -= len(piece)
    return crc


def verified(pieces: Iterable[bytes], stored: StoredObject, start: int) -> Iterator[bytes]:
    """Yield the pieces of an object from a byte on, and hold them to what the store said of it.

    The checksum covers the whole, so it is compared only where all of it passes by.

    Raises:
        ObjectDamaged: after the last piece, when the length or the checksum differs.

    """
    length, crc = start, 0
    for piece in pieces:
        length += len(piece)
        if not start:
            crc = google_crc32c.extend(crc, piece)
        yield piece
    if length != max(stored.size, start):
        raise ObjectDamaged(f"{stored.name} ends at byte {length} of {stored.size}")
    if not start and crc != stored.crc32c:
        raise ObjectDamaged(f"{stored.name} does not have its checksum")
