"""What is larger than it should be, or will be soon: the reasons for an alert."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from daemon.settings import SizeSettings
from daemon.size.forecast import Forecast
from daemon.size.guard import BACK, Disk, DiskState
from daemon.size.words import readable

DISK_LOW: Final = "disk_low"
DISK_REFUSING: Final = "disk_refusing"
LOG_BYTES: Final = "log_bytes"
DATA_BYTES: Final = "data_bytes"
DAYS_LEFT: Final = "days_left"


class Over(NamedTuple):
    """One reason: its name, what is said of it, and whether events are refused already."""

    name: str
    text: str
    severe: bool = False


@dataclass(frozen=True, slots=True)
class Present:
    """What is judged (bytes); ``days_left`` is None where the room lasts, as far as is known."""

    disk: Disk
    log: int
    data: int
    days_left: float | None


def judge(settings: SizeSettings, present: Present, before: Iterable[str]) -> tuple[Over, ...]:
    """Return what is over its line; what was so before is so until it is well below the line."""
    return tuple(_judge(settings, present, frozenset(before)))


def _judge(settings: SizeSettings, present: Present, before: frozenset[str]) -> Iterator[Over]:
    disk = present.disk
    if disk.state is DiskState.REFUSING:
        text = f"events are refused: the disk has {readable(disk.free)} left for them"
        yield Over(DISK_REFUSING, text, severe=True)
    elif disk.state is DiskState.LOW:
        text = f"the disk has {readable(disk.free)} left; below {readable(disk.lines.refuse)}"
        yield Over(DISK_LOW, f"{text} events are refused")
    for name, size, line in (
        (LOG_BYTES, present.log, settings.log_bytes),
        (DATA_BYTES, present.data, settings.data_bytes),
    ):
        if line and size >= (line / BACK if name in before else line):
            what = "log.db" if name == LOG_BYTES else "the data directory"
            yield Over(name, f"{what} has {readable(size)}; the line is {readable(line)}")
    days, line_days = present.days_left, settings.days_left
    over = days is not None and days <= line_days * (BACK if DAYS_LEFT in before else 1)
    if line_days and over and disk.state is not DiskState.REFUSING:
        yield Over(DAYS_LEFT, f"as things grow, events are refused in {days:.1f} days")


def days_left(forecasts: Iterable[Forecast]) -> float | None:
    """Return in how many days events are refused."""
    return next((each.days for each in forecasts if each.what == "disk_refuse"), None)
