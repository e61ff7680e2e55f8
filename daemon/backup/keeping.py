"""Which snapshots are kept: pure rules over their positions and times."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, Self, TypeVar

from domain.timestamps import LATEST

COUNT_MAX: Final = 100_000
"""How many of a class may be kept."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = 86_400_000_000
_ITEM: Final = re.compile(r"\s*(\S+)\s+(\S+)\s*")


class Snapshot(Protocol):
    """What the rules have to know of a snapshot."""

    @property
    def position(self) -> int:
        """The newest position in it."""
        ...

    @property
    def taken(self) -> int:
        """When it was taken, by the clock of that time (microseconds UTC)."""
        ...

    @property
    def proved(self) -> bool:
        """Whether it was restored and found whole."""
        ...


S = TypeVar("S", bound=Snapshot)


@dataclass(frozen=True, slots=True)
class Keep:
    """How many hours, days, weeks and months keep a snapshot each; 0 = none."""

    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the rules of a text like ``24 hourly, 7 daily, 4 weekly, 12 monthly``.

        A class that is missing keeps nothing; an empty text keeps what is always kept.

        Raises:
            ValueError: with the place, and what is wrong there.

        """
        counts: dict[str, int] = {}
        at = 1
        for item in text.split(",") if text.strip() else ():
            name, count = _item(item, at)
            if name in counts:
                raise ValueError(f"column {at}: {name} is there twice")
            counts[name] = count
            at += len(item) + 1
        return cls(**counts)

    def __str__(self) -> str:
        """Return the text of these rules; `parse` reads it back."""
        return ", ".join(f"{getattr(self, name)} {name}" for name in _CLASSES)


DEFAULT: Final = Keep(hourly=24, daily=7, weekly=4, monthly=12)
"""What is kept unless it is configured."""
_CLASSES: Final = tuple(each.name for each in fields(Keep))


def _item(item: str, at: int) -> tuple[str, int]:
    """Return the class and the count of one item that begins in a column."""
    found = _ITEM.fullmatch(item)
    if found is None:
        raise ValueError(f"column {at}: {item.strip()!r} is not like '7 daily'")
    count, name = found[1], found[2]
    if not (count.isascii() and count.isdigit()) or len(count) > 9 or int(count) > COUNT_MAX:
        raise ValueError(f"column {at}: {count!r} is not a number from 0 to {COUNT_MAX}")
    if name not in _CLASSES:
        raise ValueError(f"column {at}: {name!r} is none of {', '.join(_CLASSES)}")
    return name, int(count)


def kept(snapshots: Iterable[S], keep: Keep) -> list[S]:
    """Return the snapshots that are kept, the oldest position first.

    Of each of the last hours (days, ISO weeks, months; UTC) that have snapshots, so many as the
    rules say, the newest one is kept. So are always the newest of all and the newest that is
    proved. Which one is newer its position says, as clocks jump: the last hours are those of the
    greatest positions.
    """
    ordered = sorted(snapshots, key=lambda each: (each.position, each.proved, each.taken))
    # Two at one position hold the same: the proved one is enough.
    newest_first = list(reversed({each.position: each for each in ordered}.values()))
    newest_proved = [each for each in newest_first if each.proved][:1]
    chosen = {each.position: each for each in [*newest_first[:1], *newest_proved]}
    for name, period in _PERIODS.items():
        seen: set[object] = set()
        for each in newest_first:
            if len(seen) >= getattr(keep, name):
                break
            when = period(each.taken)
            if when not in seen:
                seen.add(when)
                chosen[each.position] = each
    return [chosen[position] for position in sorted(chosen)]


def _month(taken: int) -> tuple[int, int]:
    day = _EPOCH + timedelta(microseconds=min(max(taken, 0), LATEST))
    return day.year, day.month


_PERIODS: Final[dict[str, Callable[[int], object]]] = {
    "hourly": lambda taken: taken // (_DAY // 24),
    "daily": lambda taken: taken // _DAY,
    # The first day of all was a Thursday, and an ISO week begins on Monday.
    "weekly": lambda taken: (taken // _DAY + 3) // 7,
    "monthly": _month,
}
