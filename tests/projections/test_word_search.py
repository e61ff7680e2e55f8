"""Searching jobs by words: what is found, what is not, and that no text is an operator."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from feeds import MemoryFeed, built, dump, everything, plans, views_of
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from projections.job_list import JobFilter, list_jobs
from projections.search import match_expression
from projections.views import Views


def found(views: Views, q: str, **filters: str) -> list[str]:
    """Return the ids of the jobs that a search finds, in its order."""
    wanted = JobFilter(q=q, **filters)  # type: ignore[arg-type]
    return [item["id"] for item in everything(lambda c: views.list_jobs(wanted, limit=2, cursor=c))]


@pytest.fixture
def feed() -> MemoryFeed:
    """Return a log of a few jobs with something to say."""
    feed = MemoryFeed()
    feed.add("job.submitted", "one", {"name": "sql-load:events", "kind": "load"})
    feed.add("job.submitted", "two", {"name": "Ärger AND Not", "kind": "load"})
    feed.add("job.submitted", "three", {"name": "sql-load:clicks", "kind": "other"})
    feed.add("job.submitted", "four")
    error = {"class": "ConnectionRefused", "message": "dial tcp 10.0.0.7:5432", "log": "secretlog"}
    feed.add("job.failed", "three", {"error": error})
    feed.add("job.progressed", "one", {"message": "wrote 14 files"})
    return feed


def test_words_of_name_error_and_message_are_found(tmp_path: Path, feed: MemoryFeed) -> None:
    """All words have to occur, in any of the three; newest job first; case does not matter."""
    with views_of(tmp_path, feed) as views:
        assert found(views, "sql") == ["three", "one"]
        assert found(views, "sql-load") == ["three", "one"]
        assert found(views, "CLICKS refused 10.0.0.7") == []
        assert found(views, "clicks connectionrefused 10.0.0.7") == ["three"]
        assert found(views, "wrote files") == ["one"]
        assert found(views, "arger") == ["two"]
        assert found(views, "secretlog") == []


def test_words_and_filters_hold_together(tmp_path: Path, feed: MemoryFeed) -> None:
    """A search narrows with the other filters."""
    with views_of(tmp_path, feed) as views:
        assert found(views, "sql", kind="load") == ["one"]
        assert found(views, "sql", kind="load", owner="nobody") == []
        page = views.list_jobs(JobFilter(q="sql", status=["failed"], since=0))
        assert [item["id"] for item in page.items] == ["three"]
        assert page.as_of == feed.head()


def test_no_text_is_an_operator(tmp_path: Path, feed: MemoryFeed) -> None:
    """What the full-text syntax knows is looked for as it stands."""
    with views_of(tmp_path, feed) as views:
        assert found(views, "AND") == ["two"]
        assert found(views, "arger AND not") == ["two"]
        assert found(views, "sql OR arger") == []
        for text in ('sql"', "name:sql", "sql*", "^sql", "NEAR(sql load)", "sql\0load", "(sql"):
            assert isinstance(found(views, text), list)
        assert found(views, "sql*") == ["three", "one"]
        assert found(views, "sq*") == []


@given(st.text(max_size=50))
def test_any_text_is_a_search_or_invalid(text: str) -> None:
    """Whatever is asked for, the full-text index understands the expression."""
    try:
        expression = match_expression(text)
    except Invalid:
        return
    db = apsw.Connection(":memory:")
    try:
        db.execute("CREATE VIRTUAL TABLE t USING fts5 (a)")
        db.execute("INSERT INTO t VALUES (?)", (text,))
        db.execute("SELECT rowid FROM t WHERE t MATCH ?", (expression,)).fetchall()
    finally:
        db.close()


def test_a_text_that_changed_is_found_by_the_new_one_only(tmp_path: Path, feed: MemoryFeed) -> None:
    """The index holds what the job says now."""
    feed.add("job.progressed", "one", {"message": "reading again"})
    with views_of(tmp_path, feed) as views:
        assert found(views, "wrote") == []
        assert found(views, "reading") == ["one"]


def test_an_error_that_a_job_got_over_is_not_found(tmp_path: Path, feed: MemoryFeed) -> None:
    """A success hides the error; a later failure without one shows it again."""
    feed.add("job.succeeded", "three")
    with views_of(tmp_path, feed) as views:
        assert found(views, "connectionrefused") == []
    feed.add("job.failed", "three")
    with views_of(tmp_path, feed) as views:
        assert found(views, "connectionrefused") == ["three"]


def test_a_job_that_got_over_its_only_words_has_no_row(tmp_path: Path) -> None:
    """An error that came in one batch and was got over in the next leaves what one batch leaves."""
    live, rebuilt = tmp_path / "live.db", tmp_path / "rebuilt.db"
    feed = MemoryFeed()
    feed.add("job.failed", "one", {"error": {"class": "ConnectionRefused"}})
    built(live, feed)
    feed.add("job.succeeded", "one")
    built(live, feed)
    built(rebuilt, feed)
    assert dump(live)["search"] == dump(rebuilt)["search"] == []


def test_words_are_written_only_when_they_changed(tmp_path: Path, feed: MemoryFeed) -> None:
    """Events that say nothing new do not touch the full-text index."""
    with views_of(tmp_path, feed) as views:
        before = _index(views.path)
    feed.add("job.started", "one", {"worker": "w"})
    feed.add("job.progressed", "one", {"message": "wrote 14 files", "fraction": 0.7})
    feed.add("job.succeeded", "one", {"message": "wrote 14 files"})
    with views_of(tmp_path, feed) as views:
        assert _index(views.path) == before


def _index(path: Path) -> list[tuple[object, ...]]:
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return db.execute("SELECT * FROM search_data").fetchall()
    finally:
        db.close()


def test_a_search_goes_by_the_full_text_index(tmp_path: Path, feed: MemoryFeed) -> None:
    """Jobs are looked up by number as the index finds them, newest first, without a sort."""
    with views_of(tmp_path, feed) as views:
        db = apsw.Connection(str(views.path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            wanted = JobFilter(q="sql", kind="load", status=["failed"], since=0)
            for limit, cursor in (
                (1, None),
                (1, views.list_jobs(JobFilter(q="sql"), limit=1).next),
            ):
                some = JobFilter(q="sql") if cursor else wanted
                found_plans = plans(
                    db, lambda db, w=some, n=limit, c=cursor: list_jobs(db, w, "-submitted", n, c)
                )
                assert found_plans[0].startswith("SCAN search VIRTUAL TABLE INDEX")
                assert not any("TEMP B-TREE" in plan for plan in found_plans)
                assert "SCAN jobs" not in str(found_plans)
        finally:
            db.close()
