"""The service that watches the room: the guard each second, the sizes now and then, the alert."""

from __future__ import annotations

import threading
from typing import Final

from daemon.eventlog.log import EventLog
from daemon.size.alert import SizeAlert
from daemon.size.board import SizeBoard, data_size, log_size
from daemon.size.guard import Disk, DiskGuard, DiskState
from daemon.size.thresholds import Present, days_left, judge
from domain.timestamps import MICROSECONDS

LOOK_SECONDS: Final = 1.0
"""How often the disk is looked at while it is far from its line."""
LOOK_SECONDS_MIN: Final = 0.05
"""How often it is looked at just before the line."""
BYTES_PER_SECOND: Final = 200_000_000
"""How fast room may go: the line is looked at before it can be reached."""
SIZES_SECONDS: Final = 60.0
"""How often the files are looked at."""


class SizeWatch:
    """Looks at the disk in each step, and has the alert say what is over."""

    name = "size"

    def __init__(self, log: EventLog, guard: DiskGuard, board: SizeBoard) -> None:
        self.woken = threading.Event()
        self._log = log
        self._guard = guard
        self._board = board
        self._alert = SizeAlert(log)
        self._sizes: dict[str, int] = {}
        self._due = 0
        board.guarded = lambda: guard.disk

    def step(self, now: int) -> float:
        """Look once; what the log cannot be told now it is told at a later step."""
        before = self._guard.disk.state
        disk = self._guard.look(self._log.health, now)
        if disk.state is DiskState.REFUSING or disk.state is not before is DiskState.OK:
            # To empty it takes room. What deletes write there is the room that the next ones need.
            self._log.empty_wal()
        if now >= self._due or self._due > now + SIZES_SECONDS * MICROSECONDS:
            self._sizes = self._board.by_name()
            self._due = now + int(SIZES_SECONDS * MICROSECONDS)
        present = Present(
            disk=disk,
            log=log_size(self._sizes),
            data=data_size(self._sizes),
            days_left=days_left(self._board.forecasts(self._sizes, disk)),
        )
        self._alert.settle(judge(self._board.settings, present, self._alert.said), now)
        return _rest(disk)


def _rest(disk: Disk) -> float:
    """Return how long the room lasts at least, up to the line; below it there is no hurry."""
    if disk.state is DiskState.REFUSING:
        return LOOK_SECONDS
    seconds = (disk.free - disk.lines.refuse) / BYTES_PER_SECOND
    return min(LOOK_SECONDS, max(LOOK_SECONDS_MIN, seconds))
