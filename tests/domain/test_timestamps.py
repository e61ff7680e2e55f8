"""Times: RFC 3339 text to microseconds and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.timestamps import (
    EARLIEST,
    format_optional,
    format_timestamp,
    is_missing,
    parse_timestamp,
)

FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = st.integers(FIRST, LAST)


@given(moment=MOMENTS)
def test_a_moment_survives_its_text(moment: int) -> None:
    """Every microsecond from year 1 to 9999 comes back from its text."""
    text = format_timestamp(moment)
    assert parse_timestamp(text) == moment
    assert text.endswith("Z")
    assert ("." in text) == bool(moment % 1_000_000)


@given(
    moment=st.datetimes(timezones=st.just(UTC)).filter(lambda one: 1 < one.year < 9999),
    minutes=st.integers(-1439, 1439),
    separator=st.sampled_from("Tt "),
    digits=st.text("0123456789", max_size=9),
)
def test_any_spelling_of_the_standard_is_read(
    moment: datetime, minutes: int, separator: str, digits: str
) -> None:
    """Offsets, fractions of any length and the standard's separators give the same moment."""
    whole = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=minutes)))
    sign, ahead = ("-", -minutes) if minutes < 0 else ("+", minutes)
    text = (
        f"{whole.year:04}-{whole:%m-%d}{separator}{whole:%H:%M:%S}"
        f"{'.' * bool(digits)}{digits}{sign}{ahead // 60:02}:{ahead % 60:02}"
    )
    expected = (whole - EPOCH) // timedelta(microseconds=1) + int((digits + "000000")[:6])
    assert parse_timestamp(text) == expected


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("2026-02-04t06:12:46z", "2026-02-04T06:12:46Z"),
        ("2026-02-04T06:12:46-00:00", "2026-02-04T06:12:46Z"),
        ("2026-02-04T06:12:46.9999999Z", "2026-02-04T06:12:46.999999Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2016-12-31T23:59:60.5+01:00", "2016-12-31T23:00:00.5Z"),
    ],
)
def test_odd_but_valid_texts(text: str, same_as: str) -> None:
    """Lower case, the unknown offset, too many digits and leap seconds are read."""
    assert parse_timestamp(text) == parse_timestamp(same_as)


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2026-02-04", "2026-02-04T06:12:46", "20260204T061246Z", "2026-W06-3T06:12Z"),
        *("2026-02-04T06:12Z", "2026-02-04T06:12:46+0100", "2026-02-04T06:12:46+01"),
        *("2026-02-04T06:12:46,5Z", "2026-02-04T06:12:46.Z", "2026-02-04T06:12:46Z "),
        *("2026-02-04T06:12:46Z\n", "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z"),
        *("2026-02-04T24:00:00Z", "2026-02-04T06:60:00Z", "2026-02-04T06:12:61Z"),
        *("2026-02-04T06:12:46+24:00", "2026-02-04T06:12:46+01:60", "0000-01-01T00:00:00Z"),
        *("9999-12-31T23:59:59-00:01", "9999-12-31T23:59:60Z", "٢٠٢٦-02-04T06:12:46Z"),
        *("2026-02-04T06:12:46Ⅻ", "9" * 100_000, "2026-02-04T06:12:46." + "9" * 5 + "x"),
    ],
)
def test_what_the_standard_has_not_is_refused(text: str) -> None:
    """Other dialects, impossible dates and moments after the year 9999 are errors, short ones."""
    with pytest.raises(ValueError, match=r".") as caught:
        parse_timestamp(text)
    assert len(str(caught.value)) < 250


@given(text=st.text())
def test_any_text_is_a_time_or_an_error(text: str) -> None:
    """Nothing but a ValueError comes out of any text."""
    try:
        moment = parse_timestamp(text)
    except ValueError:
        return
    assert isinstance(moment, int)
    assert parse_timestamp(format_timestamp(moment)) == moment


def test_a_time_before_the_year_1_in_utc_is_its_beginning() -> None:
    """A zero time in an eastern offset can be written like any other time."""
    first = parse_timestamp("0001-01-01T00:00:00Z")
    assert parse_timestamp("0001-01-01T00:00:00+23:59") == first == EARLIEST
    assert format_timestamp(first) == "0001-01-01T00:00:00Z"


def test_year_one_says_nothing() -> None:
    """A producer's zero time is missing, in any offset; the year 2 and the epoch are not."""
    assert is_missing(None)
    assert is_missing(parse_timestamp("0001-01-01T00:00:00Z"))
    assert is_missing(parse_timestamp("0001-01-01T00:00:00+14:00"))
    assert not is_missing(parse_timestamp("0002-01-01T00:00:00Z"))
    assert not is_missing(0)


def test_an_unknown_time_has_no_text() -> None:
    """None stays None; the epoch is a time."""
    assert format_optional(None) is None
    assert format_optional(0) == "1970-01-01T00:00:00Z"
