"""Epochs of a log, and the stretches of positions that a new one leaves empty.

A log that goes on from a backup may have lost its newest events, and nobody knows how many there
were. So the new epoch begins beyond every position that can have been used, with an event that says
up to where nothing is lost. The positions between are of a lost tail: nothing will ever be there.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

import orjson

from domain.errors import BeyondHead

RESTORED: Final = "log.restored"
"""The type of the event that begins an epoch."""


class LostStretch(NamedTuple):
    """Positions without an event, from ``complete_to`` + 1 up to that before ``resumed``.

    Each epoch that began has one; it is empty where nothing can have been lost.
    """

    complete_to: int
    resumed: int
    epoch: int

    @property
    def length(self) -> int:
        """How many positions it has."""
        return self.resumed - self.complete_to - 1


class Positions(Protocol):
    """A log, as far as it is asked which positions it has."""

    def head(self) -> int:
        """Return the newest position, 0 for an empty log."""
        ...

    def lost_stretches(self) -> Sequence[LostStretch]:
        """Return the stretches of positions that epochs left empty, the oldest first."""
        ...


def is_log_id(value: object) -> bool:
    """Return whether a value can be the id of a log: a UUID in its usual form."""
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False


def stream_of(log_id: str) -> str:
    """Return the stream in which a log records its own epochs."""
    return f"log/{log_id}"


def removals_stream(log_id: str) -> str:
    """Return the stream in which a log records what was removed from it."""
    return f"log/{log_id}/removed"


def day_stream(log_id: str, day: str) -> str:
    """Return the stream in which a log records what forgotten purges add to a day's summary."""
    return f"log/{log_id}/day/{day}"


def lost_at(position: int, stretches: Sequence[LostStretch]) -> LostStretch | None:
    """Return the stretch that a position is strictly inside of, if it is of a lost tail."""
    for stretch in reversed(stretches):
        if position >= stretch.resumed:
            return None
        if position > stretch.complete_to:
            return stretch
    return None


def lost_before(position: int, stretches: Sequence[LostStretch]) -> int:
    """Return how many positions up to one are lost."""
    return sum(
        min(each.length, position - each.complete_to)
        for each in stretches
        if position > each.complete_to
    )


def kept_of(epoch: int, stretches: Sequence[LostStretch]) -> int:
    """Return up to which position what was known in an earlier epoch still counts."""
    return min((each.complete_to for each in stretches if each.epoch > epoch), default=0)


def require_reached(log: Positions, *positions: int) -> None:
    """Check that positions are of this log.

    Raises:
        BeyondHead: one is beyond the newest event, or of a tail that was lost.

    """
    head = log.head()
    for position in positions:
        if position > head:
            raise BeyondHead(f"Position {position} is beyond the head of the log, {head}.")
        lost = lost_at(position, log.lost_stretches())
        if lost is not None:
            raise BeyondHead(
                f"Position {position} is of a tail that was lost: the log is complete up to "
                f"{lost.complete_to}, and went on with epoch {lost.epoch} at {lost.resumed}.",
                hint=f"Start again from position {lost.complete_to}, which still counts.",
            )


def complete_to(data: bytes) -> int | None:
    """Return up to where nothing is lost, as the payload of an event that began an epoch says."""
    return _number(data, "complete_to")


def told_epoch(data: bytes) -> int | None:
    """Return the epoch that began, as the payload of the event says."""
    return _number(data, "epoch")


def _number(data: bytes, name: str) -> int | None:
    try:
        payload: Any = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    value = payload.get(name) if isinstance(payload, dict) else None
    return value if type(value) is int else None
