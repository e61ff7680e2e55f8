"""Reading archived jobs: their events as if they were in the log still.

Whoever reads the stream of a job meets a gap where its rows are gone. `ArchiveReader` has what
belongs there, from the object that the marker names; some of these are kept decoded.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

import orjson

from daemon.archive.errors import ArchiveDamaged, ArchiveError, NoArchive
from daemon.archive.lines import JobLines, decode, event_of
from daemon.archive.marker import Marker, find_marker, marker_of
from daemon.archive.shelf import Shelf
from daemon.eventlog.requests import EventPage, EventQuery
from domain.events import RecordedEvent
from domain.job import JobState, job_after
from domain.lives import ARCHIVED

CACHE_BYTES: Final = 32 << 20
"""So much of archived events, as they are stored, is kept decoded."""
CACHE_JOBS: Final = 64
_JOB: Final = "job/"
DOCUMENTS: Final = ("params", "input", "result")
"""What the row of an archived job has not."""


class ReadLog(Protocol):
    """A log that is read."""

    def head(self) -> int:
        """Return the newest position."""
        ...

    def select(self, query: EventQuery, limit: int) -> EventPage:
        """Return one page of the events that match a query."""
        ...

    def read_stream(
        self, stream: str, *, after_version: int = 0, upto: int | None = None, limit: int = 1000
    ) -> list[RecordedEvent]:
        """Return events of one stream after a version."""
        ...

    def removed_upto(self, stream: str) -> int:
        """Return up to which version the events of a stream are removed or are to be."""
        ...


class _Decoded(NamedTuple):
    events: list[RecordedEvent]
    size: int


class ArchiveReader:
    """Reads archived jobs; ``shelf`` is None where no archive is configured."""

    def __init__(self, log: ReadLog, shelf: Shelf | None) -> None:
        self._log = log
        self._shelf = shelf
        self._lock = threading.Lock()
        self._cache: OrderedDict[str, _Decoded] = OrderedDict()

    @property
    def shelf(self) -> Shelf:
        """The objects.

        Raises:
            NoArchive: none is configured.

        """
        if self._shelf is None:
            raise NoArchive("The events are in the archive, and no archive is configured here.")
        return self._shelf

    def marker(self, stream: str) -> Marker | None:
        """Return what stands for the events of a stream that are in the archive, None for none."""
        if not stream.startswith(_JOB) or not self._log.removed_upto(stream):
            return None
        return find_marker(self._log, stream.removeprefix(_JOB))

    def events(self, marker: Marker) -> Sequence[RecordedEvent]:
        """Return the archived events of a job, in the order of their versions.

        Raises:
            NoArchive: no archive is configured.
            ArchiveDamaged: the object is missing, or not what was stored.
            StoreUnavailable, StoreRefused: the archive cannot be reached.

        """
        name = marker.object
        # A stream that was forgotten after its purge may come to the same name again.
        key = f"{name} {marker.sha256}"
        with self._lock:
            if known := self._cache.get(key):
                self._cache.move_to_end(key)
                return known.events
        lines = read_lines(self.shelf, marker)
        events = [event_of(line, name) for line in lines.own]
        self._remember(key, _Decoded(events, sum(len(line) for line in lines.own)))
        return events

    def _remember(self, key: str, decoded: _Decoded) -> None:
        if decoded.size > CACHE_BYTES:
            return
        with self._lock:
            self._cache[key] = decoded
            while (
                len(self._cache) > CACHE_JOBS
                or sum(each.size for each in self._cache.values()) > CACHE_BYTES
            ):
                self._cache.popitem(last=False)

    def between(
        self, stream: str, after: int, before: int | None, upto: int | None = None
    ) -> Iterator[RecordedEvent]:
        """Yield the archived events of a stream between two versions, up to a position."""
        marker = self.marker(stream)
        if marker is None or after >= marker.replaces:
            return
        for event in self.events(marker):
            if upto is not None and event.position > upto:
                return
            if event.version > after and (before is None or event.version < before):
                yield event

    def select(self, query: EventQuery, limit: int) -> EventPage:
        """Return one page of events, those of an archived job included where its stream is asked.

        See `daemon.eventlog.reader.Reader.select`.
        """
        page = self._log.select(query, limit)
        marker = None if query.stream is None else self.marker(query.stream)
        if marker is None:
            return page
        found = {event.position: event for event in page.events}
        for event in self.events(marker):
            if event.position not in found and _matches(query, event):
                found[event.position] = event
        reached = page.next_after
        events = sorted(found.values(), key=_position, reverse=query.descending)
        if reached is not None:
            # What lies beyond belongs to the next page.
            events = [
                event
                for event in events
                if (event.position >= reached if query.descending else event.position <= reached)
            ]
        if len(events) > limit:
            events = events[:limit]
            reached = events[-1].position
        return EventPage(events, reached, page.as_of)

    def list_markers(
        self, before: int | None, limit: int
    ) -> tuple[list[tuple[Marker, RecordedEvent]], int | None]:
        """Return markers of jobs that are in the archive, the newest first, and where to go on."""
        query = EventQuery(types=(ARCHIVED,), before=before, descending=True)
        page = self._log.select(query, limit)
        found = [(marker, event) for event in page.events if (marker := marker_of(event))]
        now = [each for each in found if self._is_current(each[0])]
        return now, page.next_after

    def _is_current(self, marker: Marker) -> bool:
        newest = find_marker(self._log, marker.job)
        return newest is not None and newest.position == marker.position

    def job(self, marker: Marker) -> JobState:
        """Return the job as it was when it was archived, whole."""
        state: JobState | None = None
        for event in self.events(marker):
            state = job_after(state, event)
        if state is None:
            raise ArchiveError(f"{marker.object} holds no event")
        return state


def read_lines(shelf: Shelf, marker: Marker) -> JobLines:
    """Return the archived lines of a job.

    Where its object is gone, a later one has them too: the log came back from a backup that was
    older than the newest archive of the job.

    Raises:
        ArchiveDamaged: the object is missing, or not what was stored.
        StoreUnavailable, StoreRefused: the archive cannot be reached.

    """
    name = marker.object
    if shelf.has(name):
        return decode(shelf.read(name, marker.sha256), name)
    for later in shelf.later_events(marker.location, marker.replaces):
        lines = decode(shelf.read(later), later).upto(marker.replaces)
        # That of a later life, after a purge that the backup did not have, has nothing of this one.
        if lines.own and orjson.loads(lines.own[-1])["version"] == marker.replaces:
            return lines
    raise ArchiveDamaged(f"{name} is missing")


def _position(event: RecordedEvent) -> int:
    return event.position


def _matches(query: EventQuery, event: RecordedEvent) -> bool:
    """Return whether an event is one that a query by stream asks for."""
    said: Any = event.extensions.get("correlationid")
    return (
        (not query.types or event.type in query.types)
        and query.source in (None, event.source)
        and (query.correlation is None or said == query.correlation)
        and event.position > (query.after or 0)
        and (query.before is None or event.position < query.before)
        and (query.since is None or event.time >= query.since)
        and (query.until is None or event.time <= query.until)
    )
