"""What every stored object begins with: a header that can be read alone, before what is compressed.

It is a skippable frame of zstandard (RFC 8878, section 3.1.2), so ``zstd -d`` passes over it and
gives the SQLite database that the object holds. In the frame is JSON, behind its own SHA-256.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from daemon.backup.errors import ObjectDamaged
from daemon.eventlog.connection import SCHEMA_VERSION
from domain.errors import NewerSchema
from domain.payloads.base import Count, Integer

FORMAT: Final = 1
HEADER_BYTES_MAX: Final = 64 * 1024
"""Every header, with its frame, is within so many bytes."""
LEVEL: Final = 3
"""zstd's level: ten buys a tenth of the size for eight times the time."""
_MAGIC: Final = 0x184D2A5E
_FRAME: Final = struct.Struct("<II32s")
_FRAME_HEAD_BYTES: Final = 8
"""What the frame's own length does not count."""


class _Versions(BaseModel):
    """What says whether this program can read the rest."""

    format: int = 1
    schema_version: int = 0
    release: str = ""


class Header(BaseModel):
    """What an object says of itself; digests are hexadecimal, sizes bytes.

    ``first`` and ``last`` are positions of events, of dead letters their ids; both included, empty
    where ``last`` is less. ``digest_before`` and ``digest_after`` are those of the chain there.
    ``raw_sha256`` is that of the database. ``head`` is where the log had got to when it was made,
    0 where that is not known. ``recorded_first`` and ``recorded_last`` are when the
    first and the last event were recorded (microseconds UTC).
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["segment", "letters", "snapshot"]
    log_id: str
    epoch: Count
    schema_version: Count
    release: str
    first: Count
    last: Count
    count: Count
    digest_before: str = ""
    digest_after: str = ""
    raw_bytes: Count
    raw_sha256: str
    letters: Count = 0
    recorded_first: Integer = 0
    recorded_last: Integer = 0
    head: Count = 0
    format: Count = FORMAT

    def frame(self) -> bytes:
        """Return the header as an object begins with it."""
        text = self.model_dump_json().encode()
        digest = sha256(text).digest()
        return _FRAME.pack(_MAGIC, len(digest) + len(text), digest) + text

    def metadata(self, checksum: str) -> dict[str, str]:
        """Return what the store keeps beside an object with this checksum."""
        told = self.model_dump(exclude={"format"})
        return {name: str(value) for name, value in told.items()} | {"sha256": checksum}

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, str]) -> Header | None:
        """Return the header that an object's metadata tell, None where they do not."""
        try:
            return cls.model_validate(dict(metadata))
        except ValidationError:
            return None


def read_header(content: bytes, name: str) -> tuple[Header, int]:
    """Return the header that an object begins with, and where it ends.

    Raises:
        ObjectDamaged: it does not begin so.
        NewerSchema: a newer release wrote it.

    """
    if len(content) >= _FRAME.size:
        magic, length, digest = _FRAME.unpack_from(content)
        end = _FRAME_HEAD_BYTES + length
        text = content[_FRAME.size : end]
        if magic == _MAGIC and end <= min(HEADER_BYTES_MAX, len(content)):
            if sha256(text).digest() != digest:
                raise ObjectDamaged(f"the header of {name} does not have its checksum")
            return _checked(text, name), end
    raise ObjectDamaged(f"{name} does not begin as an object of a backup")


def _checked(text: bytes, name: str) -> Header:
    try:
        # First of all: a newer release may have changed everything else.
        _require_known(_Versions.model_validate_json(text), name)
        return Header.model_validate_json(text)
    except ValidationError:
        raise ObjectDamaged(f"the header of {name} cannot be read") from None


def _require_known(told: _Versions, name: str) -> None:
    if told.format > FORMAT:
        raise NewerSchema(f"{name} has format {told.format}; this program knows {FORMAT}")
    if told.schema_version > SCHEMA_VERSION:
        raise NewerSchema(
            f"{name} is of a log with schema {told.schema_version}, written by release "
            f"{told.release}; this program knows schema {SCHEMA_VERSION}"
        )
