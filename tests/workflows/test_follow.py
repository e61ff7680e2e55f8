"""Following workflows: parents, what follows a job that is done, and what did not come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flow import CHILD_SECONDS, START, Flow, job_id, loaded, removed, seen, task

from domain.events import NewEvent

ETL = [
    {"phase": "extract:hourly", "topic": "extract", "job": "hourly", "cron": "0 0 * * * *"},
    {"phase": "load:events", "depends_on": "extract:hourly", "require": ["file"], "retry": 2},
    {"phase": "count", "depends_on": "extract"},
    {"phase": "report", "depends_on": "load:events"},
    {"phase": "click", "files": "gs://raw/*/*.json"},
]


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[Flow]:
    """Return an empty log with its views and follower."""
    with Flow(tmp_path) as flow:
        yield flow


DONE = task("extract:hourly", 0, "complete", 10, file="out.json")
CHILD = task("load:events", 11)
PARENT_ID, CHILD_ID = job_id("extract:hourly", 0), job_id("load:events", 11)


def test_the_place_says_what_is_concluded_and_what_it_waits_for(flow: Flow) -> None:
    """A place past an event means that its conclusions are recorded; behind the views it waits."""
    flow.tell(loaded(ETL))
    before = flow.follower.position
    flow.append(DONE, CHILD)
    told = flow.log.head()
    flow.follower.step(flow.now)
    assert (flow.follower.position, flow.follower.waits_for_views) == (before, True)
    flow.settle()
    assert flow.follower.position >= told
    assert not flow.follower.waits_for_views
    assert [event.subject for event in flow.events("job.linked")] == [CHILD_ID]


@pytest.mark.parametrize("order", ["012", "021", "102", "120", "201", "210"])
def test_a_child_has_its_parent_in_any_order(flow: Flow, order: str) -> None:
    """Workflow, done message and child may come in any order: the child has the same parent."""
    given = (loaded(ETL), DONE, CHILD)
    for number in order:
        flow.tell(given[int(number)])
    assert flow.parents() == {CHILD_ID: PARENT_ID}
    [link] = flow.events("job.linked")
    assert link.payload["to"] == PARENT_ID
    assert link.time == flow.events("job.succeeded")[0].time


def test_what_follows_is_recorded_once(flow: Flow) -> None:
    """A done job's phases are said with the version of the file, and what they require."""
    flow.tell(loaded(ETL), task("extract:hourly", 0, "complete", 10))
    flow.tell(task("extract:hourly", 0, "complete", 10))
    [event] = flow.events("job.continued")
    assert event.payload == {
        "workflow": "etl.toml",
        "sha256": "a" * 64,
        "phases": [
            {"phase": "load:events", "outcome": "require_unmet", "missing": ["file"]},
            {"phase": "count", "outcome": "expected"},
        ],
    }
    assert event.extensions == {
        "causationid": flow.events("job.succeeded")[0].id,
        "correlationid": "run-1",
    }


@pytest.mark.parametrize("result", ["warn", "error", "alert", "what"])
def test_nothing_follows_another_result(flow: Flow, result: str) -> None:
    """Only a job that is complete has children."""
    flow.tell(loaded(ETL), task("extract:hourly", 0, result, 10, msg="said"), CHILD)
    assert (flow.continued(), flow.parents()) == ({}, {})


def test_each_attempt_of_a_child_has_the_same_parent(flow: Flow) -> None:
    """A retry is a job of its own, started by the same parent."""
    flow.tell(loaded(ETL), DONE, task("load:events", 11, "error", 12))
    flow.tell(task("load:events", 13, "complete", 14, retry="1"), task("report", 15))
    second = job_id("load:events", 13, attempt=2)
    assert flow.parents() == {
        CHILD_ID: PARENT_ID,
        second: PARENT_ID,
        job_id("report", 15): second,
    }


def test_the_last_parent_before_the_child_is_taken(flow: Flow) -> None:
    """Of several that fit the latest wins; one that ended after only where there is no other."""
    parents = [task("extract:hourly", n, "complete", end) for n, end in ((0, 9), (1, 12), (2, 8))]
    flow.tell(loaded(ETL), CHILD)
    flow.tell(parents[1])
    assert flow.parents() == {CHILD_ID: job_id("extract:hourly", 1)}
    flow.tell(parents[2])
    assert flow.parents() == {CHILD_ID: job_id("extract:hourly", 2)}
    flow.tell(parents[0])
    assert flow.parents() == {CHILD_ID: job_id("extract:hourly", 0)}


@pytest.mark.parametrize(("ended", "fits"), [(13, True), (14, False)])
def test_clocks_may_differ_by_two_seconds(flow: Flow, ended: int, fits: bool) -> None:
    """A parent that ended more than 2 s after its child was created is none."""
    flow.tell(loaded(ETL), task("extract:hourly", 0, "complete", ended), CHILD)
    assert bool(flow.parents()) is fits


def test_other_runs_and_workflows_are_apart(flow: Flow) -> None:
    """A child is of its own run and its own workflow file."""
    flow.tell(loaded(ETL), loaded(ETL, "other.toml"), DONE)
    flow.tell(task("load:events", 11, run="run-2"), task("load:events", 12, workflow="other.toml"))
    assert flow.parents() == {}


def test_a_batch_has_one_parent(flow: Flow) -> None:
    """Many children of one phase are linked each, also where they come first."""
    children = [task("load:events", 11 + n, run="batch") for n in range(1_500)]
    flow.append(*children)
    flow.tell(loaded(ETL))
    flow.tell(task("extract:hourly", 0, "complete", 10, run="batch"))
    assert len(flow.events("job.linked")) == 1_500


def test_a_producers_own_parent_stays(flow: Flow) -> None:
    """Where the producer names the parent itself, none is concluded."""
    said = b'{"kind":"load","phase":"load:events","workflow":"etl.toml","parent":"mine"}'
    event = NewEvent("job.submitted", "own", "/test", "1", said, None, {"correlationid": "run-1"})
    flow.tell(loaded(ETL), DONE, event)
    assert flow.parents() == {"own": "mine"}


def test_the_end_may_come_before_what_it_is_the_end_of(flow: Flow) -> None:
    """A job whose submission comes last is done then, and has its children then."""
    run = {"correlationid": "run-1"}
    end = NewEvent("job.succeeded", "p", "/test", "2", b"{}", START + 4_000_000, run)
    said = b'{"kind":"extract","phase":"extract:hourly","workflow":"etl.toml"}'
    flow.tell(loaded(ETL), end, task("count", 5))
    flow.tell(NewEvent("job.submitted", "p", "/test", "1", said, START, run))
    assert list(flow.continued()) == ["p"]
    assert flow.parents() == {job_id("count", 5): "p"}


def test_a_removed_workflow_is_not_followed(flow: Flow) -> None:
    """What is done while the file is gone has no followers; nor do matches name it."""
    flow.tell(loaded(ETL), removed(), DONE, seen("gs://raw/a/b.json", 5))
    assert flow.continued() == {}
    [match] = flow.events("file.matched")
    assert match.payload == {"reason": "no workflow has a file rule"}


def test_the_version_in_force_counts(flow: Flow) -> None:
    """A done job is judged by the file as it stands then, also after a restart."""
    flow.tell(loaded(ETL))
    flow.tell(loaded([{"phase": "new", "depends_on": "extract"}], sha256="b" * 64))
    flow.restart()
    flow.tell(DONE)
    assert flow.continued() == {PARENT_ID: [{"phase": "new", "outcome": "expected"}]}
    assert flow.events("job.continued")[0].payload["sha256"] == "b" * 64


def test_who_has_no_workflows_gets_no_events(flow: Flow) -> None:
    """Without any workflow nothing is recorded, and the place is not written for each event."""
    flow.tell(DONE, CHILD, seen("gs://raw/a/b.json", 5))
    assert {event.source for event in flow.events()} == {"/flowlord/tasks", "/flowlord/files"}


def missing(flow: Flow) -> list[tuple[str, str, str]]:
    """Return type, subject and title of the alerts about children."""
    return [
        (event.type, event.subject, event.payload.get("title", ""))
        for event in flow.events("alert.raised", "alert.resolved")
    ]


def test_a_missing_child_is_an_alert_until_it_comes(flow: Flow) -> None:
    """It is raised once when the time is over, also over a restart, and resolved by the child."""
    flow.tell(loaded(ETL), DONE, CHILD)
    flow.wait(CHILD_SECONDS - 2)
    assert missing(flow) == []
    flow.restart()
    flow.wait(2)
    alert = f"{PARENT_ID}:child_missing"
    raised = ("alert.raised", alert, "count did not follow")
    assert missing(flow) == [raised]
    flow.restart()
    flow.wait(CHILD_SECONDS)
    assert missing(flow) == [raised]
    flow.tell(task("count", 200))
    assert missing(flow) == [raised, ("alert.resolved", alert, "")]
    flow.tell(task("count", 300))
    assert len(missing(flow)) == 2


def test_children_that_came_raise_no_alert(flow: Flow) -> None:
    """Nor do those that are not expected, as what they require is not there."""
    flow.tell(loaded(ETL), task("extract:hourly", 0, "complete", 10), task("count", 12))
    flow.wait(2 * CHILD_SECONDS)
    assert missing(flow) == []


def test_history_raises_no_alert(flow: Flow) -> None:
    """What was done long before its workflow was known is linked, and not complained about."""
    flow.tell(DONE, CHILD)
    flow.now += 7_200_000_000
    flow.tell(loaded(ETL))
    flow.wait(2 * CHILD_SECONDS)
    assert flow.parents() == {CHILD_ID: PARENT_ID}
    assert missing(flow) == []


def test_a_file_is_tied_to_what_matched_it(flow: Flow) -> None:
    """Each matching phase is said of the message, and the job that was started for it."""
    path = "gs://raw/clicks/1.json"
    job = task("click", 7, file=path)
    flow.tell(loaded(ETL), seen(path, 5), job)
    [shown] = flow.views.list_files().items
    assert [match["phases"] for match in shown["matches"]] == [["click"], ["click"]]
    assert [match["jobs"] for match in shown["matches"]] == [[], [job_id("click", 7)]]


def test_a_job_that_came_before_its_file(flow: Flow) -> None:
    """The first message of the file is told of it."""
    path = "gs://raw/clicks/1.json"
    flow.tell(loaded(ETL), task("click", 7, file=path))
    flow.tell(seen(path, 5))
    flow.tell(seen(path, 50))
    named = {
        event.extensions["causationid"]: event.payload["jobs"]
        for event in flow.events("file.matched")
        if event.payload.get("jobs") and event.extensions
    }
    assert named == {flow.events("file.observed")[0].id: [job_id("click", 7)]}
    assert len(flow.events("file.matched")) == 4


@pytest.mark.parametrize("told", ["gs://raw/clicks/1.json?opt=true", "?day=2026-02-02"])
def test_a_worker_names_the_file_it_wrote(flow: Flow, told: str) -> None:
    """Where that hides the file of the rule, the instruction says it, if it begins with it."""
    rule = {"filename": "1.json", "files": "gs://raw/*/*.json"}
    done = task("click", 7, "complete", 9, file="gs://out/2.json", **rule) | {"info": told}
    flow.tell(loaded(ETL), done)
    matches = [(event.subject, event.payload["jobs"]) for event in flow.events("file.matched")]
    known = [("gs://raw/clicks/1.json", [job_id("click", 7)])]
    assert matches == (known if told.startswith("gs:") else [])


def test_why_no_rule_matches(flow: Flow) -> None:
    """The reason names the nearest pattern, and one that is malformed."""
    phases = [*ETL, {"phase": "odd", "files": "gs://[/x"}]
    flow.tell(loaded(phases), seen("gs://raw/a/b/c.json", 5))
    [match] = flow.events("file.matched")
    assert match.payload == {
        "reason": "no pattern matches; the nearest is 'gs://raw/*/*.json' of click; "
        "'gs://[/x' of odd is malformed"
    }
    [shown] = flow.views.list_files().items
    assert not shown["matched"]
