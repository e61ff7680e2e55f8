"""The time that a task is about."""

from __future__ import annotations

import pytest

from daemon.intake.task_time import task_time


@pytest.mark.parametrize(
    ("info", "cron", "expected"),
    [
        ("?day=2026-01-01", "2026-02-04T06", "2026-02-04T06:00:00"),
        ("?day=2026-01-01", "yesterday", "2026-01-01T00:00:00"),
        ("?day=2026-01-01", "2026-02-30T06", "2026-01-01T00:00:00"),
        ("?timestamp=2026-02-04T06:07:08Z&day=2026-01-01", "", "2026-02-04T06:07:08"),
        ("?time:2026-02-04T06:07:08Z", "", "2026-02-04T06:07:08"),
        ("?hour_utc=2026-02-04T06&x=2025/01/01", "", "2026-02-04T06:00:00"),
        ("gs://b/2025/01/02/x.json?date=2026-02-04", "", "2026-02-04T00:00:00"),
        ("gs://b/2025/01/02/20260204T060708.json", "", "2026-02-04T06:07:08"),
        ("gs://b/2026/02/04/06/x.json", "", "2026-02-04T06:00:00"),
        ("gs://b/2026/02/04/x.json", "", "2026-02-04T00:00:00"),
        ("gs://b/2026-02-04/x.json", "", "2026-02-04T00:00:00"),
        ("gs://b/2026/02/x.json", "", "2026-02-01T00:00:00"),
        ("gs://b/2026/13/x.json", "", None),
        ("", "", None),
    ],
)
def test_the_first_way_that_names_a_time_counts(info: str, cron: str, expected: str | None) -> None:
    """The schedule, then what the instruction names, then its path; what is no time is passed."""
    found = task_time(info, cron)
    assert (found and f"{found:%Y-%m-%dT%H:%M:%S}") == expected
