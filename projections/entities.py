"""The numbers of entities: which life of a stream an event belongs to.

An entity has the position of its first event as its number. A marker (`domain.lives`) ends it: with
``job.archived`` the job goes on under the position of the marker, and after a purge the next event
of the stream, if one comes, begins a new entity. So a stream has one life after another, each with
a number of its own, and a log without the events of the ended ones gives the same numbers.

The number of a life that ended stays in the table as long as a set of tables is behind its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias
from zlib import crc32

import apsw

from domain.events import RecordedEvent
from domain.lives import (
    ARCHIVED,
    HOUSEKEEPING,
    MARKERS,
    PURGED,
    category_of_stream,
    is_marker,
)
from projections.sql import named_statements

ENTITIES_CACHED_MAX: Final = 50_000
"""How many streams' numbers are kept in memory."""
ENTITY_LENGTH_MAX: Final = 512
"""Streams with longer names are looked up each time."""

EntityRow: TypeAlias = tuple[int, str, int, int | None]
"""A row of ``entities``: number, stream, hash, and the marker that ended it or None."""

_SQL = named_statements("entities.sql")


class Ended(NamedTuple):
    """A marker, and the number of the entity that it ended: None where that is not known."""

    marker: RecordedEvent
    entity: int | None

    @property
    def is_purge(self) -> bool:
        """Whether nothing goes on but the counts."""
        return self.marker.type in PURGED


class Numbered(NamedTuple):
    """Events with the numbers of their streams, and what the markers among them end."""

    events: Sequence[RecordedEvent]
    entities: Mapping[str, int]
    ended: Sequence[Ended]


def entity_number(db: apsw.Connection, stream: str) -> int | None:
    """Return the number of the entity that a stream has now, None when it has none."""
    try:
        number: int | None = db.execute(_SQL["find_entity"], (_hash(stream), stream)).get
    except UnicodeEncodeError:
        return None
    return number


def entity_row(number: int, stream: str, ended: int | None = None) -> EntityRow:
    """Return the row that keeps the number of a stream."""
    return number, stream, _hash(stream), ended


def _hash(stream: str) -> int:
    return crc32(stream.encode())


def is_entity(stream: str) -> bool:
    """Return whether the events of a stream make an entity."""
    return category_of_stream(stream) not in HOUSEKEEPING


def stretches(page: Sequence[RecordedEvent]) -> list[Sequence[RecordedEvent]]:
    """Cut events in log order where a marker ends what begins or goes on before it.

    In a stretch a stream has a marker only as its first event, so one life at the most.
    """
    marked = {event[1] for event in page if event[3] in MARKERS and is_marker(event)}
    if not marked:
        return [page]
    cuts = [0]
    met: set[str] = set()
    for place, event in enumerate(page):
        stream = event[1]
        if stream not in marked:
            continue
        if stream in met and event[3] in MARKERS and is_marker(event):
            cuts.append(place)
            met.clear()
        met.add(stream)
    ends = [*cuts[1:], len(page)]
    return [page[start:end] for start, end in zip(cuts, ends, strict=True)]


class Entities:
    """Numbers the streams for one lane: what it remembers holds at the lane's position."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._known: dict[str, int] = {}
        self._long: list[str] = []

    def number(self, events: Sequence[RecordedEvent], ahead: int | None = None) -> Numbered:
        """Return the numbers of the streams of a stretch, writing those that are new.

        ``ahead`` is where the next set of tables stands that is farther. What is not in the table
        then, although that has passed it, has ended by there.

        There may be more numbers in it, and they hold until the next time.
        """
        self._forget()
        markers = [event for event in events if event[3] in MARKERS and is_marker(event)]
        ended = self._end(markers, ahead) if markers else []
        known = self._known
        unknown = {event.stream for event in events}.difference(known)
        tombstones = {event.position for event in markers if event.type in PURGED}
        new: list[EntityRow] = []
        for event in events if unknown else ():
            stream = event.stream
            if stream not in unknown or event.position in tombstones:
                continue
            unknown.remove(stream)
            if not is_entity(stream):
                continue
            number: int | None = None
            # Version 1 is the first event by definition, which saves looking for an earlier one.
            if event.version != 1:
                number = self._number_at(stream, event.position)
            if number is None:
                number = event.position
                new.append(entity_row(number, stream, ahead))
            self._remember(stream, number)
        self._db.executemany(_SQL["insert_entity"], new)
        return Numbered(events, known, ended)

    def _end(self, markers: Iterable[RecordedEvent], ahead: int | None) -> list[Ended]:
        """Write which entities end, and the numbers under which archived jobs go on."""
        ended, new = [], []
        for marker in markers:
            stream, position = marker.stream, marker.position
            number = self._known.pop(stream, None)
            if number is None:
                number = self._number_at(stream, position)
            ended.append(Ended(marker, number))
            if marker.type == ARCHIVED:
                new.append(entity_row(position, stream, ahead))
                self._remember(stream, position)
        over = [(each.marker.position, each.entity) for each in ended if each.entity is not None]
        self._db.executemany(_SQL["end_entity"], over)
        self._db.executemany(_SQL["insert_entity"], new)
        return ended

    def _number_at(self, stream: str, position: int) -> int | None:
        """Return the number of the life that an event goes on with, None where it begins one."""
        asked = (_hash(stream), stream, position, position)
        number: int | None = self._db.execute(_SQL["find_life"], asked).get
        return number

    def _remember(self, stream: str, number: int) -> None:
        self._known[stream] = number
        if len(stream) > ENTITY_LENGTH_MAX:
            self._long.append(stream)

    def _forget(self) -> None:
        """Drop the older half when too many are known, and what is too long to remember."""
        for stream in self._long:
            self._known.pop(stream, None)
        self._long.clear()
        if len(self._known) > ENTITIES_CACHED_MAX:
            for stream in list(self._known)[: len(self._known) - ENTITIES_CACHED_MAX // 2]:
                del self._known[stream]


def write_lives(db: apsw.Connection, rows: Iterable[EntityRow]) -> None:
    """Write numbers of whole streams, with the ends of those that ended."""
    db.executemany(_SQL["insert_life"], rows)


def drop_ended(db: apsw.Connection, position: int) -> bool:
    """Drop the numbers of the lives that ended up to a position; return whether there were any."""
    if not db.execute(_SQL["has_ended"], (position,)).get:
        return False
    db.execute(_SQL["drop_ended"], (position,))
    return True
