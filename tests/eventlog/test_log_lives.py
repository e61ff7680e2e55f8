"""Repeats and removals of streams that had more than one life."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import apsw
import pytest
from log_driving import Clock, event, one, sql
from test_log_removal import marked, marker, removed

from daemon.eventlog import truncation as truncation_module
from daemon.eventlog.log import EventLog
from daemon.eventlog.removal import mark, take_over
from daemon.eventlog.requests import Work
from daemon.eventlog.statements import SQL
from daemon.eventlog.truncation import LOOK_SECONDS, Bound, Truncation
from domain.events import NewEvent
from domain.lives import PURGED


def second_life(log: EventLog, clock: Clock) -> None:
    """Have a job purged, sent again and archived; all that can go is gone."""
    one(log, [event(1, time=5), event(2, time=6)])
    marked(log, marker("job.purged", "j1", 2))
    removed(log)
    clock.now += 10
    one(log, [event(3, time=clock.now), event(4, time=clock.now)])
    marked(log, marker("job.archived", "j1", 5))
    removed(log)


def test_a_forgotten_purge_leaves_the_repeats_of_a_later_life_known(
    log: EventLog, path: Path, clock: Clock
) -> None:
    """Who sends an event of the archived life again hears where it was, after all of it."""
    second_life(log, clock)
    day = NewEvent("log.summarised", "day", "/test", "a", b"{}")
    one(log, Work(lambda t: take_over(t, log.log_id, [day], [("job/j1", 3)])))
    assert sql(path, "SELECT version FROM removed_keys ORDER BY version") == [(4,), (5,)]
    (again,) = one(log, [event(3, time=clock.now)]).receipts
    assert (again.version, again.duplicate) == (4, True)
    assert log.verify() == []


def test_what_an_archived_life_was_purged_of_stays_a_repeat(log: EventLog, clock: Clock) -> None:
    """An event that is older than the purge is of the life before, whatever came after it."""
    second_life(log, clock)
    (again,) = one(log, [event(1, time=5)]).receipts
    assert (again.version, again.duplicate) == (3, True)
    (late,) = one(log, [event(9, time=clock.now)]).receipts
    assert not late.duplicate


def test_a_note_that_stands_for_nothing_is_no_purge_to_be_forgotten(
    log: EventLog, path: Path
) -> None:
    """A `job.purged` without versions that it replaces leaves its job alone."""
    one(log, [event(1), event(2, type="job.purged", data=b"{}"), event(3, "j2")])
    marked(log, marker("job.purged", "j2", 1))
    removed(log)
    found = sql(path, SQL["tombstones_upto"], (0, 100, 10))
    assert [(stream, version) for _, stream, version, *_ in found] == [("job/j2", 2)]


def test_every_statement_knows_every_kind_of_purge(repository: Path) -> None:
    """What is done with one kind of tombstone is done with all."""
    found = [
        names
        for path in sorted(repository.glob("daemon/**/*.sql"))
        for names in re.findall(r"IN \(([^)]*\.purged'[^)]*)\)", path.read_text())
    ]
    assert len(found) > 4
    for names in found:
        assert frozenset(re.findall(r"'(\w+\.purged)'", names)) == PURGED


def test_removals_that_wait_cost_the_writer_nothing(
    running: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of them may go is looked up beside it: there may be very many."""
    running.append([event(1), event(2, "j2")])
    for subject in ("j1", "j2"):
        purge = marker("job.purged", subject, 1)
        running.work(Work(lambda t, purge=purge: mark(t, purge)))
    bound = Bound(4, "the backup is behind")
    truncation = Truncation(running, lambda: bound)
    truncation.run_dry()
    assert truncation.board.events == 1
    with monkeypatch.context() as patched:
        patched.setattr(running, "work", None)
        assert truncation.step(0) == LOOK_SECONDS
    assert truncation.board.waits_for == "the backup is behind"
    bound.position = 5
    truncation.run_dry()
    assert truncation.board.events == 2


def test_nothing_goes_once_somebody_reads_all_of_the_log(
    running: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where that begins right before the transaction that removes."""
    running.append([event(1)])
    running.work(Work(lambda t: mark(t, marker("job.purged", "j1", 1))))
    truncation = Truncation(running, lambda: Bound(9))
    look = truncation_module.removable_streams
    reading = ExitStack()

    def begun(db: apsw.Connection, before: int) -> list[int]:
        reading.enter_context(running.keeping("a verification"))
        return look(db, before)

    with monkeypatch.context() as patched:
        patched.setattr(truncation_module, "removable_streams", begun)
        truncation.run_dry()
    assert truncation.board.events == 0
    assert truncation.board.waits_for == "a verification reads the log"
    reading.close()
    truncation.run_dry()
    assert truncation.board.events == 1
