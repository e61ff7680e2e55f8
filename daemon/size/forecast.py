"""Where the growth leads: when a line is reached, as things go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from daemon.size.figures import Measured, Sample
from domain.timestamps import MICROSECONDS

DAY: Final = 24 * 3600 * MICROSECONDS
DAYS_MAX: Final = 36_500
"""What is further away than this is said to be never."""
_WINDOW_DAYS: Final = 7


class Rates(NamedTuple):
    """By how much the log and the whole data directory grow each day (bytes)."""

    log: float
    data: float


class Forecast(NamedTuple):
    """When something reaches its line.

    ``days`` is None where it never does, as things go, and where nothing can be said yet; then
    ``per_day`` is None too.
    """

    what: str
    line: int
    present: int
    per_day: float | None
    days: float | None


def rates_of(measured: Measured) -> Rates | None:
    """Return how things grow; None while the log is less than a day old.

    What was measured on other days says it best, for it counts what was removed meanwhile. Before
    there is such a measure, all that was recorded counts, with its share of what the databases
    take.
    """
    if measured.since is None or measured.time - measured.since < DAY:
        return None
    return _between(measured.samples) or _recorded(measured)


def _between(samples: Sequence[Sample]) -> Rates | None:
    """Return the growth between the newest sample and one about a week before."""
    if not samples:
        return None
    newest = samples[-1]
    earlier = [each for each in samples if each.time <= newest.time - DAY]
    if not earlier:
        return None
    wanted = newest.time - _WINDOW_DAYS * DAY
    before = min(earlier, key=lambda each: abs(each.time - wanted))
    days = (newest.time - before.time) / DAY
    return Rates((newest.log - before.log) / days, (newest.data - before.data) / days)


def _recorded(measured: Measured) -> Rates:
    stored = sum(each.bytes for each in measured.categories)
    growth = next(each for each in measured.growth if each.days == _WINDOW_DAYS)
    if not stored:
        return Rates(0, 0)
    used = {name: database.used for name, database in measured.databases.items()}
    return Rates(
        growth.bytes * used.get("log", 0) / stored, growth.bytes * sum(used.values()) / stored
    )


def forecast(what: str, line: int, present: int, per_day: float | None) -> Forecast:
    """Return when something that grows reaches a line above it."""
    if present >= line:
        return Forecast(what, line, present, per_day, 0.0)
    if per_day is None or per_day <= 0:
        return Forecast(what, line, present, per_day, None)
    days = (line - present) / per_day
    return Forecast(what, line, present, per_day, days if days <= DAYS_MAX else None)


def forecast_room(what: str, line: int, free: int, per_day: float | None) -> Forecast:
    """Return when the free room has shrunk to a line, where the rest grows by so much."""
    if free <= line:
        return Forecast(what, line, free, per_day, 0.0)
    if per_day is None or per_day <= 0:
        return Forecast(what, line, free, per_day, None)
    days = (free - line) / per_day
    return Forecast(what, line, free, per_day, days if days <= DAYS_MAX else None)
