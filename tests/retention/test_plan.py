"""The plan: what is due, why, how much, and what becomes due."""

from __future__ import annotations

from contextlib import closing

import apsw
import pytest
from keeping import DAY, FakeArchiver, Kept, policies

from domain.errors import NotReady
from domain.retention import Action
from projections.sql import named_statements

ENDED = {"category": "job", "age": "ended", "purge_after": "30d"}


def test_a_plan_says_what_and_why(kept: Kept) -> None:
    """Each item names its rule, since when it is due, and how many events and bytes it has."""
    kept.by(ENDED)
    kept.job("old", "started", "succeeded")
    kept.after(30)
    kept.job("young", "started", "succeeded")
    plan = kept.plan()
    (item,) = plan.items
    assert (item.action, item.stream, item.rule) == (Action.PURGE, "job/old", "job")
    assert item.reason == "30 days after it ended"
    assert item.due == kept.now
    assert (item.events, item.version) == (3, 3)
    assert item.bytes == sum(len(event.data) for event in kept.stream("job/old"))
    assert plan.as_of == kept.log.head()
    (total,) = plan.totals.documents()
    assert (total["rule"], total["entities"], total["events"]) == ("job", 1, 3)


def test_nothing_is_due_without_a_policy(kept: Kept) -> None:
    """No policy keeps everything, and reads nothing."""
    kept.job("old", "succeeded")
    kept.after(10_000)
    plan = kept.plan()
    assert not plan.items
    assert not plan.upcoming.documents()


def test_each_category_has_its_policies(kept: Kept) -> None:
    """What is said of alerts and files is not said of jobs."""
    kept.by(
        {"category": "alert", "status": "resolved", "age": "ended", "purge_after": "1d"},
        {"category": "file", "age": "last_event", "purge_after": "2d"},
    )
    kept.job("j", "succeeded")
    kept.say("alert.raised", "open", severity="error")
    kept.say("alert.raised", "over", severity="error")
    kept.say("alert.resolved", "over")
    kept.say("file.observed", "a/b.csv", path="a/b.csv")
    kept.after(1)
    assert kept.due() == {"over": "purge"}
    kept.after(1)
    assert kept.due() == {"over": "purge", "a/b.csv": "purge"}


def test_old_events_of_the_housekeeping_go_but_for_the_last_run(kept: Kept) -> None:
    """Each ages by itself; the two newest of a stream stay, however old."""
    kept.by({"category": "maintenance", "purge_after": "10d"})
    for _ in range(4):
        kept.say("maintenance.started", "scrub")
        kept.say("maintenance.finished", "scrub")
        kept.after(5)
    kept.say("maintenance.started", "idle")
    (item,) = kept.plan().items
    assert (item.action, item.stream, item.version) == (Action.TRIM, "maintenance/scrub", 6)
    kept.after(100)
    assert [(item.id, item.version) for item in kept.plan().items] == [("scrub", 6)]


def test_every_page_of_the_views_is_looked_at(kept: Kept) -> None:
    """More jobs of one status than one page holds, or than some systems ever look at."""
    kept.by(ENDED)
    events = 1_203
    for number in range(events):
        kept.say("job.failed", f"job-{number:04}")
    kept.after(30)
    assert len(kept.plan().items) == events


def test_a_plan_has_a_greatest_size(kept: Kept) -> None:
    """The oldest come first; how many more are due is said."""
    kept.by(ENDED, run_max=3)
    for number in range(5):
        kept.job(f"job-{number}", "succeeded")
        kept.after(1)
    kept.after(30)
    plan = kept.plan()
    assert [item.id for item in plan.items] == ["job-0", "job-1", "job-2"]
    assert plan.more == 2


def test_without_an_archive_nothing_is_archived(kept: Kept) -> None:
    """It is said how many would be; what is due to be purged is purged all the same."""
    kept.by({**ENDED, "archive_after": "7d"})
    kept.job("j", "succeeded")
    kept.after(7)
    plan = kept.plan()
    assert (list(plan.items), plan.unarchivable) == ([], 1)
    kept.by({**ENDED, "archive_after": "7d"}, archiver=FakeArchiver())
    assert kept.due() == {"j": "archive"}
    kept.by({**ENDED, "archive_after": "7d"})
    kept.after(23)
    assert kept.due() == {"j": "purge"}


def test_what_becomes_due_is_counted(kept: Kept) -> None:
    """Within 7 days, and within 30."""
    kept.by(ENDED)
    kept.job("a", "succeeded")
    kept.after(10)
    kept.job("b", "succeeded")
    kept.after(15)
    told = {row["days"]: row["entities"] for row in kept.plan().upcoming.documents()}
    assert told == {7: 1, 30: 2}


def test_the_id_of_a_plan_is_what_it_does(kept: Kept) -> None:
    """The same items give the same id at another time; another item, or event, another id."""
    kept.by(ENDED)
    kept.job("a", "succeeded")
    kept.after(31)
    first = kept.plan().id
    kept.after(1)
    assert kept.plan().id == first
    kept.say("job.linked", "a", kept.now - 40 * DAY, to="b")
    assert kept.plan().id != first


def test_results_of_just_this_job_go_with_it(kept: Kept) -> None:
    """A result that another job names too stays."""
    kept.by(ENDED)
    kept.job("a", "succeeded")
    kept.say("result.recorded", "a/gff3", job="a", kind="GFF3", path="a.gff3")
    kept.say("result.recorded", "shared", job="a", path="x")
    kept.say("result.recorded", "shared", job="b", path="x")
    kept.after(30)
    (item,) = kept.plan().items
    assert [part.stream for part in item.parts] == ["result/a/gff3"]
    assert item.events == 3


def test_other_policies_can_be_tried(kept: Kept) -> None:
    """What they would do is told; the plan cannot be applied, and the policies stay."""
    kept.by(ENDED)
    kept.job("a", "failed")
    kept.after(14)
    kept.project()
    tried = kept.retention.preview(policies(named="amr"), kept.now)
    assert [item.rule for item in tried.items] == ["amr.job.failed"]
    assert kept.retention.kept(tried.id) is None
    assert not kept.plan().items


def test_a_plan_ends_when_the_daemon_stops(kept: Kept) -> None:
    """A long walk does not hold up a stop."""
    kept.by(ENDED, stopping=lambda: True)
    kept.project()
    with pytest.raises(NotReady):
        kept.retention.plan(kept.now)


def test_the_walk_goes_along_an_index(kept: Kept) -> None:
    """A page costs what it shows, however many jobs and alerts there are."""
    kept.project()
    statements = named_statements("aging.sql")
    with closing(apsw.Connection(str(kept.directory / "views.db"))) as db:
        for name, index in (
            ("jobs_upto", "jobs_by_submitted"),
            ("alerts_upto", "alerts_by_listed"),
        ):
            plan = db.execute(f"EXPLAIN QUERY PLAN {statements[name]}", (0, 0, 1, 10)).fetchall()
            (line,) = [row[3] for row in plan]
            assert index in line
            assert line.startswith("SEARCH")
        plan = db.execute(f"EXPLAIN QUERY PLAN {statements['files_after']}", (0, 10)).fetchall()
        assert [row[3] for row in plan] == ["SEARCH files USING INTEGER PRIMARY KEY (rowid>?)"]
