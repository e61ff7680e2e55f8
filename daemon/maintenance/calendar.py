"""When it is a task's turn: its due times, moved by a little that is always the same.

All times are microseconds UTC. Where several daemons share a disk or a store, the move keeps them
apart; it comes from the log's id and the task's name, so that it is the same after a restart.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, NamedTuple, Self

from daemon.schedule import Schedule
from domain.timestamps import MICROSECONDS

HOLD_SECONDS: Final = 24 * 3600
"""A clock that is set back by no more than this is waited for: no due time comes twice."""


class Turn(NamedTuple):
    """It is a task's turn: ``due`` is the newest due time, ``first`` the oldest not seen to."""

    due: int
    first: int
    several: bool
    """Whether there are more due times than one."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """The due times of one task."""

    schedule: Schedule
    offset: int = 0

    @classmethod
    def of(cls, schedule: Schedule, jitter_seconds: float, seed: str) -> Self:
        """Return the calendar of what ``seed`` names: moved by up to ``jitter_seconds``."""
        part = int.from_bytes(blake2b(seed.encode(), digest_size=8).digest()) / 2**64
        return cls(schedule, int(part * jitter_seconds * MICROSECONDS))

    def next_turn(self, seen: int, now: int) -> int | None:
        """Return when it is the task's turn, where its due times are seen to up to ``seen``."""
        if self._is_ahead(seen, now):
            return now
        due = self.schedule.next_due(seen)
        return None if due is None else due + self.offset

    def turn(self, seen: int, now: int) -> Turn | None:
        """Return the task's turn, None where it has none now.

        Whatever was missed is one turn. A clock that was ahead by more than `HOLD_SECONDS` was
        wrong: what was seen to by it does not count.
        """
        moment = now - self.offset
        if self.schedule.cron is None:
            return None
        if self._is_ahead(seen, now):
            due = self.schedule.last_due(moment)
            due = moment if due is None else due
            return Turn(due, due, several=False)
        first = self.schedule.next_due(seen)
        if first is None or first > moment:
            return None
        due = self.schedule.last_due(moment) or first
        return Turn(due, first, several=due > first)

    def _is_ahead(self, seen: int, now: int) -> bool:
        ahead = seen - (now - self.offset)
        return self.schedule.cron is not None and ahead > HOLD_SECONDS * MICROSECONDS
