"""Rows are a function of the events alone: of no batch, no cache, no restart and no arrival."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from feeds import MemoryFeed, built, dump
from hypothesis import given, settings
from hypothesis import strategies as st

from projections import job_states, states
from projections.registry import PROJECTIONS
from projections.runner import ProjectionRunner

TEXT = st.sampled_from(["ärger im Netz", "a\0b", "🧬 done", "x" * 50, "", '"quoted"'])
TIMES = st.integers(-100, 100) | st.sampled_from([0, 1, 10_000])
EXTRA = st.fixed_dictionaries(
    {}, optional={"meta_raw": st.sampled_from(["a=1", "a=2", ""]), "ended": st.just("late")}
)
PAYLOADS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "job.submitted": st.fixed_dictionaries(
        {},
        optional={
            "kind": st.sampled_from(["a", "b"]),
            "name": TEXT,
            "owner": st.sampled_from(["u", "v"]),
            "queue": st.sampled_from(["q", "one"]),
            "priority": st.integers(-1, 2),
            "workflow": st.just("w.toml"),
            "params": st.just({"deep": [1, {"x": None}]}),
            "input": st.sampled_from([False, 0, "", [1]]),
            "attempt": st.integers(1, 3),
            "phase": st.sampled_from(["a", "b"]),
            "native_status": st.sampled_from(["complete", "error"]),
            "extra": EXTRA,
        },
    ),
    "job.queued": st.fixed_dictionaries(
        {}, optional={"reason": TEXT, "queue": st.just("two"), "priority": st.just(5)}
    ),
    "job.started": st.fixed_dictionaries({}, optional={"attempt": st.integers(1, 3)}),
    "job.progressed": st.fixed_dictionaries(
        {},
        optional={
            "fraction": st.sampled_from([0.0, 0.1, 0.105, 0.11, 1.0]),
            "stage": st.sampled_from(["one", "two", ""]),
            "message": TEXT,
        },
    ),
    "job.succeeded": st.fixed_dictionaries(
        {},
        optional={
            "result": TEXT,
            "message": TEXT,
            "native_status": st.sampled_from(["complete", "warn"]),
            "extra": EXTRA,
        },
    ),
    "job.failed": st.fixed_dictionaries(
        {}, optional={"error": st.fixed_dictionaries({}, optional={"class": TEXT, "message": TEXT})}
    ),
    "job.lost": st.just({}),
    "job.retried": st.just({"next": "job-2"}),
    "job.linked": st.fixed_dictionaries({"to": st.sampled_from(["x", "y"])}),
    "job.pinned": st.just({}),
    "job.unpinned": st.just({}),
    "job.archived": st.just({}),
    "job.restored": st.just({}),
    "alert.raised": st.fixed_dictionaries(
        {},
        optional={
            "severity": st.sampled_from(["error", "info"]),
            "labels": st.just({"a": "b"}),
            "message": TEXT,
        },
    ),
    "alert.acknowledged": st.just({"by": "mara"}),
    "alert.resolved": st.just({"reason": "over"}),
    "alert.notified": st.just({"channel": "#c"}),
    "file.observed": st.fixed_dictionaries({}, optional={"size": st.integers(0, 9)}),
    "file.matched": st.fixed_dictionaries({}, optional={"jobs": st.just(["j"])}),
    "file.processed": st.just({"outcome": "ok"}),
    "file.removed": st.just({}),
    "workflow.loaded": st.fixed_dictionaries({}, optional={"issues": st.just([{"code": "x"}])}),
    "workflow.removed": st.just({}),
    "queue.paused": st.just({"reason": "why"}),
    "queue.resumed": st.just({}),
    "queue.cleared": st.just({"count": 3}),
    "queue.recovered": st.just({"count": 1}),
    "result.recorded": st.fixed_dictionaries({}, optional={"job": st.sampled_from(["one", "j"])}),
}


TYPES = sorted(PAYLOADS)
SUBJECTS = ("one", "two", "three/ü", "a::run-1:now:1")


@st.composite
def events(
    draw: Callable[..., Any],
    types: Sequence[str] = TYPES,
    subjects: Sequence[str] = SUBJECTS,
) -> tuple[str, str, dict[str, Any], int, dict[str, str]]:
    """Draw an event of one of a few entities: type, subject, payload, time, extensions."""
    event_type = draw(st.sampled_from(types))
    extensions: dict[str, str] = {}
    if draw(st.booleans()):
        extensions["correlationid"] = draw(st.sampled_from(["run-1", "run-2"]))
    if draw(st.booleans()):
        extensions["causationid"] = draw(st.sampled_from(["e1", "e2", "e3", "nowhere"]))
    subject = draw(st.sampled_from(subjects))
    return event_type, subject, draw(PAYLOADS[event_type]), draw(TIMES), extensions


def log_of(drawn: list[tuple[str, str, dict[str, Any], int, dict[str, str]]]) -> MemoryFeed:
    """Return a log of drawn events, recorded a second apart."""
    feed = MemoryFeed()
    for event_type, subject, payload, at, extensions in drawn:
        feed.add(event_type, subject, payload, at=at, **extensions)
    return feed


LOGS = st.lists(events(), max_size=40).map(log_of)
COURSE = [f"job.{verb}" for verb in ("submitted", "started", "progressed", "failed", "succeeded")]
LOGS_OF_ONE_JOB = (
    st.sampled_from(["one", "a::run-1:now:1"])
    .flatmap(lambda job: st.lists(events(COURSE, [job]), min_size=2, max_size=5))
    .map(log_of)
)


@settings(max_examples=100, deadline=None)
@given(LOGS, st.lists(st.integers(1, 12), max_size=12), st.booleans())
def test_rows_are_the_same_for_any_split(feed: MemoryFeed, cuts: list[int], cold: bool) -> None:
    """One batch, many batches, with warm or cold caches, live or rebuilt: the same rows."""
    with tempfile.TemporaryDirectory() as folder:
        whole, split = Path(folder, "whole.db"), Path(folder, "split.db")
        built(whole, feed)
        shown = MemoryFeed()
        remaining = list(feed.events)
        runner = ProjectionRunner(split, shown)
        for cut in [*cuts, len(remaining)]:
            for event in remaining[:cut]:
                shown.append(event)
            del remaining[:cut]
            if cold:
                runner.close()
                runner = ProjectionRunner(split, shown)
            runner.catch_up()
        runner.close()
        assert dump(split) == dump(whole)
        runner = ProjectionRunner(split, shown, build_events=7)
        runner.request_rebuild()
        runner.catch_up()
        runner.close()
        assert dump(split) == dump(whole)


@settings(max_examples=120, deadline=None)
@given(LOGS_OF_ONE_JOB)
def test_a_job_is_the_same_event_by_event(feed: MemoryFeed) -> None:
    """One job, each event a batch of its own or all in one: short, so that more is tried."""
    with tempfile.TemporaryDirectory() as folder:
        whole, split = Path(folder, "whole.db"), Path(folder, "split.db")
        built(whole, feed)
        built(split, feed, build_events=1)
        assert dump(split) == dump(whole)


@settings(max_examples=40, deadline=None)
@given(LOGS)
def test_rows_do_not_depend_on_what_is_remembered(feed: MemoryFeed) -> None:
    """A fold that forgets after every batch writes the same rows as one that remembers all."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        warm, cold = Path(folder, "warm.db"), Path(folder, "cold.db")
        built(warm, feed, build_events=3)
        patch.setattr(states, "REMEMBERED_MAX", 0)
        patch.setattr(job_states, "REMEMBERED_MAX", 0)
        built(cold, feed, build_events=3)
        assert dump(cold) == dump(warm)


@settings(max_examples=40, deadline=None)
@given(LOGS, st.booleans())
def test_rows_do_not_depend_on_the_neighbours(feed: MemoryFeed, cold: bool) -> None:
    """Without the rows of `jobs` to load from, the others fold the log, and come to the same."""
    without = [projection for projection in PROJECTIONS if projection.name != "jobs"]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        whole, alone = Path(folder, "whole.db"), Path(folder, "alone.db")
        built(whole, feed, build_events=3)
        if cold:
            patch.setattr(job_states, "REMEMBERED_MAX", 0)
        built(alone, feed, projections=without, build_events=3)
        expected = dump(whole)
        for table, found in dump(alone).items():
            if table != "projections":
                assert found == expected[table]


@settings(max_examples=60, deadline=None)
@given(st.lists(events(), max_size=25), st.randoms(use_true_random=False))
def test_arrival_does_not_change_a_job(drawn: list[Any], random: Any) -> None:
    """The same events in another order give the same jobs, where their times differ.

    Only the numbers that count arrivals (first and last position) may differ.
    """
    drawn = [
        (event_type, subject, payload, at, extensions)
        for at, (event_type, subject, payload, _, extensions) in enumerate(drawn)
    ]
    shuffled = list(drawn)
    random.shuffle(shuffled)
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for name, order in (("one.db", drawn), ("other.db", shuffled)):
            feed = MemoryFeed()
            for event_type, subject, payload, at, extensions in order:
                feed.add(event_type, subject, payload, at=at, recorded=1000, **extensions)
            path = Path(folder, name)
            built(path, feed)
            found.append(_jobs(path))
        assert found[0] == found[1]


def _jobs(path: Path) -> list[tuple[Any, ...]]:
    tables = dump(path)
    columns = len(tables["jobs"][0]) if tables["jobs"] else 0
    jobs = [
        tuple(row[place] for place in range(columns) if place not in (0, 4))
        for row in tables["jobs"]
    ]
    counters = [row for row in tables["summary_counters"] if row[0] in ("status", "kind", "run")]
    return [sorted(jobs, key=repr), counters]  # type: ignore[list-item]


def test_every_projection_is_compared() -> None:
    """The rows that are compared are those of all projections."""
    assert {projection.name for projection in PROJECTIONS} == {
        "jobs", "job_history", "alerts", "files", "summary", "search",
        "ties", "tasks", "workflows", "queues",
    }  # fmt: skip
