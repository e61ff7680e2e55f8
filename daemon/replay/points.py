"""Which position of a log a point of history names."""

from __future__ import annotations

from typing import Protocol

from domain import epochs
from domain.errors import BeforeHistory, BeyondHead
from domain.moments import Point
from domain.timestamps import format_timestamp


class Positions(epochs.Positions, Protocol):
    """A log, as far as its positions and times are asked for."""

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
        BeyondHead: the position is beyond the newest event or of a tail that was lost, or the
            moment in the future.
        BeforeHistory: it lies before the kept history.

    """
    moment = point.moment_at(now)
    if moment is None:
        position = point.position or 0
        epochs.require_reached(log, position)
    else:
        # The log's own time can be ahead of the clock, which may have been set back.
        if moment > now and moment > (log.recorded_at(log.head()) or 0):
            raise BeyondHead(
                f"{format_timestamp(moment)} lies in the future.",
                hint="Leave the point out to ask for the present.",
            )
        position = log.position_at(moment)
    first = first_kept(log)
    if first > 1 and position < first:
        raise BeforeHistory(
            f"Position {position} is before the kept history, whose first answerable position is "
            f"{first}."
        )
    return position


def first_kept(log: Positions) -> int:
    """Return the first position that was not removed; 1 also where all before an epoch was lost."""
    first = log.first_position() or 1
    return 1 if epochs.lost_at(first - 1, log.lost_stretches()) else first
