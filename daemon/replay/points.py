"""Which position of a log a point of history names."""

from __future__ import annotations

from typing import Protocol

from domain.errors import BeforeHistory, BeyondHead
from domain.moments import Point
from domain.timestamps import format_timestamp


class Positions(Protocol):
    """A log, as far as its positions and times are asked for."""

    def head(self) -> int:
        """Return the newest position, 0 for an empty log."""
        ...

    def first_position(self) -> int:
        """Return the oldest position that is kept, 0 when there is none."""
        ...

    def position_at(self, moment: int) -> int:
        """Return the last position recorded at or before a moment."""
        ...

    def recorded_at(self, position: int) -> int | None:
        """Return when the newest event up to a position was recorded."""
        ...


def find_position(log: Positions, point: Point, now: int) -> int:
    """Return the last position that belongs to a point.

    Raises:
        BeyondHead: the position is beyond the newest event, or the moment in the future.
        BeforeHistory: it lies before the kept history.

    """
    moment = point.moment_at(now)
    head = log.head()
    if moment is None:
        position = point.position or 0
        if position > head:
            raise BeyondHead(f"Position {position} is beyond the head of the log, {head}.")
    else:
        # The log's own time can be ahead of the clock, which may have been set back.
        if moment > now and moment > (log.recorded_at(head) or 0):
            raise BeyondHead(
                f"{format_timestamp(moment)} lies in the future.",
                hint="Leave the point out to ask for the present.",
            )
        position = log.position_at(moment)
    first = log.first_position()
    if first > 1 and position < first:
        raise BeforeHistory(
            f"Position {position} is before the kept history, whose first answerable position is "
            f"{first}."
        )
    return position
