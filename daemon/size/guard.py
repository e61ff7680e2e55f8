"""Sees that the disk never gets full by what the daemon takes in.

The free room is looked at each second. Below the upper line the disk is low; below the lower one
the gate is shut, while there is room for everything that is on its way. The reserve, where it is
not held, does not count as free: what was given up for deletes is not used up by new events.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from daemon.eventlog.requests import LogHealth
from daemon.settings import SizeSettings
from daemon.size.disk import Lines, Room, room_of
from daemon.size.gate import Gate
from daemon.size.reserve import Reserve
from daemon.size.words import readable
from domain.errors import DiskFull

BACK: Final = 1.25
"""What is over is so only beyond its line by this factor: a state does not change to and fro."""
FULL_SHARE: Final = 8
"""Below this part of the lower line the disk is full: the reserve is given up."""

_logger = logging.getLogger(__name__)


class DiskState(StrEnum):
    """How the disk stands."""

    OK = "ok"
    LOW = "low"
    REFUSING = "refusing"


@dataclass(frozen=True, slots=True)
class Disk:
    """What the last look saw (bytes)."""

    state: DiskState
    total: int
    free: int
    """What is free for events: where the reserve is not held, without it."""
    reserve: int
    """How much is held in reserve."""
    lines: Lines
    since: int = 0
    """When it came to stand so (microseconds UTC)."""


class DiskGuard:
    """Looks at the room of a folder's disk, works the gate, and keeps the reserve."""

    def __init__(
        self,
        folder: Path,
        settings: SizeSettings,
        gate: Gate,
        *,
        room: Callable[[Path], Room] = room_of,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._gate = gate
        self._room = room
        self._reserve = Reserve(folder)
        self.disk = Disk(DiskState.OK, 0, 0, self._reserve.held, Lines(0, 0, 0))

    def look(self, health: LogHealth, now: int) -> Disk:
        """Look once, and do what follows; a disk that does not answer changes nothing."""
        try:
            room = self._room(self._folder)
        except OSError as error:
            _logger.debug("the disk does not say how much is free: %s", error)
            return self.disk
        lines = Lines.of(self._settings, room.total)
        failed = not health.ok and health.code == DiskFull.code
        if (failed or is_full(room, lines)) and self._reserve.held:
            give_up(self._reserve)
            room = self._again(room)
        free = self._counted(room, lines)
        state = self._next(free, lines, failed=failed)
        if state is not DiskState.REFUSING and health.ok:
            taken = self._reserve.take(lines.reserve)
            if not taken and self.disk.state is DiskState.REFUSING:
                # There is less room than the file system says.
                state = DiskState.REFUSING
        since = self.disk.since if state is self.disk.state and self.disk.since else now
        self._enter(Disk(state, room.total, free, self._reserve.held, lines, since))
        return self.disk

    def _again(self, room: Room) -> Room:
        try:
            return self._room(self._folder)
        except OSError:
            return room

    def _counted(self, room: Room, lines: Lines) -> int:
        return max(0, room.free - max(0, lines.reserve - self._reserve.held))

    def _next(self, free: int, lines: Lines, *, failed: bool) -> DiskState:
        before = self.disk.state
        refuse = lines.refuse * (BACK if before is DiskState.REFUSING else 1)
        warn = lines.warn * (1 if before is DiskState.OK else BACK)
        if free < refuse or (failed and lines.refuse):
            return DiskState.REFUSING
        return DiskState.LOW if free < warn else DiskState.OK

    def _enter(self, disk: Disk) -> None:
        before, self.disk = self.disk.state, disk
        refusing = disk.state is DiskState.REFUSING
        self._gate.reason = _reason(disk) if refusing else None
        if disk.state is before:
            return
        level = logging.INFO if disk.state is DiskState.OK else logging.WARNING
        said = {"free_bytes": disk.free, "line_bytes": disk.lines.refuse}
        _logger.log(level, "the room on the disk: %s", disk.state, extra=said)


def prepare(folder: Path, settings: SizeSettings) -> None:
    """Make room before the files of a folder are opened, where its disk is full."""
    try:
        room = room_of(folder)
    except OSError:
        return
    if is_full(room, Lines.of(settings, room.total)):
        give_up(Reserve(folder))


def is_full(room: Room, lines: Lines) -> bool:
    """Return whether not even deletes have room enough."""
    return room.free < lines.refuse // FULL_SHARE


def give_up(reserve: Reserve) -> None:
    """Let the room of a reserve be used."""
    given = reserve.give_up()
    if given:
        said = {"reserve_bytes": given}
        _logger.warning("the disk is full; the reserve is given up", extra=said)


def _reason(disk: Disk) -> str:
    return (
        f"The disk has {readable(disk.free)} left, and below {readable(disk.lines.refuse)} "
        "no events are taken."
    )
