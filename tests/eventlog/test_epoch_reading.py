"""Reading, exporting and importing a log whose epochs left a million positions empty each."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from epoch_log import GAP, resume, two_epochs
from histories import exported, exported_with, imported, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from log_driving import START, events, one, sql

from daemon.eventlog import reader
from daemon.eventlog.log import EventLog
from daemon.eventlog.log_file import LogFile
from daemon.eventlog.requests import EventQuery, Work
from daemon.replay.emit import outgoing, outgoing_preserved
from daemon.replay.points import find_position
from daemon.replay.preserve import append_preserved
from daemon.replay.stretch import find_stretch
from domain.errors import BeyondHead, HistoryConflict, Invalid
from domain.historic import read_historic
from domain.moments import Point

META = "SELECT * FROM log_meta ORDER BY key"


@pytest.fixture
def places(path: Path) -> list[int]:
    """Return the positions of the events of a log with two epochs, which is at the path."""
    return two_epochs(path)


def walked(log: EventLog | LogFile, limit: int, *, descending: bool) -> list[list[int]]:
    """Return the positions of every page, from one end to the other."""
    pages: list[list[int]] = []
    following: int | None = None
    while not pages or following is not None:
        before, after = (following, None) if descending else (None, following)
        page = log.select(EventQuery(before=before, after=after, descending=descending), limit)
        pages.append([event.position for event in page.events])
        following = page.next_after
        assert len(pages) < 200
    return pages


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("scanned", [7, 20_000])
def test_pages_jump_over_what_is_empty(
    opened, path: Path, places: list[int], descending: bool, scanned: int, monkeypatch
) -> None:
    """No page is spent on positions that no event has, and none leads to one, both ways."""
    monkeypatch.setattr(reader, "SCAN_POSITIONS", scanned)
    log = opened()
    for limit in (4, 1000):
        pages = walked(log, limit, descending=descending)
        found = [position for page in pages for position in page]
        assert found == sorted(places, reverse=descending)
        assert [] not in pages
        assert len(pages) <= len(places) // min(limit, scanned) + 4


@settings(max_examples=60, deadline=None)
@given(
    st.sets(st.integers(1, 300), min_size=1, max_size=40),
    st.integers(1, 5),
    st.integers(1, 60),
    st.booleans(),
)
def test_pages_have_every_event_once_whatever_is_empty(
    tmp_path_factory: pytest.TempPathFactory,
    kept: set[int],
    limit: int,
    scanned: int,
    descending: bool,
) -> None:
    """Any holes, any bound on what a page looks at: each event once, and none leads to a hole."""
    path = tmp_path_factory.mktemp("pages") / "log.db"
    two_epochs(path, gap=3)
    positions = [row[0] for row in sql(path, "SELECT position FROM events ORDER BY position")]
    moved = dict(zip(positions, sorted(kept), strict=False))
    for old in reversed(positions):
        if old in moved:
            place = (moved[old] + 10_000, old)
            sql(path, "UPDATE events SET position = ? WHERE position = ?", place)
        else:
            sql(path, "DELETE FROM events WHERE position = ?", (old,))
    left = sorted(position + 10_000 for position in moved.values())
    with pytest.MonkeyPatch.context() as patch, closing(LogFile(path)) as log:
        patch.setattr(reader, "SCAN_POSITIONS", scanned)
        pages = walked(log, limit, descending=descending)
        assert [each for page in pages for each in page] == sorted(left, reverse=descending)


def test_a_time_is_a_position_that_has_an_event(opened, path: Path) -> None:
    """Between the last event before an epoch and the epoch the log is as of that event."""
    one(opened(), events(1, 10))
    begun = resume(path, now=START + 1000)
    log = opened()
    assert begun == 10 + GAP + 1
    asked = (START - 1, START, START + 999, START + 1000, 2**62)
    assert [log.position_at(each) for each in asked] == [0, 10, 10, begun, begun]
    assert [log.recorded_at(each) for each in (10, begun)] == [START, START + 1000]


def test_a_point_in_a_lost_tail_is_beyond_the_head(opened, places: list[int]) -> None:
    """What is between is refused with where to start again; what is at its ends is not."""
    log = opened()
    kept, begun = places[9], places[10]
    for position in (kept, begun):
        assert find_position(log, Point(position=position), START) == position
    for position in (kept + 1, begun - 1):
        with pytest.raises(BeyondHead, match=f"complete up to {kept}.*epoch 2 at {begun}") as told:
            find_position(log, Point(position=position), START)
        assert f"from position {kept}" in told.value.operator_hint


def test_a_stretch_goes_on_behind_what_was_lost(opened, places: list[int]) -> None:
    """Who has everything up to a lost tail asks for what comes next, and gets it."""
    log = opened()
    after_kept = Point(position=places[9] + 1)
    assert find_stretch(log, after_kept, None, START) == range(places[9] + 1, places[-1] + 1)
    with pytest.raises(BeyondHead):
        find_stretch(log, Point(position=places[9] + 2), None, START)


def test_all_events_are_emitted_across_epochs(path: Path, places: list[int]) -> None:
    """Emission passes over what is empty, in both forms."""
    with closing(LogFile(path)) as log:
        positions = range(1, places[-1] + 1)
        assert [each.position for each in outgoing(log, positions)] == places
        assert [each.position for each in outgoing_preserved(log, positions)] == places


def test_a_history_with_epochs_comes_back_as_it_was(path: Path, places: list[int]) -> None:
    """Positions, digests, epoch and another export are the same; the copy verifies and goes on."""
    text, trailer = exported_with(path)
    assert (trailer.complete, trailer.count, trailer.last) == (True, len(places), places[-1])
    copy = imported(text, path.parent / "copy")
    assert sql(copy, META) == sql(path, META)
    assert exported(copy) == text
    columns = "position, digest, recordedtime, version"
    every = f"SELECT {columns} FROM events ORDER BY position"
    assert sql(copy, every) == sql(path, every)
    with closing(EventLog.open(copy)) as log:
        assert (log.verify(), log.epoch) == ([], 3)
        assert [each.complete_to for each in log.lost_stretches()] == [places[9], places[30]]


@pytest.mark.parametrize("last", [5, 10, 11, 31, 32])
def test_a_history_up_to_any_event_comes_back_in_its_epoch(
    path: Path, places: list[int], last: int
) -> None:
    """An export that ends before an epoch is of the epoch before."""
    text, trailer = exported_with(path, 1, places[last - 1])
    assert (trailer.complete, trailer.count) == (True, last)
    copy = imported(text, path.parent / "copy")
    with closing(EventLog.open(copy)) as log:
        assert (log.verify(), log.epoch) == ([], 1 + (last > 10) + (last > 31))


def test_a_log_that_begins_with_an_epoch_comes_back(path: Path) -> None:
    """Where everything before the first epoch was lost the history begins with it, at its place."""
    EventLog.open(path).close()
    resume(path, gap=50)
    text, trailer = exported_with(path)
    assert (trailer.complete, trailer.count, trailer.last) == (True, 1, 51)
    copy = imported(text, path.parent / "copy")
    assert rows(copy) == rows(path)
    with closing(LogFile(copy)) as log:
        assert find_stretch(log, None, None, START) == range(1, 52)
        assert find_position(log, Point(position=0), START) == 0


@pytest.mark.parametrize("gone", [9, 10, 20])
def test_an_export_with_another_gap_is_refused(path: Path, places: list[int], gone: int) -> None:
    """A line that was taken out is missed, the one before an epoch and that of the epoch too."""
    lines = exported(path).splitlines(keepends=True)
    del lines[gone + 1]
    with pytest.raises(Invalid, match=rf"line {gone + 2}"):
        imported(b"".join(lines), path.parent / "copy")


def test_preserved_history_ends_before_an_epoch(path: Path, places: list[int]) -> None:
    """Another log takes what came before; the gap is not its own, and nothing declares it there."""
    events_ = [
        read_historic(line)._replace(digest=None) for line in exported(path).splitlines()[1:-1]
    ]
    with closing(EventLog.open(path.parent / "other.db")) as other:
        one(other, Work(partial(append_preserved, events_[:10])))
        for wrong in (events_[10:20], events_[5:20]):
            with pytest.raises(HistoryConflict, match=f"with position 11, not with {places[10]}"):
                one(other, Work(partial(append_preserved, wrong)))
        assert (other.head(), other.verify()) == (10, [])
