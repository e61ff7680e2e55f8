"""The summary: counts that are kept right through every change, days, hours, percentiles."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import apsw
import pytest
from feeds import SECOND, START, MemoryFeed, plans, views_of
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.job import JobStatus
from domain.timestamps import EARLIEST
from projections import summary
from projections.summary import BUCKETS, percentiles, summarise

DAY = 86_400


def test_jobs_are_counted_by_status_and_kind(tmp_path: Path) -> None:
    """Each job counts once, by what it is now, also after its kind or status changed."""
    feed = MemoryFeed()
    feed.add("job.submitted", "a", {"kind": "load"})
    feed.add("job.submitted", "b", {"kind": "load"})
    feed.add("job.submitted", "c")
    feed.add("job.started", "a")
    feed.add("job.failed", "a")
    feed.add("job.started", "b")
    feed.add("job.submitted", "c", {"kind": "late"})
    with views_of(tmp_path, feed) as views:
        assert views.summary()["jobs"] == {
            "total": 3,
            "by_status": {"failed": 1, "running": 1, "submitted": 1},
            "by_kind": {"load": {"failed": 1, "running": 1}, "late": {"submitted": 1}},
        }
        counts = views.job_counts()
        assert counts == {**{str(status): 0 for status in JobStatus},
            "failed": 1, "running": 1, "submitted": 1
        }  # fmt: skip
        assert views.summary()["as_of"] == feed.head()
        db = apsw.Connection(str(views.path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            assert db.execute("SELECT min(count) FROM summary_counters").get == 1
        finally:
            db.close()


def test_jobs_without_a_submission_are_counted(tmp_path: Path) -> None:
    """A job counts from the first that is heard of it: progress, a note, an end."""
    feed = MemoryFeed()
    feed.add("job.progressed", "a", {"fraction": 0.5}, at=2 * DAY, recorded=9 * DAY)
    feed.add("job.pinned", "b", at=3 * DAY)
    feed.add("job.succeeded", "c", at=5 * DAY)
    feed.add("job.progressed", "c", {"fraction": 0.5}, at=4 * DAY)
    with views_of(tmp_path, feed) as views:
        answer = views.summary()
        page = views.list_jobs(limit=10)
    assert answer["jobs"]["by_status"] == {"submitted": 2, "succeeded": 1}
    days = [(day["date"], day["jobs"]) for day in answer["days"]]
    assert days == [(job["submitted"][:10], 1) for job in reversed(page.items)]
    assert [date for date, _ in days] == ["2026-02-04", "2026-02-05", "2026-02-06"]


def test_an_empty_log_has_an_empty_summary(tmp_path: Path) -> None:
    """Every part of the shape is there, with nothing in it."""
    with views_of(tmp_path, MemoryFeed()) as views:
        assert views.summary() == {
            "as_of": 0,
            "since": None,
            "until": None,
            "jobs": {"total": 0, "by_status": {}, "by_kind": {}},
            "durations": {},
            "alerts": {"open": 0, "acknowledged": 0, "resolved": 0},
            "days": [],
        }


def test_days_hold_what_happened_on_them(tmp_path: Path) -> None:
    """Jobs by submission, alerts by first raise, messages about files by observation."""
    feed = MemoryFeed()
    feed.add("job.submitted", "a", {"kind": "x"}, at=0)
    feed.add("job.succeeded", "a", at=DAY, recorded=10 * DAY)
    feed.add("job.submitted", "b", at=DAY)
    feed.add("alert.raised", "a", at=2 * DAY)
    feed.add("alert.raised", "a", at=0)
    feed.add("alert.resolved", "a", at=3 * DAY)
    feed.add("file.observed", "/a", at=2 * DAY)
    feed.add("file.observed", "/a", at=2 * DAY)
    feed.add("file.removed", "/a", at=4 * DAY)
    with views_of(tmp_path, feed) as views:
        answer = views.summary()
        one_kind = views.summary(kind="x")
    assert answer["days"] == [
        {"date": "2026-02-02", "jobs": 1, "alerts": 1, "files": 0, "by_status": {"succeeded": 1}},
        {"date": "2026-02-03", "jobs": 1, "alerts": 0, "files": 0, "by_status": {"submitted": 1}},
        {"date": "2026-02-04", "jobs": 0, "alerts": 0, "files": 2, "by_status": {}},
    ]
    assert answer["alerts"] == {"open": 0, "acknowledged": 0, "resolved": 1}
    assert [day["jobs"] for day in one_kind["days"]] == [1, 0]
    assert one_kind["jobs"]["total"] == 1


def test_a_range_counts_the_days_it_touches(tmp_path: Path) -> None:
    """A range is widened to whole days; one that ends at midnight leaves the next day out."""
    feed = MemoryFeed()
    feed.add("job.submitted", "x", recorded=9 * DAY, at=-DAY)
    for day in range(4):
        feed.add("job.submitted", f"{day}", at=day * DAY)
    midnight = START - START % (DAY * SECOND)
    with views_of(tmp_path, feed) as views:

        def total(since: int | None, until: int | None) -> int:
            number: int = views.summary(since, until)["jobs"]["total"]
            return number

        assert total(None, None) == 5
        assert total(START, None) == 4
        assert total(START + 1, START + 2) == 1
        assert total(None, START) == 2
        assert total(midnight, midnight + DAY * SECOND) == 1
        assert total(midnight, midnight + DAY * SECOND + 1) == 2
        assert total(midnight, midnight) == 1
        answer = views.summary(START, START + DAY * SECOND)
        assert (answer["since"], answer["until"]) == ("2026-02-02", "2026-02-03")
        assert "hours" not in answer


def test_a_single_day_is_shown_by_hours(tmp_path: Path) -> None:
    """When one day is asked for, its hours with data are listed too."""
    feed = MemoryFeed()
    feed.add("job.submitted", "a", {"kind": "x"}, recorded=DAY, at=0)
    feed.add("job.submitted", "b", at=7200)
    feed.add("file.observed", "/a", at=7201)
    feed.add("job.submitted", "c", at=DAY)
    with views_of(tmp_path, feed) as views:
        hours = views.summary(START, START + 1)["hours"]
        one_kind = views.summary(START, START + 1, "x")["hours"]
    assert hours == [
        {"hour": "2026-02-02T02:00:00Z", "jobs": 1, "alerts": 0, "files": 0,
         "by_status": {"submitted": 1}},
        {"hour": "2026-02-02T04:00:00Z", "jobs": 1, "alerts": 0, "files": 1,
         "by_status": {"submitted": 1}},
    ]  # fmt: skip
    assert [hour["jobs"] for hour in one_kind] == [1, 0]


def test_durations_are_counted_by_kind(tmp_path: Path) -> None:
    """Queue and run times of jobs whose times are known, near their real percentiles."""
    feed = MemoryFeed()
    for number in range(100):
        feed.add("job.submitted", f"{number}", {"kind": "load"}, recorded=DAY, at=0)
        feed.add("job.started", f"{number}", at=10)
        feed.add("job.succeeded", f"{number}", at=10 + (100 if number < 90 else 1000))
    feed.add("job.submitted", "queued", {"kind": "load"})
    feed.add("job.submitted", "other", {"kind": "other"})
    with views_of(tmp_path, feed) as views:
        durations = views.summary()["durations"]
        ranged = views.summary(START, START + 1, "load")["durations"]
    assert set(durations) == {"load"}
    run, queue = durations["load"]["run"], durations["load"]["queue"]
    assert (run["count"], queue["count"]) == (100, 100)
    assert queue["p50"] == queue["p95"] == pytest.approx(10, rel=0.1)
    assert run["p50"] == pytest.approx(100, rel=0.1)
    assert run["p95"] == pytest.approx(1000, rel=0.1)
    assert ranged == durations


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=50))
def test_percentiles_are_within_a_tenth(seconds: list[float]) -> None:
    """The middle of the bucket is near the value of that rank."""
    buckets = Counter(summary._bucket(each) for each in seconds)
    found = percentiles(dict(buckets))  # type: ignore[arg-type]
    ordered = sorted(seconds)
    for name, share in (("p50", 50), ("p95", 95)):
        rank = -(-len(ordered) * share // 100)
        real = ordered[max(rank, 1) - 1]
        assert found[name] == (0.0 if real <= BUCKETS[0] else pytest.approx(real, rel=0.1))
    assert found["count"] == len(seconds)


def test_no_durations_have_no_percentiles() -> None:
    """Nothing counted is no value, not zero."""
    assert percentiles({}) == {"count": 0, "p50": None, "p95": None}


def test_answers_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kinds with the most jobs, and the newest days with data."""
    monkeypatch.setattr(summary, "KINDS_MAX", 2)
    monkeypatch.setattr(summary, "DAYS_MAX", 3)
    feed = MemoryFeed()
    feed.add("queue.paused", "q", recorded=100 * DAY)
    for number in range(10):
        feed.add("job.submitted", f"{number}", {"kind": f"k{number // 4}"}, at=number * 3 * DAY)
    feed.add("file.observed", "/a", at=20 * DAY)
    with views_of(tmp_path, feed) as views:
        answer = views.summary()
    assert list(answer["jobs"]["by_kind"]) == ["k0", "k1"]
    assert [day["date"] for day in answer["days"]] == ["2026-02-23", "2026-02-26", "2026-03-01"]
    assert answer["jobs"]["total"] == 10


def test_counts_stay_right_under_many_changes(tmp_path: Path) -> None:
    """The kept counts are those of the job rows, whatever happened on the way."""
    chance = random.Random(11)
    feed = MemoryFeed()
    types = ["submitted", "queued", "started", "progressed", "succeeded", "failed", "pinned"]
    for _ in range(600):
        job, verb = f"{chance.randrange(60)}", chance.choice(types)
        payload: dict[str, Any] = {}
        if verb == "submitted":
            payload = {"kind": f"k{chance.randrange(3)}"}
        feed.add(f"job.{verb}", job, payload, at=chance.randrange(3 * DAY), recorded=4 * DAY)
    with views_of(tmp_path, feed) as views:
        answer = views.summary()
        page = views.list_jobs(limit=1000)
    assert answer["jobs"]["by_status"] == Counter(job["status"] for job in page.items)
    by_kind = Counter((job["kind"] or "", job["status"]) for job in page.items)
    assert by_kind == Counter(
        {(k, s): n for k, counts in answer["jobs"]["by_kind"].items() for s, n in counts.items()}
    )
    by_day = Counter(job["submitted"][:10] for job in page.items)
    assert by_day == Counter({day["date"]: day["jobs"] for day in answer["days"]})
    runs = Counter(job["kind"] or "" for job in page.items if job["run_seconds"] is not None)
    shown = {kind: each["run"]["count"] for kind, each in answer["durations"].items()}
    assert runs == Counter({kind: count for kind, count in shown.items() if count})


def test_a_summary_reads_counters_only(tmp_path: Path) -> None:
    """Nothing is counted at the time of the question: no plan touches a table of jobs."""
    feed = MemoryFeed()
    feed.add("job.submitted", "a", {"kind": "x"})
    with views_of(tmp_path, feed) as views:
        db = apsw.Connection(str(views.path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            for kind in (None, "x"):
                found = plans(db, lambda db, k=kind: summarise(db, START, START + 1, k))
                assert all("SEARCH summary_counters USING PRIMARY KEY" in plan for plan in found)
        finally:
            db.close()


def test_the_first_moment_there_is_can_be_asked_for(tmp_path: Path) -> None:
    """A range that begins or ends with the year 1 has no days, and is no error."""
    with views_of(tmp_path, MemoryFeed()) as views:
        assert views.summary(since=EARLIEST)["since"] == "0001-01-01"
        assert views.summary(until=EARLIEST)["until"] == "0001-01-01"


def test_a_time_that_cannot_be_is_invalid(tmp_path: Path) -> None:
    """A range beyond what SQLite holds is refused."""
    with views_of(tmp_path, MemoryFeed()) as views, pytest.raises(Invalid):
        views.summary(since=2**70)
