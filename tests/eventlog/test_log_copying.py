"""A copy of the log: what it holds, whatever the log does meanwhile, and what becomes of it."""

from __future__ import annotations

import itertools
import os
import resource
import stat
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
from faulty_disk import FaultyDisk, bad_sector, no_room
from hypothesis import given, settings
from hypothesis import strategies as st
from log_driving import Clock, drive, event, events, large, one, sql, submit
from waiting import wait_until

from daemon.eventlog import chain, copying
from daemon.eventlog.checkpointer import Checkpointer
from daemon.eventlog.connection import database_size
from daemon.eventlog.copying import BEGINNINGS_MAX, PAGES_FIRST, Copy, Copying, copy_log
from daemon.eventlog.log import EventLog
from daemon.eventlog.log_file import LogFile
from daemon.eventlog.proof import prove_log
from daemon.eventlog.requests import Work
from daemon.eventlog.transaction import Transaction
from domain.errors import DiskFull, NotReady, StorageFailed

FOREIGN = "INSERT OR REPLACE INTO log_meta (key, value) VALUES ('foreign', randomblob(8))"
"""A commit of another process."""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return where the copy goes: a folder of its own."""
    folder = tmp_path / "copies"
    folder.mkdir()
    return folder / "copy.db"


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    """Return a disk that fails on demand."""
    made = FaultyDisk()
    yield made
    made.unregister()


def size(log: EventLog) -> int:
    """Return how large a log is."""
    with log.reading().connection() as db:
        return database_size(db)


def begin(log: EventLog, target: Path, **options) -> Copying:
    """Have the log copied by its writer, which is driven by hand."""
    made = Copying(target, size(log), **options)
    log.writer.copy(made)
    return made


def finish(log: EventLog, made: Copying, *, steps: int = 10_000) -> Copy:
    """Drive the writer until the copy has ended, and return what it holds."""
    for _ in range(steps):
        if made.ended.is_set():
            return made.result()
        log.writer.step(0)
    pytest.fail(f"the copy has not ended after {steps} steps")


def assert_equal(log: EventLog, copy: Copy, target: Path) -> None:
    """Assert that a copy is a whole log that holds what the log held at its position."""
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [each.name for each in target.parent.iterdir()] == [target.name]
    assert copy.size == target.stat().st_size == copy.pages * 4096
    assert copy.digest == (log.digest_at(copy.position) or chain.genesis(log.log_id))
    with closing(LogFile(target)) as file:
        assert (file.log_id, file.epoch, file.head()) == (log.log_id, log.epoch, copy.position)
        assert file.digest_at(copy.position) == log.digest_at(copy.position)
    proof = prove_log(target, at_rest=True)
    assert (proof.findings, proof.position) == ([], copy.position)
    assert sql(target, "PRAGMA integrity_check") == [("ok",)]
    assert sql(target, "PRAGMA journal_mode") == [("wal",)]


def assert_nothing_is_left(log: EventLog, target: Path) -> None:
    """Assert that a failed copy left no file, and the log as it was."""
    assert list(target.parent.iterdir()) == []
    assert log.health.ok
    one(log, [event(9_999_999)])
    assert log.verify() == []


def grow(log: EventLog, megabytes: int, first: int = 1_000_000) -> None:
    """Append large events."""
    for number in range(first, first + megabytes * 4):
        one(log, [large(number, 260_000)])


# -- what a copy holds ------------------------------------------------------------------------


def test_a_copy_is_the_log(log, target) -> None:
    """Of a log that rests it holds everything, and opens as a log that goes on."""
    one(log, events(1, 500))
    copy = finish(log, begin(log, target))
    assert copy.position == 500
    assert_equal(log, copy, target)
    with closing(EventLog.open(target)) as again:
        assert drive(again, [event(501)])[0].head == 501
        assert again.verify() == []


def test_an_empty_log_is_copied(log, target) -> None:
    """There the digest is the one before the first event."""
    copy = finish(log, begin(log, target))
    assert (copy.position, copy.digest) == (0, chain.genesis(log.log_id))
    assert_equal(log, copy, target)


def test_what_is_written_meanwhile_is_in_it(log, target) -> None:
    """Pages that were copied already are brought up to date, and new ones are copied too."""
    grow(log, 8)
    # As slow as can be: the steps are as small as can be.
    made = begin(log, target, processor=itertools.count().__next__)
    number = 0
    while not made.ended.is_set():
        one(log, [event(number, f"old-{number % 7}"), large(number + 5000, 30_000)])
        number += 1
    assert number > 3, "the copy was made in too few steps to prove anything"
    copy = made.result()
    assert copy.position == log.head()
    assert_equal(log, copy, target)


def test_it_ends_however_much_is_written(log, target) -> None:
    """Where a commit writes more pages than a step copies, the steps grow with it."""
    grow(log, 4)
    made = begin(log, target)
    for number in range(60):
        one(log, [large(number, (PAGES_FIRST + 200) * 4096)])
        if made.ended.is_set():
            break
    assert made.ended.is_set()
    assert_equal(log, made.result(), target)


def test_positions_that_were_removed_are_not_given_again(log, target) -> None:
    """The copy's position is the newest that was ever used, as the log's own is."""
    one(log, events(1, 10))
    sql(log.path, "DELETE FROM events WHERE position > 8")
    copy = finish(log, begin(log, target))
    assert copy.position == 10
    with closing(EventLog.open(target)) as again:
        assert drive(again, [event(99)])[0].head == 11


# -- what the log does meanwhile --------------------------------------------------------------


def spoil(transaction: Transaction) -> None:
    """Write more than the page cache holds, and fail."""
    transaction.connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 800) "
        "INSERT INTO log_meta (key, value) SELECT 'spoilt' || i, randomblob(8000) FROM n"
    )
    raise ValueError("changed my mind")


ACTIONS = ("append", "repeat", "spoil", "large", "checkpoint", "foreign", "step")


@given(st.lists(st.sampled_from(ACTIONS), min_size=5, max_size=40), st.integers(1, 60))
@settings(max_examples=25, deadline=None)
def test_whatever_happens_meanwhile_the_copy_is_whole(tmp_path_factory, actions, pages) -> None:
    """Repeats, failing functions, checkpoints, and commits of others do not spoil it."""
    folder = tmp_path_factory.mktemp("whatever")
    target = folder / "copies" / "copy.db"
    target.parent.mkdir()
    with closing(EventLog.open(folder / "log.db", clock=Clock())) as log:
        checkpointer = log.writer.checkpointer = Checkpointer(log.path)
        one(log, events(1, 2000))
        grow(log, 1)
        made = begin(log, target, processor=itertools.count().__next__)
        for number, action in enumerate(actions, 10_000):
            if action == "append":
                one(log, events(number * 100, pages, f"s{number % 5}"))
            elif action == "repeat":
                drive(log, [event(number, "new"), event(5)], [event(number, "other")])
            elif action == "spoil":
                assert isinstance(drive(log, Work(spoil), [event(number)])[0], ValueError)
            elif action == "large":
                one(log, [large(number, pages * 4096)])
            elif action == "checkpoint":
                checkpointer.ask()
                checkpointer.step(0)
            elif action == "foreign":
                sql(log.path, FOREIGN)
            else:
                log.writer.step(0)
        copy = finish(log, made)
        assert_equal(log, copy, target)
        checkpointer.close()


def test_repeats_do_not_begin_it_anew(log, target) -> None:
    """A group with repeats is not rolled back while the log is copied."""
    one(log, events(1, 2000))
    grow(log, 8)
    made = begin(log, target)
    for _ in range(4):
        log.writer.step(0)
    done = made.pages_done
    while not made.ended.is_set():
        drive(log, [event(5), event(3000 + done, "other")])
        assert made.pages_done > done
        done = made.pages_done
    assert_equal(log, made.result(), target)


def test_a_log_that_others_write_is_given_up(log, target, path) -> None:
    """Commits of other processes begin a copy anew; that is bounded."""
    grow(log, 8)
    made = begin(log, target)
    for _ in range(BEGINNINGS_MAX * 3):
        log.writer.step(0)
        log.writer.step(0)
        sql(path, FOREIGN)
    assert made.ended.is_set()
    with pytest.raises(StorageFailed, match="begun anew"):
        made.result()
    assert_nothing_is_left(log, target)


def test_no_read_transaction_is_held_between_steps(log, target, path) -> None:
    """The write-ahead log can be emptied in the middle of a copy."""
    grow(log, 8)
    made = begin(log, target)
    log.writer.step(0)
    assert not made.ended.is_set()
    ((busy, left, moved),) = sql(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    assert (busy, left, moved) == (0, 0, 0)
    assert_equal(log, finish(log, made), target)


def test_a_request_waits_for_one_step_only(log, target) -> None:
    """What arrives during a copy is in the next commit."""
    grow(log, 8)
    made = begin(log, target)
    assert log.writer.step(0) == 0.0
    outcomes = submit(log, [event(1)])
    log.writer.step(0)
    assert outcomes
    assert not made.ended.is_set()
    finish(log, made)


def test_steps_keep_to_their_time(log, target) -> None:
    """A slow disk makes them smaller, a fast one larger; never nothing at all."""
    grow(log, 16)
    now = [0.0, 0.010]
    slow = begin(log, target, processor=lambda: (now.append(now[-1] + 0.010), now.pop(0))[1])
    sizes = [0]
    for _ in range(8):
        log.writer.step(0)
        sizes.append(slow.pages_done)
    taken = [after - before for before, after in itertools.pairwise(sizes)]
    assert taken[0] == PAGES_FIRST
    assert taken == sorted(taken, reverse=True)
    assert taken[-1] == copying.PAGES_MIN
    log.writer.drain()
    assert isinstance(slow.error, NotReady)


# -- the log at work --------------------------------------------------------------------------


def test_under_load_a_copy_is_exact(running, target) -> None:
    """With writers at work on other threads the copy is the log at one moment of its time."""
    for number in range(20):
        running.append([large(number + 1_000_000, 260_000)])
    stop = threading.Event()

    def write(name: int) -> int:
        sent = 0
        while not stop.is_set():
            running.append(events(name * 1_000_000 + sent, 20, f"w{name}"))
            sent += 20
        return sent

    seen: list[tuple[int, int]] = []
    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, name) for name in range(10, 13)]
        before = running.head()
        try:
            copy = running.copy_to(target, progress=lambda done, all_: seen.append((done, all_)))
        finally:
            stop.set()
        sent = sum(each.result() for each in writers)
    assert before <= copy.position <= running.head() == sent + 20
    assert seen[-1][0] == seen[-1][1] == copy.size
    assert_equal(running, copy, target)


def test_one_copy_at_a_time(log, target) -> None:
    """The second is refused and leaves no file; after the first there may be another."""
    one(log, events(1, 10))
    made = begin(log, target)
    with pytest.raises(NotReady, match="already"):
        log.copy_to(target.with_name("second.db"))
    finish(log, made)
    assert [each.name for each in target.parent.iterdir()] == [target.name]
    target.unlink()
    assert_equal(log, finish(log, begin(log, target)), target)


def waiting_copy(log: EventLog, target: Path, **options) -> Future[Copy]:
    """Ask for a copy on a thread of its own, and return when the writer has it."""
    pool = ThreadPoolExecutor(1)
    outcome = pool.submit(log.copy_to, target, **options)
    pool.shutdown(wait=False)
    wait_until(lambda: target.exists() or outcome.done(), "the copy is begun")
    return outcome


def test_closing_does_not_wait_for_a_copy(log, target) -> None:
    """The caller is told, what waited is committed, and the file is gone when the log is closed."""
    grow(log, 8)
    outcome = waiting_copy(log, target)
    wait_until(lambda: log.writer.step(0) == 0.0, "the copy is under way")
    late = submit(log, [event(1)])
    log.close()
    assert list(target.parent.iterdir()) == []
    assert late[0].head == 33
    with pytest.raises(NotReady, match="closing"):
        outcome.result(20)
    with pytest.raises(NotReady, match="closing"):
        log.copy_to(target)


def test_a_copy_is_stopped(running, target) -> None:
    """Whoever sets the event gets no copy, and no file."""
    running.append(events(1, 100))
    stop = threading.Event()
    stop.set()
    with pytest.raises(NotReady, match="stopped"):
        running.copy_to(target, stop=stop)
    assert list(target.parent.iterdir()) == []


def test_an_error_of_who_is_told_the_progress_ends_it(running, target) -> None:
    """It is theirs, and there is no file."""
    running.append(events(1, 100))

    def fail(done: int, whole: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        running.copy_to(target, progress=fail)
    assert list(target.parent.iterdir()) == []
    assert running.append([event(101)]).head == 101


# -- what fails -------------------------------------------------------------------------------


def test_there_has_to_be_room_first(log, target, monkeypatch) -> None:
    """It says how much is missing, and makes no file."""
    one(log, events(1, 10))
    free = os.statvfs(target.parent).f_bavail * os.statvfs(target.parent).f_frsize
    monkeypatch.setattr(copying, "ROOM_BYTES", free + 10**12)
    with pytest.raises(DiskFull, match=r"1,0\d\d,\d\d\d,\d\d\d,\d\d\d are missing|missing"):
        log.copy_to(target)
    assert_nothing_is_left(log, target)


def test_a_file_that_is_there_is_left_alone(log, target) -> None:
    """A copy never replaces anything."""
    target.write_text("mine")
    with pytest.raises(StorageFailed, match="exists"):
        log.copy_to(target)
    assert target.read_text() == "mine"
    with pytest.raises(StorageFailed):
        log.copy_to(target.parent / "nowhere" / "copy.db")


def test_a_file_that_may_not_grow_ends_the_copy_alone(log, target) -> None:
    """The disk of the copy refuses: no file, and the log takes the next event."""
    grow(log, 8)
    made = begin(log, target)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        while not made.ended.is_set():
            log.writer.step(0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with pytest.raises(StorageFailed, match="could not be copied"):
        made.result()
    assert_nothing_is_left(log, target)


@pytest.mark.needs("root", "mount")
def test_a_real_disk_that_fills_up_ends_the_copy_alone(log, target) -> None:
    """Somebody else takes the room in the middle of the copy: DiskFull, and nothing is left."""
    folder = target.parent
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", folder], check=True)
    try:
        grow(log, 8)
        made = begin(log, target)
        log.writer.step(0)
        ballast = folder / "ballast"
        with ballast.open("wb") as file, suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, 298 * 1024 * 1024)
        while not made.ended.is_set():
            one(log, [event(log.head())])
        with pytest.raises(DiskFull, match="copied to is full"):
            made.result()
        ballast.unlink()
        assert_nothing_is_left(log, target)
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_bad_sector_of_the_log_ends_the_copy_alone(disk, opened, target) -> None:
    """The log cannot be read there: the copy fails, and intake goes on."""
    log = opened(vfs=disk.name)
    grow(log, 8)
    made = begin(log, target)
    log.writer.step(0)
    armed = disk.fail("read", "-wal", bad_sector)
    log.writer.step(0)
    disk.heal()
    assert armed.fired
    with pytest.raises(StorageFailed, match="could not be copied"):
        made.result()
    assert_nothing_is_left(log, target)


def test_a_log_without_room_gets_that_of_its_copy(disk, opened, target) -> None:
    """When the log's own disk is full the copy is given up: it may be what takes the room."""
    log = opened(vfs=disk.name)
    grow(log, 8)
    made = begin(log, target)
    log.writer.step(0)
    disk.fail("write", "-wal", no_room)
    (outcome,) = drive(log, [event(1)])
    assert isinstance(outcome, DiskFull)
    with pytest.raises(StorageFailed, match="the log itself fails"):
        made.result()
    assert list(target.parent.iterdir()) == []
    disk.heal()
    assert drive(log, [event(1)])[0].head == 33


# -- a log at rest ----------------------------------------------------------------------------


def test_a_log_at_rest_is_copied(log, path, target) -> None:
    """Also with a write-ahead log that was never copied into the file."""
    one(log, events(1, 500))
    seen: list[tuple[int, int]] = []
    copy = copy_log(path, target, progress=lambda done, whole: seen.append((done, whole)))
    assert copy.position == 500
    assert seen[-1] == (copy.size, copy.size)
    assert_equal(log, copy, target)


def test_what_is_no_log_is_not_copied(tmp_path, target) -> None:
    """It fails with our errors, and leaves no file."""
    other = tmp_path / "other"
    other.write_bytes(b"no database" * 1000)
    with pytest.raises(StorageFailed):
        copy_log(tmp_path / "missing", target)
    with pytest.raises(Exception, match="not a database"):
        copy_log(other, target)
    stop = threading.Event()
    stop.set()
    with closing(EventLog.open(tmp_path / "log.db")), pytest.raises(NotReady):
        copy_log(tmp_path / "log.db", target, stop=stop)
    assert list(target.parent.iterdir()) == []
