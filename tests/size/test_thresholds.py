"""What is over its line, and when it will be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sizes import DAY, MIB, START, size_settings

from daemon.size.disk import Lines
from daemon.size.figures import Category, Database, Growth, Measured, Sample
from daemon.size.forecast import DAYS_MAX, forecast, forecast_room, rates_of
from daemon.size.guard import Disk, DiskState
from daemon.size.thresholds import Present, judge


def present(state: DiskState = DiskState.OK, **given: Any) -> Present:
    """Return sizes to be judged."""
    disk = Disk(state, 1000 * MIB, 500 * MIB, 0, Lines(80 * MIB, 40 * MIB, 0))
    return Present(disk=disk, **{"log": 0, "data": 0, "days_left": None, **given})


def over(found: Present, before: Sequence[str] = (), **settings: Any) -> list[str]:
    """Return the names of what is over."""
    return [each.name for each in judge(size_settings(**settings), found, before)]


def test_nothing_is_over_where_no_line_is_set() -> None:
    """A size without a line is never too large."""
    assert over(present(log=1 << 50, data=1 << 50)) == []


@pytest.mark.parametrize(("name", "size"), [("log_bytes", "log"), ("data_bytes", "data")])
def test_a_size_is_over_until_it_is_well_below(name: str, size: str) -> None:
    """It begins at its line, and ends a fifth below."""
    line = {name: 1000}
    assert over(present(**{size: 999}), **line) == []
    assert over(present(**{size: 1000}), **line) == [name]
    assert over(present(**{size: 800}), [name], **line) == [name]
    assert over(present(**{size: 799}), [name], **line) == []


def test_the_days_left_are_over_until_there_are_well_more() -> None:
    """Seven days by default; nothing is said where no growth is known."""
    assert over(present(days_left=7.1)) == []
    assert over(present(days_left=7.0)) == ["days_left"]
    assert over(present(days_left=8.7), ["days_left"]) == ["days_left"]
    assert over(present(days_left=8.8), ["days_left"]) == []
    assert over(present(days_left=None), ["days_left"]) == []
    assert over(present(days_left=1.0), days_left=0) == []


def test_the_disk_is_told_of_once() -> None:
    """While events are refused, how many days are left says nothing more."""
    low = judge(size_settings(), present(DiskState.LOW), ())
    assert [(each.name, each.severe) for each in low] == [("disk_low", False)]
    refusing = judge(size_settings(), present(DiskState.REFUSING, days_left=0.0), ())
    assert [(each.name, each.severe) for each in refusing] == [("disk_refusing", True)]


@given(st.integers(0, 1 << 50), st.integers(1, 1 << 50), st.floats(-1e12, 1e12))
def test_a_forecast_is_when_the_growth_gets_there(now: int, line: int, per_day: float) -> None:
    """What is there is now, what shrinks or is too far away is never, else growth gets there."""
    days = forecast("log_bytes", line, now, per_day).days
    if now >= line:
        assert days == 0
    elif days is None:
        assert per_day <= 0 or (line - now) / per_day > DAYS_MAX
    else:
        assert now + days * per_day == pytest.approx(line, rel=1e-6, abs=1)
    room = forecast_room("disk_refuse", now, line, per_day).days
    if line <= now:
        assert room == 0
    elif room is not None:
        assert line - room * per_day == pytest.approx(now, rel=1e-6, abs=1)


def test_unknown_growth_is_no_forecast() -> None:
    """Neither a date nor never: nothing is known."""
    assert forecast("log_bytes", 10, 5, None)[3:] == (None, None)


def measured(samples: Sequence[tuple[float, int, int]], age_days: float = 40) -> Measured:
    """Return a measure with sizes at days before it: (days ago, log, data)."""
    database = Database(bytes=4000, used=3000, free=1000, tables=())
    return Measured(
        time=START,
        seconds=1,
        head=100,
        since=START - int(age_days * DAY),
        databases={"log": database, "views": database},
        categories=(Category(name="job", events=100, bytes=1000),),
        growth=tuple(Growth(days=days, events=10, bytes=100) for days in (1, 7, 30)),
        samples=tuple(
            Sample(time=START - int(ago * DAY), log=log, data=data) for ago, log, data in samples
        ),
    )


def test_a_log_of_a_day_has_no_growth_yet() -> None:
    """What a first day brought says nothing of the next."""
    assert rates_of(measured([(0, 5000, 9000)], age_days=0.9)) is None
    assert rates_of(measured([(0, 5000, 9000)], age_days=1)) is not None


def test_without_earlier_measures_the_growth_is_what_was_recorded() -> None:
    """Of each recorded byte the databases take as much as of those that are kept."""
    assert rates_of(measured([(0, 5000, 9000)])) == (300, 600)
    assert rates_of(measured([(0.5, 1, 1), (0, 5000, 9000)])) == (300, 600)


def test_with_earlier_measures_the_growth_is_between_them() -> None:
    """That of about a week ago is taken; what was removed meanwhile counts."""
    samples = [(30, 0, 0), (8, 1000, 2000), (7, 3000, 5000), (2, 100, 100), (0, 5100, 4300)]
    assert rates_of(measured(samples)) == (300, -100)
    assert rates_of(measured([(2, 4000, 8000), (0, 5000, 9000)])) == (500, 500)
