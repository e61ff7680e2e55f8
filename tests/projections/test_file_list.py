"""The files: messages with what matched them, the last state of a path, the plans."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import apsw
import pytest
from feeds import SECOND, START, MemoryFeed, everything, plans, views_of
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.clock import effective_time
from domain.errors import Invalid, InvalidCursor
from domain.file import file_view, fold_file
from projections import walks
from projections.files import FileFilter, list_files
from projections.views import Views

PATHS = ["gs://raw/a/1", "gs://raw/a/2", "gs://raw/b/1", "/data/ü", "gs://raw/a", "gs://raw/a\0"]


@pytest.fixture(scope="module")
def feed() -> MemoryFeed:
    """Return a log of 200 messages about a few files, of which some matched."""
    chance = random.Random(5)
    feed = MemoryFeed()
    for _ in range(200):
        path = chance.choice(PATHS)
        feed.add("file.observed", path, {"size": chance.randrange(9)}, at=chance.randrange(50) * 10)
        if chance.random() < 0.5:
            jobs = ["job-1"] if chance.random() < 0.5 else []
            feed.add("file.matched", path, {"jobs": jobs, "reason": None if jobs else "no rule"})
    return feed


@pytest.fixture(scope="module")
def views(feed: MemoryFeed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Views]:
    """Return a reader of the views of that log."""
    with views_of(tmp_path_factory.mktemp("files"), feed) as views:
        yield views


FILTERS = [
    FileFilter(),
    FileFilter(path="gs://raw/a/1"),
    FileFilter(prefix="gs://raw/a"),
    FileFilter(prefix=""),
    FileFilter(prefix="nothing"),
    FileFilter(matched=True),
    FileFilter(matched=False),
    FileFilter(matched=True, path="gs://raw/a/1"),
    FileFilter(matched=False, prefix="gs://raw/"),
]
RANGE = {"since": START + 100 * SECOND, "until": START + 300 * SECOND}
ALL = [*FILTERS, *(replace(each, **RANGE) for each in FILTERS)]


def expected(feed: MemoryFeed, wanted: FileFilter) -> list[int]:
    """Return the positions of the messages a list has to show, worked out the slow way."""
    matched: dict[int, bool] = {}
    newest: dict[str, int] = {}
    for event in feed.events:
        if event.type == "file.observed":
            newest[event.subject] = event.position
        else:
            message = newest[event.subject]
            matched[message] = matched.get(message, False) or bool(event.payload["jobs"])
    found = [
        (event.subject.encode(), effective_time(event), event.position)
        for event in feed.events
        if event.type == "file.observed"
        and wanted.path in (None, event.subject)
        and event.subject.startswith(wanted.prefix or "")
        and wanted.matched in (None, matched.get(event.position, False))
        and (wanted.since is None or effective_time(event) >= wanted.since)
        and (wanted.until is None or effective_time(event) <= wanted.until)
    ]
    if wanted.prefix is not None:
        return [key[2] for key in sorted(found)]
    return [key[2] for key in sorted(found, key=lambda key: key[1:], reverse=True)]


@pytest.mark.parametrize("wanted", ALL, ids=str)
def test_a_list_shows_what_it_should_in_order(views, feed, wanted) -> None:
    """Every filter, page by page, against a plain search."""
    items = everything(lambda cursor: views.list_files(wanted, 7, cursor))
    assert [item["position"] for item in items] == expected(feed, wanted)


@pytest.mark.parametrize("wanted", ALL, ids=str)
@pytest.mark.parametrize("after", [False, True])
def test_every_filter_walks_an_index(views, wanted, after, monkeypatch) -> None:
    """No filter scans a table or sorts, from the start or from a cursor."""
    monkeypatch.setattr(walks, "FEW", 0)
    cursor = views.list_files(wanted, 1).next if after else None
    db = apsw.Connection(str(views.path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        for plan in plans(db, lambda db: list_files(db, wanted, 3, cursor)):
            assert "TEMP B-TREE" not in plan
            assert "SEARCH " in plan or "USING COVERING INDEX" in plan
            assert "SCAN file_messages" not in plan.replace("SCAN file_messages USING COV", "")
    finally:
        db.close()


def test_few_messages_of_a_range_are_sorted_by_path(views) -> None:
    """A prefix within a narrow range goes by the time and sorts those few."""
    db = apsw.Connection(str(views.path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        wanted = FileFilter(prefix="gs://raw/", **RANGE)
        found = plans(db, lambda db: list_files(db, wanted, 3, None))
    finally:
        db.close()
    assert any("file_messages_by_time" in plan and "TEMP B-TREE" in plan for plan in found)


def test_a_message_shows_its_facts_and_matches(tmp_path) -> None:
    """A message says what it said, what matched it and why, and the state of the file now."""
    feed = MemoryFeed()
    facts = {"size": 7, "checksum": "x", "created": "2026-02-04T06:12:45Z", "is_dir": False}
    feed.add("file.observed", "/a", facts, at=5, source="/flowlord/files")
    feed.add("file.matched", "/a", {"workflow": "one.toml", "phases": ["p"], "jobs": ["j"]}, at=6)
    feed.add("file.matched", "/a", {"workflow": "two.toml", "reason": "no pattern"}, at=7)
    feed.add("file.processed", "/a", {"outcome": "ok"}, at=9)
    feed.add("file.observed", "/b")
    with views_of(tmp_path, feed) as views:
        page = views.list_files(FileFilter(path="/a"))
        unmatched = views.list_files(FileFilter(path="/b")).items[0]
        assert views.file("/a") == (file_view(fold_file(None, feed.events[:4])), 5)
        assert views.file("/c") == (None, 5)
    assert page.as_of == 5
    match = {"workflow": "one.toml", "phases": ["p"], "jobs": ["j"], "reason": None}
    other = {"workflow": "two.toml", "phases": [], "jobs": [], "reason": "no pattern"}
    assert page.items == [
        {
            "path": "/a", "state": "processed", **facts, "linecnt": None, "bytecnt": None,
            "files": None, "generation": None, "bucket": None,
            "observed": "2026-02-02T02:40:05Z", "recordedtime": "2026-02-02T02:40:01Z",
            "skewed": False, "position": 1, "event": "e1", "source": "/flowlord/files",
            "matched": True,
            "matches": [
                {**match, "time": "2026-02-02T02:40:06Z", "position": 2},
                {**other, "time": "2026-02-02T02:40:07Z", "position": 3},
            ],
        }
    ]  # fmt: skip
    assert (unmatched["matched"], unmatched["matches"]) == (None, [])


def links(views: Views) -> dict[int, list[int]]:
    """Return the positions of the matches of each message."""
    return {
        item["position"]: [match["position"] for match in item["matches"]]
        for item in views.list_files().items
    }


@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_match_is_linked_to_its_cause(tmp_path, size) -> None:
    """By the id of its cause where there is one, else to the newest message before it."""
    feed = MemoryFeed()
    feed.add("file.matched", "/a", {"jobs": ["early"]})
    feed.add("file.observed", "/a", id="first")
    feed.add("file.observed", "/a", id="second", at=-100)
    feed.add("file.observed", "/b", id="first")
    feed.add("file.matched", "/a", {"jobs": ["j"]}, causationid="first")
    feed.add("file.matched", "/a", {"jobs": ["j"]})
    feed.add("file.matched", "/a", {"jobs": ["j"]}, causationid="third")
    feed.add("file.observed", "/a", id="third")
    feed.add("file.matched", "/a", {"jobs": ["j"]}, causationid="third")
    with views_of(tmp_path, feed) as views:
        assert links(views) == {2: [5], 3: [6, 7], 4: [], 8: [9]}


def test_a_no_match_after_a_match_changes_nothing(tmp_path) -> None:
    """A message that one workflow matched is matched, whatever the others say."""
    feed = MemoryFeed()
    feed.add("file.observed", "/a")
    feed.add("file.matched", "/a", {"jobs": ["j"]})
    feed.add("file.matched", "/a", {"reason": "no rule"})
    with views_of(tmp_path, feed) as views:
        assert [item["matched"] for item in views.list_files(FileFilter(matched=True)).items] == [
            True
        ]


TEXT = st.text(alphabet="ab\0/%_\u07ff\ud7ff\ue000\U0010ffff", max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT.filter(bool), max_size=8), TEXT)
def test_a_prefix_is_taken_as_it_stands(tmp_path_factory, paths: list[str], prefix: str) -> None:
    """Any characters, also the last ones there are: exactly the paths that begin so."""
    feed = MemoryFeed()
    for path in paths:
        feed.add("file.observed", path)
    with views_of(tmp_path_factory.mktemp("prefix"), feed) as views:
        items = everything(lambda cursor: views.list_files(FileFilter(prefix=prefix), 3, cursor))
    shown: list[Any] = [item["path"] for item in items]
    assert shown == sorted((p for p in paths if p.startswith(prefix)), key=str.encode)


def test_what_cannot_be_asked_is_invalid(views) -> None:
    """Contradicting filters, bad limits and foreign cursors are refused."""
    with pytest.raises(Invalid, match="exclude"):
        views.list_files(FileFilter(path="/a", prefix="/"))
    with pytest.raises(Invalid):
        views.list_files(limit=1001)
    with pytest.raises(Invalid):
        views.list_files(FileFilter(prefix="\ud800"))
    cursor = views.list_files(FileFilter(prefix="gs://"), 1).next
    with pytest.raises(InvalidCursor):
        views.list_files(FileFilter(), 1, cursor)
