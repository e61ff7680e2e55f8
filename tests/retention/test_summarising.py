"""Purges are forgotten after their time: the counts stay, and nothing else."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from keeping import DAY, START, Kept

from daemon.eventlog.truncation import Bound
from daemon.retention.summarising import TOMBSTONES_AT_ONCE, Summarising
from projections.runner import ProjectionRunner
from projections.views import Views

PURGE = {"category": "job", "age": "ended", "purge_after": "1d"}
ALERTS = {"category": "alert", "age": "last_event", "purge_after": "1d"}
FILES = {"category": "file", "age": "last_event", "purge_after": "1d"}


def summarising(kept: Kept, days: int | None = 30, *, bound: int | None = None) -> Summarising:
    """Return who forgets purges after so many days."""

    def wait(position: int) -> bool:
        kept.project()
        return kept.runner.position >= position

    return Summarising(
        kept.log,
        kept.views,
        None if days is None else days * DAY,
        alone=nullcontext,
        wait=wait,
        bound=lambda: Bound(kept.log.head() + 1 if bound is None else bound),
    )


@pytest.fixture
def purged(tmp_path: Path) -> Kept:
    """Return a log of which jobs of two days, an alert and a file were purged."""
    kept = Kept(tmp_path, PURGE, ALERTS, FILES)
    for day in (0, 1):
        kept.now = START + day * DAY
        for number in range(3):
            kept.job(f"job-{day}-{number}", "started", "failed" if number else "succeeded")
    kept.say("alert.raised", "a", severity="error")
    kept.say("file.observed", "f", path="f", size=1)
    kept.after(2)
    kept.job("kept", "started")
    kept.apply()
    return kept


def counts(views: Views) -> object:
    """Return all that the summary counts, by day."""
    summary = views.summary(None, None, None)
    return {name: summary[name] for name in ("jobs", "durations", "alerts", "days")}


def tombstones(kept: Kept) -> list[str]:
    """Return the types of the events that are in the log, without those that tell of removals."""
    types = [event.type for event in kept.log.read(0, 1000)]
    return [type_ for type_ in types if type_ != "log.truncated"]


def test_old_tombstones_go_and_the_counts_stay(purged: Kept) -> None:
    """One event a day says what they said; a replay of what is left counts the same."""
    before = counts(purged.views)
    assert summarising(purged).run(purged.now) == {"forgotten": 0}
    purged.after(31)
    assert summarising(purged).run(purged.now) == {"forgotten": 8}
    purged.project()
    assert tombstones(purged) == ["job.submitted", "job.started", *["log.summarised"] * 2]
    assert counts(purged.views) == before
    assert purged.log.verify() == []
    assert purged.log.read_stream("job/job-0-0") == []
    for bulk in (1, 10**9):
        path = purged.directory / f"again-{bulk}.db"
        runner = ProjectionRunner(path, purged.log, bulk_events=bulk)
        runner.catch_up()
        runner.close()
        views = Views(path)
        assert counts(views) == before
        views.close()


def test_a_day_is_told_by_its_newest_event_alone(purged: Kept) -> None:
    """What is purged of that day later is added, and what said so before goes."""
    purged.after(31)
    summarising(purged).run(purged.now)
    purged.job("late", "succeeded", time=START)
    purged.apply()
    purged.after(40)
    purged.apply()
    assert summarising(purged).run(purged.now)["forgotten"] >= 1
    purged.project()
    days = [each.payload["day"] for each in purged.log.read(0, 1000) if "day" in each.payload]
    assert len(days) == len(set(days))
    assert purged.log.verify() == []
    path = purged.directory / "again.db"
    runner = ProjectionRunner(path, purged.log)
    runner.catch_up()
    runner.close()
    again = Views(path)
    assert counts(again) == counts(purged.views)
    again.close()


def test_it_waits_for_who_still_reads_and_never_comes_where_it_is_not_to(purged: Kept) -> None:
    """Nothing goes while rows have to stay, and nothing ever with ``forever``."""
    purged.after(31)
    before = tombstones(purged)
    assert summarising(purged, bound=0).run(purged.now) == {"forgotten": 0}
    assert summarising(purged, None).run(purged.now) == {"forgotten": 0}
    assert tombstones(purged) == before


def test_many_go_in_parts(tmp_path: Path) -> None:
    """More tombstones than fit into one transaction are taken over one part after the other."""
    with Kept(tmp_path, PURGE) as kept:
        count = TOMBSTONES_AT_ONCE + 5
        for number in range(count):
            kept.job(f"job-{number}", "succeeded")
        kept.after(2)
        kept.apply()
        before = counts(kept.views)
        kept.after(31)
        assert summarising(kept).run(kept.now) == {"forgotten": count}
        kept.project()
        assert counts(kept.views) == before
        assert tombstones(kept) == ["log.summarised"]
        assert kept.log.verify() == []
