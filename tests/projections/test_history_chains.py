"""The history of jobs: entries, their order, chains of attempts, pages."""

from __future__ import annotations

import random
from pathlib import Path

import apsw
import pytest
from feeds import MemoryFeed, everything, plans, views_of

from domain.errors import Invalid, InvalidCursor, NotFound
from domain.history import history_of, history_view
from projections.job_history import list_history


def told(items: list[dict], *names: str) -> list[tuple]:
    """Return some fields of items."""
    return [tuple(item[name] for name in names) for item in items]


def test_a_history_is_what_the_domain_tells(tmp_path: Path) -> None:
    """Entry by entry the tables say what the fold over the log says, in order of time."""
    feed = MemoryFeed()
    feed.add("job.submitted", "a", {"name": "x"}, at=0, actor="mara")
    feed.add("job.started", "a", {"attempt": 2}, at=10)
    feed.add("job.progressed", "a", {"fraction": 0.101, "stage": "s", "message": "m"}, at=11)
    feed.add("job.progressed", "a", {"fraction": 0.109, "stage": "s"}, at=12)
    feed.add("job.progressed", "a", {"fraction": 0.11, "stage": "s"}, at=13)
    feed.add("job.linked", "a", {"to": "b"}, at=13)
    feed.add("job.progressed", "a", {"fraction": 0.3}, at=14)
    feed.add("job.failed", "a", {"error": {"message": "no"}}, at=20)
    feed.add("job.queued", "a", at=5)
    feed.add("job.retried", "a", {"next": "b"}, at=20)
    feed.add("job.succeeded", "a", at=10**9)
    expected = [history_view(entry) for entry in history_of(feed.events)]
    order = [1, 9, 2, 3, 5, 6, 7, 8, 10, 11]
    expected.sort(key=lambda view: order.index(view["position"]))
    with views_of(tmp_path, feed) as views:
        assert views.history("a").items == expected
        assert views.history("a").as_of == feed.head()
    late = {view["position"]: view["late"] for view in expected}
    assert [position for position in late if late[position]] == [9]
    assert [view["stage"] for view in expected if view["position"] == 7] == ["s"]
    assert expected[-1]["skewed"]


def test_a_note_of_the_same_moment_comes_after_what_it_is_about(tmp_path: Path) -> None:
    """At one time: submitted, queued, running and its progress, ended, notes."""
    feed = MemoryFeed()
    types = ["job.retried", "job.failed", "job.progressed", "job.started", "job.submitted"]
    for event_type in types:
        feed.add(event_type, "a", {"fraction": 0.5} if "progress" in event_type else {}, at=5)
    with views_of(tmp_path, feed) as views:
        shown = [item["type"] for item in views.history("a").items]
    assert shown == ["job.submitted", "job.progressed", "job.started", "job.failed", "job.retried"]


@pytest.fixture
def chain() -> MemoryFeed:
    """Return a log of one run with three attempts of one job, recorded out of order."""
    feed = MemoryFeed()
    entries = []
    for attempt in (3, 1, 2):
        payload = {"kind": "load", "name": "events", "attempt": attempt}
        job = f"load:events:id:{attempt}"
        entries.append(("job.submitted", job, payload, attempt * 100))
        entries.append(("job.started", job, {"attempt": attempt}, attempt * 100 + 1))
        entries.append(("job.failed", job, {"error": {"message": "no"}}, attempt * 100 + 2))
    random.Random(3).shuffle(entries)
    for event_type, job, payload, at in entries:
        feed.add(event_type, job, payload, at=at, correlationid="id")
    other = {"kind": "load", "name": "clicks", "attempt": 1}
    feed.add("job.submitted", "load:clicks:id:1", other, at=50, correlationid="id")
    feed.add("job.submitted", "alone", {"kind": "load", "name": "events"}, at=50)
    feed.add("job.submitted", "alone too", {"kind": "load", "name": "events"}, at=50)
    return feed


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 9, 1000])
@pytest.mark.parametrize("asked", [1, 2, 3])
def test_a_chain_shows_every_attempt_in_order(tmp_path: Path, chain, limit, asked) -> None:
    """Asked by any attempt: all with the same correlation, kind and name, in order, by pages."""
    with views_of(tmp_path, chain) as views:
        items = everything(
            lambda cursor: views.history(f"load:events:id:{asked}", True, limit, cursor)
        )
    assert told(items, "job", "attempt", "to") == [
        (f"load:events:id:{attempt}", attempt, status)
        for attempt in (1, 2, 3)
        for status in ("submitted", "running", "failed")
    ]


def test_the_history_of_one_attempt_is_its_own(tmp_path: Path, chain) -> None:
    """Without the chain there are only the job's own entries, and no job id in them."""
    with views_of(tmp_path, chain) as views:
        items = everything(lambda cursor: views.history("load:events:id:2", False, 2, cursor))
    assert told(items, "to") == [("submitted",), ("running",), ("failed",)]
    assert "job" not in items[0]


def test_a_job_without_correlation_is_its_own_chain(tmp_path: Path, chain) -> None:
    """Jobs that merely look alike are no attempts of each other."""
    with views_of(tmp_path, chain) as views:
        assert told(views.history("alone", True).items, "job") == [("alone",)]


def test_attempts_within_one_job_are_told_apart(tmp_path: Path) -> None:
    """A job that is started again keeps one history, and the percents of each attempt."""
    feed = MemoryFeed()
    feed.add("job.submitted", "a")
    for attempt in (1, 2):
        feed.add("job.started", "a", {"attempt": attempt})
        for fraction in (0.1, 0.1, 0.2):
            feed.add("job.progressed", "a", {"fraction": fraction})
    with views_of(tmp_path, feed) as views:
        shown = told(views.history("a").items, "attempt", "percent")
    assert shown == [(1, None), (1, None), (1, 10), (1, 20), (2, None), (2, 10), (2, 20)]


def test_an_unknown_job_has_no_history(tmp_path: Path, chain) -> None:
    """It is not found, with the chain and without."""
    with views_of(tmp_path, chain) as views:
        for job_id in ("nothing", "", "\ud800", "load"):
            for attempts_all in (False, True):
                with pytest.raises(NotFound):
                    views.history(job_id, attempts_all)


def test_a_cursor_belongs_to_its_history(tmp_path: Path, chain) -> None:
    """A cursor of another job, or of the job without its chain, is refused."""
    with views_of(tmp_path, chain) as views:
        cursor = views.history("load:events:id:1", True, 1).next
        for job_id, attempts_all in (("load:events:id:1", False), ("load:events:id:2", True)):
            with pytest.raises(InvalidCursor):
                views.history(job_id, attempts_all, 1, cursor)
        with pytest.raises(Invalid):
            views.history("load:events:id:1", True, 0)


def test_a_history_walks_indexes(tmp_path: Path, chain) -> None:
    """Entries come in order from the index; only the attempts of a chain are sorted."""
    with views_of(tmp_path, chain) as views:
        db = apsw.Connection(str(views.path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            job = "load:events:id:1"
            found = plans(db, lambda db: list_history(db, job, True, 10, None))
        finally:
            db.close()
    chained = [plan for plan in found if "jobs_by_correlation" in plan]
    entries = [plan for plan in found if "job_history_by_job" in plan]
    assert len(chained) == 1
    assert len(entries) == 3
    assert not any("TEMP B-TREE" in plan for plan in entries)
    assert "SCAN" not in str(found)
