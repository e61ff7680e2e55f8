"""When snapshots are due: texts, times, what was missed, and clocks that jump."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.schedule import MISSED_MAX, NAMED, Schedule

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
TEXTS = (
    "hourly",
    "daily",
    "weekly",
    "30 3 * * *",
    "*/5 * * * *",
    "0 4 1 * *",
    "15 9-17 * * MON-FRI",
)
SCHEDULES = st.sampled_from(TEXTS).map(Schedule.parse)
TIMES = st.integers(0, 60 * 365 * DAY)


def at(text: str) -> int:
    """Return the microseconds of a time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("hourly", "2026-03-04T06:00"),
        ("daily", "2026-03-05T00:00"),
        ("weekly", "2026-03-09T00:00"),
        ("30 3 * * *", "2026-03-05T03:30"),
        ("  30   3 * *  * ", "2026-03-05T03:30"),
        ("*/20 * * * *", "2026-03-04T05:20"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("0 12 * * sun", "2026-03-08T12:00"),
        ("0 0 L * *", "2026-03-31T00:00"),
    ],
)
def test_what_is_due_next(text: str, due: str) -> None:
    """By name or by cron expression, in UTC, from a Wednesday on."""
    assert Schedule.parse(text).next_due(at("2026-03-04T05:06:07")) == at(due)


def test_a_due_time_is_not_its_own_next() -> None:
    """After a snapshot at noon sharp the next one is at one; a microsecond before noon, at noon."""
    hourly, noon = Schedule.parse("hourly"), at("2026-03-04T12:00")
    assert hourly.next_due(noon) == noon + HOUR
    assert hourly.next_due(noon - 1) == noon


def test_off_is_never_due() -> None:
    """Nor is anything missed."""
    off = Schedule.parse(" off ")
    assert (off.next_due(0), off.due(None, 0), off.missed(0, DAY * 100)) == (None, None, 0)
    assert str(off) == "off"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "'' is none of off, hourly, daily, weekly, and no cron expression of five fields"),
        ("monthly", "'monthly' is none of off, hourly"),
        ("* * * *", "no cron expression of five fields (minute, hour"),
        ("0 0 3 * * *", "no cron expression of five fields"),
        ("60 * * * *", "'60 * * * *' is no cron expression: bad minute"),
        ("0 24 * * *", "bad hour"),
        ("0 0 0 * *", "bad day-of-month"),
        ("0 0 * 13 *", "bad month"),
        ("0 0 * * XYZ", "bad day-of-week"),
        ("*/0 * * * *", "bad minute"),
        ("0 0 30 2 *", "bad day-of-month"),
    ],
)
def test_a_fault_is_told(text: str, error: str) -> None:
    """With the text, and what would be right."""
    with pytest.raises(ValueError, match="cron") as caught:
        Schedule.parse(text)
    assert error in str(caught.value)


def test_missed_times_are_counted() -> None:
    """Those after the one and up to the other; the count is bounded."""
    hourly = Schedule.parse("hourly")
    begin = at("2026-03-04T12:00")
    assert hourly.missed(begin, begin + HOUR - 1) == 0
    assert hourly.missed(begin, begin + HOUR) == 1
    assert hourly.missed(begin, begin + 25 * HOUR + 1) == 25
    assert hourly.missed(begin + HOUR, begin) == 0
    assert hourly.missed(begin, begin + 365 * DAY) == MISSED_MAX


def test_the_first_one_is_due_at_once() -> None:
    """Where there is none, nothing has to be waited for."""
    assert Schedule.parse("daily").due(None, 12345) == 12345


def test_a_last_one_far_in_the_future_holds_up_nothing() -> None:
    """The clock was a year ahead when it was taken: the next one is due now."""
    now = at("2026-03-04T12:30")
    for text in TEXTS:
        assert Schedule.parse(text).due(now + 365 * DAY, now) == now


def test_a_clock_that_is_set_back_a_little_is_waited_for() -> None:
    """No snapshot twice for one due time because a clock was corrected."""
    hourly, now = Schedule.parse("hourly"), at("2026-03-04T11:59:58")
    assert hourly.due(now + 3 * SECOND, now) == at("2026-03-04T13:00")


@given(SCHEDULES, TIMES, TIMES)
def test_due_times_are_one_row(schedule: Schedule, one: int, other: int) -> None:
    """The next is later, nothing lies between, and later moments have no earlier due times."""
    first = schedule.next_due(one)
    assert first is not None
    assert first > one
    assert schedule.missed(one, first - 1) == 0
    assert schedule.missed(one, first) == 1
    later = schedule.next_due(max(one, other))
    assert later is not None
    assert later >= first or other < one


@given(SCHEDULES, TIMES, TIMES)
def test_no_clock_holds_it_up_for_long(schedule: Schedule, last: int, now: int) -> None:
    """At most two due times after now, the next snapshot is due."""
    due = schedule.due(last, now)
    assert due is not None
    assert schedule.missed(now, due) <= 2


@given(st.integers(-(10**18), 10**19))
def test_any_number_is_a_time(moment: int) -> None:
    """Before 1970 and after all calendars nothing fails."""
    hourly = Schedule.parse("hourly")
    assert hourly.next_due(moment) is None or hourly.next_due(moment) >= 0
    hourly.missed(moment, 0)
    hourly.due(moment, 0)


@given(SCHEDULES)
def test_a_text_is_read_back(schedule: Schedule) -> None:
    """What a schedule is told as, it is parsed from; names are expressions."""
    assert Schedule.parse(str(schedule)) == schedule
    assert schedule.text not in NAMED or schedule.cron == NAMED[schedule.text]


@given(SCHEDULES, TIMES)
def test_the_last_due_time_is_the_one_before_the_next(schedule: Schedule, now: int) -> None:
    """Looking back finds the due time after which none has come up to the moment asked for."""
    last = schedule.last_due(now)
    following = schedule.next_due(0 if last is None else last)
    assert last is None or last <= now
    assert following is not None
    assert following > now


def test_nothing_was_due_by_off() -> None:
    """A schedule that is off has no last due time."""
    assert Schedule.parse("off").last_due(4 * DAY) is None
