"""The rules: which policy decides, from when an age counts, and what is refused."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from keeping import DAY, HOUR, START, policies

from domain.job import JobStatus
from domain.policies import PRESETS, PolicyError, parse_age, preset, read_policies
from domain.retention import (
    Action,
    Age,
    Aged,
    Policies,
    Policy,
    after_text,
    spoken,
)


def job(
    status: str = "succeeded", days: float = 100, *, kind: str | None = "work", **more: Any
) -> Aged:
    """Return a job that was submitted an hour before it ended, so many days before `START`."""
    then = START - int(days * DAY)
    ended = None if status in ("submitted", "queued", "running") else then
    return Aged("job", "j", kind, status, then - HOUR, ended, then)._replace(**more)


def told(*tables: dict[str, Any], entity: Aged) -> str | None:
    """Return the name of the policy that decides."""
    policy = policies(*tables).of(entity)
    return None if policy is None else policy.name


def table(name: str, **more: str) -> dict[str, Any]:
    """Return a policy about jobs that purges after 30 days."""
    return {"name": name, "category": "job", "age": "ended", "purge_after": "30d", **more}


def test_without_a_policy_everything_is_kept() -> None:
    """No policy, or none that fits, keeps whatever the age."""
    assert policies().due(job(days=100_000), START) is None
    assert policies(table("a", status="failed")).due(job(days=100_000), START) is None
    assert not policies()


def test_the_most_specific_policy_decides() -> None:
    """Status and kind, then kind, then status, then category; the order of writing does not."""
    every = [
        table("category"),
        table("status", status="succeeded"),
        table("kind", kind="work"),
        table("both", kind="work", status="succeeded"),
    ]
    assert told(*every, entity=job()) == "both"
    assert told(*every[:3], entity=job()) == "kind"
    assert told(*every[:2], entity=job()) == "status"
    assert told(*every, entity=job(kind="other")) == "status"
    assert told(*every, entity=job("failed", kind="other")) == "category"
    assert told(*every[::-1], entity=job()) == "both"


def test_of_equals_the_first_written_decides() -> None:
    """Two policies of one kind: the first."""
    first, second = table("first", kind="work"), table("second", kind="work")
    assert told(first, second, entity=job()) == "first"
    assert told(second, first, entity=job()) == "second"


def test_own_policies_come_before_those_of_a_preset() -> None:
    """A general one of the configuration goes before a specific one of the preset."""
    keep = {"category": "job", "age": "ended", "purge_after": "forever"}
    assert policies(keep, named="amr").due(job(), START) is None
    assert policies(named="amr").due(job(), START) is not None


def test_a_policy_for_the_archive_decides_about_archived_jobs() -> None:
    """It goes before those of the status that the job ended with, and fits no other job."""
    found = policies(
        table("both", kind="work", status="succeeded"),
        {**table("archive", status="archived"), "age": "archived"},
    )
    archived = job(archived=START - 10 * DAY, updated=START - 10 * DAY)
    assert found.due(archived, START) is None
    assert found.next(archived).at == START + 20 * DAY  # type: ignore[union-attr]
    assert found.of(job()).name == "both"  # type: ignore[union-attr]


def test_an_archived_job_ages_from_its_archiving() -> None:
    """Not from its end; and from a later event where there is one."""
    found = policies({**table("a"), "age": "archived"})
    assert found.due(job(days=1000), START) is None
    young = job(days=1000, archived=START - 29 * DAY, updated=START - 29 * DAY)
    assert found.due(young, START) is None
    old = job(days=1000, archived=START - 30 * DAY, updated=START - 30 * DAY)
    assert found.due(old, START).action is Action.PURGE  # type: ignore[union-attr]
    assert found.due(old._replace(updated=START - DAY), START) is None


@pytest.mark.parametrize("status", ["submitted", "queued", "running"])
def test_what_has_not_ended_ages_by_its_last_event(status: str) -> None:
    """A job without an end time becomes due all the same."""
    found = policies(table("a"))
    assert found.due(job(status, 29), START) is None
    due = found.due(job(status, 30), START)
    assert due is not None
    assert "not having ended" in due.reason


def test_contradicting_times_keep_longer() -> None:
    """An end before the submission does not make a job older than it is."""
    found = policies(table("a"))
    odd = job(days=1000, submitted=START - DAY)
    assert found.due(odd, START) is None


def test_a_pinned_job_is_never_due() -> None:
    """Whatever its age."""
    assert policies(table("a")).due(job(days=10_000, pinned=True), START) is None
    assert policies(table("a")).next(job(pinned=True)) is None


def test_both_ages_over_means_purge() -> None:
    """First it is archived; when the second age is over too, it is purged."""
    found = policies(table("a", archive_after="7d"))
    assert found.due(job(days=6), START) is None
    assert found.due(job(days=7), START).action is Action.ARCHIVE  # type: ignore[union-attr]
    assert found.due(job(days=30), START).action is Action.PURGE  # type: ignore[union-attr]
    archived = job(days=8, archived=START, updated=START)
    assert found.due(archived, START) is None


def test_a_running_job_is_kept_by_flowlords_preset() -> None:
    """Flowlord deleted unfinished tasks too; the preset does not speak of them."""
    found = policies(named="flowlord")
    for status in ("submitted", "queued", "running"):
        assert found.next(job(status, 10_000)) is None
    for status in ("succeeded", "failed", "cancelled", "interrupted", "lost"):
        assert found.due(job(status, 89), START) is None
        assert found.due(job(status, 90), START) is not None


def test_every_status_has_a_rule_in_the_preset_amr() -> None:
    """No state of a job is without one: not cancelled, interrupted, lost or queued either."""
    found = policies(named="amr")
    days = {"succeeded": 30, "submitted": 2, "queued": 2, "running": 7}
    for status in map(str, JobStatus):
        limit = days.get(status, 14)
        due = found.due(job(status, limit), START)
        assert due is not None, status
        assert due.action is Action.PURGE
        before = found.due(job(status, limit - 0.01), START)
        assert before is None or before.action is Action.ARCHIVE


def test_presets_do_not_leak_into_each_other() -> None:
    """Reading one configuration leaves the presets and the next configuration as they were."""
    before = {name: tuple(found) for name, found in PRESETS.items()}
    policies(table("a", status="succeeded"), named="amr")
    assert dict(PRESETS) == before
    assert not policies()
    assert policies(named="amr").of(job()).purge_after == 30 * DAY  # type: ignore[union-attr]


REFUSED = [
    ({"category": "jobs"}, "did you mean 'job'"),
    ({"category": "queue"}, "known are"),
    ({"category": None}, "category is missing"),
    ({"age": "end"}, "did you mean 'ended'"),
    ({"age": None}, "age is missing"),
    ({"purge_after": None}, "neither archive_after nor purge_after"),
    ({"purge_after": ""}, "is no age"),
    ({"purge_after": "0"}, "is no age"),
    ({"purge_after": "0d"}, "would be at once"),
    ({"purge_after": "0d0h"}, "would be at once"),
    ({"purge_after": "-3d"}, "is no age"),
    ({"purge_after": 0}, "with a unit"),
    ({"purge_after": 30}, "with a unit"),
    ({"purge_after": "30"}, "is no age"),
    ({"purge_after": "30 days"}, "did you mean '30d'"),
    ({"purge_after": "1.5d"}, "is no age"),
    ({"purge_after": "3 months"}, 'write "30d"'),
    ({"purge_after": "never"}, "did you mean 'forever'"),
    ({"purge_after": "99999999w"}, "over 1,000 years"),
    ({"purge_after": "9999999999s"}, "is too long; 'forever'"),
    ({"purge_aftr": "30d"}, "did you mean 'purge_after'"),
    ({"status": "Completed"}, "here it is 'succeeded'"),
    ({"status": "Error"}, "here it is 'failed'"),
    ({"status": "Archived"}, "here it is 'archived'"),
    ({"status": "suceeded"}, "did you mean 'succeeded'"),
    ({"status": ""}, "not empty"),
    ({"kind": 3}, "has to be a text"),
    ({"archive_after": "30d"}, "less than purge_after"),
    ({"archive_after": "7d", "age": "archived"}, "in the archive"),
    ({"archive_after": "7d", "status": "archived"}, "in the archive"),
    ({"category": "alert", "archive_after": "7d"}, "only jobs are archived"),
    ({"category": "alert", "status": "running"}, "status"),
    ({"category": "file", "kind": "x"}, "has none"),
    ({"category": "file", "age": "archived"}, "only jobs are archived"),
    ({"category": "backup", "age": "ended"}, "known are: last_event"),
    ({"category": "maintenance", "status": "failed"}, "has none"),
]


@pytest.mark.parametrize(("change", "said"), REFUSED)
def test_what_is_not_clear_is_refused(change: dict[str, Any], said: str) -> None:
    """With the nearest name; above all whatever could mean: delete everything."""
    given_ = {"category": "job", "age": "ended", "purge_after": "30d"} | change
    with pytest.raises(PolicyError, match=said):
        read_policies([{key: value for key, value in given_.items() if value is not None}])


def test_two_of_one_name_are_refused() -> None:
    """What the log tells of a policy is by its name."""
    one = {"category": "job", "age": "ended", "purge_after": "30d"}
    with pytest.raises(PolicyError, match="two of the name 'job'"):
        read_policies([one, one | {"purge_after": "40d"}])


def test_every_fault_is_named() -> None:
    """One error says all that is wrong, and in which policy."""
    with pytest.raises(PolicyError) as raised:
        read_policies([{"category": "jobs", "age": "x"}, {"kind": 1}, 7])
    for part in ("policy 1: category", "policy 1: age", "policy 2: kind", "policy 3: a policy is"):
        assert part in str(raised.value)


def test_an_unknown_preset_is_refused() -> None:
    """With the nearest one."""
    with pytest.raises(PolicyError, match="did you mean 'flowlord'"):
        preset("flowlrd")


@pytest.mark.parametrize(
    ("text", "days"), [("30d", 30), ("12h", 0.5), ("1w", 7), ("1d12h", 1.5), ("90m", 0.0625)]
)
def test_ages_are_read(text: str, days: float) -> None:
    """With their units, alone and together."""
    assert parse_age(text) == days * DAY
    assert parse_age(after_text(int(days * DAY))) == days * DAY


def test_forever_is_never() -> None:
    """And is written so."""
    assert parse_age("forever") is None
    assert after_text(None) == "forever"
    assert spoken(DAY) == "1 day"
    assert spoken(36 * HOUR) == "36 hours"


statuses = st.sampled_from([str(status) for status in JobStatus])
moments = st.integers(0, 400).map(lambda days: START - days * DAY)
jobs = st.builds(
    lambda kind, status, times, archived, pinned: Aged(
        "job", "j", kind, status, min(times), times[1] if archived else None, max(times),
        max(times) if archived else None, pinned,
    ),
    st.sampled_from(["a", "b", None]), statuses, st.tuples(moments, moments, moments),
    st.booleans(), st.booleans(),
)  # fmt: skip
afters = st.one_of(st.none(), st.integers(1, 200).map(lambda days: days * DAY))
written = st.builds(
    Policy,
    st.uuids().map(str),
    st.just("job"),
    st.sampled_from(Age),
    afters,
    afters,
    st.sampled_from(["a", "b", None]),
    st.one_of(st.none(), statuses, st.just("archived")),
    st.sampled_from([None, "amr"]),
)


@given(st.lists(written, max_size=6), jobs)
def test_nothing_younger_than_its_rule_is_due(given_: list[Policy], entity: Aged) -> None:
    """What is due is older than the policy says, by each moment that its age could count from."""
    found = Policies(given_)
    due = found.due(entity, START)
    if due is None:
        return
    assert not entity.pinned
    assert due.policy is found.of(entity)
    after = due.policy.purge_after if due.action is Action.PURGE else due.policy.archive_after
    assert after is not None
    assert due.at == due.base + after <= START
    assert START - entity.submitted >= after
    if due.policy.age is not Age.SUBMITTED and entity.ended is None:
        assert START - entity.updated >= after
    assert due.action is Action.PURGE or entity.archived is None


@given(st.lists(written, max_size=6), jobs, st.integers(0, 400))
def test_what_is_due_stays_due(given_: list[Policy], entity: Aged, days: int) -> None:
    """Time alone takes nothing out of a plan, and `next` says when it comes in."""
    found = Policies(given_)
    due, coming = found.due(entity, START), found.next(entity)
    later = found.due(entity, START + days * DAY)
    assert due is None or later is not None
    if due is None and coming is not None:
        assert coming.at > START
        assert found.due(entity, coming.at) is not None
        assert found.due(entity, coming.at - 1) is None


@given(st.lists(written, max_size=6), jobs)
def test_no_entity_began_after_the_shortest_age(given_: list[Policy], entity: Aged) -> None:
    """The walk for a plan ends where nothing can be due any more."""
    found = Policies(given_)
    if found.due(entity, START) is not None:
        shortest = found.shortest("job")
        assert shortest is not None
        assert entity.submitted <= START - shortest


@given(written.filter(lambda policy: policy.archive_after or policy.purge_after))
def test_a_policy_is_read_as_it_is_written(policy: Policy) -> None:
    """What the log and the interface show of it is enough to read it again."""
    document = policy.document()
    assert parse_age(document["purge_after"]) == policy.purge_after
    assert parse_age(document["archive_after"]) == policy.archive_after
