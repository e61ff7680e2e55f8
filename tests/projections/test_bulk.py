"""A build of whole streams gives the same rows as one in log order, or gives way to it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import apsw
import pytest
from feeds import MemoryFeed, WordCounts, built, dump, rows, steps, submitted
from hypothesis import given, settings
from hypothesis import strategies as st
from test_row_equality import SUBJECTS, TYPES, events, log_of

from projections import bulk, whole
from projections.registry import PROJECTIONS
from projections.runner import ProjectionRunner
from projections.seam import Batch, Rows

MANY = [*SUBJECTS, "four", "five", "six"]
LOGS = st.lists(events(TYPES, MANY), min_size=1, max_size=60).map(log_of)
NEVER = 2**60


def small(patch: pytest.MonkeyPatch, streams: int, held: int = 3) -> None:
    """Have few streams in a part and few rows held back, so that short logs have many of both."""
    patch.setattr(whole, "STREAMS_AT_ONCE", streams)
    patch.setattr(whole, "RANGE_STREAMS", 2 * streams)
    patch.setattr(whole, "PART_EVENTS", 5)
    patch.setattr(bulk, "HELD_MAX", held)


@settings(max_examples=100, deadline=None)
@given(LOGS, st.integers(1, 4), st.integers(0, 9), st.booleans(), st.booleans())
def test_rows_are_those_of_a_build_in_log_order(
    feed: MemoryFeed, streams: int, held: int, indexed: bool, beside: bool
) -> None:
    """Any streams, cut anywhere, with or without indexes, first or beside live: the same file."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        plain, fast = Path(folder, "plain.db"), Path(folder, "fast.db")
        built(plain, feed, bulk_events=NEVER)
        small(patch, streams, held)
        if indexed:
            patch.setattr("projections.runner.UNINDEXED_MAX", 0)
            patch.setattr("projections.runner.UNINDEXED_BESIDE_MAX", 0)
        runner = ProjectionRunner(fast, feed, bulk_events=1)
        runner.catch_up()
        if beside:
            runner.request_rebuild()
            runner.catch_up()
        runner.close()
        assert dump(fast) == dump(plain)
        assert register(fast) == register(plain)
        assert len(indexes(fast)) == len(indexes(plain))


@settings(max_examples=40, deadline=None)
@given(LOGS, st.data())
def test_a_build_goes_on_in_log_order(feed: MemoryFeed, data: st.DataObject) -> None:
    """Events that come while streams are read are folded afterwards."""
    shown = MemoryFeed()
    split = data.draw(st.integers(1, len(feed.events)))
    for event in feed.events[:split]:
        shown.append(event)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        plain, fast = Path(folder, "plain.db"), Path(folder, "fast.db")
        built(plain, feed, bulk_events=NEVER)
        small(patch, 1)
        runner = ProjectionRunner(fast, shown, bulk_events=1)
        steps(runner, data.draw(st.integers(0, 5)))
        for event in feed.events[split:]:
            shown.append(event)
        runner.catch_up()
        runner.close()
        assert dump(fast) == dump(plain)
        assert register(fast) == register(plain)


def register(path: Path) -> list[tuple[Any, ...]]:
    """Return how each set of tables stands, without its number."""
    columns = "name, live, version, position, digest, recordedtime, error, failed_position"
    return rows(path, f"(SELECT {columns} FROM projections)")


def indexes(path: Path) -> list[tuple[Any, ...]]:
    """Return the indexes of the tables."""
    return rows(path, "(SELECT tbl_name, name FROM sqlite_schema WHERE type = 'index')")


class WholeWords(WordCounts):
    """Counts words from whole streams, too, unless it is told to fail there."""

    ordered: frozenset[str] = frozenset()
    asked = 0

    def whole_rows(self, batch: Batch) -> Rows:
        """Return a row an event."""
        self.asked += 1
        if any(event.position in self.poison for event in batch.events):
            raise ValueError("poison")
        return {"add": [(each.subject[:1], batch.entities[each.stream]) for each in batch.events]}

    def whole_statements(self, prefix: str) -> dict[str, str]:
        """Return the statement."""
        return {
            "add": f"INSERT INTO {prefix}{self.name} (word, count, first) VALUES (?, 1, ?) "
            "ON CONFLICT (word) DO UPDATE SET count = count + 1"
        }


@pytest.fixture
def feed() -> MemoryFeed:
    """Return a log of ten streams."""
    feed = MemoryFeed()
    submitted(feed, "abcabcdefghij")
    return feed


def test_what_fails_is_built_in_log_order(
    tmp_path: Path, feed: MemoryFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fold that raises fails alone, at its event, with the rows before it."""
    small(monkeypatch, 2)
    bad, good = WholeWords("bad"), WholeWords("good")
    bad.poison.add(9)
    built(tmp_path / "views.db", feed, projections=[bad, good], bulk_events=1)
    assert bad.asked
    bad.asked = 0
    found = {row[0]: row[1:] for row in register(tmp_path / "views.db")}
    assert (found["bad"][2], found["bad"][6]) == (8, 9)
    assert (found["good"][2], found["good"][6]) == (13, None)
    assert len(rows(tmp_path / "views.db", "bad")) == 5
    assert len(rows(tmp_path / "views.db", "good")) == 10


def test_a_stream_that_is_too_long_is_built_in_log_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams that memory cannot hold are not read as a whole."""
    feed = MemoryFeed()
    submitted(feed, "aaaaaaaaab")
    monkeypatch.setattr(whole, "STREAM_EVENTS_MAX", 5)
    words = WholeWords()
    built(tmp_path / "views.db", feed, projections=[words], bulk_events=1)
    assert words.asked == 0
    assert rows(tmp_path / "views.db", "words") == [("a", 9, 1), ("b", 1, 10)]


def test_half_a_build_is_begun_again(
    tmp_path: Path, feed: MemoryFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables that were filled in part are dropped; the live ones answer until new ones are whole.

    Also where nobody asks for the rebuild again.
    """
    small(monkeypatch, 2)
    path = tmp_path / "views.db"
    built(path, feed, projections=[WholeWords()], bulk_events=1)
    runner = ProjectionRunner(path, feed, [WholeWords()], bulk_events=1)
    runner.request_rebuild()
    steps(runner, 2)
    assert [each.state for each in runner.status()] == ["rebuilding"]
    assert 0 < (runner.status()[0].built or 0) < feed.head()
    half = next(row for row in register(path) if not row[1])
    assert half[2] != WholeWords().version
    runner.close()
    again = ProjectionRunner(path, feed, [WholeWords()], bulk_events=1)
    assert [each.state for each in again.status()] == ["rebuilding"]
    assert rows(path, "words")
    again.catch_up()
    again.close()
    assert sum(row[1] for row in rows(path, "words")) == 13
    assert [row[1] for row in register(path)] == [1]


def test_a_build_that_overtakes_the_live_tables_counts_nothing_twice(
    tmp_path: Path, feed: MemoryFeed
) -> None:
    """What the live tables lack is not applied to those that have just taken their place."""
    path = tmp_path / "views.db"
    runner = ProjectionRunner(path, feed, [WholeWords()], bulk_events=1, batch_events=1)
    runner.catch_up()
    submitted(feed, "xyz")
    runner.request_rebuild()
    runner.catch_up()
    runner.close()
    assert sum(row[1] for row in rows(path, "words")) == 16


def test_a_disk_that_fails_fails_the_step(
    tmp_path: Path, feed: MemoryFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faults of the disk are no faults of a projection: it is tried again."""
    small(monkeypatch, 2)
    runner = ProjectionRunner(tmp_path / "views.db", feed, [words := WholeWords()], bulk_events=1)
    runner.step(0)
    with monkeypatch.context() as patch:

        def full(batch: Batch) -> Rows:
            raise apsw.FullError("full")

        patch.setattr(words, "whole_rows", full)
        with pytest.raises(Exception, match="full"):
            runner.step(0)
    runner.catch_up()
    runner.close()
    assert sum(row[1] for row in rows(tmp_path / "views.db", "words")) == 13


def test_short_logs_are_folded_in_their_order(tmp_path: Path, feed: MemoryFeed) -> None:
    """Whole streams are for long logs."""
    words = WholeWords()
    built(tmp_path / "views.db", feed, projections=[words], bulk_events=14)
    assert words.asked == 0


def test_these_can_be_built_of_whole_streams() -> None:
    """Most projections can; the others go their own way beside them."""
    able = {each.name for each in PROJECTIONS if isinstance(each, whole.WholeProjection)}
    assert able == {"jobs", "job_history", "summary", "search", "tasks", "queues"}
