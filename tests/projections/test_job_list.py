"""The job list and the single job: filters, orders, pages, words, and the plans behind them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any

import apsw
import pytest
from feeds import SECOND, START, MemoryFeed, everything, plans, views_of

from domain.errors import Invalid, InvalidCursor
from domain.job import fold_job, job_view
from projections import paging, walks
from projections.job_list import SORTS, JobFilter, list_jobs
from projections.views import Views

TEXTS = ("kind", "name", "owner", "queue", "workflow", "parent", "correlation")
ENDINGS = ("job.succeeded", "job.failed", "job.lost", "job.cancelled", "job.interrupted", None)


@pytest.fixture(scope="module")
def feed() -> MemoryFeed:
    """Return a log of 400 jobs with a few values a field, some of them absent."""
    chance = random.Random(7)
    feed = MemoryFeed()
    for number in range(400):
        payload = {
            name: f"{name}-{chance.randrange(4)}"
            for name in TEXTS
            if name != "correlation" and chance.random() < 0.8
        }
        subject, at = f"run/{number}", chance.randrange(200) * 10
        extensions = {"correlationid": f"correlation-{chance.randrange(50)}"}
        feed.add("job.submitted", subject, payload, at=at, **extensions)
        feed.add("job.started", subject, at=at + chance.randrange(50))
        ending = chance.choice(ENDINGS)
        if ending is not None:
            feed.add(ending, subject, at=at + chance.randrange(50, 500))
    return feed


@pytest.fixture(scope="module")
def views(feed: MemoryFeed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Views]:
    """Return a reader of the views of that log."""
    with views_of(tmp_path_factory.mktemp("jobs"), feed) as views:
        yield views


@pytest.fixture(scope="module")
def jobs(feed: MemoryFeed) -> list[dict[str, Any]]:
    """Return every job as the domain folds it, by first position."""
    by_stream: dict[str, list[Any]] = {}
    for event in feed.events:
        by_stream.setdefault(event.stream, []).append(event)
    return [job_view(fold_job(None, events)) for events in by_stream.values()]


def ids(items: list[dict[str, Any]]) -> list[str]:
    """Return the ids of items."""
    return [item["id"] for item in items]


def expected(jobs: list[dict[str, Any]], wanted: JobFilter, sort: str) -> list[str]:
    """Return the ids that a list has to show, worked out the slow way."""
    found = [
        (job[sort.lstrip("-")], number, job["id"])
        for number, job in enumerate(jobs)
        if all(getattr(wanted, name) in (None, job[name]) for name in TEXTS)
        and (not wanted.status or job["status"] in wanted.status)
    ]
    return [entry[2] for entry in sorted(found, reverse=sort.startswith("-"))]


ONE_FILTER = [JobFilter(**{name: f"{name}-1"}) for name in TEXTS]
FILTERS = [
    JobFilter(),
    JobFilter(status=["failed"]),
    JobFilter(status=["failed", "lost", "running"]),
    *ONE_FILTER,
    *(JobFilter(**{one: f"{one}-1", other: f"{other}-2"}) for one, other in combinations(TEXTS, 2)),
    *(replace(each, status=["failed", "running"]) for each in ONE_FILTER),
]


def named(wanted: JobFilter) -> str:
    """Return a name for a filter."""
    return "+".join(name for name in ("status", *TEXTS) if getattr(wanted, name)) or "all"


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("wanted", FILTERS, ids=named)
def test_a_list_shows_what_it_should_in_order(views, jobs, wanted, sort) -> None:
    """Every filter and pair of filters, in every order, page by page, against a plain search."""
    items = everything(lambda cursor: views.list_jobs(wanted, sort, 7, cursor))
    assert ids(items) == expected(jobs, wanted, sort)


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("few", [0, 1, 10_000])
def test_a_list_is_the_same_by_any_plan(views, jobs, sort, few, monkeypatch) -> None:
    """Whether a filter counts as few rows or many changes the way, never the answer."""
    monkeypatch.setattr(walks, "FEW", few)
    wanted = JobFilter(kind="kind-1", status=["failed", "running"])
    items = everything(lambda cursor: views.list_jobs(wanted, sort, 5, cursor))
    assert ids(items) == expected(jobs, wanted, sort)


@pytest.mark.parametrize("sort", SORTS)
def test_since_and_until_are_inclusive_bounds_of_the_submission(views, jobs, sort) -> None:
    """The range is of the submitted time, whatever the order, alone and with other filters."""
    since, until = START + 500 * SECOND, START + 1000 * SECOND
    for wanted in (JobFilter(since=since, until=until), JobFilter(kind="kind-1", since=since)):
        items = everything(lambda cursor, w=wanted: views.list_jobs(w, sort, 20, cursor))
        low = "2026-02-02T02:48:20Z"
        high = "2026-02-02T02:56:40Z" if wanted.until else "9"
        found = expected(jobs, replace(wanted, since=None, until=None), sort)
        times = {job["id"]: job["submitted"] for job in jobs}
        assert ids(items) == [each for each in found if low <= times[each] <= high]
        assert low in (item["submitted"] for item in items)


def test_a_job_is_shown_as_the_domain_shows_it(views, jobs) -> None:
    """What comes out of the tables is what the fold says, field by field, in list and alone."""
    listed = {item["id"]: item for item in everything(lambda c: views.list_jobs(cursor=c))}
    for job in jobs:
        assert listed[job["id"]] == job
        assert views.job(job["id"]) == (job, views.status()[0].position)


def test_an_unknown_job_is_none(views, feed) -> None:
    """The answer for an unknown id still says which position it knows."""
    for job_id in ("nothing", "run", "", "run/1\0", "\ud800", "x" * 100_000):
        assert views.job(job_id) == (None, feed.head())


@pytest.fixture(scope="module")
def db(views: Views) -> Iterator[apsw.Connection]:
    """Return a connection to the built file."""
    db = apsw.Connection(str(views.path), flags=apsw.SQLITE_OPEN_READONLY)
    yield db
    db.close()


def check_plan(db: apsw.Connection, query: Callable[[apsw.Connection], Any]) -> list[str]:
    """Return the plans of a query after seeing that all go by an index and none sorts."""
    found = plans(db, query)
    for plan in found:
        assert "TEMP B-TREE" not in plan, plan
        assert "SCAN jobs" not in plan.replace("SCAN jobs USING", ""), plan
    return found


@pytest.mark.parametrize("sort", ["-submitted", "submitted"])
@pytest.mark.parametrize("ranged", [False, True])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("wanted", FILTERS, ids=named)
def test_every_filter_walks_an_index(db, wanted, sort, ranged, after) -> None:
    """Each filter and pair, with and without range and cursor: along an index, without a sort."""
    if ranged:
        wanted = replace(wanted, since=START, until=START + 10**12)
    cursor = None
    if after:
        _, cursor = list_jobs(db, wanted, sort, 1, None)
    found = check_plan(db, lambda db: list_jobs(db, wanted, sort, 3, cursor))
    keys = [plan for plan in found if "job_documents" not in plan]
    assert keys
    assert all("SEARCH jobs USING" in plan or "SCAN jobs USING COV" in plan for plan in keys)


@pytest.mark.parametrize(
    "wanted", [each for each in FILTERS if each.status or each.kind], ids=named
)
def test_a_frequent_value_ordered_by_update_walks_that_index(db, wanted, monkeypatch) -> None:
    """In the order of updates, a filter of many rows walks the updates instead of sorting."""
    monkeypatch.setattr(walks, "FEW", 0)
    found = check_plan(db, lambda db: list_jobs(db, wanted, "-updated", 3, None))
    assert any("jobs_by_updated" in plan for plan in found)


def test_few_rows_ordered_by_update_are_sorted(db) -> None:
    """A filter of few rows is looked up by its own index; sorting those few is bounded."""
    found = plans(db, lambda db: list_jobs(db, JobFilter(kind="kind-1"), "-updated", 3, None))
    assert any("jobs_by_kind" in plan and "TEMP B-TREE" in plan for plan in found)


def test_only_two_indexes_hold_a_column_that_changes(db) -> None:
    """Beside the status and the update time, every index is of columns that hardly change."""
    changing = {"status", "updated", "stage", "progress", "message", "last_position", "events"}
    rows = db.execute(
        "SELECT i.name, c.name FROM pragma_index_list('jobs') i, pragma_index_info(i.name) c"
    ).fetchall()
    assert {index for index, column in rows if column in changing} == {
        index for index, _ in rows if index.endswith(("jobs_by_status", "jobs_by_updated"))
    }
    assert len({index for index, _ in rows}) == 10


@pytest.mark.parametrize("limit", [0, -1, 1001, 10**30])
def test_a_limit_out_of_range_is_invalid(views, limit) -> None:
    """The error names the parameter."""
    with pytest.raises(Invalid) as caught:
        views.list_jobs(limit=limit)
    assert caught.value.errors[0].pointer == "/limit"


@pytest.mark.parametrize(
    ("wanted", "sort", "message"),
    [
        (JobFilter(status=["done"]), "-submitted", "unknown status 'done'"),
        (JobFilter(status=["faild"]), "-submitted", "did you mean 'failed'"),
        (JobFilter(), "-submited", "did you mean '-submitted'"),
        (JobFilter(q="x"), "updated", "newest first"),
        (JobFilter(q=""), "-submitted", "no word"),
        (JobFilter(q=' "--" * ( ) 🎉 \0'), "-submitted", "no word"),
        (JobFilter(q="x" * 1001), "-submitted", "longer"),
        (JobFilter(kind="\ud800"), "-submitted", "UTF-8"),
        (JobFilter(q="\ud800"), "-submitted", "UTF-8"),
        (JobFilter(since=2**63), "-submitted", "out of range"),
    ],
)
def test_a_value_that_cannot_be_used_is_invalid(views, wanted, sort, message) -> None:
    """Never an error of SQLite or of Python: the answer says what is wrong with the request."""
    with pytest.raises(Invalid, match=message.replace("(", r"\(")):
        views.list_jobs(wanted, sort)


@pytest.mark.parametrize("value", ["\0", "a\0b", "🧬", "%", "_", "'", '"', "x" * 1_000_000, "\n"])
@pytest.mark.parametrize("name", TEXTS)
def test_odd_values_find_nothing(views, name, value) -> None:
    """Any text may be asked for."""
    assert views.list_jobs(JobFilter(**{name: value})).items == []


def test_a_cursor_belongs_to_its_filters_and_order(views) -> None:
    """With any other filter, order or list the cursor is refused."""
    cursor = views.list_jobs(JobFilter(kind="kind-1"), limit=1).next
    assert cursor is not None
    for wanted, sort in (
        (JobFilter(kind="kind-2"), "-submitted"),
        (JobFilter(name="kind-1"), "-submitted"),
        (JobFilter(kind="kind-1", since=1), "-submitted"),
        (JobFilter(kind="kind-1", status=["failed"]), "-submitted"),
        (JobFilter(kind="kind-1"), "submitted"),
    ):
        with pytest.raises(InvalidCursor):
            views.list_jobs(wanted, sort, 1, cursor)
    with pytest.raises(InvalidCursor):
        views.list_alerts(cursor=cursor)
    assert views.list_jobs(JobFilter(kind="kind-1"), limit=7, cursor=cursor).items


def test_a_page_of_large_jobs_ends_early(tmp_path, monkeypatch) -> None:
    """A page is bounded in bytes as well as in items, and the next one goes on."""
    feed = MemoryFeed()
    for number in range(6):
        feed.add("job.submitted", f"{number}", {"params": {"text": "x" * 1000}})
    monkeypatch.setattr(paging, "PAGE_BYTES", 1500)
    with views_of(tmp_path, feed) as views:
        page = views.list_jobs(sort="submitted", limit=6)
        assert ids(page.items) == ["0", "1"]
        assert ids(everything(lambda c: views.list_jobs(sort="submitted", limit=6, cursor=c))) == [
            "0", "1", "2", "3", "4", "5",
        ]  # fmt: skip


def test_documents_of_any_json_come_back(tmp_path) -> None:
    """Params, input and result are shown as they were sent, and later ones replace them."""
    feed = MemoryFeed()
    feed.add("job.submitted", "a", {"params": {"x": [1, None, "ü\0"]}, "input": False})
    feed.add("job.progressed", "a", {"fraction": 0.5})
    feed.add("job.succeeded", "a", {"result": [{"n": 2**63 - 1}], "message": "fine"})
    with views_of(tmp_path, feed) as views:
        job, _ = views.job("a")
        assert job is not None
        assert (job["params"], job["input"]) == ({"x": [1, None, "ü\0"]}, False)
        assert (job["result"], job["message"]) == ([{"n": 2**63 - 1}], "fine")
    feed.add("job.submitted", "a", {"params": {}}, at=10_000)
    with views_of(tmp_path, feed) as views:
        job, _ = views.job("a")
        assert job is not None
        assert (job["params"], job["input"]) == ({}, False)
