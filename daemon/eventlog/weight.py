"""What a request counts for in the bounds of the writer's queue and of its groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from daemon.eventlog.requests import Request, Work
from domain.events import NewEvent
from domain.prepared import Prepared

_OVERHEAD_BYTES: Final = 256


def weight_of(request: Request) -> tuple[int, int]:
    """Return the events and bytes a request holds in the queue."""
    if isinstance(request, Work):
        return request.events, request.size + _OVERHEAD_BYTES
    size = request.size
    if size is None:
        size = _events_bytes(request.events)
    size += len(request.events) * _OVERHEAD_BYTES
    size += sum([len(letter.raw) + _OVERHEAD_BYTES for letter in request.dead_letters])
    return max(len(request.events) + len(request.dead_letters), 1), size


def _events_bytes(events: Sequence[NewEvent] | Sequence[Prepared]) -> int:
    if events and isinstance(events[0], NewEvent):
        return sum([_event_bytes(event) for event in cast("Sequence[NewEvent]", events)])
    # Payload, and all the texts.
    return sum([len(event[4]) + len(event[-1]) for event in cast("Sequence[Prepared]", events)])


def _event_bytes(event: NewEvent) -> int:
    size = len(event.data) + len(event.subject) + len(event.source) + len(event.id)
    if event.extensions:
        size += sum(len(str(value)) for value in event.extensions.values())
    return size
