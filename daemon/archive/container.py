"""How an object of the archive is made: a head of fixed size, then what zstandard compressed.

The head is a skippable frame (RFC 8878, section 3.1.2), so ``zstd -d`` passes over it and gives
the content. It says how long the rest is, packed and unpacked, with the SHA-256 of both, behind
its own SHA-256: a single changed byte anywhere is found without knowing anything else.

An object is written to a file without a name, which goes with the process.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, cast

import zstandard
from pydantic import BaseModel, ConfigDict, ValidationError

from daemon.archive.errors import ArchiveDamaged
from domain.errors import NewerSchema

FORMAT: Final = 1
HEAD_BYTES: Final = 512
"""Every head has this size, its frame included."""
PIECE_BYTES: Final = 1 << 20
"""How much is held in memory at a time."""
_LEVEL: Final = 3
_MAGIC: Final = 0x184D2A5D
_FRAME: Final = struct.Struct("<II32s")
_FRAME_HEAD_BYTES: Final = 8
_TEXT_BYTES: Final = HEAD_BYTES - _FRAME.size
_FED_BYTES: Final = 64 * 1024
"""What is decompressed at a time: damage may say that very much comes out of little."""

Kind = Literal["job", "file"]


class Head(BaseModel):
    """What an object says of itself; digests are hexadecimal, sizes bytes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Kind
    log_id: str
    raw_bytes: int
    raw_sha256: str
    packed_bytes: int
    packed_sha256: str
    format: int = FORMAT

    def frame(self) -> bytes:
        """Return the head as the object begins with it."""
        text = self.model_dump_json().encode().ljust(_TEXT_BYTES)
        digest = sha256(text).digest()
        return _FRAME.pack(_MAGIC, HEAD_BYTES - _FRAME_HEAD_BYTES, digest) + text

    @classmethod
    def read(cls, frame: bytes, name: str) -> Head:
        """Return the head that an object begins with.

        Raises:
            ArchiveDamaged: it does not begin so.
            NewerSchema: a newer release wrote it.

        """
        if len(frame) != HEAD_BYTES:
            raise ArchiveDamaged(f"{name} ends before its head does")
        magic, length, digest = _FRAME.unpack_from(frame)
        text = frame[_FRAME.size :]
        if (magic, length) != (_MAGIC, HEAD_BYTES - _FRAME_HEAD_BYTES):
            raise ArchiveDamaged(f"{name} does not begin as an object of the archive")
        if sha256(text).digest() != digest:
            raise ArchiveDamaged(f"the head of {name} does not have its checksum")
        try:
            _require_known(_Version.model_validate_json(text), name)
            return cls.model_validate_json(text)
        except ValidationError:
            raise ArchiveDamaged(f"the head of {name} cannot be read") from None


class _Version(BaseModel):
    """What says whether this program can read the rest."""

    format: int = FORMAT


def _require_known(told: _Version, name: str) -> None:
    if told.format > FORMAT:
        raise NewerSchema(f"{name} has format {told.format}; this program knows {FORMAT}")


@dataclass(frozen=True, slots=True)
class Packed:
    """An object that is ready to be stored: a file at its beginning; ``sha256`` is of all of it."""

    head: Head
    file: BinaryIO
    size: int
    sha256: str


def pack(kind: Kind, log_id: str, pieces: Iterable[bytes], folder: Path) -> Packed:
    """Return the object that holds these pieces; its file is in ``folder``, without a name."""
    file = cast("BinaryIO", tempfile.TemporaryFile(dir=folder))  # noqa: SIM115  the caller closes
    try:
        file.seek(HEAD_BYTES)
        raw, raw_bytes = sha256(), 0
        compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        with compressor.stream_writer(file, closefd=False) as writer:
            for piece in pieces:
                raw.update(piece)
                raw_bytes += len(piece)
                writer.write(piece)
        size = file.tell()
        head = Head(
            kind=kind,
            log_id=log_id,
            raw_bytes=raw_bytes,
            raw_sha256=raw.hexdigest(),
            packed_bytes=size - HEAD_BYTES,
            packed_sha256=_digest_from(file, HEAD_BYTES),
        )
        file.seek(0)
        file.write(head.frame())
        whole = _digest_from(file, 0)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return Packed(head, file, size, whole)


def _digest_from(file: BinaryIO, start: int) -> str:
    file.seek(start)
    digest = sha256()
    while piece := file.read(PIECE_BYTES):
        digest.update(piece)
    return digest.hexdigest()


class Unpacking:
    """The content of a stored object, piece after piece; it is worth nothing before its end.

    ``head`` is known from the beginning. Iterating raises `ArchiveDamaged` at the end, or before,
    where the object is not what was stored. ``sha256`` is what the whole object has to have, None
    where that is not known.
    """

    def __init__(self, pieces: Iterable[bytes], name: str, digest: str | None = None) -> None:
        self._pieces = iter(pieces)
        self._name = name
        self._expected = digest
        self._whole = sha256()
        begin = b""
        while len(begin) < HEAD_BYTES and (piece := next(self._pieces, b"")):
            begin += piece
        self.head = Head.read(begin[:HEAD_BYTES], name)
        self._whole.update(begin)
        self._rest = begin[HEAD_BYTES:]

    def __iter__(self) -> Iterator[bytes]:
        """Yield the content."""
        head = self.head
        packed, raw = sha256(), sha256()
        packed_bytes = raw_bytes = 0
        decompressor: Any = zstandard.ZstdDecompressor().decompressobj()
        for piece in self._packed():
            packed.update(piece)
            packed_bytes += len(piece)
            for start in range(0, len(piece), _FED_BYTES):
                content = self._decompressed(decompressor, piece[start : start + _FED_BYTES])
                raw.update(content)
                raw_bytes += len(content)
                if raw_bytes > head.raw_bytes:
                    raise ArchiveDamaged(f"{self._name} holds more than it says")
                if content:
                    yield content
        found = (packed_bytes, packed.hexdigest(), raw_bytes, raw.hexdigest())
        said = (head.packed_bytes, head.packed_sha256, head.raw_bytes, head.raw_sha256)
        if found != said or not decompressor.eof:
            raise ArchiveDamaged(f"{self._name} does not hold what was stored")
        if self._expected not in (None, self._whole.hexdigest()):
            raise ArchiveDamaged(f"{self._name} is not the object that was stored")

    def _packed(self) -> Iterator[bytes]:
        """Yield what follows the head."""
        if self._rest:
            yield self._rest
        for piece in self._pieces:
            self._whole.update(piece)
            yield piece

    def _decompressed(self, decompressor: Any, piece: bytes) -> bytes:
        try:
            content: bytes = decompressor.decompress(piece)
        except zstandard.ZstdError:
            raise ArchiveDamaged(f"{self._name} cannot be decompressed") from None
        return content
