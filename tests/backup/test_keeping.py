"""Which snapshots are kept: the text of the rules, and what holds whatever they say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.backup.keeping import COUNT_MAX, DEFAULT, Keep, kept

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class Snapshot(NamedTuple):
    """A snapshot as the rules see it."""

    position: int
    taken: int
    proved: bool = False


def snapshot(position: int, moment: datetime, *, proved: bool = False) -> Snapshot:
    """Return a snapshot that was taken at a moment."""
    return Snapshot(position, int(moment.timestamp()) * 1_000_000, proved)


def times(snapshots: list[Snapshot]) -> list[str]:
    """Return when snapshots were taken, as text."""
    return [
        datetime.fromtimestamp(each.taken / 1_000_000, UTC).strftime("%m-%d %H:%M")
        for each in snapshots
    ]


MOMENTS = st.integers(0, 400 * 24 * 4).map(lambda quarters: quarters * 900_000_000 + 10**15)
SNAPSHOT = st.builds(Snapshot, st.integers(1, 200), MOMENTS, st.booleans())
SNAPSHOTS = st.lists(SNAPSHOT, max_size=60)
UNIQUE = st.lists(SNAPSHOT, max_size=60, unique_by=lambda each: each.position)
COUNTS = st.integers(0, 30)
KEEPS = st.builds(Keep, COUNTS, COUNTS, COUNTS, COUNTS)


# -- the text -------------------------------------------------------------------------------------


@given(KEEPS)
def test_a_text_is_read_back(keep: Keep) -> None:
    """What rules are told as, they are parsed from."""
    assert Keep.parse(str(keep)) == keep


@pytest.mark.parametrize(
    ("text", "keep"),
    [
        ("24 hourly, 7 daily, 4 weekly, 12 monthly", DEFAULT),
        ("", Keep()),
        ("  ", Keep()),
        ("3 daily", Keep(daily=3)),
        ("0 hourly,1 monthly", Keep(monthly=1)),
        (f"  5   weekly ,{COUNT_MAX} hourly ", Keep(hourly=COUNT_MAX, weekly=5)),
    ],
)
def test_classes_may_be_left_out(text: str, keep: Keep) -> None:
    """In any order, with any spaces; what is not there keeps nothing."""
    assert Keep.parse(text) == keep


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("daily", "column 1: 'daily' is not like '7 daily'"),
        ("7 daily,", "column 9: '' is not like"),
        ("7 daily, x weekly", "column 9: 'x' is not a number from 0 to 100000"),
        ("7 daily, -1 weekly", "column 9: '-1' is not a number"),
        ("7 daily, 100001 weekly", "column 9: '100001' is not a number"),
        ("7 daily, ٣ weekly", "column 9: '٣' is not a number"),
        ("7 daily, 2 yearly", "column 9: 'yearly' is none of hourly, daily, weekly, monthly"),
        ("7 daily, 2 daily", "column 9: daily is there twice"),
        ("7 daily 2 weekly", "column 1: '7 daily 2 weekly' is not like"),
    ],
)
def test_a_fault_is_told_with_its_place(text: str, error: str) -> None:
    """The column where the faulty item begins, and what is wrong with it."""
    with pytest.raises(ValueError, match=r"^column") as caught:
        Keep.parse(text)
    assert str(caught.value).startswith(error)


# -- what is kept ---------------------------------------------------------------------------------


def test_each_class_keeps_the_newest_of_its_last_periods() -> None:
    """With a snapshot every six hours for a year, the usual rules keep what they say."""
    every = [snapshot(number + 1, BEGIN + number * 6 * HOUR) for number in range(365 * 4)]
    assert times(kept(every, Keep(hourly=3))) == ["12-31 06:00", "12-31 12:00", "12-31 18:00"]
    assert times(kept(every, Keep(daily=3))) == ["12-29 18:00", "12-30 18:00", "12-31 18:00"]
    assert times(kept(every, Keep(weekly=3))) == ["12-20 18:00", "12-27 18:00", "12-31 18:00"]
    assert times(kept(every, Keep(monthly=3))) == ["10-31 18:00", "11-30 18:00", "12-31 18:00"]
    assert len(kept(every, DEFAULT)) == 24 + 1 + 2 + 11


def test_hours_without_snapshots_do_not_count() -> None:
    """After a month's rest the last two days that have snapshots are still there."""
    every = [snapshot(1, BEGIN), snapshot(2, BEGIN + 2 * HOUR), snapshot(3, BEGIN + 30 * DAY)]
    assert [each.position for each in kept(every, Keep(daily=2))] == [2, 3]


def test_weeks_are_those_of_the_calendar() -> None:
    """An ISO week goes from Monday to Sunday, across the new year too."""
    sunday = datetime(2026, 1, 4, 23, 59, tzinfo=UTC)
    every = [snapshot(at, sunday + (at - 5) * DAY) for at in range(1, 8)]
    assert [each.position for each in kept(every, Keep(weekly=2))] == [5, 7]


def test_a_clock_that_was_set_back_does_not_cost_the_newest() -> None:
    """The newest is that of the greatest position, whatever its time says."""
    future = [snapshot(at, BEGIN + 365 * DAY + at * HOUR, proved=True) for at in range(1, 30)]
    newest = [snapshot(30, BEGIN, proved=True), snapshot(31, BEGIN + HOUR)]
    positions = [each.position for each in kept([*future, *newest], Keep(hourly=3))]
    assert positions == [29, 30, 31]


def test_nothing_and_one_are_kept() -> None:
    """Where there is none, none; the only one stays under rules that keep nothing."""
    assert kept([], DEFAULT) == []
    assert kept([Snapshot(5, 0)], Keep()) == [Snapshot(5, 0)]


def test_times_that_no_calendar_has_do_no_harm() -> None:
    """A manifest may say anything."""
    strange = [Snapshot(1, -(10**18)), Snapshot(2, 10**19), Snapshot(3, 0)]
    assert kept(strange, DEFAULT) == strange


def test_of_two_at_one_position_the_proved_one_stays() -> None:
    """They hold the same: one is enough."""
    two = [Snapshot(7, 100), Snapshot(7, 50, proved=True)]
    assert kept(two, DEFAULT) == [two[1]]


@given(SNAPSHOTS, KEEPS)
def test_the_newest_and_the_newest_proved_are_always_kept(snapshots, keep) -> None:
    """By position; and nothing is kept that was not there."""
    positions = {each.position for each in snapshots}
    proved = {each.position for each in snapshots if each.proved}
    left = kept(snapshots, keep)
    assert set(left) <= set(snapshots)
    assert not positions or left[-1].position == max(positions)
    assert not proved or max(each.position for each in left if each.proved) == max(proved)


@given(SNAPSHOTS, KEEPS, KEEPS)
def test_who_keeps_more_keeps_a_superset(snapshots, one, other) -> None:
    """Greater numbers never cost a snapshot."""
    more = Keep(*map(max, zip(_numbers(one), _numbers(other), strict=True)))
    assert set(kept(snapshots, one)) <= set(kept(snapshots, more))


@given(SNAPSHOTS, KEEPS)
def test_pruning_again_removes_nothing(snapshots, keep) -> None:
    """What is kept is kept the next time too."""
    left = kept(snapshots, keep)
    assert kept(left, keep) == left
    assert kept(reversed(left), keep) == left


@given(SNAPSHOTS, KEEPS)
def test_no_more_are_kept_than_the_rules_say(snapshots, keep) -> None:
    """And the two that are always kept."""
    assert len(kept(snapshots, keep)) <= sum(_numbers(keep)) + 2


@given(UNIQUE, KEEPS, st.integers(0, 3))
def test_each_class_has_its_periods(snapshots, keep, which) -> None:
    """As many hours, days, weeks or months have one as the rules say, if there are so many."""
    wanted = _numbers(keep)[which]
    left = kept(snapshots, keep)
    assert len(_periods(left, which)) >= min(wanted, len(_periods(snapshots, which)))


def _numbers(keep: Keep) -> tuple[int, ...]:
    return keep.hourly, keep.daily, keep.weekly, keep.monthly


def _periods(snapshots: list[Snapshot], which: int) -> set[str]:
    form = ("%Y-%m-%d %H", "%Y-%m-%d", "%G-%V", "%Y-%m")[which]
    return {datetime.fromtimestamp(s.taken / 1_000_000, UTC).strftime(form) for s in snapshots}
