"""When a schedule is next due: cron expressions with or without seconds, and ``@`` forms.

They are read as robfig/cron does: ``?`` is the same as ``*``, Sunday is 0 and never 7, months and
weekdays have English names, and where neither the day of the month nor the weekday is a star,
either will do. A step (``*/2``) is no star.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import islice, product
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from daemon.workflows.durations import parse_duration

RUNS_MAX: Final = 1_000
"""The most runs that are worked out at once."""

_DAYS_MAX: Final = 366 * 5
"""What is not due in five years never is, as far as the schedule's owner is concerned."""

_SECOND: Final = 1_000_000
_FIELDS_WITHOUT_SECONDS: Final = 5
_FIELDS: Final = 6
_ZONES: Final = ("CRON_TZ=", "TZ=")
_MONTHS: Final = (
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
)  # fmt: skip
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMED: Final = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}


class _Field(NamedTuple):
    """What one field of an expression may hold."""

    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()

    def number(self, text: str) -> int:
        if text.lower() in self.words:
            return self.low + self.words.index(text.lower())
        if not (text.isascii() and text.isdecimal() and len(text) <= len("59")):
            raise ValueError(f"{text[:20]!r} is no {self.name}")
        return int(text)


_ALL: Final = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("weekday", 0, 6, _WEEKDAYS),
)


class _Values(NamedTuple):
    """The values of one field, and whether it is a star."""

    values: frozenset[int]
    star: bool


class Cron:
    """A schedule that was read and is well formed."""

    def __init__(self, text: str) -> None:
        """Read an expression.

        Raises:
            ValueError: it is none; the text says why.

        """
        plain, self._zone = _split_zone(text.strip())
        self._period: timedelta | None = None
        if plain.startswith("@every "):
            microseconds = parse_duration(plain.removeprefix("@every ").strip())
            seconds = max(microseconds // _SECOND, 1)
            self._period = timedelta(seconds=seconds)
            return
        if plain.startswith("@"):
            if plain not in _NAMED:
                raise ValueError(f"{plain[:40]!r} is none of {', '.join(_NAMED)} and @every")
            plain = _NAMED[plain]
        fields = plain.split()
        if len(fields) == _FIELDS_WITHOUT_SECONDS:
            fields.insert(0, "0")
        if len(fields) != _FIELDS:
            raise ValueError(f"it has {len(fields)} fields, not 5 or 6")
        read = [_read_field(text, field) for text, field in zip(fields, _ALL, strict=True)]
        self._times = [sorted(each.values) for each in read[2::-1]]
        self._days, self._months, self._weekdays = read[3:]

    def runs(self, after: datetime) -> Iterator[datetime]:
        """Yield the times it is due after a moment, in the time zone of that; ends after years.

        What falls into an hour that a change of the clocks leaves out is not due.
        """
        if self._period is not None:
            yield from _periodic(after.replace(microsecond=0), self._period)
            return
        zone = self._zone or after.tzinfo or UTC
        start = after.astimezone(zone)
        for day in self._days_from(start.date()):
            begin = start.time() if day == start.date() else time()
            for moment in self._on(day, begin, zone):
                if moment > after:
                    yield moment.astimezone(after.tzinfo)

    def _days_from(self, first: date) -> Iterator[date]:
        """Yield the days it is due on; of a month that it does not name no day is looked at."""
        day = first
        while (day - first).days < _DAYS_MAX:
            named = day.month in self._months.values
            if named and self._has(day):
                yield day
            try:
                day = day + timedelta(days=1) if named else _next_month(day)
            except (OverflowError, ValueError):
                return

    def _has(self, day: date) -> bool:
        fits = day.day in self._days.values
        weekday = day.isoweekday() % 7 in self._weekdays.values
        if self._days.star or self._weekdays.star:
            return fits and weekday
        return fits or weekday

    def _on(self, day: date, begin: time, zone: tzinfo) -> Iterator[datetime]:
        # Hours that are over are left out first: a day has 86,400 seconds to look at otherwise.
        hours = [hour for hour in self._times[0] if hour >= begin.hour]
        for hour, minute in product(hours, self._times[1]):
            if (hour, minute) >= (begin.hour, begin.minute):
                yield from self._within(day, hour, minute, zone)

    def _within(self, day: date, hour: int, minute: int, zone: tzinfo) -> Iterator[datetime]:
        for second in self._times[2]:
            moment = datetime.combine(day, time(hour, minute, second), zone)
            there = moment.astimezone(UTC)
            if there.astimezone(zone).replace(tzinfo=None) == moment.replace(tzinfo=None):
                yield there


def next_runs(cron: str, after: datetime, count: int) -> list[datetime]:
    """Return the next times a schedule is due after a moment, fewer where there are no more.

    Its fields are read in the time zone of ``after``, unless it names its own (``CRON_TZ=``).
    ``@every`` counts from ``after``: only its owner knows when it began.

    Raises:
        ValueError: the expression cannot be read.

    """
    return list(islice(Cron(cron).runs(after), min(count, RUNS_MAX)))


def _periodic(moment: datetime, period: timedelta) -> Iterator[datetime]:
    for _ in range(RUNS_MAX):
        try:
            moment += period
        except OverflowError:
            return
        yield moment


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1)


_ZONE_MAX: Final = 64
"""The longest name of a time zone; those that there are have half of that."""


def _split_zone(text: str) -> tuple[str, tzinfo | None]:
    prefix = next((prefix for prefix in _ZONES if text.startswith(prefix)), None)
    if prefix is None:
        return text, None
    name, _, rest = text.removeprefix(prefix).partition(" ")
    try:
        # Not longer: Python imports a package for each part of a name.
        return rest.strip(), ZoneInfo(name[:_ZONE_MAX])
    except (ValueError, OSError, LookupError):
        raise ValueError(f"{name[:40]!r} is no time zone") from None


def _read_field(text: str, field: _Field) -> _Values:
    values: set[int] = set()
    star = False
    for part in text.split(","):
        if part:
            found, is_star = _read_part(part, field)
            values.update(found)
            star = star or is_star
    if not values:
        raise ValueError(f"{text[:40]!r} has no {field.name}")
    return _Values(frozenset(values), star)


def _read_part(text: str, field: _Field) -> tuple[range, bool]:
    span, slash, step_text = text.partition("/")
    low_text, dash, high_text = span.partition("-")
    step = field.number(step_text) if slash else 1
    star = low_text in ("*", "?")
    if star:
        low, high = field.low, field.high
    else:
        low = high = field.number(low_text)
    if dash and not star:
        high = field.number(high_text)
    elif slash and not star:
        high = field.high
    if low < field.low or high > field.high or low > high:
        raise ValueError(
            f"{text[:40]!r} is not within {field.low} to {field.high}, as a {field.name} is"
        )
    if step < 1:
        raise ValueError(f"{text[:40]!r} has a step of 0")
    return range(low, high + 1, step), star and step == 1
