"""When the disk fails: who is told what, what is there after, and that it goes on by itself."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import apsw
import pytest
from faulty_disk import FaultyDisk, bad_sector, failed_sync, no_room, read_only
from log_driving import drive, event, events, large, one, sql, submit
from waiting import wait_until

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Append, DeadLetter, Follow, Work
from daemon.eventlog.transaction import Stored
from domain.errors import DiskFull, StorageFailed

FAULTS = {
    "no room for the log": ("write", "-wal", no_room, {}, DiskFull),
    "no room after some pages": ("write", "-wal", no_room, {"skip": 3}, DiskFull),
    "an error on a write": ("write", "-wal", bad_sector, {"skip": 1}, StorageFailed),
    "a torn write": ("write", "-wal", bad_sector, {"skip": 3, "torn_bytes": 1000}, StorageFailed),
    "an error on the sync": ("sync", "-wal", failed_sync, {}, StorageFailed),
    "a read-only file": ("write", "-wal", read_only, {}, StorageFailed),
}


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    """Return a disk that fails on demand."""
    made = FaultyDisk()
    yield made
    made.unregister()


@pytest.fixture
def log(disk, opened) -> EventLog:
    """Return a log on that disk with three events, its writer driven by hand."""
    log = opened(vfs=disk.name)
    one(log, events(1, 3))
    return log


@pytest.fixture(params=FAULTS.values(), ids=FAULTS.keys())
def fault(request):
    """Return one kind of fault, and the error that callers get."""
    return request.param


def test_a_group_that_the_disk_refuses_leaves_nothing(log, disk, path, fault) -> None:
    """All its callers get the error, nothing of it is there, and the next group is whole."""
    operation, suffix, error, more, expected = fault
    armed = disk.fail(operation, suffix, error, **more)
    group = [
        [event(4), event(5, "new")],
        Append([event(6)], [DeadLetter("f", b"x", "r", "d", "o")], Follow("pipe", 0, 9)),
        Work(lambda t: t.insert_stored("App", [Stored("s", 1, "topic", b"state")])),
    ]
    outcomes = drive(log, *group)
    assert armed.fired
    assert [type(outcome) for outcome in outcomes] == [expected] * 3
    assert len({id(outcome) for outcome in outcomes}) == 3
    assert (log.head(), log.follow_offset("pipe"), log.list_dead_letters(0, 9)) == (3, 0, [])
    assert (log.health.ok, log.health.code) == (False, expected.code)
    disk.heal()
    appended, followed, stored = drive(log, *group)
    assert [r.position for r in appended.receipts] == [4, 5]
    assert [r.version for r in appended.receipts] == [4, 1]
    assert (followed.receipts[0].position, followed.dead_letters) == (6, 1)
    assert stored.value == [7]
    assert log.health.ok
    assert log.verify() == []
    assert sql(path, "SELECT count(*) FROM events") == [(7,)]


def test_health_recovers_by_itself(log, disk, clock, fault) -> None:
    """Nobody has to write: the writer tries again until the disk takes what it writes."""
    operation, suffix, error, more, _ = fault
    disk.fail(operation, suffix, error, **more)
    clock.now += 5
    drive(log, [event(4)])
    since = log.health.since
    for _ in range(3):
        clock.now += 5
        assert log.writer.step(clock()) == 1.0
        assert (log.health.ok, log.health.since) == (False, since)
    disk.heal()
    clock.now += 5
    assert log.writer.step(clock()) is None
    assert (log.health.ok, log.health.code, log.health.since) == (True, "", clock.now)


def test_a_sign_of_life_says_nothing_about_the_disk(log, disk) -> None:
    """What a ping and a repeat commit is nothing: only a write shows that the disk is back."""
    disk.fail("write", "-wal", no_room)
    drive(log, [event(4)])
    pinged: list[bool] = []
    log.ping(lambda: pinged.append(True))
    drive(log, events(1, 3))
    assert (pinged, log.health.ok) == ([True], False)
    disk.heal()
    drive(log, [event(4)])
    assert log.health.ok


def test_a_running_log_goes_on_when_the_disk_does(log, disk) -> None:
    """Callers get the error while the disk is full, and receipts again some time after."""
    log.start()
    disk.fail("write", "-wal", no_room)
    for number in range(4, 8):
        with pytest.raises(DiskFull):
            log.append([event(number)])
    assert [e.position for e in log.read(0, 10)] == [1, 2, 3]
    disk.heal()
    wait_until(lambda: log.health.ok, "the log is healthy again")
    assert log.append([event(4)]).head == 4
    assert log.verify() == []


def test_a_disk_that_fills_within_a_request_takes_none_of_it(log, disk) -> None:
    """SQLite writes to the disk before the commit when a request is large; all of it is undone."""
    armed = disk.fail("write", "-wal", no_room, skip=20)
    large = [Stored("s", n, "topic", b"x" * 50_000) for n in range(200)]

    def store(transaction) -> None:
        transaction.insert_stored("App", large)
        transaction.flush()
        pytest.fail("the disk took it")

    outcomes = drive(log, [event(4)], Work(store), [event(5)])
    assert armed.fired
    assert [type(outcome) for outcome in outcomes] == [DiskFull] * 3
    disk.heal()
    assert one(log, [event(4), event(5)]).head == 5
    assert log.verify() == []


def test_work_that_hides_the_disks_failure_is_not_believed(log, disk) -> None:
    """A function that swallows an error of the disk: nobody's events are half recorded."""
    disk.fail("write", "-wal", bad_sector, skip=20)
    large = [Stored("s", n, "topic", b"x" * 50_000) for n in range(200)]

    def store(transaction) -> None:
        transaction.insert_stored("App", large)
        try:
            transaction.flush()
        except Exception:  # noqa: BLE001  what a careless function does
            transaction.connection.execute("SELECT 1").fetchall()

    outcomes = drive(log, [event(4)], Work(store), [event(5)])
    assert all(isinstance(outcome, Exception) for outcome in outcomes)
    disk.heal()
    assert sql(log.path, "SELECT max(position) FROM events") == [(3,)]
    assert one(log, [event(4)]).head == 4
    assert log.verify() == []


def test_a_checkpoint_that_fails_costs_nobody_anything(log, disk, opened, path) -> None:
    """Commits go on in the write-ahead log; after the fault, or a restart, all of it is there."""
    armed = disk.fail("write", "log.db", bad_sector, skip=5)
    for first in range(10, 430, 10):
        one(log, [large(n, 60_000) for n in range(first, first + 10)])
    assert armed.fired
    assert log.health.ok
    log.close()
    assert path.with_name("log.db-wal").stat().st_size > 16_000_000
    disk.heal()
    log = opened()
    assert log.head() == 423
    assert log.verify() == []


def test_a_read_that_fails_is_an_error_of_its_reader(log, disk, path) -> None:
    """The reader gets our error; the next one reads."""
    log.close()
    log = EventLog.open(path, vfs=disk.name)
    try:
        armed = disk.fail("read", "log.db", bad_sector)
        with pytest.raises(StorageFailed):
            log.read(0, 10)
        assert armed.fired
        disk.heal()
        assert len(log.read(0, 10)) == 3
    finally:
        log.close()


def test_a_log_that_cannot_be_made_leaves_no_half_log(disk, opened, tmp_path) -> None:
    """A disk that fails while the file is made: an error, and the next start makes it."""
    place = tmp_path / "new.db"
    for skip in range(80):
        armed = disk.fail("write", "", no_room, skip=skip)
        with suppress(DiskFull, StorageFailed):
            EventLog.open(place, vfs=disk.name).close()
        if not armed.fired:
            break
        disk.heal()
    else:
        pytest.fail("the log was never made")
    assert one(opened(place), [event(1)]).head == 1


def test_closing_on_a_failing_disk_ends_and_answers(log, disk) -> None:
    """Everybody who waits is told, although no commit succeeds any more."""
    disk.fail("write", "-wal", no_room)
    outcomes = submit(log, *([large(n, 1_000_000)] for n in range(4, 40)))
    answered: list[int] = []
    log.on_group_end(lambda: answered.append(len(outcomes)))
    log.close()
    assert answered[-1] == len(outcomes) == 36
    assert all(isinstance(outcome, DiskFull | StorageFailed) for outcome in outcomes)


def test_what_the_writer_knows_is_read_again_after_a_failure(log, disk) -> None:
    """Names, versions and keys learnt in a failed group are not believed afterwards."""
    disk.fail("sync", "-wal", failed_sync)
    drive(log, [event(4, "new", type="alert.raised")], [event(5, "newer")])
    disk.heal()
    appended = one(log, [event(5, "newer", expected_version=0), event(1), event(6)])
    assert [(r.position, r.version, r.duplicate) for r in appended.receipts] == [
        (4, 1, False), (1, 1, True), (5, 4, False),
    ]  # fmt: skip
    assert sql(log.path, "SELECT name FROM streams ORDER BY 1") == [("job/j1",), ("job/newer",)]
    assert log.verify() == []


def test_a_power_cut_takes_nothing_that_was_acknowledged(log, disk, opened, path, tmp_path) -> None:
    """After each acknowledgement the power may go: all that was acknowledged is there, in order."""
    for number in range(4, 60):
        one(log, [large(number, number * 997 % 40_000)])
        if number % 5 == 0:
            place = tmp_path / f"cut-{number}"
            place.mkdir()
            survivor = opened(disk.after_power_cut(path, place))
            assert [e.id for e in survivor.read(0, 100)] == [f"e{n}" for n in range(1, number + 1)]
            assert survivor.verify() == []


def test_a_power_cut_in_the_middle_of_a_commit(log, disk, opened, path, tmp_path) -> None:
    """Wherever the commit has come to, the log holds all that was acknowledged, and is whole."""
    for skip in range(12):
        disk.fail("write", "-wal", bad_sector, skip=skip, torn_bytes=500)
        drive(log, [large(100 + skip, 9000)])
        place = tmp_path / f"cut-{skip}"
        place.mkdir()
        survivor = opened(disk.after_power_cut(path, place))
        assert [e.id for e in survivor.read(0, 3)] == ["e1", "e2", "e3"]
        assert survivor.verify() == []
        disk.heal()


def test_without_the_sync_a_power_cut_does_take_something(disk, opened, path, tmp_path) -> None:
    """The power cut of these tests is a real one: with NORMAL, acknowledged events are gone."""
    log = opened(vfs=disk.name, synchronous="NORMAL")
    one(log, events(1, 3))
    place = tmp_path / "cut"
    place.mkdir()
    assert opened(disk.after_power_cut(path, place)).head() < 3


@pytest.mark.needs("root", "mount")
def test_a_real_disk_that_is_full(tmp_path: Path, opened) -> None:
    """On a small file system: DiskFull, then room is made, and the log goes on by itself."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", tmp_path], check=True)
    try:
        ballast = tmp_path / "ballast"
        ballast.write_bytes(b"x" * 2_000_000)
        log = opened()
        log.start()
        acknowledged = 0
        with suppress(DiskFull):
            while acknowledged < 1000:
                log.append([large(acknowledged, 20_000)])
                acknowledged += 1
        assert (log.health.ok, log.health.code) == (False, "disk_full")
        ballast.unlink()
        wait_until(lambda: log.health.ok, "the log is healthy again")
        assert log.append([event(2000)]).head == acknowledged + 1
        assert log.verify() == []
        log.close()
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_lock_held_elsewhere_is_told_and_passes(log, path, monkeypatch) -> None:
    """Another process in a transaction of its own: callers get an error, later ones are served."""
    log.writer._connection.set_busy_timeout(1)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    (outcome,) = drive(log, [event(4)])
    assert isinstance(outcome, StorageFailed)
    assert not log.health.ok
    other.execute("ROLLBACK")
    other.close()
    assert one(log, [event(4)]).head == 4
    assert log.health.ok


def test_many_threads_and_a_disk_that_comes_and_goes(log, disk) -> None:
    """Whoever got a receipt has the event in the log; whoever got an error sends again."""
    log.start()
    receipts: dict[int, int] = {}

    def work(thread: int) -> None:
        for number in range(thread * 1000, thread * 1000 + 40):
            while number not in receipts:
                try:
                    receipts[number] = log.append([event(number)]).receipts[0].position
                except (DiskFull, StorageFailed):
                    continue

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(1, 5)]
    for thread in threads:
        thread.start()
    for count in range(30):
        disk.fail("write" if count % 2 else "sync", "-wal", no_room, skip=count % 7)
        wait_until(lambda: disk._fault.fired or not any(t.is_alive() for t in threads), "a fault")
        disk.heal()
    for thread in threads:
        thread.join()
    found = {int(e.id[1:]): e.position for e in log.read(3, 1000)}
    assert found == receipts
    assert log.verify() == []
