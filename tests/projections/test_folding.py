"""Processes that fold whole streams for a build, and what becomes of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from feeds import dump
from waiting import wait_until

from daemon.eventlog.log import EventLog
from daemon.eventlog.log_file import LogFile
from daemon.replay import folding
from daemon.replay.folding import FoldingChildren
from daemon.replay.upto import LogUpto
from domain.events import NewEvent
from projections.runner import ProjectionRunner

JOBS = 4_500
"""More than two ranges of streams."""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a log with jobs that come one after the other, and end late."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(folding, "EVENTS_MIN", 0)
    path = tmp_path / "log.db"
    with closing(EventLog.open(path, synchronous="OFF")) as log:
        log.start()
        for verb in ("submitted", "started", "succeeded"):
            for first in range(0, JOBS, 500):
                log.append(
                    [
                        NewEvent(f"job.{verb}", f"j{number}", "/tests", f"{verb}-{number}", b"{}")
                        for number in range(first, first + 500)
                    ]
                )
    return path


@pytest.fixture
def started(path: Path) -> Iterator[list[FoldingChildren]]:
    """Lend a list of what was started, and end it."""
    started: list[FoldingChildren] = []
    yield started
    for each in started:
        each.close()


def build(
    path: Path, views: Path, started: list[FoldingChildren] | None, upto: int | None = None
) -> ProjectionRunner:
    """Return a runner with processes that fold, noted in a list, or one that goes by log order."""
    file = LogFile(path)

    def start(names: list[str], last: int, end: int) -> FoldingChildren | None:
        children = FoldingChildren.start(path, names, last, end)
        if children is not None and started is not None:
            started.append(children)
        return children

    feed = file if upto is None else LogUpto(file, upto)
    least = 2**60 if started is None else 1
    return ProjectionRunner(views, feed, bulk_events=least, folding=start)


@pytest.mark.parametrize("upto", [None, 10_000])
def test_children_build_what_one_process_does(
    path: Path, started: list[FoldingChildren], tmp_path: Path, upto: int | None
) -> None:
    """The rows are the same; also up to a position."""
    for views, children in (("plain.db", None), ("fast.db", started)):
        with closing(build(path, tmp_path / views, children, upto)) as runner:
            runner.catch_up()
            assert {each.position for each in runner.status()} == {upto or 3 * JOBS}
    assert len(started) == 1
    assert started[0].ended
    assert dump(tmp_path / "fast.db") == dump(tmp_path / "plain.db")


def test_beside_live_tables_processes_fold_only_where_they_may(
    path: Path, started: list[FoldingChildren], tmp_path: Path
) -> None:
    """A first build has them; a rebuild beside intake is left to the process that writes."""
    views = tmp_path / "views.db"

    def start(names: list[str], last: int, end: int) -> FoldingChildren | None:
        children = FoldingChildren.start(path, names, last, end)
        assert children is not None
        started.append(children)
        return children

    for beside, wanted in ((False, 1), (False, 1), (True, 2)):
        runner = ProjectionRunner(
            views, LogFile(path), bulk_events=1, folding=start, folding_beside=beside
        )
        with closing(runner):
            runner.request_rebuild()
            runner.catch_up()
        assert len(started) == wanted


def test_a_child_that_dies_costs_nothing_but_time(
    path: Path, started: list[FoldingChildren], tmp_path: Path
) -> None:
    """The build is done again, in log order."""
    with closing(build(path, tmp_path / "plain.db", None)) as runner:
        runner.catch_up()
    with closing(build(path, tmp_path / "views.db", started)) as runner:
        runner.step(0)
        os.kill(started[0].pids[1], signal.SIGKILL)
        runner.catch_up()
        assert not started[0].pids
    assert dump(tmp_path / "views.db") == dump(tmp_path / "plain.db")


def test_closing_ends_the_children(
    path: Path, started: list[FoldingChildren], tmp_path: Path
) -> None:
    """Who is in the middle of a build leaves no process behind."""
    runner = build(path, tmp_path / "views.db", started)
    runner.step(0)
    pids = started[0].pids
    assert len(pids) == 2
    runner.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize("done", [False, True])
def test_children_end_when_their_parent_is_gone(path: Path, done: bool) -> None:
    """A parent that is killed leaves nobody who folds for nobody, or has nothing left to fold."""
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        children = FoldingChildren.start(path, ["jobs", "job_history"], JOBS, 3 * JOBS)
        assert children is not None
        while done and not children.ended:
            children.take(5.0)
        os.write(writing, " ".join(map(str, children.pids)).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    pids = os.read(reading, 100).decode().split()
    os.waitpid(parent, 0)
    os.close(reading)
    os.close(writing)
    assert len(pids) == 2
    wait_until(lambda: not any(_runs(pid) for pid in pids), "the children ended")


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_short_logs_one_processor_and_logs_in_memory_have_none(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the build folds for itself."""
    start = partial(FoldingChildren.start, names=["jobs"], last=1, upto=1)
    assert start(tmp_path / "nowhere.db") is None
    with monkeypatch.context() as patch:
        patch.setattr(folding, "EVENTS_MIN", 2)
        assert start(path) is None
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert start(path) is None
