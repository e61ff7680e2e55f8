"""What the log says of an archived job: the event that stands for those in the archive."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Protocol

from daemon.archive.shelf import events_name
from daemon.eventlog.requests import EventPage, EventQuery
from domain.events import RecordedEvent
from domain.lives import ARCHIVED, MARKERS, replaced_versions

_PAGE: Final = 20


class ArchivedFile(NamedTuple):
    """A result's file in the archive: see `domain.payloads.daemon.ArchivedFile`."""

    result: str
    path: str
    bytes: int
    sha256: str
    object: str


class Marker(NamedTuple):
    """A ``job.archived`` that stands for the events up to version ``replaces``."""

    job: str
    position: int
    version: int
    recordedtime: int
    location: str
    sha256: str
    replaces: int
    events: int
    bytes: int
    reason: str | None
    rule: str | None
    files: tuple[ArchivedFile, ...]

    @property
    def object(self) -> str:
        """The name of the object with the job's events."""
        return events_name(self.location, self.replaces)

    @property
    def objects(self) -> frozenset[str]:
        """The names of all objects that it speaks of."""
        return frozenset({self.object, *(file.object for file in self.files)})


class Selecting(Protocol):
    """A log that can be asked for events."""

    def select(self, query: EventQuery, limit: int) -> EventPage:
        """Return one page of the events that match a query."""
        ...


def marker_of(event: RecordedEvent) -> Marker | None:
    """Return what a ``job.archived`` with an object in the archive says, None of other events."""
    said: Any = event.payload
    replaces = replaced_versions(event.type, said)
    if event.type != ARCHIVED or not replaces or not said.get("location"):
        return None
    return Marker(
        job=event.subject,
        position=event.position,
        version=event.version,
        recordedtime=event.recordedtime,
        location=said["location"],
        sha256=said.get("sha256") or "",
        replaces=replaces,
        events=said.get("events") or 0,
        bytes=said.get("bytes") or 0,
        reason=said.get("reason"),
        rule=said.get("rule"),
        files=tuple(
            ArchivedFile(*(each[name] for name in ArchivedFile._fields))
            for each in said.get("files") or ()
        ),
    )


def newest_marker(log: Selecting, stream: str) -> RecordedEvent | None:
    """Return the newest event of a stream that stands for others, None where none does."""
    query = EventQuery(stream=stream, types=tuple(sorted(MARKERS)), descending=True)
    while True:
        page = log.select(query, _PAGE)
        for event in page.events:
            if replaced_versions(event.type, event.payload):
                return event
        if page.next_after is None:
            return None
        query = EventQuery(
            stream=stream, types=query.types, before=page.next_after, descending=True
        )


def find_marker(log: Selecting, job: str) -> Marker | None:
    """Return the marker of a job that is in the archive now, None where it is not."""
    event = newest_marker(log, f"job/{job}")
    return None if event is None else marker_of(event)
