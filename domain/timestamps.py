"""Times as this project keeps them: whole microseconds since 1970-01-01T00:00:00Z, in UTC.

On the wire a time is RFC 3339 text; inside it is an ``int`` so that ordering, arithmetic and
storage are exact and cheap.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

MICROSECONDS: Final = 1_000_000
"""Microseconds in one second."""

SKEW_LIMIT: Final = 5 * 60 * MICROSECONDS
"""How far a producer's clock may run ahead of ours before its time is cut (microseconds)."""

EARLIEST: Final = -62_135_596_800 * MICROSECONDS
"""The beginning of year 1 in UTC; no time is before it."""
LATEST: Final = 253_402_300_799 * MICROSECONDS + 999_999
"""The end of year 9999 in UTC; no time is after it."""

_MINUTE: Final = 60 * MICROSECONDS
_LEADING: Final = 100 * MICROSECONDS
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_UTC: Final = datetime(1970, 1, 1)  # noqa: DTZ001  Without a zone it is cheap to format.
_MICROSECOND: Final = timedelta(microseconds=1)
_YEAR_2: Final = -62_104_060_800 * MICROSECONDS
_USUAL: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:[0-5]\d(?:\.\d+)?Z", re.ASCII)
"""In UTC and with no leap second: nothing is before the year 1 or after 9999 then."""
_FULL: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:[Zz]|[+-]\d{2}:[0-5]\d)", re.ASCII
)


def parse_timestamp(text: str) -> int:
    """Return the microseconds of an RFC 3339 date-time; digits past the microsecond are cut.

    Raises:
        ValueError: the text is not an RFC 3339 date-time with an offset (RFC 3339, 5.6).

    """
    if _USUAL.fullmatch(text) is not None:
        since = datetime.fromisoformat(text) - _EPOCH
        return (since.days * 86_400 + since.seconds) * MICROSECONDS + since.microseconds
    if _FULL.fullmatch(text) is None:
        raise ValueError(f"not an RFC 3339 date-time with an offset: {text[:64]!r}")
    leap = text[17:19] == "60"
    if leap:
        text = f"{text[:17]}59{text[19:]}"
    result = (datetime.fromisoformat(text.upper()) - _EPOCH) // _MICROSECOND
    if leap:
        result += MICROSECONDS
    if result > LATEST:
        raise ValueError(f"after the year 9999 in UTC: {text[:64]!r}")
    # The zero time of a producer east of Greenwich lies before the year 1 in UTC.
    return max(result, EARLIEST)


def format_timestamp(moment: int) -> str:
    """Return RFC 3339 text in UTC with a ``Z``; a fraction only where there is one."""
    minute, rest = divmod(moment, _MINUTE)
    # With a 1 in front every digit keeps its place; this runs for each time of each item of a page.
    digits = str(_LEADING + rest)
    seconds, fraction = digits[1:3], digits[3:]
    if fraction == "000000":
        return f"{_minute_text(minute)}{seconds}Z"
    return f"{_minute_text(minute)}{seconds}.{fraction}Z"


@lru_cache(maxsize=10_000)
def _minute_text(minute: int) -> str:
    """Return the text of a minute, to which the seconds are added; the times of a list share it."""
    return (_EPOCH_UTC + timedelta(minutes=minute)).isoformat()[:17]


def format_optional(moment: int | None) -> str | None:
    """Return RFC 3339 text, or None for a time that is not known."""
    return None if moment is None else format_timestamp(moment)


def is_missing(moment: int | None) -> bool:
    """Return whether a time says nothing: absent, or in year 1 (a producer's zero time)."""
    return moment is None or moment < _YEAR_2
