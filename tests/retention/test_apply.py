"""Applying a plan: just that, once, and only where things are as they were planned."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from keeping import HOUR, FakeArchiver, Kept

from daemon.eventlog.requests import Work
from daemon.retention.checking import find
from daemon.retention.errors import PlanChanged
from domain.errors import NotReady
from domain.events import NewEvent
from domain.retention import Action

ENDED = {"category": "job", "age": "ended", "purge_after": "30d"}


def test_the_plan_and_what_was_done_agree(kept: Kept) -> None:
    """Item by item: as many, with as many events and bytes, by the same rules."""
    kept.by(ENDED, {"category": "alert", "age": "last_event", "purge_after": "5d"})
    for number in range(50):
        kept.job(f"job-{number}", "started", "succeeded")
    kept.say("alert.raised", "a", severity="error")
    kept.after(31)
    kept.job("young", "succeeded")
    plan = kept.plan()
    applied = kept.apply(plan)
    assert len(plan.items) == 51
    assert not applied.left
    assert applied.done.documents() == plan.totals.documents()
    assert kept.types("job/young") == ["job.submitted", "job.succeeded"]


def test_a_purge_leaves_a_tombstone(kept: Kept) -> None:
    """It says how much went, the digest, by which rule and by whom; the rows are gone."""
    kept.by(ENDED)
    kept.job("a", "started", "failed")
    kept.after(30)
    with kept.log.reading().connection() as db:
        rows = db.execute("SELECT digest, length(data) FROM events ORDER BY version").fetchall()
    kept.apply(actor="ana")
    (tombstone,) = kept.stream("job/a")
    said = tombstone.payload
    assert (tombstone.type, tombstone.version) == ("job.purged", 4)
    assert tombstone.extensions["actor"] == "ana"
    assert (said["rule"], said["reason"], said["replaces"]) == ("job", "30 days after it ended", 3)
    assert said["counts"] == {"events": 3, "bytes": sum(row[1] for row in rows)}
    assert said["digest"] == sha256(b"".join(row[0] for row in rows)).hexdigest()
    assert said["summary"]["status"] == "failed"
    assert kept.log.verify() == []


def test_a_second_run_does_nothing(kept: Kept) -> None:
    """What is gone is not due again."""
    kept.by(ENDED)
    kept.job("a", "succeeded")
    kept.after(30)
    plan = kept.plan()
    kept.apply(plan)
    head = kept.log.head()
    assert not kept.plan().items
    again = kept.apply(plan)
    assert [str(why) for _, why in again.left] == ["gone"]
    assert kept.log.head() == head


def test_only_what_the_plan_shows_is_done(kept: Kept) -> None:
    """What has become due since is left for the next plan."""
    kept.by(ENDED)
    kept.job("a", "succeeded")
    kept.after(10)
    kept.job("b", "succeeded")
    kept.after(20)
    plan = kept.plan()
    kept.after(10)
    kept.apply(plan)
    assert kept.types("job/b") == ["job.submitted", "job.succeeded"]
    assert kept.due() == {"b": "purge"}


def test_what_has_moved_on_is_left(kept: Kept) -> None:
    """Pinned, taken up again, or told something new since the plan: each is left and named."""
    kept.by(ENDED)
    for id_ in ("pinned", "running", "noted", "still"):
        kept.job(id_, "succeeded")
    kept.after(30)
    plan = kept.plan()
    kept.say("job.pinned", "pinned")
    kept.say("job.started", "running")
    kept.say("job.linked", "noted", to="x")
    applied = kept.apply(plan)
    left = {item.id: str(why) for item, why in applied.left}
    assert left == {"pinned": "pinned", "running": "moved on", "noted": "moved on"}
    assert applied.document()["left"] == {"pinned": 1, "moved on": 2}
    assert kept.types("job/still") == ["job.purged"]
    assert len(kept.stream("job/pinned")) == 3


def test_a_stream_that_moves_on_within_the_run_is_left(kept: Kept) -> None:
    """Between the look and the commit too: the marker expects the version that was looked at."""
    kept.by(ENDED)
    kept.job("a", "succeeded")
    kept.job("b", "succeeded")
    kept.after(30)
    plan = kept.plan()
    work = kept.log.work

    def intruding(*args: object, **options: object) -> object:
        kept.say("job.linked", "a", to="x")
        return work(*args, **options)  # type: ignore[arg-type]

    kept.log.work = intruding  # type: ignore[method-assign, assignment]
    applied = kept.retention.apply(plan, kept.now)
    kept.log.work = work  # type: ignore[method-assign]
    assert [(item.id, str(why)) for item, why in applied.left] == [("a", "moved on")]
    assert kept.types("job/a") == ["job.submitted", "job.succeeded", "job.linked"]


def test_an_unpinned_job_goes_again(kept: Kept) -> None:
    """A pin holds whatever the age, and ends."""
    kept.by(ENDED)
    kept.job("a", "succeeded")
    kept.say("job.pinned", "a", reason="an audit")
    kept.after(1_000)
    assert not kept.plan().items
    kept.say("job.unpinned", "a")
    assert kept.due() == {"a": "purge"}


def test_results_go_with_their_job(kept: Kept) -> None:
    """Each leaves a tombstone of its own, which says what it goes with."""
    kept.by(ENDED)
    kept.job("a", "succeeded")
    kept.say("result.recorded", "a/gff3", job="a", kind="GFF3", path="a.gff3")
    kept.after(30)
    kept.apply()
    (result,), (job,) = kept.stream("result/a/gff3"), kept.stream("job/a")
    assert (result.type, result.payload["replaces"]) == ("result.purged", 1)
    assert result.extensions["causationid"] == job.id
    assert result.payload["counts"]["events"] == 1
    assert kept.log.verify() == []


def test_a_result_that_moves_on_keeps_its_job(kept: Kept) -> None:
    """Both or neither: a result that was recorded again since the plan is somebody's."""
    kept.by(ENDED)
    kept.job("a", "succeeded")
    kept.say("result.recorded", "a/gff3", job="a", path="a.gff3")
    kept.after(30)
    plan = kept.plan()
    kept.say("result.recorded", "a/gff3", job="b", path="a.gff3")
    applied = kept.apply(plan)
    assert [str(why) for _, why in applied.left] == ["moved on"]
    assert len(kept.stream("job/a")) == 2


def test_alerts_and_files_are_purged(kept: Kept) -> None:
    """Each leaves its own tombstone, with what it adds to the summaries."""
    kept.by(
        {"category": "alert", "age": "last_event", "purge_after": "1d"},
        {"category": "file", "age": "last_event", "purge_after": "1d"},
    )
    kept.say("alert.raised", "a", severity="error")
    for _ in range(3):
        kept.say("file.observed", "x/y", path="x/y")
    kept.say("file.processed", "x/y")
    hour = kept.now // 3_600_000_000
    kept.after(1)
    kept.apply()
    (alert,), (file,) = kept.stream("alert/a"), kept.stream("file/x/y")
    assert (alert.type, alert.payload["summary"]) == (
        "alert.purged", {"hour": hour, "state": "open"},
    )  # fmt: skip
    assert (file.type, file.payload["summary"]) == ("file.purged", {"hours": [[hour, 3]]})
    assert file.payload["counts"]["events"] == 4


@pytest.mark.parametrize("removed", [True, False])
def test_a_new_life_is_purged_anew(kept: Kept, removed: bool) -> None:
    """The first life is counted with its own tombstone, whether its rows are gone yet or not."""
    kept.by(ENDED)
    kept.job("a", "succeeded")
    kept.after(30)
    if removed:
        kept.apply()
    else:
        kept.retention.apply(kept.plan(), kept.now)
    kept.after(1)
    kept.job("a", "failed")
    kept.after(29)
    assert not kept.plan().items
    kept.after(1)
    kept.apply()
    first, second = kept.stream("job/a")
    assert (first.version, second.version) == (3, 6)
    assert second.payload["counts"]["events"] == 2
    assert second.payload["summary"]["status"] == "failed"
    assert kept.log.verify() == []


def test_the_housekeeping_is_trimmed(kept: Kept) -> None:
    """Without a marker; the last run stays."""
    kept.by({"category": "maintenance", "purge_after": "10d"})
    for _ in range(3):
        kept.say("maintenance.started", "scrub")
        kept.say("maintenance.finished", "scrub")
    kept.after(10)
    applied = kept.apply()
    assert applied.done.count(Action.TRIM) == 1
    assert [event.version for event in kept.stream("maintenance/scrub")] == [5, 6]


def test_jobs_are_archived_by_who_can(kept: Kept) -> None:
    """One by one, with the rule and the reason; one that moved on meanwhile is left."""
    archiver = FakeArchiver()
    kept.by({**ENDED, "archive_after": "7d"}, archiver=archiver)
    for id_ in ("a", "b"):
        kept.job(id_, "succeeded")
    kept.after(7)
    archiver.moved_on.add("b")
    applied = kept.apply()
    assert archiver.archived == [("a", "job", "7 days after it ended")]
    assert applied.done.count(Action.ARCHIVE) == 1
    assert [(item.id, str(why)) for item, why in applied.left] == [("b", "moved on")]


def test_an_archive_that_does_not_answer_is_asked_once(kept: Kept) -> None:
    """The jobs are left, purges go on, and the result says what is wrong."""
    archiver = FakeArchiver()
    archiver.down = True
    kept.by({**ENDED, "archive_after": "7d"}, archiver=archiver)
    kept.job("purged", "succeeded")
    kept.after(23)
    for number in range(30):
        kept.job(f"job-{number}", "succeeded")
    kept.after(7)
    applied = kept.apply()
    assert archiver.asked == 1
    assert applied.document()["left"] == {"archive failed": 30}
    assert "does not answer" in str(applied.message)
    assert kept.types("job/purged") == ["job.purged"]


def test_a_limit_takes_the_first_items(kept: Kept) -> None:
    """The rest of the plan is said to be due still."""
    kept.by(ENDED)
    for number in range(5):
        kept.job(f"job-{number}", "succeeded")
    kept.after(30)
    applied = kept.apply(limit=2)
    assert applied.document()["entities"] == 2
    assert applied.document()["more"] == 3
    assert len(kept.plan().items) == 3


def test_a_run_that_ends_early_goes_on(kept: Kept) -> None:
    """What was done is done, the next plan holds the rest, and together that is all of it."""
    kept.by(ENDED, batch=10)
    for number in range(35):
        kept.job(f"job-{number}", "succeeded")
    kept.after(30)
    plan = kept.plan()

    def end(done: int, _total: int) -> None:
        if done >= 20:
            raise NotReady("stopping")

    with pytest.raises(NotReady):
        kept.apply(plan, progress=end)
    rest = kept.plan()
    assert {item.id for item in rest.items} == {item.id for item in plan.items[20:]}
    assert not kept.apply(rest).left
    assert not kept.plan().items


def test_a_plan_that_is_forgotten_is_made_again(tmp_path: Path) -> None:
    """After a restart its id names it while just that is due; else it is refused."""
    with Kept(tmp_path, ENDED) as kept:
        kept.job("a", "succeeded")
        kept.after(30)
        shown = kept.plan().id
        now = kept.now
    with Kept(tmp_path, ENDED) as kept:
        kept.now = now
        kept.project()
        assert kept.retention.find(shown, now).id == shown
        kept.apply()
    with Kept(tmp_path, ENDED) as kept:
        kept.project()
        with pytest.raises(PlanChanged):
            kept.retention.find(shown, now)


def test_the_task_goes_on_until_nothing_is_due(kept: Kept) -> None:
    """One run makes as many plans as it takes, and counts what they did."""
    kept.by(ENDED, run_max=4)
    for number in range(10):
        kept.job(f"job-{number}", "succeeded")
    kept.after(30)
    kept.project()
    outcome = kept.task().run(kept.now)
    assert outcome.counts["purged"] == 10
    assert outcome.counts["left"] == 0
    kept.project()
    assert kept.task().run(kept.now).counts["purged"] == 0


def test_the_task_does_nothing_where_it_is_not_to(kept: Kept) -> None:
    """With `[retention] apply = false` only who asks has a plan applied."""
    kept.by(ENDED, applies=False)
    kept.job("a", "succeeded")
    kept.after(30)
    kept.project()
    outcome = kept.task().run(kept.now)
    assert not any(outcome.counts.values())
    assert "apply is false" in (outcome.message or "")
    assert kept.due() == {"a": "purge"}


def test_a_file_of_many_messages_is_purged_in_little_memory(kept: Kept) -> None:
    """The messages are counted, not kept: there may be one a minute for years."""
    for hour in range(3):
        events = [
            NewEvent("file.observed", "/often", "/t", f"{hour}-{n}", b'{"path":"/often"}', kept.now)
            for n in range(400)
        ]
        kept.log.append(events)
        kept.now += HOUR
    found = find(kept.log, "file//often")
    assert sorted(found.observed.values()) == [400, 400, 400]
    kept.by({"category": "file", "age": "last_event", "purge_after": "1d"})
    kept.after(2)
    kept.apply()
    (tombstone,) = kept.stream("file//often")
    assert [count for _, count in tombstone.payload["summary"]["hours"]] == [400, 400, 400]


def test_jobs_of_many_results_are_purged_in_small_transactions(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Intake waits for each transaction, so that what one records is bounded."""
    kept.by(ENDED)
    for job in ("a", "b", "c"):
        kept.job(job, "succeeded")
        for number in range(80):
            kept.say("result.recorded", f"{job}/{number}", job=job, path=f"{job}/{number}")
    kept.after(40)
    work, sizes = kept.log.work, []

    def noted(asked: Work) -> Any:
        before = kept.log.head()
        done = work(asked)
        sizes.append(kept.log.head() - before)
        return done

    plan = kept.plan()
    with monkeypatch.context() as patched:
        patched.setattr(kept.log, "work", noted)
        applied = kept.retention.apply(plan, kept.now)
    assert applied.left == []
    assert sizes == [162, 81]


def test_a_result_of_several_jobs_goes_with_the_last(kept: Kept) -> None:
    """In one run or in two; where the other job is left, the result is, and this job too."""
    kept.by(ENDED)
    for pair in (("a", "b"), ("c", "d")):
        for job in pair:
            kept.job(job, "succeeded")
            kept.say("result.recorded", pair[0], job=job, path=pair[0])
    kept.say("job.pinned", "c", reason="an audit")
    kept.after(40)
    plan = kept.plan()
    assert {item.id: len(item.parts) for item in plan.items} == {"a": 0, "b": 1, "d": 0}
    kept.say("job.progressed", "a", fraction=1)
    applied = kept.apply(plan)
    assert {item.id: str(why) for item, why in applied.left} == {"a": "moved on", "b": "moved on"}
    assert kept.types("result/a") == ["result.recorded"] * 2
    kept.after(40)
    assert kept.apply().left == []
    assert kept.types("result/a") == ["result.purged"]
    assert kept.types("result/c") == ["result.recorded"] * 2
    kept.say("job.unpinned", "c")
    kept.after(40)
    assert kept.apply().left == []
    assert kept.types("result/c") == ["result.purged"]
