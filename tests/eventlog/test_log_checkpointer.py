"""The checkpointer: it copies beside the writer, and whatever becomes of it, the log goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_disk import FaultyDisk, bad_sector
from log_driving import large, one

from daemon.eventlog.checkpointer import Checkpointer
from daemon.eventlog.log import EventLog
from daemon.eventlog.writer import CHECKPOINT_PAGES

EVENT_BYTES = 60_000
PAGES_AN_EVENT = EVENT_BYTES // 4096 + 1
ENOUGH = CHECKPOINT_PAGES // PAGES_AN_EVENT + 1
"""So many events make a checkpoint due."""


@pytest.fixture
def checkpointer(log: EventLog, path: Path) -> Iterator[Checkpointer]:
    """Return the checkpointer of the log; like the writer, it is driven by hand."""
    log.writer.checkpointer = checkpointer = Checkpointer(str(path))
    yield checkpointer
    checkpointer.close()


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    """Return a disk that fails on demand."""
    made = FaultyDisk()
    yield made
    made.unregister()


def fill(log: EventLog, first: int, count: int = ENOUGH) -> None:
    """Append large events one by one."""
    for number in range(first, first + count):
        one(log, [large(number, EVENT_BYTES)])


def wal_pages(path: Path) -> int:
    """Return how much of the write-ahead log has been written since it was last begun anew."""
    return path.with_name("log.db-wal").stat().st_size // 4096


def test_the_writer_copies_only_what_came_meanwhile(log, path, checkpointer) -> None:
    """It asks when a checkpoint is due, commits on, and begins anew once the copy is there."""
    fill(log, 0)
    assert checkpointer.asked
    small = path.stat().st_size
    assert small < EVENT_BYTES, "the writer copied itself"
    fill(log, 1000, 3)
    checkpointer.step(0)
    copied = path.stat().st_size
    assert copied > ENOUGH * EVENT_BYTES
    fill(log, 2000, 1)
    assert (checkpointer.asked, checkpointer.copied) == (False, False)
    grown = wal_pages(path)
    fill(log, 3000, ENOUGH // 2)
    assert wal_pages(path) == grown, "the write-ahead log was not begun anew"
    assert log.verify() == []


def test_without_the_copy_the_writer_checkpoints_at_twice_the_size(log, path, checkpointer) -> None:
    """A checkpointer that hangs does not let the write-ahead log grow on."""
    fill(log, 0, 3 * ENOUGH)
    assert wal_pages(path) < 3 * CHECKPOINT_PAGES
    assert path.stat().st_size > ENOUGH * EVENT_BYTES
    assert log.verify() == []


def test_a_copy_that_fails_is_made_by_the_writer(disk, opened, path) -> None:
    """A bad disk under the checkpointer is met by the writer, and nobody's commit fails."""
    log = opened(vfs=disk.name)
    log.writer.checkpointer = checkpointer = Checkpointer(str(path), disk.name)
    fill(log, 0)
    armed = disk.fail("write", "log.db", bad_sector, skip=5)
    checkpointer.step(0)
    assert armed.fired
    assert checkpointer.copied
    disk.heal()
    fill(log, 1000, 2)
    assert path.stat().st_size > ENOUGH * EVENT_BYTES
    assert log.health.ok
    assert log.verify() == []
    checkpointer.close()


def test_a_running_log_copies_by_itself_and_ends_whole(running, path) -> None:
    """The database grows on the way; closing leaves one file, and no thread."""
    for number in range(3 * ENOUGH):
        running.append([large(number, EVENT_BYTES)])
    assert wal_pages(path) < 3 * CHECKPOINT_PAGES
    assert path.stat().st_size > ENOUGH * EVENT_BYTES
    running.close()
    assert [each.name for each in path.parent.iterdir()] == ["log.db"]
    assert "checkpointer" not in {thread.name for thread in threading.enumerate()}


def test_a_log_in_memory_needs_none() -> None:
    """What has no write-ahead log has nobody to copy it."""
    log = EventLog.open(":memory:")
    log.start()
    assert log.writer.checkpointer is None
    log.close()
