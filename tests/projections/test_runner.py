"""The runner: batches, failure isolation, rebuild beside the live tables, waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from zlib import crc32

import apsw
import pytest
from feeds import MemoryFeed, WordCounts, built, rows, steps, submitted, table_names

from domain.errors import DiskFull, NotFound, StorageFailed
from domain.events import RecordedEvent
from projections.entities import _SQL, Entities, entity_number
from projections.runner import ProjectionRunner
from projections.store import open_store


@pytest.fixture
def feed() -> MemoryFeed:
    """Return a log of nine events."""
    feed = MemoryFeed()
    submitted(feed, ["a1", "b1", "a2", "c1", "a3", "b2", "a1", "a1", "d1"])
    return feed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the views are."""
    return tmp_path / "views.db"


@pytest.fixture
def runners() -> Iterator[list[ProjectionRunner]]:
    """Return a list of runners that are closed at the end."""
    opened: list[ProjectionRunner] = []
    yield opened
    for runner in opened:
        runner.close()


def state(runner: ProjectionRunner, name: str = "words") -> tuple[str, int]:
    """Return state and position of a projection."""
    return next((each.state, each.position) for each in runner.status() if each.name == name)


WORDS = [("a", 5, 1), ("b", 2, 2), ("c", 1, 4), ("d", 1, 9)]


def test_rows_and_position_follow_the_log(path, feed, runners) -> None:
    """After catching up the rows know the whole log, and the status says so."""
    runner = ProjectionRunner(path, feed, [WordCounts()])
    runners.append(runner)
    assert state(runner) == ("building", 0)
    assert not runner.caught_up
    runner.catch_up()
    assert rows(path, "words") == WORDS
    assert state(runner) == ("live", 9)
    assert runner.caught_up
    assert runner.status()[0].recordedtime == feed.events[-1].recordedtime
    submitted(feed, ["d2"])
    runner.catch_up()
    assert rows(path, "words")[-1] == ("d", 2, 9)
    assert state(runner) == ("live", 10)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_rows_do_not_depend_on_batch_borders(path, feed, size) -> None:
    """Any batch size gives the same rows."""
    built(path, feed, projections=[WordCounts()], batch_events=size, build_events=size)
    assert rows(path, "words") == WORDS


def test_an_empty_log_is_live_after_one_step(path, runners) -> None:
    """There is nothing to build for an empty log, so there is no wait for it either."""
    runners.append(runner := ProjectionRunner(path, MemoryFeed(), [WordCounts()]))
    runner.step(0)
    assert state(runner) == ("live", 0)


def test_a_step_is_one_bounded_batch(path, feed, runners) -> None:
    """A step applies no more than one batch, and says whether there is more."""
    runners.append(
        runner := ProjectionRunner(path, feed, [WordCounts()], batch_events=4, build_events=4)
    )
    assert runner.step(0) == 0
    assert runner.status()[0].built == 4
    steps(runner, 2)
    assert state(runner) == ("live", 9)
    assert runner.step(0) is None


def test_positions_with_gaps_are_followed(path, runners) -> None:
    """A gap in the positions, also one at the end of the log, does not stop a projection."""

    class Gaps(MemoryFeed):
        def head(self) -> int:
            return max(super().head(), 50)

    feed = Gaps()
    submitted(feed, ["a1", "b1", "a2"])
    feed.append(feed.events[0]._replace(position=40, stream="job/c1"))
    options = {"batch_events": 2, "build_events": 2}
    runners.append(runner := ProjectionRunner(path, feed, [WordCounts()], **options))
    runner.catch_up()
    assert rows(path, "words") == [("a", 2, 1), ("b", 1, 2), ("c", 1, 40)]
    assert state(runner) == ("live", 50)


def test_events_that_come_while_a_page_is_read_count_once(path, runners) -> None:
    """Events between the look at the head and the read of the page are not applied again."""

    class Busy(MemoryFeed):
        def head(self) -> int:
            head = super().head()
            if head < 6:
                submitted(self, ["a1", "b1"])
            return head

    runners.append(runner := ProjectionRunner(path, Busy(), [WordCounts()]))
    runner.catch_up()
    assert rows(path, "words") == [("a", 3, 1), ("b", 3, 2)]
    assert state(runner) == ("live", 6)


def test_pages_are_bounded_in_bytes(path, feed, runners, monkeypatch) -> None:
    """Large events make small batches, so that memory stays bounded."""
    monkeypatch.setattr("projections.pages.PAGE_BYTES", 1)
    monkeypatch.setattr("projections.pages.READ_EVENTS", 3)
    runners.append(runner := ProjectionRunner(path, feed, [WordCounts()]))
    runner.step(0)
    assert runner.status()[0].built == 3
    runner.catch_up()
    assert rows(path, "words") == WORDS


def test_a_failing_projection_fails_alone(path, feed, runners) -> None:
    """It stops right before the event it fails at, and the others go on."""
    bad, good = WordCounts("bad"), WordCounts("good")
    bad.poison = {7}
    runners.append(runner := ProjectionRunner(path, feed, [bad, good], batch_events=4))
    runner.catch_up()
    assert rows(path, "good") == WORDS
    assert rows(path, "bad") == [("a", 3, 1), ("b", 2, 2), ("c", 1, 4)]
    status = runner.status()[0]
    assert (status.state, status.position, status.failed_position) == ("failed", 6, 7)
    assert status.error == "ValueError: poison at 7"
    assert runner.caught_up


@pytest.mark.parametrize("poison", range(1, 10))
@pytest.mark.parametrize("size", [1, 4, 100])
def test_a_failed_projection_keeps_its_last_good_rows(path, feed, poison, size) -> None:
    """Wherever it fails and whatever the batch: its rows are those of all events before that."""
    bad = WordCounts("bad")
    bad.poison = {poison}
    built(path, feed, projections=[bad], batch_events=size, build_events=size)
    before = MemoryFeed()
    submitted(before, [event.subject for event in feed.events[: poison - 1]])
    built(path.with_name("before.db"), before, projections=[WordCounts("bad")])
    assert rows(path, "bad") == rows(path.with_name("before.db"), "bad")


def test_a_failed_projection_is_tried_again_after_a_restart(path, feed) -> None:
    """A fault that was mended needs no rebuild: the projection goes on where it stopped."""
    words = WordCounts()
    words.poison = {5}
    built(path, feed, projections=[words])
    words.poison = set()
    built(path, feed, projections=[words])
    assert rows(path, "words") == WORDS


def test_a_failed_projection_can_be_rebuilt(path, feed, runners) -> None:
    """A requested rebuild makes a failed projection live again, without a restart."""
    words = WordCounts()
    words.poison = {5}
    runners.append(runner := ProjectionRunner(path, feed, [words]))
    runner.catch_up()
    words.poison = set()
    runner.request_rebuild("words")
    assert state(runner) == ("rebuilding", 4)
    runner.catch_up()
    assert state(runner) == ("live", 9)
    assert rows(path, "words") == WORDS


def test_a_table_that_was_taken_away_is_rebuilt(path, feed, runners) -> None:
    """A projection whose table is gone fails alone, and a rebuild brings the table back."""
    built(path, feed, projections=[WordCounts("lost"), WordCounts("good")])
    with closing(apsw.Connection(str(path))) as db:
        db.execute("DROP TABLE lost")
    submitted(feed, ["a"])
    runners.append(runner := ProjectionRunner(path, feed, [WordCounts("lost"), WordCounts("good")]))
    runner.catch_up()
    assert [status.state for status in runner.status()] == ["live", "failed"]
    runner.request_rebuild("lost")
    runner.catch_up()
    assert [status.state for status in runner.status()] == ["live", "live"]
    assert rows(path, "lost") == rows(path, "good")


def test_a_rebuild_that_fails_leaves_the_live_tables_going(path, feed, runners) -> None:
    """A build that fails is reported; the live tables still follow the log."""
    words = WordCounts()
    runners.append(runner := ProjectionRunner(path, feed, [words]))
    runner.catch_up()
    words.poison = {3}
    runner.request_rebuild()
    runner.catch_up()
    submitted(feed, ["d2"])
    runner.catch_up()
    status = runner.status()[0]
    assert (status.state, status.position, status.failed_position) == ("live", 10, 3)
    assert rows(path, "words")[-1] == ("d", 2, 9)
    words.poison = set()
    runner.request_rebuild()
    runner.catch_up()
    assert runner.status()[0].error is None


def test_rebuilding_an_unknown_projection_is_refused(path, feed, runners) -> None:
    """The error names the nearest projection there is."""
    runners.append(runner := ProjectionRunner(path, feed, [WordCounts()]))
    with pytest.raises(NotFound, match="did you mean 'words'"):
        runner.request_rebuild("word")


def test_live_tables_go_on_beside_a_build(path, feed, runners) -> None:
    """While a build catches up, new events reach the live tables; the build then meets them."""
    options = {"batch_events": 3, "build_events": 2}
    runners.append(runner := ProjectionRunner(path, feed, [WordCounts()], **options))
    runner.catch_up()
    runner.request_rebuild()
    states = []
    for number in range(20):
        if number < 8:
            submitted(feed, ["z1"])
        runner.step(0)
        states.append(state(runner))
        assert state(runner)[1] == feed.head()
    assert states[0][0] == "rebuilding"
    assert states[-1] == ("live", 17)
    assert rows(path, "words") == [*WORDS, ("z", 8, 10)]
    runner.catch_up()
    assert not [name for name in table_names(path) if name.startswith("g")]


def test_a_new_version_is_built_beside_the_old_tables(path, feed, runners) -> None:
    """A reader keeps the old tables during a rebuild, and its snapshot even after the swap."""
    built(path, feed, projections=[WordCounts()])
    submitted(feed, ["d2"])
    reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    runners.append(runner := ProjectionRunner(path, feed, [WordCounts(version=2)], build_events=4))
    try:
        assert state(runner) == ("rebuilding", 9)
        runner.step(0)
        assert rows(path, "words") == WORDS
        reader.execute("BEGIN")
        assert len(reader.execute("SELECT * FROM words").fetchall()[0]) == 3
        runner.catch_up()
        assert len(reader.execute("SELECT * FROM words").fetchall()[0]) == 3
        reader.execute("COMMIT")
        assert len(reader.execute("SELECT * FROM words").fetchall()[0]) == 4
    finally:
        reader.close()
    assert rows(path, "words")[-1] == ("d", 2, 9, None)
    assert state(runner) == ("live", 10)
    assert runner.status()[0].version == 2


def test_going_back_a_version_rebuilds_too(path, feed) -> None:
    """A version that differs is rebuilt, whether it is higher or lower."""
    built(path, feed, projections=[WordCounts(version=2)])
    built(path, feed, projections=[WordCounts()])
    assert rows(path, "words") == WORDS


def test_a_projection_that_is_no_more_loses_its_tables(path, feed) -> None:
    """Nothing is left of a projection that this program does not have."""
    built(path, feed, projections=[WordCounts("old"), WordCounts("words")])
    assert "old" in table_names(path)
    built(path, feed, projections=[WordCounts("words")])
    assert not [name for name in table_names(path) if "old" in name]


def test_a_build_goes_on_after_a_restart(path, feed, runners) -> None:
    """A build that was interrupted goes on where its last transaction ended."""
    first = ProjectionRunner(path, feed, [WordCounts()], build_events=4)
    first.step(0)
    first.close()
    runners.append(runner := ProjectionRunner(path, feed, [WordCounts()], build_events=4))
    assert runner.status()[0].built == 4
    runner.catch_up()
    assert rows(path, "words") == WORDS


def test_a_build_of_another_version_leaves_nothing(path, feed, runners) -> None:
    """A build that an update made useless is dropped, with its tables."""
    built(path, feed, projections=[WordCounts()])
    second = ProjectionRunner(path, feed, [WordCounts(version=2)], build_events=4)
    second.step(0)
    second.close()
    runners.append(runner := ProjectionRunner(path, feed, [WordCounts(version=3)], build_events=4))
    assert runner.status()[0].built == 0
    runner.catch_up()
    assert len(rows(path, "words")[0]) == 5
    assert not [name for name in table_names(path) if name.startswith("g")]


def test_a_full_disk_takes_nothing_back(path, feed, runners) -> None:
    """When a transaction cannot be written the step fails; it succeeds once there is room."""
    runners.append(runner := ProjectionRunner(path, feed, [WordCounts()]))
    runner.catch_up()
    submitted(feed, [f"{letter}{'x' * 2000}{n}" for n in range(50) for letter in "pqr"])
    store = runner._opened()
    store.db.pragma("max_page_count", store.db.pragma("page_count"))
    with pytest.raises(DiskFull):
        runner.step(0)
    assert rows(path, "words") == WORDS
    assert state(runner) == ("live", 9)
    runner.catch_up()
    assert state(runner) == ("live", 159)


def test_a_locked_file_is_a_storage_fault(path, feed, runners, monkeypatch) -> None:
    """Another writer on the file fails the step, not the projection."""
    monkeypatch.setattr("projections.store.BUSY_TIMEOUT_MS", 1)
    runners.append(runner := ProjectionRunner(path, feed, [WordCounts()]))
    other = apsw.Connection(str(path))
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageFailed):
            runner.step(0)
        other.execute("COMMIT")
    finally:
        other.close()
    runner.catch_up()
    assert rows(path, "words") == WORDS


def test_a_feed_that_fails_fails_the_step_only(path, feed, runners, monkeypatch) -> None:
    """An error of the log is the step's error; the next step goes on."""
    runners.append(runner := ProjectionRunner(path, feed, [WordCounts()]))

    def refuse(after: int, limit: int) -> list[RecordedEvent]:
        raise StorageFailed("the log cannot be read")

    with monkeypatch.context() as patch:
        patch.setattr(feed, "read", refuse)
        with pytest.raises(StorageFailed):
            runner.step(0)
    runner.catch_up()
    assert rows(path, "words") == WORDS


def test_waiting_ends_when_the_views_know_the_position(path, feed, runners) -> None:
    """A reader that waits is let go by the step that reaches its position."""
    runners.append(runner := ProjectionRunner(path, feed, [WordCounts()]))
    waited: list[bool] = []
    thread = threading.Thread(target=lambda: waited.append(runner.wait_for(9, 20)))
    thread.start()
    runner.catch_up()
    thread.join()
    assert waited == [True]
    assert not runner.wait_for(10, 0)


def test_waiting_does_not_wait_for_a_failed_projection(path, feed, runners) -> None:
    """The others are waited for; where only failed ones are asked for, the answer is no at once."""
    bad, good = WordCounts("bad"), WordCounts("good")
    bad.poison = {2}
    runners.append(runner := ProjectionRunner(path, feed, [bad, good]))
    runner.catch_up()
    assert runner.wait_for(9, 20)
    assert runner.wait_for(9, 20, ["bad", "good"])
    assert not runner.wait_for(9, 600, ["bad"])


def test_closing_lets_go_of_those_who_wait(path, feed) -> None:
    """Nobody waits for a runner that is closed."""
    runner = ProjectionRunner(path, feed, [WordCounts()])
    waited: list[bool] = []
    thread = threading.Thread(target=lambda: waited.append(runner.wait_for(9, 600)))
    thread.start()
    runner.close()
    thread.join()
    assert waited == [False]


def test_new_events_wake_the_runner(path, feed, runners) -> None:
    """`wake` and `request_rebuild` set the event that a service thread waits on."""
    runners.append(runner := ProjectionRunner(path, feed, [WordCounts()]))
    runner.wake()
    assert runner.woken.is_set()
    runner.woken.clear()
    runner.request_rebuild("words")
    assert runner.woken.is_set()


@pytest.mark.parametrize("bound", ["ENTITIES_CACHED_MAX", "ENTITY_LENGTH_MAX"])
def test_entities_are_numbered_by_their_first_event(path, feed, monkeypatch, bound) -> None:
    """A stream's number is the position of its first event, remembered or looked up."""
    monkeypatch.setattr(f"projections.entities.{bound}", 2)
    store = open_store(path, feed)
    try:
        found = {}
        entities = Entities(store.db)
        for event in feed.events:
            found[event.stream] = entities.number([event]).entities[event.stream]
        expected = {"a1": 1, "b1": 2, "a2": 3, "c1": 4, "a3": 5, "b2": 6, "d1": 9}
        assert found == {f"job/{subject}": number for subject, number in expected.items()}
        known = entities.number(feed.events).entities
        assert {stream: known[stream] for stream in found} == found
    finally:
        store.close()


def test_names_with_the_same_hash_are_told_apart(path, feed) -> None:
    """A stream is found by hash and name, along the index."""
    assert crc32(b"job/plumless") == crc32(b"job/buckeroo")
    events = [
        feed.events[0]._replace(position=position, stream=stream)
        for position, stream in ((5, "job/plumless"), (200_000, "job/x"), (300_000, "job/buckeroo"))
    ]
    store = open_store(path, feed)
    try:
        Entities(store.db).number(events)
        found = {event.stream: entity_number(store.db, event.stream) for event in events}
        assert found == {event.stream: event.position for event in events}
        assert entity_number(store.db, "job/y") is None
        plan = store.db.execute("EXPLAIN QUERY PLAN " + _SQL["find_entity"], (1, "x")).fetchall()
        assert "USING INDEX entities_by_hash (hash=?)" in str(plan)
    finally:
        store.close()


@pytest.mark.parametrize(("at_once", "unindexed"), [(100, 100), (0, 100), (0, 3)])
def test_a_first_build_gets_its_indexes_at_last(
    path, feed, runners, monkeypatch, at_once, unindexed
) -> None:
    """A small one all at once, a large one one a step; it is live when it has all of them."""
    monkeypatch.setattr("projections.runner.INDEXED_AT_ONCE_MAX", at_once)
    monkeypatch.setattr("projections.runner.UNINDEXED_MAX", unindexed)
    index = "g1_words_by_count"
    options = {"build_events": 4}
    runners.append(runner := ProjectionRunner(path, feed, [WordCounts()], **options))
    indexes = "(SELECT name FROM sqlite_schema WHERE type = 'index')"
    runner.step(0)
    assert ((index,) in rows(path, indexes)) == (unindexed == 3)
    runner.close()
    runners.append(runner := ProjectionRunner(path, feed, [WordCounts()], **options))
    steps(runner, 2)
    assert (state(runner)[0] == "live") == (at_once == 100 or unindexed == 3)
    runner.catch_up()
    assert state(runner) == ("live", 9)
    assert (index,) in rows(path, indexes)
    assert rows(path, "words") == WORDS
    runner.request_rebuild()
    runner.step(0)
    assert ("g2_words_by_count",) in rows(path, indexes)
