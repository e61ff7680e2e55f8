"""Reading a feed in bounded pages, for the runner."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from domain.errors import UnreadableEvent
from domain.events import RecordedEvent
from projections.seam import Feed

READ_EVENTS: Final = 1_000
"""How many events are read from the log at once."""
PAGE_BYTES: Final = 32 * 1024 * 1024
"""No more is read for a transaction once the payloads of its events are this large."""


def read_page(feed: Feed, after: int, limit: int) -> tuple[list[RecordedEvent], bool]:
    """Read the next events, bounded in number and bytes, and whether they are the last.

    Raises:
        UnreadableEvent: the very next event cannot be understood.

    """
    page: list[RecordedEvent] = []
    size = 0
    while len(page) < limit and size < PAGE_BYTES:
        wanted = min(READ_EVENTS, limit - len(page))
        try:
            read = feed.read(page[-1].position if page else after, wanted)
        except UnreadableEvent:
            # What comes before it is applied first.
            if page:
                return page, False
            raise
        if not read:
            return page, True
        page += read
        size += sum(len(event.data) for event in read)
    return page, False


def events_before(feed: Feed, stream: str, position: int) -> Iterator[RecordedEvent]:
    """Yield the events of a stream before a position."""
    version = 0
    while events := feed.read_stream(stream, after_version=version, upto=position - 1):
        yield from events
        version = events[-1].version
