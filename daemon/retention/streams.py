"""What the removal of a stream's events concerns: how many, how large, and their digest."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import apsw

from daemon.eventlog.connection import ReadPool
from daemon.eventlog.statements import named_statements

KEPT: Final = 2
"""How many events of a stream of the housekeeping stay, however old: its last run."""

_SQL: Final = named_statements(Path(__file__).with_name("streams.sql"))


class ReadableLog(Protocol):
    """A log with queries of one's own."""

    def reading(self) -> ReadPool:
        """Return the read connections."""
        ...

    def streams_of(self, category: str) -> list[str]:
        """Return the streams of a category."""
        ...


class Size(NamedTuple):
    """Events of a stream and their bytes, up to and with a version."""

    events: int = 0
    bytes: int = 0
    version: int = 0


class Removable(NamedTuple):
    """What a purge removes; ``digest`` is over the digests of the rows, in their order."""

    events: int
    bytes: int
    digest: str


def size_of(db: apsw.Connection, stream: str) -> Size:
    """Return how large the present life in a stream is, and the stream's version."""
    return Size(*_row(db, "stream_size", (stream, _begin(db, stream))))


def removable(db: apsw.Connection, stream: str, version: int) -> Removable:
    """Return what goes when a stream's events up to a version are removed."""
    digest, events, size = sha256(), 0, 0
    asked = (stream, _begin(db, stream), version)
    for each, length in db.execute(_SQL["stream_rows"], asked):
        digest.update(each)
        events, size = events + 1, size + length
    return Removable(events, size, digest.hexdigest())


def aged_of(db: apsw.Connection, stream: str, until: int) -> tuple[Size, int | None]:
    """Return how much of a stream was recorded up to a time, and when the last of it was."""
    *size, newest = _row(db, "stream_aged", (stream, until, KEPT))
    return Size(*size), newest


def others_of(db: apsw.Connection, stream: str, job: str) -> set[str] | None:
    """Return the other jobs that a result of a job names; None where it is none of its results."""
    if not stream.startswith("result/"):
        return None
    named = {str(row[0]) for row in db.execute(_SQL["results_of"], (stream,)) if row[0] is not None}
    return named - {job} if job in named else None


def are_purged(db: apsw.Connection, jobs: Iterable[str]) -> bool:
    """Return whether nothing is left of some jobs but that they were purged."""
    return all(bool(_row(db, "is_purged", (f"job/{job}",))[0]) for job in jobs)


def _begin(db: apsw.Connection, stream: str) -> int:
    """Return the version with which the present life in a stream begins."""
    marker: int = _row(db, "last_marker", (stream,))[0]
    return marker


def _row(db: apsw.Connection, name: str, asked: tuple[Any, ...]) -> Any:
    return db.execute(_SQL[name], asked).fetchone()
