"""States folded from the log itself: what the log knew at a position or at a moment."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Final

from daemon.api.context import Context
from daemon.replay.points import find_position
from domain.errors import QueryTimeout
from domain.events import RecordedEvent
from domain.moments import Point

_PAGE_EVENTS: Final = 500


def position_of(context: Context, point: Point) -> int:
    """Return the last position that belongs to a point.

    Raises:
        BeyondHead: the position is beyond the newest event, or the moment in the future.
        BeforeHistory: it lies before the kept history.

    """
    return find_position(context.log, point, context.clock())


def deadline_of(context: Context) -> float:
    """Return when a query that begins now has taken too long (`time.monotonic`)."""
    return monotonic() + context.read_seconds_max


def read_through(
    context: Context,
    stream: str,
    upto: int | None = None,
    *,
    deadline: float | None = None,
    archived: bool = True,
) -> Iterator[RecordedEvent]:
    """Yield the events of a stream up to a position, in pages; no page is held longer than needed.

    What was removed from the log because a job was archived comes out of the archive; without
    ``archived`` it is left out. ``deadline`` is that of the whole query, where it reads several
    streams.

    Raises:
        QueryTimeout: there is so much to read that it takes longer than a query may.
        NoArchive, ArchiveDamaged, StoreUnavailable, StoreRefused: archived events cannot be read.

    """
    deadline = deadline_of(context) if deadline is None else deadline
    version = 0
    while True:
        if monotonic() > deadline:
            raise QueryTimeout(f"Reading up to {stream[:80]!r} took longer than a query may.")
        page = context.log.read_stream(stream, after_version=version, upto=upto, limit=_PAGE_EVENTS)
        if archived:
            yield from _removed(context, stream, version, page, upto)
        if not page:
            return
        yield from page
        version = page[-1].version


def _removed(
    context: Context, stream: str, version: int, page: list[RecordedEvent], upto: int | None
) -> Iterator[RecordedEvent]:
    """Yield what the archive has of a stream between a version and the next page of the log."""
    before: int | None = page[0].version if page else None
    if not page and upto is not None and context.log.removed_upto(stream) > version:
        # What follows lies beyond the position; but not all of it need be in the log.
        following = context.log.read_stream(stream, after_version=version, limit=1)
        before = following[0].version if following else version + 1
    if before is not None and before > version + 1:
        yield from context.archive_reader().between(stream, version, before, upto)
