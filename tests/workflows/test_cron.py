"""Schedules: what is a cron expression, and when it is next due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from time import process_time
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from daemon.workflows.cron import next_runs
from daemon.workflows.durations import parse_duration

START = datetime(2026, 2, 4, 10, 0, 0, tzinfo=UTC)
"""A Wednesday."""


def due(cron: str, count: int = 2, after: datetime = START) -> list[str]:
    """Return when it is due, without what is the same for all."""
    return [run.strftime("%m-%d %H:%M:%S") for run in next_runs(cron, after, count)]


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 * * * *", ["02-04 11:00:00", "02-04 12:00:00"]),
        ("0 0 * * * *", ["02-04 11:00:00", "02-04 12:00:00"]),
        ("30 5 * * * *", ["02-04 10:05:30", "02-04 11:05:30"]),
        ("*/20 59 23 * * *", ["02-04 23:59:00", "02-04 23:59:20"]),
        ("0 */5 * * *", ["02-04 15:00:00", "02-04 20:00:00"]),
        ("5/20 10 * * *", ["02-04 10:05:00", "02-04 10:25:00"]),
        ("0 9-17/4 * * MON-FRI", ["02-04 13:00:00", "02-04 17:00:00"]),
        ("0 0 ? * sun", ["02-08 00:00:00", "02-15 00:00:00"]),
        ("0 0 29 2 *", ["02-29 00:00:00"]),
        ("0 0 1,15 Mar *", ["03-01 00:00:00", "03-15 00:00:00"]),
        ("1 2 */6 4 5 SUN", ["05-03 00:02:01", "05-03 06:02:01"]),
        ("0 0 6 * FRI", ["02-06 00:00:00", "02-13 00:00:00"]),
        ("0 0 */2 * FRI", ["02-05 00:00:00", "02-06 00:00:00"]),
        ("0 0 */1 * FRI", ["02-06 00:00:00", "02-13 00:00:00"]),
        ("@hourly", ["02-04 11:00:00", "02-04 12:00:00"]),
        ("@daily", ["02-05 00:00:00", "02-06 00:00:00"]),
        ("@midnight", ["02-05 00:00:00", "02-06 00:00:00"]),
        ("@weekly", ["02-08 00:00:00", "02-15 00:00:00"]),
        ("@monthly", ["03-01 00:00:00", "04-01 00:00:00"]),
        ("@yearly", ["01-01 00:00:00", "01-01 00:00:00"]),
        ("@every 90m", ["02-04 11:30:00", "02-04 13:00:00"]),
        ("@every 10ms", ["02-04 10:00:01", "02-04 10:00:02"]),
        ("CRON_TZ=Asia/Tokyo 0 9 * * *", ["02-05 00:00:00", "02-06 00:00:00"]),
        ("TZ=UTC 0 9 * * *", ["02-05 09:00:00", "02-06 09:00:00"]),
        ("0 0 30 2 *", []),
    ],
)
def test_schedule_says_when_it_is_due(cron: str, expected: list[str]) -> None:
    """Each form of a schedule gives its next times."""
    assert due(cron)[: len(expected) or 2] == expected


@pytest.mark.parametrize(
    "cron",
    [
        "", "* * * *", "* * * * * * *", "60 * * * *", "0 24 * * *", "0 0 0 * *", "0 0 * 13 *",
        "0 0 * * 7", "0 0 * * XYZ", "*/0 * * * *", "5-1 * * * *", "a * * * *", "0 0 L * *",
        "@dayly", "@every", "@every soon", "CRON_TZ=Nowhere/Town 0 * * * *", "0 0 * * 1#2",
        ", * * * *", "-1 * * * *", "\u0663 * * * *", f"TZ=Europe{'/Berope' * 300} 0 * * * *",
    ],
)  # fmt: skip
def test_what_is_no_schedule_is_refused(cron: str) -> None:
    """Whatever the schedule's owner could not read either is a ValueError with a reason."""
    with pytest.raises(ValueError, match=r"."):
        next_runs(cron, START, 1)


@given(
    st.sampled_from(["*", "7", "*/7", "10-30/5", "1,2,58"]),
    st.sampled_from(["*", "0", "*/5", "8-18"]),
    st.sampled_from(["*", "1", "29", "10,20"]),
    st.sampled_from(["*", "2", "6-8"]),
    st.sampled_from(["*", "0", "1-5"]),
    st.integers(0, 6 * 366 * 1440).map(lambda minutes: START + timedelta(minutes=minutes)),
)
def test_five_fields_agree_with_another_program(
    minute: str, hour: str, day: str, month: str, weekday: str, after: datetime
) -> None:
    """Where two ways of reading cron expressions do not differ, the same times come out."""
    cron = f"{minute} {hour} {day} {month} {weekday}"
    other = CronSim(cron, after)
    expected = list(islice(other, 5))
    runs = next_runs(cron, after, 5)
    assert runs == expected[: len(runs)]
    assert len(runs) == 5 or expected[len(runs)] > after + timedelta(days=4 * 365)


def test_fields_are_of_the_zone_that_is_asked_in() -> None:
    """Hours are those of the zone of the moment; one that a change of clocks leaves out is not."""
    berlin = datetime(2026, 3, 28, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    assert due("30 2 * * *", 2, berlin) == ["03-30 02:30:00", "03-31 02:30:00"]


@pytest.mark.parametrize("cron", ["* * * * * *", "0 0 0 30 2 *"])
def test_a_file_of_costly_schedules_is_answered_soon(cron: str) -> None:
    """Neither the seconds of a day that are over nor months that are not named cost anything."""
    late = datetime(2026, 11, 26, 23, 58, 30, tzinfo=UTC)
    begun = process_time()
    for _ in range(500):
        next_runs(cron, late, 3)
    assert process_time() - begun < 1


def test_runs_are_bounded() -> None:
    """However many runs are asked for, no more than a thousand are worked out."""
    assert len(next_runs("* * * * * *", START, 10**9)) == 1_000


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("0", 0), ("90s", 90_000_000), ("1h30m", 5_400_000_000), ("-1.5h", -5_400_000_000),
        ("+2m", 120_000_000), ("10ms", 10_000), ("3us", 3), ("3\u00b5s", 3), ("999ns", 0),
        (".5s", 500_000), ("1.s", 1_000_000), ("1h1h", 7_200_000_000),
    ],
)  # fmt: skip
def test_durations_are_those_of_go(text: str, microseconds: int) -> None:
    """Signs, fractions, several units: as Go reads them."""
    assert parse_duration(text) == microseconds


@pytest.mark.parametrize(
    "text",
    ["", "1", "1d", "h", "1 h", "-", "1h 30m", "1hm", "1.2.3s", "1mss", "3000000h", "\u0663s"],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """A number without a unit, days, and whatever else Go does not take."""
    with pytest.raises(ValueError, match=r"duration|too long"):
        parse_duration(text)
