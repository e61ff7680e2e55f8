"""Durations as Go writes them: ``90s``, ``1h30m``, ``-1.5h``."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

_UNITS: Final = {
    "ns": Fraction(1, 1000),
    "us": Fraction(1),
    "\u00b5s": Fraction(1),
    "\u03bcs": Fraction(1),
    "ms": Fraction(1_000),
    "s": Fraction(1_000_000),
    "m": Fraction(60_000_000),
    "h": Fraction(3_600_000_000),
}
_PART: Final = re.compile(rf"([0-9]+\.?[0-9]*|\.[0-9]+)({'|'.join(_UNITS)})(?![a-z\u00b5\u03bc])")
_LONGEST: Final = 64
_MAX: Final = 2**63 // 1000


def parse_duration(text: str) -> int:
    """Return a duration in microseconds; what is finer is cut off.

    Raises:
        ValueError: it is none, or too long for Go (some 292 years).

    """
    bare = text[1:] if text[:1] in ("+", "-") else text
    if bare == "0":
        return 0
    parts = _PART.findall(bare) if len(bare) <= _LONGEST else []
    if not parts or "".join(number + unit for number, unit in parts) != bare:
        raise ValueError(f"{text[:_LONGEST]!r} is no duration such as 90s, 1h30m or -24h")
    size = int(sum(Fraction(number) * _UNITS[unit] for number, unit in parts))
    if size > _MAX:
        raise ValueError(f"{text!r} is too long: over 292 years")
    return -size if text[0] == "-" else size


def duration_text(microseconds: int) -> str:
    """Return a duration for people, whole seconds: ``4h``, ``1h30m``, ``90s`` as ``1m30s``."""
    seconds = microseconds // 1_000_000
    parts = (seconds // 3600, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"
