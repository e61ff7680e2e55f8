"""The state of an alert, folded from its events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from domain.clock import Clock, claim, copy_of, earlier, effective_time, later, newer_fields
from domain.events import RecordedEvent
from domain.lives import is_tombstone
from domain.timestamps import format_optional, format_timestamp


class AlertStatus(StrEnum):
    """Whether an alert still needs somebody."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


RANKS: Final[Mapping[AlertStatus, int]] = {
    AlertStatus.OPEN: 0,
    AlertStatus.ACKNOWLEDGED: 1,
    AlertStatus.RESOLVED: 2,
}
"""Of two events at one time, the one that gives the greater rank is the later one."""

STATUS_OF: Final[Mapping[str, AlertStatus]] = {
    "alert.raised": AlertStatus.OPEN,
    "alert.acknowledged": AlertStatus.ACKNOWLEDGED,
    "alert.resolved": AlertStatus.RESOLVED,
}
"""The state that each event type reports."""

_FIELDS: Final = ("severity", "kind", "title", "message", "fingerprint", "job", "labels")
"""What follows the greatest ``alert.raised`` that set it; the place of each is its bit in a clock.

A stored clock holds these bits: append new fields only, and raise the version of what stores them.
"""


@dataclass(slots=True)
class AlertState:
    """An alert as the events up to ``last_position`` tell it; plain values, times in microseconds.

    ``first_seen``, ``last_seen`` and ``count`` are of its ``alert.raised`` events. ``state_time``
    is the time of the event that gave the state, None while no event did.
    """

    id: str
    first_position: int
    updated: int
    last_position: int = 0
    events: int = 0
    state: AlertStatus = AlertStatus.OPEN
    state_time: int | None = None
    severity: str | None = None
    kind: str | None = None
    title: str | None = None
    message: str | None = None
    fingerprint: str | None = None
    job: str | None = None
    labels: Mapping[str, str] | None = None
    first_seen: int | None = None
    last_seen: int | None = None
    count: int = 0
    acknowledged: int | None = None
    acknowledged_by: str | None = None
    resolved: int | None = None
    resolved_by: str | None = None
    notified: int | None = None
    notifications: int = 0
    clock: Clock = field(default_factory=list)

    @property
    def is_acknowledged(self) -> bool:
        """Whether somebody has acknowledged it since it was last raised."""
        return self.acknowledged is not None and (
            self.last_seen is None or self.acknowledged >= self.last_seen
        )


def fold_alert(state: AlertState | None, events: Iterable[RecordedEvent]) -> AlertState:
    """Return the alert after more of its events, in log order; ``state`` is left as it is.

    What was folded already (up to ``last_position``) is skipped, so a repeat changes nothing.

    Raises:
        ValueError: there is no event, or the last of them purged the alert.

    """
    folded = None if state is None else replace(state, clock=copy_of(state.clock))
    for event in events:
        folded = alert_after(folded, event)
    if folded is None:
        raise ValueError("an alert has at least one event")
    return folded


def alert_after(state: AlertState | None, event: RecordedEvent) -> AlertState | None:
    """Take an alert on by the next event of its stream, None where that purged it."""
    return None if is_tombstone(event) else advance_alert(state, event)


def advance_alert(state: AlertState | None, event: RecordedEvent) -> AlertState:
    """Take an alert on by its next event in log order: changes ``state``, or makes the first."""
    time = effective_time(event)
    if state is None:
        state = AlertState(event.subject, event.position, time)
    elif event.position <= state.last_position:
        return state
    state.last_position = event.position
    state.events += 1
    state.updated = later(state.updated, time)
    status = STATUS_OF.get(event.type)
    if status is not None:
        _move(state, status, time)
    if event.type == "alert.raised":
        _raise(state, time, event.payload)
    elif event.type == "alert.acknowledged":
        if state.acknowledged is None or time >= state.acknowledged:
            state.acknowledged, state.acknowledged_by = time, _by(event)
    elif event.type == "alert.resolved":
        if state.resolved is None or time >= state.resolved:
            state.resolved, state.resolved_by = time, _by(event)
    elif event.type == "alert.notified":
        state.notified = later(state.notified, time)
        state.notifications += 1
    return state


def _move(state: AlertState, status: AlertStatus, time: int) -> None:
    then = state.state_time
    if then is None or (time, RANKS[status]) >= (then, RANKS[state.state]):
        state.state = status
        state.state_time = time


def _raise(state: AlertState, time: int, payload: Mapping[str, Any]) -> None:
    state.count += 1
    state.first_seen = earlier(state.first_seen, time)
    state.last_seen = later(state.last_seen, time)
    newer = newer_fields(state.clock, time, 0)
    fields = 0
    for place, name in enumerate(_FIELDS):
        value = payload.get(name)
        if value is not None and not newer & 1 << place:
            setattr(state, name, value)
            fields |= 1 << place
    if fields:
        claim(state.clock, time, 0, fields)


def _by(event: RecordedEvent) -> str | None:
    """Return who did it: the payload's word, else the actor of the envelope."""
    by = event.payload.get("by") or event.extensions.get("actor")
    return None if by is None else str(by)


def alert_view(state: AlertState) -> dict[str, Any]:
    """Return the alert as the HTTP interface shows it.

    Who acknowledged or resolved it is shown while that still holds.
    """
    acknowledged = state.is_acknowledged
    resolved = state.state == AlertStatus.RESOLVED
    return {
        "id": state.id,
        "state": state.state,
        "severity": state.severity,
        "kind": state.kind,
        "title": state.title,
        "message": state.message,
        "fingerprint": state.fingerprint,
        "job": state.job,
        "labels": state.labels or {},
        "first_seen": format_optional(state.first_seen),
        "last_seen": format_optional(state.last_seen),
        "count": state.count,
        "acknowledged": format_optional(state.acknowledged) if acknowledged else None,
        "acknowledged_by": state.acknowledged_by if acknowledged else None,
        "resolved": format_optional(state.resolved) if resolved else None,
        "resolved_by": state.resolved_by if resolved else None,
        "notified": format_optional(state.notified),
        "notifications": state.notifications,
        "updated": format_timestamp(state.updated),
        "last_position": state.last_position,
        "events": state.events,
    }
