"""Readers: not built yet, too slow, failed, damaged, replaced, and many at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from feeds import MemoryFeed, built, submitted

from domain.errors import NotReady, QueryTimeout, StorageFailed
from projections.job_list import JobFilter
from projections.jobs import Jobs
from projections.registry import PROJECTIONS
from projections.runner import ProjectionRunner
from projections.store import Generation, statuses
from projections.views import Views


@pytest.fixture
def feed() -> MemoryFeed:
    """Return a log of ten jobs."""
    feed = MemoryFeed()
    submitted(feed, [f"job-{number}" for number in range(10)])
    return feed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the views are."""
    return tmp_path / "views.db"


@pytest.fixture
def views(path: Path) -> Iterator[Views]:
    """Return a reader of the file there."""
    views = Views(path)
    yield views
    views.close()


class Failing(Jobs):
    """The jobs, failing at one position."""

    def __init__(self, position: int) -> None:
        self._position = position

    def fold(self, db: apsw.Connection, prefix: str):
        """Return a fold that fails."""
        fold = super().fold(db, prefix)
        apply = fold.apply

        def failing(batch) -> None:
            apply(batch)
            if any(event.position == self._position for event in batch.events):
                raise ValueError("no")

        fold.apply = failing  # type: ignore[method-assign]
        return fold


def others(jobs: Jobs) -> list:
    """Return all projections, with another one for the jobs."""
    return [jobs if each.name == "jobs" else each for each in PROJECTIONS]


def test_a_file_that_is_just_being_made_is_not_ready(path: Path, views: Views) -> None:
    """Between the runner's opening of the file and its first tables there is nothing to ask."""
    db = apsw.Connection(str(path))
    try:
        db.pragma("journal_mode", "wal")
        for ask in (views.list_jobs, views.summary, views.status):
            with pytest.raises(NotReady, match="being made"):
                ask()
    finally:
        db.close()


def test_what_is_not_built_is_not_ready(path, feed, views) -> None:
    """Before the file is there, and during the first build, the answer says how far it is."""
    with pytest.raises(NotReady, match="not there yet"):
        views.list_jobs()
    runner = ProjectionRunner(path, feed, build_events=4)
    try:
        runner.step(0)
        for ask in (views.list_jobs, views.summary, views.list_files, views.list_alerts):
            with pytest.raises(NotReady, match="is being built: at position 4 of 10"):
                ask()
        with pytest.raises(NotReady):
            views.history("job-1", True)
        assert {each.state for each in views.status()} == {"building"}
        runner.catch_up()
        assert len(views.list_jobs().items) == 10
        assert views.status() == runner.status()
    finally:
        runner.close()


def test_a_failed_projection_answers_from_its_last_good_rows(path, feed, views) -> None:
    """`as_of` says which position the answer shows; the others are not held back."""
    built(path, feed, projections=others(Failing(7)))
    page = views.list_jobs()
    assert (len(page.items), page.as_of) == (6, 6)
    assert views.job("job-9") == (None, 6)
    assert views.history("job-9").as_of == 10
    assert views.history("job-3", True).as_of == 6
    assert views.list_jobs(JobFilter(q="x")).as_of == 6
    status = next(each for each in views.status() if each.name == "jobs")
    assert (status.state, status.position, status.failed_position) == ("failed", 6, 7)


def test_an_answer_is_one_snapshot(path, feed, views, monkeypatch) -> None:
    """Rows and position of an answer belong together, whatever is written meanwhile."""
    runner = ProjectionRunner(path, feed)
    try:
        runner.catch_up()

        def write_then_list(db, *rest):
            submitted(feed, ["new"])
            runner.catch_up()
            return real(db, *rest)

        from projections import views as module

        real = module.list_jobs
        monkeypatch.setattr(module, "list_jobs", write_then_list)
        page = views.list_jobs()
        assert (len(page.items), page.as_of) == (10, 10)
        page = views.list_jobs()
        assert (len(page.items), page.as_of) == (11, 11)
    finally:
        runner.close()


def test_a_query_that_takes_too_long_is_ended(path, feed, monkeypatch) -> None:
    """The deadline ends a query; the next one is not touched by it."""
    built(path, feed)
    now = [0.0]
    views = Views(path, timeout_seconds=5, monotonic=lambda: now[0])
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"

    def slow(db, *rest):
        now[0] = 6.0
        return db.execute(endless).get

    try:
        with monkeypatch.context() as patch:
            patch.setattr("projections.views.find_job", slow)
            with pytest.raises(QueryTimeout, match="longer than 5 s"):
                views.job("job-1")
        assert views.job("job-1")[1] == 10
    finally:
        views.close()


def test_many_threads_read_while_the_runner_writes(path, feed, views) -> None:
    """Every answer is consistent: as many jobs as its position says."""
    runner = ProjectionRunner(path, feed)
    runner.catch_up()
    wrong: list[object] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            page = views.list_jobs(limit=1000)
            if len(page.items) != page.as_of:
                wrong.append(page)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(100):
        submitted(feed, [f"more-{number}"])
        if number == 50:
            runner.request_rebuild()
        runner.step(0)
    runner.catch_up()
    done.set()
    for thread in threads:
        thread.join()
    runner.close()
    assert not wrong
    assert views.list_jobs().as_of == 110


def test_a_file_that_was_put_aside_is_not_read_any_more(path, feed, views) -> None:
    """After the runner made another file, readers see that one and not the old."""
    built(path, feed)
    assert views.list_jobs().as_of == 10
    other = MemoryFeed("log-2")
    submitted(other, ["x"])
    built(path, other)
    page = views.list_jobs()
    assert ([item["id"] for item in page.items], page.as_of) == (["x"], 1)


def test_damage_is_reported_and_not_ready(path, feed) -> None:
    """A reader that finds damage tells the runner, which builds the file afresh."""
    built(path, feed)
    db = apsw.Connection(str(path))
    root = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'jobs'").get
    db.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xa5" * 4096)
    runner = ProjectionRunner(path, feed)
    views = Views(path, on_damage=runner.distrust)
    try:
        with pytest.raises(NotReady, match="damaged"):
            views.list_jobs()
        assert runner.woken.is_set()
        runner.catch_up()
        assert views.list_jobs().as_of == 10
    finally:
        views.close()
        runner.close()


def test_a_missing_file_wakes_the_runner(path, feed) -> None:
    """A reader that finds no file tells the runner, which makes it again."""
    built(path, feed)
    runner = ProjectionRunner(path, feed)
    views = Views(path, on_missing=runner.wake)
    try:
        runner.catch_up()
        assert views.list_jobs().as_of == 10
        path.unlink()
        runner.woken.clear()
        with pytest.raises(NotReady, match="not there"):
            views.list_jobs()
        assert runner.woken.is_set()
        runner.catch_up()
        assert views.list_jobs().as_of == 10
    finally:
        views.close()
        runner.close()


def test_views_of_another_log_are_not_read(path, feed) -> None:
    """Who knows which log it is about gets no answer from another's views."""
    built(path, feed)
    for log, fits in ((feed, True), (MemoryFeed("log-2"), False)):
        views = Views(path, log=log)
        try:
            if fits:
                assert views.list_jobs().as_of == 10
            else:
                with pytest.raises(NotReady, match="another log"):
                    views.list_jobs()
        finally:
            views.close()


def test_a_file_that_cannot_be_opened_is_a_storage_fault(path) -> None:
    """Something else in the place of the file is said, as unavailable."""
    path.mkdir()
    views = Views(path)
    try:
        with pytest.raises(StorageFailed):
            views.list_jobs()
    finally:
        views.close()


def test_older_tables_without_what_is_asked_are_not_ready(path, feed, views) -> None:
    """After an update, tables of the old version answer if they can, else it is said why not."""
    built(path, feed)
    db = apsw.Connection(str(path))
    db.execute("ALTER TABLE jobs RENAME COLUMN worker TO workers")
    db.execute("UPDATE projections SET version = 0 WHERE name = 'jobs'")
    db.close()
    with pytest.raises(NotReady, match="being rebuilt for this version"):
        views.list_jobs()
    assert views.list_jobs(JobFilter(kind="x")).items == []
    runner = ProjectionRunner(path, feed)
    try:
        assert next(s.state for s in runner.status() if s.name == "jobs") == "rebuilding"
        runner.catch_up()
    finally:
        runner.close()
    assert len(views.list_jobs().items) == 10


def test_a_closed_reader_answers_no_more(path, feed) -> None:
    """Closing closes every connection; a later question is refused."""
    built(path, feed)
    views = Views(path)
    views.list_jobs()
    views.close()
    views.close()
    with pytest.raises(NotReady, match="closed"):
        views.list_jobs()


def test_the_state_of_a_projection_follows_from_its_tables() -> None:
    """Every combination of live tables and build has a state, and the error of either shows."""
    words = Jobs()
    now = words.version
    live, old = Generation(1, "jobs", True, now, 9), Generation(1, "jobs", True, now - 1, 9)
    build = Generation(2, "jobs", False, now, 5)
    bad = {"error": "ValueError: no", "failed_position": 6}
    cases = {
        "building": [[], [build]],
        "live": [[live], [live, build._replace(**bad)]],
        "rebuilding": [[live, build], [old, build], [live._replace(**bad), build]],
        "failed": [
            [build._replace(**bad)],
            [live._replace(**bad)],
            [old, build._replace(**bad)],
            [old],
        ],
    }
    for state, tables in cases.items():
        for some in tables:
            status = statuses([words], some, 9)[0]
            assert status.state == state, some
            assert (status.error is not None) == any(each.error for each in some)
            assert status.position == (9 if any(each.live for each in some) else 0)


def test_a_query_that_fails_in_the_middle_of_its_rows_leaves_no_snapshot(
    path: Path, views: Views, feed: MemoryFeed
) -> None:
    """The next query sees what was folded meanwhile, as long as the error may live."""
    built(path, feed)

    def failing(db: apsw.Connection) -> None:
        rows = db.execute("SELECT name FROM sqlite_schema")
        for row in rows:
            raise ValueError(f"no to {row}")

    with pytest.raises(ValueError, match="no to") as caught:
        views._ask(("jobs",), failing)
    submitted(feed, ["another"])
    built(path, feed)
    assert caught.value
    assert len(views.list_jobs(JobFilter()).items) == 11
