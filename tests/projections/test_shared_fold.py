"""The jobs are folded once for several projections, and each of them still fails alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from feeds import SECOND, START, MemoryFeed, built, dump

from domain.errors import StorageFailed
from domain.events import RecordedEvent
from projections import job_states
from projections.job_history import JobHistoryFold
from projections.job_states import JobStates
from projections.jobs import JobsFold
from projections.queues import QueuesFold
from projections.runner import ProjectionRunner
from projections.seam import Batch
from projections.search import SearchFold
from projections.summary import SummaryFold
from projections.tasks import TasksFold

FOLDS = {
    "jobs": JobsFold, "job_history": JobHistoryFold, "summary": SummaryFold, "search": SearchFold,
    "tasks": TasksFold, "queues": QueuesFold,
}  # fmt: skip
OF_JOBS = set(FOLDS)
BAD = 14


@pytest.fixture
def feed() -> MemoryFeed:
    """Return a log of jobs that fail and go on, and of alerts and files between them."""
    feed = MemoryFeed()
    for round_ in range(4):
        for subject in ("one", "two"):
            feed.add("job.started", subject, {"attempt": round_ + 1, "worker": "w"})
            feed.add("job.failed", subject, {"error": {"class": "E", "message": f"no {round_}"}})
        feed.add("alert.raised", "a", {"severity": "error"})
        feed.add("file.observed", "f", {"size": round_})
    return feed


def upto(feed: MemoryFeed, position: int) -> MemoryFeed:
    """Return a log of the first events."""
    shown = MemoryFeed()
    for event in feed.events[:position]:
        shown.append(event)
    return shown


def rows_of(path: Path, runner: ProjectionRunner, names: set[str]) -> dict[str, Any]:
    """Return the rows of some projections."""
    tables = [
        table
        for generation in runner._opened().generations()
        if generation.name in names
        for table in generation.tables.split()
    ]
    found = dump(path)
    return {table: found[table] for table in tables}


@pytest.mark.parametrize("size", [1, 5, 100])
@pytest.mark.parametrize("name", sorted(OF_JOBS))
def test_a_projection_of_jobs_fails_alone(
    tmp_path: Path, feed: MemoryFeed, monkeypatch: pytest.MonkeyPatch, name: str, size: int
) -> None:
    """It keeps the rows of all events before the one it fails at; the others know them all."""
    fold = FOLDS[name]
    apply: Callable[[Any, Batch], None] = fold.apply

    def failing(self: Any, batch: Batch) -> None:
        apply(self, batch)
        if any(event.position == BAD for event in batch.events):
            raise ValueError("no")

    path, whole, before = (tmp_path / f"{each}.db" for each in ("views", "whole", "before"))
    built(whole, feed)
    built(before, upto(feed, BAD - 1))
    with monkeypatch.context() as patch:
        patch.setattr(fold, "apply", failing)
        runner = ProjectionRunner(path, feed, build_events=size, batch_events=size)
        runner.catch_up()
    try:
        failed = {each.name: each for each in runner.status() if each.error}
        assert {each: failed[each].failed_position for each in failed} == {name: BAD}
        expected = ProjectionRunner(before, upto(feed, BAD - 1))
        assert rows_of(path, runner, {name}) == rows_of(before, expected, {name})
        expected.close()
        expected = ProjectionRunner(whole, feed)
        others = {each.name for each in runner.status()} - {name}
        assert rows_of(path, runner, others) == rows_of(whole, expected, others)
        expected.close()
    finally:
        runner.close()
    # Tried again, it catches up with the others, from the log or from the rows of the jobs.
    built(path, feed, batch_events=size)
    assert dump(path) == dump(whole)


def test_an_event_that_cannot_be_folded_fails_those_that_need_it(
    tmp_path: Path, feed: MemoryFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in the rules of jobs stops each projection of jobs at that event, and no other."""
    advance = job_states.advance_job

    def failing(state: Any, event: RecordedEvent) -> Any:
        if event.position == BAD:
            raise ValueError("no rule")
        return advance(state, event)

    path = tmp_path / "views.db"
    with monkeypatch.context() as patch:
        patch.setattr(job_states, "advance_job", failing)
        runner = ProjectionRunner(path, feed, build_events=5)
        runner.catch_up()
    status = {each.name: each for each in runner.status()}
    runner.close()
    assert {name for name in status if status[name].error} == OF_JOBS
    assert {status[name].failed_position for name in OF_JOBS} == {BAD}
    assert {status[name].position for name in ("alerts", "files")} == {feed.head()}
    built(path, feed)
    built(tmp_path / "whole.db", feed)
    assert dump(path) == dump(tmp_path / "whole.db")


@pytest.mark.parametrize("name", sorted(OF_JOBS))
def test_one_projection_is_rebuilt_beside_the_others(
    tmp_path: Path, feed: MemoryFeed, name: str
) -> None:
    """A build of its own folds its own jobs, while the live tables go on, and then joins them."""
    path = tmp_path / "views.db"
    runner = ProjectionRunner(path, upto(feed, 8), batch_events=3)
    runner.catch_up()
    runner.request_rebuild(name)
    for event in feed.events[8:]:
        runner._feed.append(event)  # type: ignore[attr-defined]
        runner.step(0)
    runner.catch_up()
    runner.close()
    built(tmp_path / "whole.db", feed)
    assert dump(path) == dump(tmp_path / "whole.db")


def test_lost_rows_of_jobs_stop_nobody_else(tmp_path: Path, feed: MemoryFeed) -> None:
    """Where the table of the jobs cannot be read, the others fold the log instead."""
    path = tmp_path / "views.db"
    built(path, upto(feed, 8))
    runner = ProjectionRunner(path, feed)
    runner._opened().db.execute("DROP TABLE jobs")
    runner.catch_up()
    assert {each.name for each in runner.status() if each.error} == {"jobs"}
    runner.request_rebuild("jobs")
    runner.catch_up()
    runner.close()
    built(tmp_path / "whole.db", feed)
    assert dump(path) == dump(tmp_path / "whole.db")


def test_what_is_remembered_of_jobs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that ended are dropped first, the longest last; there is a bound in bytes, too."""
    monkeypatch.setattr(job_states, "REMEMBERED_MAX", 4)
    feed = MemoryFeed()
    states = JobStates(lambda stream, position: feed.events[: position - 1])

    def fold(subject: str, *types: str, size: int = 1) -> None:
        events = [feed.add(type_, subject) for type_ in types]
        states.fold({events[0].position: events}, size)

    for subject in "abc":
        fold(subject, "job.started", "job.succeeded")
    fold("d", "job.started")
    assert [state.id for state in states._known.values()] == ["a", "b", "c", "d"]
    fold("e", "job.started")
    assert [state.id for state in states._known.values()] == ["d", "e"]
    fold("f", "job.started", size=job_states.REMEMBERED_BYTES)
    assert not states._known
    for subject in "ghi":
        fold(subject, "job.started")
    fold("j", "job.started", "job.progressed")
    fold("k", "job.started", "job.progressed", "job.progressed")
    assert [state.id for state in states._known.values()] == ["k", "j"]
    states.rows = lambda jobs: []
    for subject in "lmn":
        fold(subject, "job.started")
    assert not states._known


def test_only_the_words_of_an_error_are_kept() -> None:
    """What is large of a job is handed on once, and does not stay in memory."""
    feed = MemoryFeed()
    error = {"class": "E", "message": "no", "log": "x" * 1000}
    events = [feed.add("job.failed", "a", {"error": error})]
    states = JobStates(lambda stream, position: ())
    ((_, _, state, documents, _, _),) = states.fold({1: events}, 1)
    assert documents == (None, None, None, error)
    assert state.error == {"class": "E", "message": "no"}
    ((_, _, state, documents, _, _),) = states.fold({1: [feed.add("job.lost", "a")]}, 1)
    assert documents is None
    assert state.updated == START + 2 * SECOND


def test_a_fold_that_fails_once_leaves_no_gap(
    tmp_path: Path, feed: MemoryFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of `jobs` that are beyond a batch by then are not taken for those before it."""
    path, advance = tmp_path / "views.db", job_states.advance_job
    shown = upto(feed, BAD - 6)
    runner = ProjectionRunner(path, shown)
    runner.catch_up()
    for name in sorted(OF_JOBS - {"jobs"}):
        runner.request_rebuild(name)  # Behind `jobs` from now on.
        runner.catch_up()
    for event in feed.events[BAD - 6 :]:
        shown.append(event)
    failures = [MemoryError("once")]

    def failing(state: Any, event: RecordedEvent) -> Any:
        if event.position == BAD and failures:
            raise failures.pop()
        return advance(state, event)

    with monkeypatch.context() as patch:
        patch.setattr(job_states, "advance_job", failing)
        runner.catch_up()
    assert not failures
    assert not [each for each in runner.status() if each.error]
    runner.close()
    built(tmp_path / "whole.db", feed)
    assert dump(path) == dump(tmp_path / "whole.db")


def test_a_log_that_cannot_be_read_is_no_fault_of_a_projection(
    tmp_path: Path, feed: MemoryFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that needs a job's earlier events fails as a step, and goes on after the fault."""
    path = tmp_path / "views.db"
    built(path, feed)
    monkeypatch.setattr("projections.runner.BESIDE_EVENTS", 6)
    runner = ProjectionRunner(path, feed)
    runner.request_rebuild("summary")
    runner.step(0)
    runner._states.clear()

    def broken(*_: Any, **__: Any) -> Any:
        raise StorageFailed("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(feed, "read_stream", broken)
        with pytest.raises(StorageFailed):
            runner.catch_up()
    runner.catch_up()
    assert not [each for each in runner.status() if each.error]
    runner.close()
    built(tmp_path / "whole.db", feed)
    assert dump(path) == dump(tmp_path / "whole.db")


def test_a_large_first_build_that_fails_is_shown_too(
    tmp_path: Path, feed: MemoryFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows before the event it fails at go live at once, however many indexes they lack."""
    monkeypatch.setattr("projections.runner.INDEXED_AT_ONCE_MAX", 1)
    apply = JobsFold.apply

    def failing(self: Any, batch: Batch) -> None:
        apply(self, batch)
        if any(event.position == BAD for event in batch.events):
            raise ValueError("no")

    monkeypatch.setattr(JobsFold, "apply", failing)
    runner = ProjectionRunner(tmp_path / "views.db", feed)
    runner.catch_up()
    (status,) = (each for each in runner.status() if each.name == "jobs")
    assert (status.state, status.position, status.failed_position) == ("failed", BAD - 1, BAD)
    runner.close()
