"""When something is due: by name, or by a cron expression; all times UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Final, Self

from cronsim import CronSim, CronSimError

MISSED_MAX: Final = 1000
"""More due times than this are not counted."""
OFF: Final = "off"
NAMED: Final = {"hourly": "0 * * * *", "daily": "0 0 * * *", "weekly": "0 0 * * 1"}
"""The cron expressions of the names."""

_FIELDS: Final = 5
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_LAST: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""Nothing is due later; a calendar ends in the year 9999."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Due times; made by `parse`. ``text`` is what it was parsed from."""

    text: str
    cron: str | None
    """The cron expression, None where nothing is ever due."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the schedule of ``off``, ``hourly``, ``daily``, ``weekly`` or a cron expression.

        Raises:
            ValueError: it is none of these, or nothing is ever due by it.

        """
        plain = " ".join(text.split())
        if plain == OFF:
            return cls(plain, None)
        cron = NAMED.get(plain, plain)
        if len(cron.split()) != _FIELDS:
            raise ValueError(
                f"{plain!r} is none of {OFF}, {', '.join(NAMED)}, and no cron expression of five "
                "fields (minute, hour, day of the month, month, day of the week; UTC), such as "
                "'30 3 * * *'"
            )
        try:
            schedule = cls(plain, cron)
            if schedule.next_due(0) is None:
                raise ValueError(f"nothing is ever due by {plain!r}")
        except CronSimError as error:
            fault = str(error)[:1].lower() + str(error)[1:]
            raise ValueError(f"{plain!r} is no cron expression: {fault}") from error
        return schedule

    def __str__(self) -> str:
        """Return the text; `parse` reads it back."""
        return self.text

    def next_due(self, after_us: int) -> int | None:
        """Return the first due time after a moment, None where there is none."""
        for moment in self._forward(after_us):
            return (moment - _EPOCH) // _MICROSECOND
        return None

    def last_due(self, upto_us: int) -> int | None:
        """Return the newest due time up to a moment, None where there is none."""
        if self.cron is None:
            return None
        # What CronSim returns lies before its start.
        moment = _moment(upto_us) + _MICROSECOND
        for found in CronSim(self.cron, moment, reverse=True):
            return (found - _EPOCH) // _MICROSECOND if found >= _EPOCH else None
        return None

    def missed(self, last_us: int, now_us: int) -> int:
        """Return how many due times lie after one moment and up to another; at most 1000."""
        if self.cron is None or now_us <= last_us:
            return 0
        now = _moment(now_us)
        passed = takewhile(lambda moment: moment <= now, self._forward(last_us))
        return sum(1 for _ in islice(passed, MISSED_MAX))

    def due(self, last_us: int | None, now_us: int) -> int | None:
        """Return when the next time is due after the last one; at once where there was none.

        A clock that was set back leaves the last one in the future. That is waited for while at
        most one due time lies between; then the next is due at once.
        """
        if self.cron is None:
            return None
        if last_us is None or self.missed(now_us, last_us) > 1:
            return now_us
        return self.next_due(last_us)

    def _forward(self, after_us: int) -> CronSim | tuple[()]:
        moment = _moment(after_us)
        if self.cron is None or moment >= _LAST:
            return ()
        return CronSim(self.cron, moment)


def _moment(time_us: int) -> datetime:
    end = (_LAST - _EPOCH) // _MICROSECOND
    return _EPOCH + timedelta(microseconds=min(max(time_us, 0), end))
