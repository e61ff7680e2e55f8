"""Exporting history: the events of a log as lines that can be put back exactly as they were."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

import orjson

from daemon.eventlog.chain import genesis
from daemon.eventlog.connection import SCHEMA_VERSION
from daemon.eventlog.log_file import LogFile
from daemon.eventlog.statements import SQL
from daemon.replay.bounds import Header, Trailer, bound_line
from domain.cloudevents import to_line
from domain.epochs import lost_before
from domain.errors import StorageFailed
from domain.events import ExtensionValue, RecordedEvent

PAGE_ROWS: Final = 1_000
PAGE_BYTES: Final = 8 * 1024 * 1024
"""So much is read in one transaction."""
CHUNK_BYTES: Final = 1024 * 1024
"""A chunk is handed over when it has so many bytes."""

Progress = Callable[[int, int], None]
"""Called with what is done so far and what there is."""
_NOTHING: Final[Mapping[str, Any]] = {}


def export(
    log: LogFile,
    write: Callable[[bytes], object],
    *,
    first: int,
    last: int,
    stream: str | None = None,
    progress: Progress | None = None,
) -> Trailer:
    """Write positions ``first`` to ``last`` of a log, or what one stream has of them, as lines.

    Rows of other `eventsourcing` applications are not exported.
    """
    header = _header(log, first, last, stream)
    write(bound_line(header) + b"\n")
    count, digest = 0, bytes.fromhex(header.digest_before)
    chunk, gaps = bytearray(), Gaps(log, first, last if stream is None else 0)
    for row in log_rows(log, first - 1, last, stream):
        digest = row[13]
        if is_own(row):
            count += 1
            chunk += row_line(row, gaps.before(row[0])) + b"\n"
        if len(chunk) >= CHUNK_BYTES:
            write(bytes(chunk))
            chunk.clear()
            if progress is not None:
                progress(row[0] - first + 1, last - first + 1)
    if stream is not None:
        digest = log.digest_at(last) or digest
    lost = lost_before(last, log.lost_stretches())
    trailer = Trailer.model_validate(
        {
            **header.model_dump(by_alias=True),
            "count": count,
            "complete": stream is None and first == 1 and count + lost + header.removed == last,
            "digest": digest.hex(),
        }
    )
    write(bytes(chunk) + bound_line(trailer) + b"\n")
    return trailer


def _header(log: LogFile, first: int, last: int, stream: str | None) -> Header:
    meta = log.meta()
    before = log.digest_at(first - 1) or genesis(log.log_id)
    return Header.model_validate(
        {
            "log_schema": SCHEMA_VERSION,
            "release": meta.get("release", ""),
            "log_id": log.log_id,
            "epoch": log.epoch_at(last),
            "created": meta.get("created", 0),
            "from": first,
            "to": last,
            "stream": stream,
            "digest_before": before.hex(),
            "removed": sum(
                min(run[1], last) - max(run[0], first) + 1 for run in log.removed_runs(first, last)
            ),
        }
    )


class Gaps:
    """The stretches without events within some positions, each told once, with what follows it."""

    def __init__(self, log: LogFile, first: int, last: int) -> None:
        self._runs = deque(log.removed_runs(first, last))

    def before(self, position: int) -> dict[str, str]:
        """Return as an attribute which stretch lies before an event, if one does."""
        told = {}
        while self._runs and self._runs[0][1] < position:
            first, last, digest = self._runs.popleft()
            told["logremoved"] = f"{first}-{last}:{digest.hex()}"
        return told


def log_rows(log: LogFile, after: int, last: int, stream: str | None = None) -> Iterator[Any]:
    """Yield the rows of a log after a position, as the chain covers them.

    No transaction is open while the caller is busy with a row.
    """
    version = 0
    while page := _page(log, after, last, stream, version):
        yield from page
        version = page[-1][3]
        if stream is None:
            after = page[-1][0]


def _page(log: LogFile, after: int, last: int, stream: str | None, version: int) -> list[Any]:
    """Return rows up to a position, bounded in number and bytes; none when there are no more."""
    page: list[Any] = []
    size = 0
    with log.pool.connection() as db:
        rows: Iterable[Any]
        if stream is None:
            rows = db.execute(SQL["named_rows_after"], (after, PAGE_ROWS))
        else:
            rows = db.execute(SQL["rows_of_stream"], (after, stream, version, PAGE_ROWS))
        for row in rows:
            if row[0] > last:
                break
            page.append(row)
            size += len(row[11])
            if size >= PAGE_BYTES:
                break
    return page


def is_own(row: Any) -> bool:
    """Return whether a row is an event of the daemon's own part of the log."""
    return row[1] == "" and row[14] is not None


def row_line(row: Any, beside: Mapping[str, str]) -> bytes:
    """Return a row as a line, with attributes beside those of the event.

    Raises:
        StorageFailed: it holds what cannot stand in a line; only other programs record that.

    """
    (position, _, stream, version, type_name, class_version, time, recordedtime, source, event_id,
     extensions, data, payload_hash, digest, _) = row  # fmt: skip
    event = RecordedEvent(
        position, stream, version, type_name, time, recordedtime, source, event_id, data,
        _NOTHING, _decoded(extensions), class_version,
    )  # fmt: skip
    if sha256(data).digest() != payload_hash:
        beside = {**beside, "logpayloadhash": payload_hash.hex()}
    line = to_line(event, digest, beside)
    if b"\n" in line:
        raise StorageFailed(f"the payload of event {position} does not fit into a line")
    return line


@lru_cache(maxsize=10_000)
def _decoded(extensions: str | None) -> Mapping[str, ExtensionValue]:
    found: Mapping[str, ExtensionValue] = orjson.loads(extensions) if extensions else _NOTHING
    return found
