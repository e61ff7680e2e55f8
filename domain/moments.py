"""Points of a log's history as people name them: by position, or by time.

A time means what the log knew then: everything recorded up to that moment. It is written as an
RFC 3339 date-time with an offset, as a date (its beginning in UTC), or as how long ago
(``-90s``, ``-2h``, ``-1d12h``; units w, d, h, m, s). What could mean two things is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from domain.limits import INTEGER_MAX
from domain.suggest import shorten
from domain.timestamps import EARLIEST, MICROSECONDS, parse_timestamp

UNITS: Final = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
"""The units of how long ago, in seconds."""

_DIGITS_MAX: Final = 19
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_AGO: Final = re.compile(
    "-" + "".join(rf"(?:(\d{{1,9}}){unit})?" for unit in UNITS), re.ASCII | re.IGNORECASE
)
_COUNTS: Final = [f"[0-9]{{1,9}}{unit}" for unit in UNITS]
AGO_PATTERN: Final = "^-({})$".format(
    "|".join(
        first + "".join(f"({later})?" for later in _COUNTS[place:])
        for place, first in enumerate(_COUNTS, 1)
    )
)
"""How long ago, for a JSON Schema."""
_LOCAL: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?", re.ASCII)
_PLAIN_SPAN: Final = re.compile(r"(\d+[wdhms])+", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Point:
    """A state of the log: up to a position, at a moment, or some time ``ago`` (microseconds)."""

    position: int | None = None
    moment: int | None = None
    ago: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a position, an RFC 3339 date-time, a date, or how long ago.

        Raises:
            ValueError: the text is none of these, or could be read in two ways; says what to do.

        """
        if text.isascii() and text.isdigit():
            return cls(position=min(int(text[: _DIGITS_MAX + 1]), INTEGER_MAX))
        if _DATE.fullmatch(text) is not None:
            return cls(moment=parse_timestamp(f"{text}T00:00:00Z"))
        ago = _AGO.fullmatch(text)
        if ago is not None and any(ago.groups()):
            counts = zip(ago.groups(), UNITS.values(), strict=True)
            seconds = sum(int(count) * unit for count, unit in counts if count)
            return cls(ago=seconds * MICROSECONDS)
        refuse_ambiguous(text)
        # A "+" of an offset that was not percent-encoded arrives as a space.
        if text[-6:-5] == " " and text[-3:-2] == ":" and "T" in text:
            text = f"{text[:-6]}+{text[-5:]}"
        return cls(moment=parse_timestamp(text))

    def moment_at(self, now: int) -> int | None:
        """Return the moment this names when it is ``now``, None for a position."""
        return self.moment if self.ago is None else max(now - self.ago, EARLIEST)


def refuse_ambiguous(text: str) -> None:
    """Raise for what looks like a point of history and could mean several."""
    shown = shorten(text)
    if _LOCAL.fullmatch(text) is not None:
        raise ValueError(f"{shown} says no offset: add Z for UTC, or one such as +01:00")
    if text.startswith("-") and text[1:].isascii() and text[1:].isdigit():
        raise ValueError(
            f"{shown} says no unit: write {text}s, {text}m, {text}h, {text}d or {text}w"
        )
    if _PLAIN_SPAN.fullmatch(text) is not None:
        raise ValueError(f"{shown} is a span of time: -{text} is so long ago")
    if text.startswith("-"):
        raise ValueError(
            f"{shown} is not how long ago: write -2h or -1d12h; the units are "
            "w (weeks), d, h, m (minutes) and s, the largest first"
        )
    if not _LOCAL.match(text) and not _DATE.match(text):
        raise ValueError(
            f"{shown} is neither a position, nor an RFC 3339 time such as 2026-02-04T06:12:46Z, "
            "nor a date such as 2026-02-04, nor how long ago such as -2h"
        )
