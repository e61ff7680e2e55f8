"""The lives of an entity in the log: a marker ends one, whose events are then removed.

An entity is archived or purged by one event of its own stream, the marker. It stands for the
events before it in the stream (``replaces`` says how many versions), says what has to be known of
them, and from then on they may be gone. So whoever folds forgets what it knew of the entity when
it meets a marker, and goes by what the marker says: it makes no difference then whether the events
before it were still there. With ``job.archived`` the job goes on as the marker's row has it; a
``*.purged`` leaves nothing but its counts, and a later event of the stream begins a new entity.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from domain.events import RecordedEvent

ARCHIVED: Final = "job.archived"
"""The type of the marker with which a job goes on."""
PURGED: Final = frozenset({"job.purged", "alert.purged", "file.purged", "result.purged"})
"""The types of the markers that leave nothing but counts: tombstones, which stay in the log."""
MARKERS: Final = PURGED | {ARCHIVED}
"""The types of events that may be markers."""
HOUSEKEEPING: Final = frozenset({"maintenance", "backup", "policy", "log"})
"""The categories of what the daemon does to itself: no entities, so their old events just go."""


def category_of_stream(stream: str) -> str:
    """Return the category of a stream's events: what stands before its first slash."""
    return stream.partition("/")[0]


def replaced_versions(type_: str, payload: Mapping[str, Any]) -> int:
    """Return up to which version of its stream an event stands for the others; 0 for no marker."""
    if type_ not in MARKERS:
        return 0
    replaces = payload.get("replaces")
    return replaces if isinstance(replaces, int) and replaces > 0 else 0


def is_marker(event: RecordedEvent) -> bool:
    """Return whether an event stands for those before it in its stream."""
    return replaced_versions(event.type, event.payload) > 0


def is_tombstone(event: RecordedEvent) -> bool:
    """Return whether an event says that its entity is gone; a later one begins a new entity."""
    return event.type in PURGED and is_marker(event)


def last_life(events: Iterable[RecordedEvent]) -> list[RecordedEvent]:
    """Return those of a stream's events that the entity it has now is made of; none after a purge.

    They begin with the marker, where the entity goes on from one.
    """
    life: list[RecordedEvent] = []
    for event in events:
        if is_marker(event):
            life.clear()
        if not is_tombstone(event):
            life.append(event)
    return life
