"""Points of history: every way to name one, and what is refused because it could mean two."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.moments import UNITS, Point
from domain.timestamps import MICROSECONDS

NOON = 1_770_185_566_000_000
"""2026-02-04T06:12:46Z."""


@given(st.integers(0, 2**70))
def test_digits_are_a_position(number: int) -> None:
    """Digits are a position, cut where the log ends anyway."""
    assert Point.parse(str(number)) == Point(position=min(number, 2**63 - 1))


def test_a_date_time_and_a_date_are_moments() -> None:
    """RFC 3339 with an offset is a moment; a date is its beginning in UTC."""
    assert Point.parse("2026-02-04T06:12:46Z").moment == NOON
    assert Point.parse("2026-02-04T07:12:46+01:00").moment == NOON
    assert Point.parse("2026-02-04T07:12:46 01:00").moment == NOON
    assert Point.parse("2026-02-04") == Point.parse("2026-02-04T00:00:00Z")


@given(st.dictionaries(st.sampled_from(sorted(UNITS)), st.integers(0, 999), min_size=1))
def test_a_span_counts_back_from_now(counts: dict[str, int]) -> None:
    """Each unit counts, the largest first, in either case of letters."""
    text = "-" + "".join(f"{counts[unit]}{unit}" for unit in UNITS if unit in counts)
    ago = sum(count * UNITS[unit] for unit, count in counts.items()) * MICROSECONDS
    for spelt in (text, text.upper()):
        assert Point.parse(spelt) == Point(ago=ago)
        assert Point.parse(spelt).moment_at(NOON) == NOON - ago


def test_a_position_has_no_moment() -> None:
    """Only the log can say when a position was recorded."""
    assert Point.parse("7").moment_at(NOON) is None
    assert Point.parse("2026-02-04").moment_at(NOON) == NOON - (6 * 3600 + 12 * 60 + 46) * 10**6


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2026-02-04T06:12:46", "says no offset"),
        ("2026-02-04 06:12", "says no offset"),
        ("-2", "says no unit"),
        ("2h", "is a span of time: -2h"),
        ("-2M5h", "the largest first"),
        ("-2mo", "the largest first"),
        ("-", "not how long ago"),
        ("-h", "not how long ago"),
        ("noon", "is neither a position"),
        ("", "is neither a position"),
        ("2026-02", "is neither a position"),
        ("06:12:46Z", "is neither a position"),
        ("2026-13-04", "month must be"),
        ("2026-02-04T25:00:00Z", "hour must be"),
        ("2026-02-04T06:12:46Zulu", "not an RFC 3339"),
        ("\u0665", "is neither a position"),
    ],
)
def test_what_could_mean_two_things_is_refused(text: str, says: str) -> None:
    """Each refusal says what to write instead."""
    with pytest.raises(ValueError, match=says):
        Point.parse(text)


@given(st.text(max_size=40))
def test_any_text_is_a_point_or_one_clear_error(text: str) -> None:
    """Nothing but ValueError comes of text that is not a point."""
    try:
        point = Point.parse(text)
    except ValueError as error:
        said = str(error)
    else:
        said = str([point.position, point.moment, point.ago].count(None) == 2)
    assert said not in ("", "False")
