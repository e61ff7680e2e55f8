"""Pages that look at a bounded number of rows: nothing is lost, and the bound holds."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from feeds import SECOND, START, MemoryFeed, built, views_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections import job_search, walks
from projections.alerts import AlertFilter
from projections.files import FileFilter
from projections.job_list import SORTS, JobFilter, list_jobs
from projections.paging import Page
from projections.views import Views

VALUES = st.sampled_from([None, None, "0", "1", "2"])
TIMES = st.one_of(
    st.none(), st.integers(0, 30).map(lambda ten_seconds: START + ten_seconds * 10 * SECOND)
)
JOBS = st.builds(
    JobFilter,
    status=st.lists(st.sampled_from(["failed", "running", "succeeded"]), unique=True),
    kind=VALUES,
    owner=VALUES,
    queue=VALUES,
    since=TIMES,
    until=TIMES,
)
WORDS = st.sampled_from(["night", "night run", "odd", "run odd", "absent"])
ALERTS = st.builds(
    AlertFilter,
    state=st.lists(st.sampled_from(["open", "resolved"]), unique=True),
    kind=VALUES,
    fingerprint=VALUES,
    since=TIMES,
    until=TIMES,
)
PLACES = [{"path": "/a/1"}, {"prefix": "/a"}, {"prefix": "/"}, {"prefix": ""}, {}]
FILES = st.builds(
    lambda place, **others: FileFilter(**place, **others),
    place=st.sampled_from(PLACES),
    matched=st.sampled_from([None, True, False]),
    since=TIMES,
    until=TIMES,
)
BOUNDS = st.fixed_dictionaries(
    {name: st.integers(1, 40) for name in ("LOOKS", "PROBED", "CHECKED")}
    | {"FEW": st.sampled_from([0, 5, 1000])}
)
LIMITS = st.integers(1, 12)
UNBOUNDED = {"LOOKS": 10**6, "PROBED": 1, "CHECKED": 10**6, "FEW": 0}


def feed_of_everything() -> MemoryFeed:
    """Return a log of jobs, alerts and files with few values and few times, many of them equal."""
    chance = random.Random(3)
    feed = MemoryFeed()
    for number in range(150):
        at = chance.randrange(30) * 10
        values = {name: str(chance.randrange(3)) for name in ("kind", "owner", "queue")}
        name = chance.choice(["night run", "night", "odd", "odd run"])
        feed.add("job.submitted", f"{number}", {**values, "name": name}, at=at)
        feed.add("job.started", f"{number}", at=at + chance.randrange(5) * 10)
        if chance.random() < 0.6:
            ending = chance.choice(["job.failed", "job.succeeded"])
            feed.add(ending, f"{number}", at=at + 50 + chance.randrange(5) * 10)
        said = {"kind": str(chance.randrange(3)), "fingerprint": str(chance.randrange(3))}
        feed.add("alert.raised", f"{number}", said, at=at)
        if chance.random() < 0.5:
            feed.add("alert.resolved", f"{number}", at=at + 1)
        path = f"/{chance.choice('ab')}/{chance.randrange(3)}"
        feed.add("file.observed", path, at=at)
        if chance.random() < 0.5:
            feed.add("file.matched", path, {"jobs": ["j"]}, at=at)
    return feed


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Views]:
    """Return a reader of the views of that log."""
    with views_of(tmp_path_factory.mktemp("walks"), feed_of_everything()) as views:
        yield views


def walk_all(read: Callable[[str | None], Page], bounds: dict[str, int]) -> list[dict[str, Any]]:
    """Return the items of all pages under some bounds; a page may be empty, but they end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job_search, "CHECKED", bounds["CHECKED"])
        for name in ("LOOKS", "PROBED", "FEW"):
            patch.setattr(walks, name, bounds[name])
        page = read(None)
        items = list(page.items)
        for _ in range(2000):
            if page.next is None:
                return items
            page = read(page.next)
            items += page.items
    raise AssertionError("the pages do not end")


def check(read: Callable[[int, str | None], Page], bounds: dict[str, int], limit: int) -> None:
    """See that the pages under some bounds hold what one page without any holds."""
    whole = walk_all(lambda cursor: read(1000, cursor), UNBOUNDED)
    assert walk_all(lambda cursor: read(limit, cursor), bounds) == whole


SOME = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SOME
@given(wanted=JOBS, sort=st.sampled_from(sorted(SORTS)), limit=LIMITS, bounds=BOUNDS)
def test_bounded_pages_of_jobs_hold_the_whole_list(views, wanted, sort, limit, bounds) -> None:
    """Whatever the filters, the order and the bounds: the pages together are the list."""
    check(lambda n, cursor: views.list_jobs(wanted, sort, n, cursor), bounds, limit)


@SOME
@given(wanted=JOBS, q=WORDS, limit=LIMITS, bounds=BOUNDS)
def test_bounded_pages_of_a_search_hold_all_it_finds(views, wanted, q, limit, bounds) -> None:
    """The same for words with filters, whether the words lead or a filter."""
    values = {name: getattr(wanted, name) for name in JobFilter.__dataclass_fields__}
    some = JobFilter(**{**values, "q": q})
    check(lambda n, cursor: views.list_jobs(some, limit=n, cursor=cursor), bounds, limit)


@SOME
@given(wanted=ALERTS, limit=LIMITS, bounds=BOUNDS)
def test_bounded_pages_of_alerts_hold_the_whole_list(views, wanted, limit, bounds) -> None:
    """The same for alerts."""
    check(lambda n, cursor: views.list_alerts(wanted, n, cursor), bounds, limit)


@SOME
@given(wanted=FILES, limit=LIMITS, bounds=BOUNDS)
def test_bounded_pages_of_files_hold_the_whole_list(views, wanted, limit, bounds) -> None:
    """The same for files, by time and by path."""
    check(lambda n, cursor: views.list_files(wanted, n, cursor), bounds, limit)


def test_jobs_that_stay_as_they_are_come_once_while_others_change(tmp_path: Path) -> None:
    """Jobs that come or change between the pages of a bounded walk do not disturb the others."""
    feed = feed_of_everything()
    wanted = JobFilter(kind="1", owner="1")
    with pytest.MonkeyPatch.context() as patch, views_of(tmp_path, feed) as views:
        patch.setattr(walks, "LOOKS", 3)
        patch.setattr(walks, "FEW", 0)
        for sort in ("-submitted", "-updated"):
            whole = walk_all(_reader(views, wanted, sort), UNBOUNDED)
            stay = {item["id"] for item in whole}
            page = views.list_jobs(wanted, sort, 2)
            seen = [item["id"] for item in page.items]
            changed = {"0", "1", "2"}
            for number in range(1000):
                if page.next is None:
                    break
                if number % 10 == 0:
                    feed.add("job.progressed", str(number // 10 % 3), {"fraction": 0.5})
                    said = {"kind": "1", "owner": "1"}
                    feed.add("job.submitted", f"{sort}{number}", said, at=number)
                    changed.add(f"{sort}{number}")
                    built(tmp_path / "views.db", feed)
                page = views.list_jobs(wanted, sort, 2, page.next)
                seen += [item["id"] for item in page.items]
            assert page.next is None
            assert sorted(each for each in seen if each not in changed) == sorted(stay - changed)


def _reader(views: Views, wanted: JobFilter, sort: str) -> Callable[[str | None], Page]:
    return lambda cursor: views.list_jobs(wanted, sort, 1000, cursor)


def instructions(path: Path, query: Callable[[apsw.Connection], Any]) -> int:
    """Return how many instructions of SQLite's machine a query takes, in tens."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    count = 0

    def step() -> bool:
        nonlocal count
        count += 1
        return False

    try:
        db.set_progress_handler(step, 10)
        query(db)
    finally:
        db.close()
    return count


@pytest.fixture(scope="module")
def exclusive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return views of 2,000 jobs submitted at one time, whose kind and owner exclude each other."""
    feed = MemoryFeed()
    for number in range(2000):
        said = {"kind": "even"} if number % 2 == 0 else {"owner": "odd"}
        feed.add("job.submitted", f"{number}", {**said, "name": "night"}, at=0)
    path = tmp_path_factory.mktemp("exclusive") / "views.db"
    built(path, feed)
    return path


NEVER = JobFilter(kind="even", owner="odd")


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("q", [None, "night"])
def test_a_page_that_finds_nothing_costs_no_more_than_its_bound(
    exclusive: Path, sort: str, q: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 1,000 rows 50 are looked at: a page takes a small part of what the whole walk takes."""
    if q is not None:
        sort = "-submitted"
    wanted = JobFilter(kind=NEVER.kind, owner=NEVER.owner, q=q)
    monkeypatch.setattr(walks, "FEW", 0)
    monkeypatch.setattr(walks, "PROBED", 10)
    monkeypatch.setattr(walks, "LOOKS", 10_000)
    whole = instructions(exclusive, lambda db: list_jobs(db, wanted, sort, 10, None))
    monkeypatch.setattr(walks, "LOOKS", 50)
    pages: list[str | None] = [None]

    def read(db: apsw.Connection) -> None:
        items, cursor = list_jobs(db, wanted, sort, 10, pages[-1])
        assert items == []
        pages.append(cursor)

    costs = [instructions(exclusive, read) for _ in range(15)]
    assert pages[-1] is not None
    assert max(costs) * 5 < whole


@pytest.mark.parametrize("sort", SORTS)
def test_a_late_page_of_equal_times_costs_as_much_as_the_first(exclusive: Path, sort: str) -> None:
    """However many jobs have the time of the cursor, none of those before it is passed over."""
    cursors: list[str | None] = [None]

    def read(db: apsw.Connection) -> None:
        cursors.append(list_jobs(db, JobFilter(), sort, 100, cursors[-1])[1])

    costs = [instructions(exclusive, read) for _ in range(19)]
    assert cursors[-1] is not None
    assert costs[-1] <= costs[1] + 2
