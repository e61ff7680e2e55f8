"""Whether an item of a plan is still what was planned: as the log has its stream now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

from daemon.retention.plan import Item
from domain.alert import AlertState, advance_alert
from domain.errors import UnreadableEvent
from domain.events import RecordedEvent
from domain.file import FileState, advance_file
from domain.job import JobState, advance_job
from domain.lives import PURGED, replaced_versions
from domain.retention import Aged, Policies
from projections.summary import observed_hour

_PAGE_EVENTS: Final = 500
_ADVANCE: Final[Mapping[str, Callable[[Any, RecordedEvent], Any]]] = {
    "job": advance_job,
    "alert": advance_alert,
    "file": advance_file,
}


class Why(StrEnum):
    """Why an item of a plan was left as it is."""

    GONE = "gone"
    PINNED = "pinned"
    NOT_DUE = "not due"
    MOVED_ON = "moved on"
    UNREADABLE = "unreadable"
    ARCHIVE = "archive failed"


class StreamLog(Protocol):
    """A log that reads one stream."""

    def read_stream(
        self, stream: str, *, after_version: int = 0, upto: int | None = None, limit: int = 1000
    ) -> list[RecordedEvent]:
        """Return events of a stream."""
        ...


class Found(NamedTuple):
    """An entity as the log has it, up to a version; ``location`` is where it is archived.

    ``observed`` is how many messages about a file there were in each hour.
    """

    state: JobState | AlertState | FileState | None
    version: int
    observed: Mapping[int, int] = {}
    location: str | None = None

    @property
    def aged(self) -> Aged | None:
        """What decides how long it is kept; None where it is gone."""
        if isinstance(self.state, JobState):
            return Aged.of_job(self.state)
        if isinstance(self.state, AlertState):
            return Aged.of_alert(self.state)
        return None if self.state is None else Aged.of_file(self.state)


def find(log: StreamLog, stream: str) -> Found:
    """Return an entity as the log has it now: its present life.

    Raises:
        UnreadableEvent: it has an event of a newer release.

    """
    category = stream.partition("/")[0]
    state: Any = None
    version, location = 0, None
    seen: Counter[int] = Counter()
    for event in _stream(log, stream):
        version = event.version
        if replaced_versions(event.type, event.payload):
            state, location = None, event.payload.get("location")
            seen.clear()
            if event.type in PURGED:
                continue
        state = _ADVANCE[category](state, event)
        if event.type == "file.observed":
            seen[observed_hour(event)] += 1
    return Found(state, version, seen, location if state is not None else None)


def why_not(item: Item, found: Found, policies: Policies, now: int) -> Why | None:
    """Return why an item is left, None where it is as it was planned."""
    entity = found.aged
    if entity is None:
        return Why.GONE
    if entity.pinned:
        return Why.PINNED
    if found.version != item.version:
        return Why.MOVED_ON
    due = policies.due(entity, now)
    if due is None or (due.action, due.policy.name) != (item.action, item.rule):
        return Why.NOT_DUE
    return None


def check(
    log: StreamLog, item: Item, policies: Policies, now: int
) -> tuple[Found | None, Why | None]:
    """Return the entity of an item, and why it is left where it is."""
    try:
        found = find(log, item.stream)
    except UnreadableEvent:
        return None, Why.UNREADABLE
    return found, why_not(item, found, policies, now)


def _stream(log: StreamLog, stream: str) -> Iterator[RecordedEvent]:
    version = 0
    while page := log.read_stream(stream, after_version=version, limit=_PAGE_EVENTS):
        yield from page
        version = page[-1].version
