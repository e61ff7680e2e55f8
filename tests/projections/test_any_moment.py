"""Any moment of any log: the fold of its prefix, a replay up to it, and its rows are the same."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from feeds import MemoryFeed, dump, submitted
from hypothesis import given, settings
from hypothesis import strategies as st
from test_row_equality import LOGS

from daemon.replay.checkpoints import Checkpoints, whole_at
from daemon.replay.limits import Bounds
from daemon.replay.replay import Base, NotAReplay, ReplayFailed, check_target, replay
from daemon.replay.upto import LogUpto
from domain.events import RecordedEvent
from domain.history import history_of, history_view
from domain.job import JobState, advance_job, job_view
from projections.alerts import alert_of
from projections.job_history import entry_rank
from projections.runner import ProjectionRunner
from projections.views import Views

CLOSE = Bounds(count=5, spacing=1)
"""Checkpoints as near to each other as can be."""


def prefix(feed: MemoryFeed, position: int) -> MemoryFeed:
    """Return another log of the same name that holds the events up to a position."""
    cut = MemoryFeed(feed.log_id, feed.epoch)
    for event in feed.events[:position]:
        cut.append(event)
    return cut


def of(feed: MemoryFeed, stream: str, position: int) -> list[RecordedEvent]:
    """Return the events of a stream up to a position."""
    return [each for each in feed.events[:position] if each.stream == stream]


def folded_job(events: Iterable[RecordedEvent]) -> dict[str, Any]:
    """Return the view of a job, folded from its events."""
    state: JobState | None = None
    for event in events:
        state = advance_job(state, event)
    assert state is not None
    return job_view(state)


@settings(max_examples=40)
@given(LOGS, st.data())
def test_every_moment_is_the_fold_of_its_prefix(feed: MemoryFeed, data: st.DataObject) -> None:
    """However a moment is come to, its rows are those of a replay from nothing, and of the folds.

    From nothing, from a checkpoint, from a moment before it, or going on in a file.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoints = Checkpoints(folder, feed, CLOSE)
        positions = data.draw(st.permutations(range(feed.head() + 1)))
        before: list[Base] = []
        for position in positions[:6]:
            plain, there = folder / f"plain-{position}.db", folder / f"there-{position}.db"
            replay(prefix(feed, position), plain, position)
            leaving = data.draw(st.booleans())
            replay(feed, there, position, checkpoints=checkpoints, bases=before, leaving=leaving)
            before.append(Base(position, there))
            assert dump(there) == dump(plain)
            assert whole_at(there) == position
            with closing(Views(there)) as views:
                see_entities(feed, views.at(position), position)


def see_entities(feed: MemoryFeed, views: Views, position: int) -> None:
    """See that each job and alert of the views is the fold of its own events."""
    for stream in {event.stream for event in feed.events}:
        category, _, subject = stream.partition("/")
        events = of(feed, stream, position)
        if category == "job":
            shown = views.job(subject)[0]
            assert shown == (folded_job(events) if events else None)
            if events:
                entries = history_of(events)
                entries.sort(key=lambda each: (each.time, entry_rank(each), each.position))
                page = views.history(subject)
                assert page.items == [history_view(entry) for entry in entries]
        if category == "alert":
            assert views.alert(subject)[0] == alert_of(events)


def test_an_alert_of_many_events_shows_the_newest_of_them() -> None:
    """Only the newest entries of a timeline are kept while it is folded."""
    feed = MemoryFeed()
    for number in range(2_500):
        feed.add("alert.raised", "a", {"message": str(number)}, at=(number * 7919) % 2_500)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "then.db")
        replay(feed, path, 2_400)
        with closing(Views(path)) as views:
            assert views.alert("a")[0] == alert_of(feed.events[:2_400])


def test_a_replay_that_was_ended_goes_on(tmp_path: Path) -> None:
    """What is in the file already is not read again."""
    feed = MemoryFeed()
    submitted(feed, [f"j{number}" for number in range(100)])
    path = tmp_path / "then.db"
    with closing(ProjectionRunner(path, LogUpto(feed, 60), batch_events=10)) as runner:
        runner.catch_up()
    read: list[int] = []
    original = feed.read

    def reading(after: int, limit: int) -> Any:
        read.append(after)
        return original(after, limit)

    feed.read = reading  # type: ignore[method-assign]
    assert replay(feed, path, 90) == 30
    assert min(read) == 60
    assert whole_at(path) == 90
    # Back in time is another replay.
    assert replay(feed, path, 10) == 10
    assert whole_at(path) == 10


def test_a_damaged_checkpoint_is_removed_and_the_one_before_taken(tmp_path: Path) -> None:
    """A checkpoint that does not decompress costs time and nothing else."""
    feed = MemoryFeed()
    submitted(feed, [f"j{number}" for number in range(100)])
    checkpoints = Checkpoints(tmp_path, feed, Bounds(count=20, spacing=20))
    replay(feed, tmp_path / "whole.db", 100, checkpoints=checkpoints, leaving=True)
    assert [each.position for each in checkpoints.list()] == [20, 40, 60, 80]
    newest = checkpoints.list()[-1].path
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 0x55
    newest.write_bytes(content)
    assert replay(feed, tmp_path / "then.db", 95, checkpoints=checkpoints) == 35
    assert [each.position for each in checkpoints.list()] == [20, 40, 60]
    whole = dump(tmp_path / "whole.db")["jobs"]
    assert dump(tmp_path / "then.db")["jobs"] == [row for row in whole if row[0] <= 95]


def test_checkpoints_are_bounded_and_far_apart(tmp_path: Path) -> None:
    """Where there are too many, the one between the nearest neighbours goes, never the newest."""
    feed = MemoryFeed()
    submitted(feed, [f"j{number}" for number in range(64)])
    checkpoints = Checkpoints(tmp_path, feed, Bounds(count=4, spacing=4))
    path = tmp_path / "then.db"
    for position in range(4, 65, 4):
        replay(feed, path, position)
        checkpoints.save(path, position)
    kept = [each.position for each in checkpoints.list()]
    assert len(kept) == 4
    assert kept[-1] == 64
    assert max(high - low for low, high in zip([0, *kept], kept, strict=False)) <= 32
    size = sum(each.size for each in checkpoints.list())
    tight = Checkpoints(tmp_path, feed, Bounds(count=4, bytes=size // 2))
    tight.thin(64)
    assert 0 < sum(each.size for each in tight.list()) <= size // 2


def test_checkpoints_of_another_log_are_not_used(tmp_path: Path) -> None:
    """They lie in another folder, and are removed by who cleans up."""
    feed, other = MemoryFeed("one"), MemoryFeed("other")
    for log in (feed, other):
        submitted(log, ["a", "b", "c"])
    bounds = Bounds(count=4, spacing=1)
    theirs = Checkpoints(tmp_path, other, bounds)
    replay(other, tmp_path / "other.db", 3)
    theirs.save(tmp_path / "other.db", 3)
    ours = Checkpoints(tmp_path, feed, bounds)
    assert ours.nearest(3) is None
    ours.clean()
    assert theirs.list() == []


def test_views_that_are_not_whole_are_no_checkpoint(tmp_path: Path) -> None:
    """Projections at several positions, or in the middle of a build, are not kept."""
    feed = MemoryFeed()
    submitted(feed, [f"j{number}" for number in range(30)])
    path = tmp_path / "views.db"
    with closing(ProjectionRunner(path, feed, batch_events=10, build_events=10)) as runner:
        runner.step(0)
        checkpoints = Checkpoints(tmp_path, feed, CLOSE)
        assert checkpoints.save(path, 30) is None
        runner.catch_up()
        saved = checkpoints.save(path, 30)
        assert saved is not None
        assert saved.position == 30
        runner.request_rebuild("jobs")
        runner.step(0)
        assert checkpoints.save(path, 30) is None


def test_an_event_that_fails_a_projection_fails_the_replay(tmp_path: Path) -> None:
    """A moment that is not what the log says is not shown: the error names the event."""
    feed = MemoryFeed()
    submitted(feed, ["a", "b"])
    broken = feed.events[1]._replace(payload={"priority": {}})
    feed.events[1] = broken
    with pytest.raises(ReplayFailed, match="position 2"):
        replay(feed, tmp_path / "then.db", 2)
    assert replay(feed, tmp_path / "before.db", 1) == 1


def test_a_file_that_is_no_replay_is_left_alone(tmp_path: Path) -> None:
    """Neither another program's file nor a replay of another log is written over."""
    feed, other = MemoryFeed("one"), MemoryFeed("other")
    submitted(feed, ["a"])
    submitted(other, ["a"])
    text = tmp_path / "notes.txt"
    text.write_text("mine")
    with pytest.raises(NotAReplay, match="is not a replay"):
        check_target(text, feed)
    replay(other, tmp_path / "other.db", 1)
    with pytest.raises(NotAReplay, match="another log"):
        check_target(tmp_path / "other.db", feed)
    replay(feed, tmp_path / "own.db", 1)
    check_target(tmp_path / "own.db", feed)
    check_target(tmp_path / "new.db", feed)
    assert (tmp_path / "own.db").stat().st_mode & 0o777 == 0o600
