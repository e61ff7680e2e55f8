"""Whole streams, each folded from its first event to its last: how a long log is built from.

A build that begins at the beginning knows all events of a job at once. Each job then needs no
state between batches, is written once, as it is in the end, and shares nothing with other jobs:
other processes can fold them. Rows travel as `Part`, plain values that `marshal` can write.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

from domain.events import RecordedEvent
from domain.lives import MARKERS, PURGED, is_marker
from projections.entities import Ended, EntityRow, entity_row, is_entity
from projections.job_states import JobStates
from projections.seam import Batch, Projection, Rows, StreamFeed

STREAMS_AT_ONCE: Final = 250
"""How many streams are read and folded at once: their events stay in the processor's caches."""
RANGE_STREAMS: Final = 8 * STREAMS_AT_ONCE
"""How many streams one process folds before another has its turn."""
PART_EVENTS: Final = 10_000
"""A part has about so many rows, unless single streams have more events."""
PART_BYTES: Final = 4 * 1024 * 1024
"""It ends early once the payloads behind it have this many bytes: rows may hold all of them."""
STREAM_EVENTS_MAX: Final = 100_000
"""A stream with more events than this is not held in memory: the log is folded in its order."""
STREAM_BYTES_MAX: Final = 64 * 1024 * 1024
"""The same for the bytes of its payloads."""


@runtime_checkable
class WholeProjection(Projection, Protocol):
    """A projection whose rows follow from single streams, and may be made of whole ones.

    Rows of ``ordered`` statements are written by rising first value, as far as that can be had.
    """

    @property
    def ordered(self) -> frozenset[str]:
        """The statements whose rows of one part belong among those of others."""
        ...

    def whole_rows(self, batch: Batch) -> Rows:
        """Return the rows of streams, of which the batch holds all events."""
        ...

    def whole_statements(self, prefix: str) -> Mapping[str, str]:
        """Return the statements that write the rows, into tables with this prefix."""
        ...


class Part(NamedTuple):
    """Rows of some whole streams, by projection.

    ``position`` and ``recordedtime`` are those of the newest event, ``begun`` is a position
    at which one of the streams began: those of later parts began after it.
    """

    position: int
    recordedtime: int
    begun: int
    entities: list[EntityRow]
    rows: dict[str, Rows]


class TooLongError(Exception):
    """A stream is too long to be held in memory."""


class Parts(Protocol):
    """Where the parts come from: this process, or others."""

    @property
    def ended(self) -> bool:
        """Whether there are no more."""
        ...

    def take(self, seconds: float) -> Part | None:
        """Return the next part; None when there is none, yet or any more."""
        ...

    def close(self) -> None:
        """End the work."""
        ...


StartFolding: TypeAlias = Callable[[Sequence[str], int, int], Parts | None]
"""Has others fold the streams up to one by their events up to a position, for some projections;
None when they cannot."""


class LocalParts:
    """The parts, folded in this process when they are asked for."""

    def __init__(self, feed: StreamFeed, projections: Sequence[WholeProjection], upto: int) -> None:
        self._parts = all_parts(feed, projections, upto)
        self.ended = False

    def take(self, seconds: float) -> Part | None:  # noqa: ARG002
        """Fold the next part."""
        part = next(self._parts, None)
        self.ended = part is None
        return part

    def close(self) -> None:
        """Stop reading."""
        self._parts.close()


def all_parts(
    feed: StreamFeed, projections: Sequence[WholeProjection], upto: int
) -> Generator[Part, None, None]:
    """Yield the parts of a log up to a position."""
    for after, last in ranges_of_streams(feed.last_stream()):
        yield from fold_streams(feed, projections, after, last, upto)


def ranges_of_streams(last: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges in which streams are read: from after one stream up to another."""
    for after in range(0, last, RANGE_STREAMS):
        yield after, min(after + RANGE_STREAMS, last)


def fold_streams(
    feed: StreamFeed, projections: Sequence[WholeProjection], after: int, last: int, upto: int
) -> Iterator[Part]:
    """Yield the rows of the streams after one up to another, by their events up to a position.

    Raises:
        TooLongError: one of the streams cannot be held in memory.

    """
    part: Part | None = None
    count = size = 0
    for low in range(after, last, STREAMS_AT_ONCE):
        high = min(low + STREAMS_AT_ONCE, last)
        for events in _whole_streams(feed.read_streams(low, high, upto)):
            part = _joined(part, _part(events, projections))
            count += len(events)
            size += sum([len(event.data) for event in events])
            if count >= PART_EVENTS or size >= PART_BYTES:
                yield part
                part, count, size = None, 0, 0
    if part is not None:
        yield part


def _joined(one: Part | None, other: Part) -> Part:
    """Return two parts as one, in their order."""
    if one is None:
        return other
    for name, rows in other.rows.items():
        for statement, more in rows.items():
            one.rows[name][statement] += more
    newest = max(one[:2], other[:2])
    return Part(*newest, max(one.begun, other.begun), one.entities + other.entities, one.rows)


def _whole_streams(pages: Iterable[Sequence[RecordedEvent]]) -> Iterator[list[RecordedEvent]]:
    """Yield the events of pages, cut where a stream ends."""
    held: list[RecordedEvent] = []
    size = 0
    for page in pages:
        events = [*held, *page]
        newest, end = events[-1].stream, len(events)
        while end and events[end - 1].stream == newest:
            end -= 1
        held = events[end:]
        if end:
            yield events[:end]
            size = 0
        size += sum([len(event.data) for event in page])
        if len(held) > STREAM_EVENTS_MAX or size > STREAM_BYTES_MAX:
            raise TooLongError(f"{newest} is too long to be held in memory")
    if held:
        yield held


def _part(events: list[RecordedEvent], projections: Sequence[WholeProjection]) -> Part:
    lives = _Lives(events)
    batch = Batch(lives.events, lives.numbers, JobStates(_no_log), lives.ended)
    newest = max(events)
    part = Part(
        newest.position,
        newest.recordedtime,
        # Later streams begin after that; where the first events of some are gone, others tell.
        max([event.position for event in events if event.version == 1], default=0),
        lives.rows,
        {each.name: each.whole_rows(batch.of(each.types)) for each in projections},
    )
    batch.close()
    return part


class _Lives:
    """The last life of each of some streams, and what is left of those before it.

    ``events`` are those of the last lives and the tombstones, ``rows`` the numbers of all lives.
    """

    def __init__(self, events: Sequence[RecordedEvent]) -> None:
        self.events: list[RecordedEvent] = []
        self.numbers: dict[str, int] = {}
        self.ended: list[Ended] = []
        self.rows: list[EntityRow] = []
        for stream, of_stream in groupby(events, key=attrgetter("stream")):
            if is_entity(stream):
                self._add(stream, list(of_stream))
            else:
                # No entity; what the last of its events says holds for all before it.
                self.events.append(list(of_stream)[-1])

    def _add(self, stream: str, events: list[RecordedEvent]) -> None:
        life: list[RecordedEvent] = []
        for event in events:
            if event.type not in MARKERS or not is_marker(event):
                life.append(event)
                continue
            if life:
                self.rows.append(entity_row(life[0].position, stream, event.position))
            life = []
            if event.type in PURGED:
                self.events.append(event)
                self.ended.append(Ended(event, None))
            else:
                life.append(event)
        if life:
            self.events += life
            self.numbers[stream] = life[0].position
            self.rows.append(entity_row(life[0].position, stream))


def _no_log(stream: str, position: int) -> Iterable[RecordedEvent]:
    raise LookupError(f"the events of {stream} before {position} are not all there")
