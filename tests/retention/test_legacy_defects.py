"""Defects of the systems that came before, each shown not to be here, with the presets named so.

Those of the archiver of the AMR predictor: an archived job aged from its end, only so many rows of
a status were looked at, some states had no rule, rows without an end were never found, the history
went with the job, there was no dry run and no report, and overrides leaked into the defaults. Those
of flowlord: no setting meant zero, which deleted everything; the documented section was another
one; one age held for all tables; and what was not finished was deleted too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from keeping import DAY, FakeArchiver, Kept

from daemon.config import load
from domain.errors import ConfigurationError
from domain.lives import replaced_versions


@pytest.fixture
def amr(tmp_path: Path) -> Iterator[Kept]:
    """Return a log with the preset of the AMR predictor."""
    with Kept(tmp_path, named="amr") as found:
        yield found


@pytest.fixture
def flowlord(tmp_path: Path) -> Iterator[Kept]:
    """Return a log with the preset of flowlord."""
    with Kept(tmp_path, named="flowlord") as found:
        yield found


def archive(kept: Kept, id_: str) -> None:
    """Record that a job is in the archive, as the archive does."""
    version = len(kept.stream(f"job/{id_}"))
    row = {"kind": "work", "status": "succeeded", "submitted": kept.now - 60 * DAY,
           "status_time": kept.now - 50 * DAY, "updated": kept.now - 50 * DAY}  # fmt: skip
    kept.say("job.archived", id_, replaces=version, row=row, location=f"jobs/{id_}", events=version)
    assert replaced_versions("job.archived", kept.stream(f"job/{id_}")[-1].payload) == version


def test_an_archived_job_ages_from_its_archiving(amr: Kept) -> None:
    """90 days from then, although it ended long before."""
    amr.job("a", "succeeded", time=amr.now - 50 * DAY)
    archive(amr, "a")
    amr.after(89)
    assert amr.due() == {}
    amr.after(1)
    (item,) = amr.plan().items
    assert (item.rule, item.reason) == ("amr.job.archived", "90 days after it was archived")
    amr.apply()
    tombstone = amr.stream("job/a")[-1]
    assert tombstone.payload["location"] == "jobs/a"
    waiting = amr.log.pending_removals(outside=True)
    assert [each.stream for each in waiting] == ["job/a"]


def test_more_than_a_thousand_of_one_status_are_found(amr: Kept) -> None:
    """Not only the first thousand rows of a status."""
    for number in range(1_050):
        amr.say("job.failed", f"job-{number}")
    amr.after(14)
    plan = amr.plan()
    assert len(plan.items) == 1_050
    assert not amr.apply(plan).left
    assert amr.due() == {}


def test_every_state_has_a_rule(amr: Kept) -> None:
    """What was cancelled, queued, interrupted or lost, and what says a stage in words, goes too."""
    for verb in ("cancelled", "queued", "interrupted", "lost"):
        amr.job(verb, verb)
    amr.job("words", "started")
    amr.say("job.progressed", "words", stage="Loading FASTA file", fraction=0.5)
    amr.after(14)
    assert set(amr.due()) == {"cancelled", "queued", "interrupted", "lost", "words"}


def test_a_job_without_an_end_goes_some_day(amr: Kept) -> None:
    """8 of 9 failed rows had no end time, and one runs at 56 percent for ever."""
    amr.say("job.failed", "no-start")
    amr.job("for-ever", "started")
    amr.say("job.progressed", "for-ever", fraction=0.56)
    amr.after(7)
    assert amr.due() == {"for-ever": "purge"}
    amr.after(7)
    assert amr.due() == {"for-ever": "purge", "no-start": "purge"}


def test_the_statistics_survive_a_purge(amr: Kept) -> None:
    """A tombstone stays, and the day's counts are as before."""
    amr.job("a", "started", "succeeded")
    amr.project()
    before = amr.views.summary()
    amr.after(30)
    amr.apply()
    after = amr.views.summary()
    assert amr.types("job/a") == ["job.purged"]
    assert (after["jobs"], after["days"]) == (before["jobs"], before["days"])
    assert after["jobs"]["by_status"] == {"succeeded": 1}


def test_a_plan_changes_nothing_and_a_run_reports(amr: Kept) -> None:
    """A dry run is what `plan` is; what is done is counted and named."""
    amr.job("a", "succeeded")
    amr.job("b", "succeeded")
    amr.after(30)
    head = amr.log.head()
    plan = amr.plan()
    assert amr.log.head() == head
    amr.say("job.pinned", "b")
    result = amr.apply(plan).document()
    assert (result["planned"], result["entities"], result["left"]) == (2, 1, {"pinned": 1})
    assert [item["id"] for item in result["left_items"]] == ["b"]


def test_the_archive_comes_first_where_there_is_one(amr: Kept) -> None:
    """At 7 days; what was archived is not purged by the age of its status."""
    archiver = FakeArchiver()
    amr.by(named="amr", archiver=archiver)
    amr.job("a", "succeeded")
    amr.after(7)
    assert amr.due() == {"a": "archive"}
    amr.apply()
    assert [job for job, _, _ in archiver.archived] == ["a"]
    archive(amr, "a")
    amr.after(60)
    assert amr.due() == {}


def test_configurations_do_not_leak_into_each_other(tmp_path: Path) -> None:
    """One that overrides a preset leaves the preset as it is for the next."""
    path = tmp_path / "a.toml"
    path.write_text(
        '[retention]\npreset = "amr"\n[[retention.policies]]\ncategory = "job"\n'
        'status = "succeeded"\nage = "ended"\npurge_after = "999d"\n'
    )
    first = load(data=tmp_path, file=path, environment={}).retention.policy_set()
    environment = {"CHRONICLED_RETENTION__PRESET": "amr"}
    second = load(data=tmp_path, environment=environment).retention.policy_set()
    none = load(data=tmp_path, environment={}).retention.policy_set()
    assert first.by_name["job.succeeded"].purge_after == 999 * DAY
    assert "job.succeeded" not in second.by_name
    assert second.by_name["amr.job.succeeded"].purge_after == 30 * DAY
    assert not none


def test_no_setting_keeps_everything(tmp_path: Path) -> None:
    """Unset is not zero."""
    found = load(data=tmp_path, environment={}).retention
    assert not found.policy_set()
    with Kept(tmp_path) as kept:
        kept.job("a", "succeeded")
        kept.after(10_000)
        assert kept.due() == {}


@pytest.mark.parametrize(
    "text",
    ["[Retention]\ndays = 90", '[sqlite]\nretention = "2160h"', '[retention]\nretention = "90d"',
     "[retention]\npreset = 90", '[retention]\npolicies = "90d"'],
)  # fmt: skip
def test_a_setting_in_the_wrong_place_is_refused(tmp_path: Path, text: str) -> None:
    """It is not passed over, as if nothing had been said."""
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError):
        load(data=tmp_path, file=path, environment={})


def test_each_category_has_an_age_of_its_own(flowlord: Kept) -> None:
    """A policy for alerts says nothing of files."""
    flowlord.by({"category": "alert", "age": "last_event", "purge_after": "7d"}, named="flowlord")
    flowlord.say("alert.raised", "alert", severity="error")
    flowlord.say("file.observed", "file", path="file")
    flowlord.job("job", "succeeded")
    flowlord.after(7)
    assert flowlord.due() == {"alert": "purge"}
    flowlord.after(83)
    assert set(flowlord.due()) == {"alert", "file", "job"}


def test_what_is_not_finished_stays(flowlord: Kept) -> None:
    """Unless a policy says so."""
    flowlord.job("runs", "started")
    flowlord.job("waits")
    flowlord.after(10_000)
    assert flowlord.due() == {}
    flowlord.by(
        {"category": "job", "status": "running", "age": "ended", "purge_after": "365d"},
        named="flowlord",
    )
    assert flowlord.due() == {"runs": "purge"}
