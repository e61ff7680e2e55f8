"""The lines of an export, read in batches: whoever writes them need not wait for each.

Reading and checking a line costs more than writing it, so `daemon.replay.line_child` does it in a
process of its own; `read_batches` is all that it does.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO, Final, NamedTuple, TypeAlias

import orjson
import zstandard

from daemon.replay.bounds import Header, Trailer, bound_type, read_header, read_trailer
from domain.catalog import find_type, upcast_payload
from domain.errors import ChronicledError, Invalid, Undecodable
from domain.historic import HistoricEvent, read_historic

BATCH_EVENTS: Final = 5_000
BATCH_BYTES: Final = 8 * 1024 * 1024
"""A batch ends when it has so much."""
LINE_BYTES_MAX: Final = 256 * 1024 * 1024
"""No line is longer: an event has 64 MiB at the most, and escapes can make four of one byte."""

Line: TypeAlias = tuple[int, bytes]
"""The number of a line, from 1 on, and its text."""

_MAGIC: Final = b"\x28\xb5\x2f\xfd"


class Damage(NamedTuple):
    """Where the lines of an export are damaged, and how."""

    line: int
    error: ChronicledError


Batch: TypeAlias = tuple[list[HistoricEvent], Trailer | Damage | None]
"""Events, and what ends them where they are the last."""


def read_lines(file: IO[bytes], *, whole: bool = True) -> Iterator[Line]:
    """Yield the lines of an export, which may be compressed with zstandard.

    Unless it has to be ``whole``, the last line may be without an end.

    Raises:
        Undecodable: what is compressed is damaged, or a line has no end.

    """
    start = file.peek(len(_MAGIC)) if hasattr(file, "peek") else b""
    number = 0
    if start[: len(_MAGIC)] == _MAGIC:
        raw = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        file = io.BufferedReader(raw, 1024 * 1024)
    try:
        while line := file.readline(LINE_BYTES_MAX):
            number += 1
            if not line.endswith(b"\n") and whole:
                raise Undecodable("the line is cut off: it has no end")
            yield number, line.removesuffix(b"\n")
    except zstandard.ZstdError as error:
        raise Undecodable(f"the compressed data is damaged: {error}") from None


def read_batches(file: IO[bytes]) -> Iterator[Header | Batch]:
    """Yield the header of an export, then its events; the last batch has the trailer or a damage.

    Raises:
        Invalid, Undecodable: the first line is not that of an export.

    """
    lines = read_lines(file)
    try:
        yield read_header(next(lines, (1, b""))[1])
    except ChronicledError as error:
        raise type(error)(f"line 1: {error.detail}") from None
    number = 1
    end: Trailer | Damage | None = None
    while end is None:
        batch, end = _batch(lines, number)
        number += len(batch)
        yield batch, end


def _batch(
    lines: Iterator[Line], number: int
) -> tuple[list[HistoricEvent], Trailer | Damage | None]:
    """Read the events after a line, and the trailer or the damage that ends them."""
    batch: list[HistoricEvent] = []
    size, at = 0, number + 1
    try:
        for at, line in lines:
            if bound_type(line) is not None:
                trailer = read_trailer(line)
                at += 1
                if next(lines, None):
                    raise Invalid("nothing may follow the last line")
                return batch, trailer
            event = read_historic(line)
            if event.digest is None:
                raise Invalid("logdigest is missing")
            batch.append(event)
            size += len(line)
            if len(batch) == BATCH_EVENTS or size >= BATCH_BYTES:
                return batch, None
            at += 1
    except ChronicledError as error:
        return batch, Damage(at, error)
    return batch, Damage(at, Undecodable("the export ends before it, without its last line"))


def appendable(line: bytes) -> tuple[bytes | None, bool]:
    """Return a line as it can be appended to any log, and whether it is an event at all.

    It is None for what only a daemon records, and for the first and the last line of an export.
    Payloads of older class versions are lifted; what cannot be read is left as it is.
    """
    if bound_type(line) is not None:
        return None, False
    try:
        obj = orjson.loads(line)
        entry = find_type(obj["type"])
        if entry is None:
            return line, True
        if not entry.client:
            return None, True
        if 1 <= obj.get("classversion", 1) < entry.class_version:
            data = upcast_payload(entry.model, obj.get("classversion", 1), obj["data"])
            return orjson.dumps(obj | {"data": data}), True
    except Exception:  # noqa: BLE001  whatever is wrong with it is told where it is decoded
        return line, True
    return line, True
