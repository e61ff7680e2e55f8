"""Order within an entity: when an event counts as happened, and which event a field is from.

Events of one entity are ordered by (effective time, rank, position). A fold takes them in log
order, so that position decides by itself: of two events with the same time and rank, the one that
is folded later is the greater one.

A fold that resumes from a stored state has to know, for each field, the key of the event that set
it. The fields of an entity are set by a handful of events, so a `Clock` keeps one entry a key, not
one a field: ``[time, rank, fields]`` where ``fields`` is a bit set. It is JSON as it stands.
"""

from __future__ import annotations

from typing import TypeAlias

from domain.events import RecordedEvent
from domain.timestamps import SKEW_LIMIT

Clock: TypeAlias = list[list[int]]
"""Entries ``[time, rank, fields]`` in rising order; no key and no field is in two entries."""


def effective_time(event: RecordedEvent) -> int:
    """Return when the event counts as happened: its time, cut where it is too far ahead."""
    return min(event.time, event.recordedtime + SKEW_LIMIT)


def is_skewed(event: RecordedEvent) -> bool:
    """Return whether the event's own time is too far ahead of its recording to be believed."""
    return event.time > event.recordedtime + SKEW_LIMIT


def newer_fields(clock: Clock, time: int, rank: int) -> int:
    """Return the fields that events of greater keys have set."""
    newer = 0
    for then, its_rank, fields in reversed(clock):
        if then < time or (then == time and its_rank <= rank):
            break
        newer |= fields
    return newer


def claim(clock: Clock, time: int, rank: int, fields: int) -> None:
    """Write into the clock that an event has set ``fields``.

    The caller leaves out of ``fields`` what `newer_fields` named.
    """
    if clock:
        last = clock[-1]
        if last[2] == fields and (last[0] < time or (last[0] == time and last[1] <= rank)):
            # What is usual: one more event like the newest, such as progress after progress.
            last[0] = time
            last[1] = rank
            return
    claimed: Clock = []
    for entry in clock:
        if entry[0] == time and entry[1] == rank:
            fields |= entry[2]
        elif kept := entry[2] & ~fields:
            claimed.append([entry[0], entry[1], kept])
    claimed.append([time, rank, fields])
    if len(claimed) > 1 and claimed[-2] > claimed[-1]:
        claimed.sort()
    clock[:] = claimed


def copy_of(clock: Clock) -> Clock:
    """Return a clock of its own, for a state that goes on apart from the one it came from."""
    return [entry.copy() for entry in clock]


def earlier(known: int | None, time: int) -> int:
    """Return the earlier of a time that may not be known yet and another."""
    return time if known is None or time < known else known


def later(known: int | None, time: int) -> int:
    """Return the later of a time that may not be known yet and another."""
    return time if known is None or time > known else known
