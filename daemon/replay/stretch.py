"""The stretch of a log between two points of its history."""

from __future__ import annotations

from daemon.replay.points import Positions, find_position, first_kept
from domain.errors import Invalid
from domain.moments import Point


def find_stretch(log: Positions, start: Point | None, end: Point | None, now: int) -> range:
    """Return the positions from one point to another, both included.

    A time at the start means what was recorded after it, at the end what was recorded up to it: so
    stretches that meet at a time share no event. Without a start it is the first event that is
    kept, without an end the newest.

    Raises:
        BeyondHead, BeforeHistory: a point lies outside of the log.
        Invalid: the start is after the end.

    """
    last = log.head() if end is None else find_position(log, end, now)
    if start is None:
        first = first_kept(log)
    elif start.position is None:
        first = find_position(log, start, now) + 1
    else:
        # One who has everything asks for what comes next, also where a tail was lost behind it.
        ends = {last, *(each.complete_to for each in log.lost_stretches())}
        following = start.position - 1 in ends
        first = start.position if following else max(find_position(log, start, now), 1)
    if first > last + 1:
        raise Invalid(f"The stretch would begin with position {first} and end with {last}.")
    return range(first, last + 1)
