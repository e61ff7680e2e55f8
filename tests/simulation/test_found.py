"""What simulations have found, each as a test of its own, named for the fault."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import apsw
import pytest
from disk import Connection, Disk
from faults import Faults

import daemon.emptying
from daemon.background import _removable
from daemon.backup.status import BackupStatus
from daemon.emptying import Syncing, empty_wal, make_durable
from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Append, Receipt
from daemon.replay.verify import verify
from domain.errors import ChronicledError, StorageFailed
from domain.events import NewEvent
from projections.runner import ProjectionRunner

START = 1_770_000_000_000_000


def context_of(views: Path, positions: list[int]) -> SimpleNamespace:
    """Return what says up to where events may be removed: live projections, and no backup."""
    statuses = [SimpleNamespace(name="p", state="live", position=each) for each in positions]
    return SimpleNamespace(
        runner=SimpleNamespace(status=lambda: statuses),
        sync_views=Syncing(views),
        backup_status=BackupStatus,
    )


def test_a_power_cut_sets_views_back_behind_events_that_were_removed(
    tmp_path: Path,
) -> None:
    """Events were removed as soon as the views had passed them, which a power cut can undo.

    The views' commits are not synced each. So they were at an older position after it, where the
    events that they had still to read were gone, and counted wrong for ever.
    """
    order: list[str] = []
    context = context_of(tmp_path / "views.db", [7, 9])
    asked = context.runner.status
    context.runner.status = lambda: (order.append("asked"), asked())[1]
    context.sync_views = lambda: order.append("synced")
    assert _removable(context).position == 8
    assert order == ["asked", "synced"]


def test_nothing_is_removed_while_the_views_cannot_be_synced(tmp_path: Path) -> None:
    """Then it is not known what a power cut would leave of them."""
    context = context_of(tmp_path / "views.db", [7])
    context.sync_views = lambda: "Input/output error"
    bound = _removable(context)
    assert (bound.position, bound.why) == (0, "the views are not synced: Input/output error")


def submitted(number: int) -> NewEvent:
    """Return an event of a job of its own, beside others that are known already."""
    id_ = f"e{number}"
    data = b'{"kind":"k","name":"some words"}'
    return NewEvent("job.submitted", f"job-{number % 40}", "/tests", id_, data)


def test_a_read_error_in_a_fold_is_not_taken_for_a_projection_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite gives up the whole transaction then, and the savepoint's end says something else.

    The fold was taken for wrong, and its halves were written outside of any transaction.
    """
    monkeypatch.setattr(apsw, "Connection", Connection)
    disk = Disk(tmp_path, Faults(Random(1)))
    views = tmp_path / "views.db"
    try:
        with closing(EventLog.open(tmp_path / "log.db", synchronous="OFF")) as log:
            log.start()
            log.append([submitted(number) for number in range(60)])
            with closing(ProjectionRunner(views, log)) as runner:
                runner.catch_up()
            failed = 0
            for skip in range(24):
                log.append([submitted(100 * (skip + 1) + number) for number in range(60)])
                # One that has just opened the file reads it, and not what it remembers.
                with closing(ProjectionRunner(views, log)) as runner:
                    disk.faults.arm("read error", "read", "*/views.db*", skip=skip)
                    try:
                        runner.catch_up()
                    except StorageFailed:
                        failed += 1
                    disk.faults.heal()
                    assert verify(tmp_path / "log.db", views).findings == []
                    runner.catch_up()
                    assert {each.state for each in runner.status()} == {"live"}
                assert verify(tmp_path / "log.db", views).findings == []
            assert failed > 5
    finally:
        disk.unregister()


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Return a disk with a log of one event, which a process is at work on."""
    data = tmp_path / "data"
    data.mkdir()
    disk = Disk(data, Faults(Random(1)))
    monkeypatch.setattr(apsw, "Connection", Connection)
    monkeypatch.setattr(daemon.emptying, "renew_wal", disk.renew_wal)
    monkeypatch.setattr(os, "open", disk.open)
    monkeypatch.setattr(os, "fsync", disk.fsync)
    yield disk
    Connection.close_all()
    disk.unregister()


def opened(disk: Disk) -> EventLog:
    """Open the log on a disk; its writer is driven by `appended`."""
    return EventLog.open(disk.root / "log.db", clock=lambda: START)


def appended(log: EventLog, number: int) -> Receipt:
    """Append an event; raise what is answered where nothing is acknowledged."""
    answers: list[Any] = []
    event = NewEvent("job.submitted", f"job-{number}", "/t", f"e{number}", b'{"kind":"k"}')
    log.writer.submit(Append([event]), answers.append)
    log.writer.step(START)
    if isinstance(answers[0], BaseException):
        raise answers[0]
    return cast("Receipt", answers[0].receipts[0])


def killed(disk: Disk, log: EventLog) -> EventLog:
    """Have the process that has a log open killed, and another one open it."""
    image = disk.image(power_cut=False)
    disk.faults.dead = True
    with suppress(ChronicledError, apsw.Error):
        log.close()
    Connection.close_all()
    disk.settle(image, power_cut=False)
    disk.faults.dead = False
    return opened(disk)


def after_power_cuts(
    disk: Disk, folder: Path, name: str = "log.db", asked: str = "SELECT max(position) FROM events"
) -> set[int]:
    """Return what a database may answer when the power is cut now: up to where the log goes."""
    found = set()
    for number in range(20):
        there = folder / f"cut-{number}"
        there.mkdir()
        for path, content in disk.image(power_cut=True).items():
            (there / Path(path).name).write_bytes(content)
        with closing(sqlite3.connect(there / name)) as db:
            found.add(db.execute(asked).fetchone()[0])
    return found


def test_what_a_killed_process_did_not_sync_survives_the_power_cut_after_it(
    disk: Disk, tmp_path: Path
) -> None:
    """A commit that was written and not synced was read, and acknowledged when it came again.

    The process was killed before its sync; nobody had been told of the event. The next one found
    it, answered its repeat as a duplicate, wrote nothing for that, and so synced nothing.
    """
    log = opened(disk)
    appended(log, 1)
    disk.faults.on_kill = lambda: setattr(disk.faults, "dead", True)
    disk.faults.arm_kill_at_sync()
    with pytest.raises(StorageFailed):
        appended(log, 2)
    log = killed(disk, log)
    receipt = appended(log, 2)
    assert (receipt.position, receipt.duplicate) == (2, True)
    assert after_power_cuts(disk, tmp_path) == {2}


@pytest.mark.parametrize("chance", range(6))
def test_a_sync_that_failed_before_a_restart_takes_nothing_that_comes_after_it(
    disk: Disk, tmp_path: Path, chance: int
) -> None:
    """The commit whose sync had failed was found again, and what followed lay behind it.

    The kernel had taken its pages for written, so later syncs passed them over: the write-ahead
    log had a hole on disk, and a power cut took every commit behind it.
    """
    disk.faults.random.seed(chance)
    log = opened(disk)
    appended(log, 1)
    disk.faults.arm("sync error", "sync", "*log.db-wal")
    with pytest.raises(StorageFailed):
        appended(log, 2)
    log = killed(disk, log)
    position = appended(log, 3).position
    assert after_power_cuts(disk, tmp_path) == {position}


def views_of(disk: Disk) -> apsw.Connection:
    """Return views of which nine rows are in the write-ahead log, and synced by nobody."""
    db = apsw.Connection(str(disk.root / "views.db"))
    db.pragma("journal_mode", "wal")
    db.pragma("synchronous", "NORMAL")
    db.execute("CREATE TABLE t (n)")
    db.pragma("wal_checkpoint(TRUNCATE)")
    fill(db)
    return db


def fill(db: apsw.Connection) -> None:
    """Commit nine rows more."""
    for number in range(9):
        db.execute("INSERT INTO t VALUES (?)", (number,))


@pytest.mark.parametrize("chance", range(6))
@pytest.mark.parametrize("killed_between", [False, True])
def test_no_event_goes_behind_views_whose_sync_failed(
    disk: Disk, tmp_path: Path, chance: int, killed_between: bool
) -> None:
    """The sync after the one that failed went well, and wrote nothing of what that one was to."""
    disk.faults.random.seed(chance)
    views = disk.root / "views.db"
    db = views_of(disk)
    with closing(Syncing(views)) as sync_views:
        context = cast("Any", context_of(views, [9]))
        context.sync_views = sync_views
        disk.faults.arm("sync error", "sync", "*views.db-wal")
        assert _removable(context).position == 0
    if killed_between:
        image = disk.image(power_cut=False)
        Connection.close_all()
        disk.settle(image, power_cut=False)
        make_durable(views)
    with closing(Syncing(views)) as sync_views:
        context.sync_views = sync_views
        assert _removable(context).position == 10
    assert after_power_cuts(disk, tmp_path, "views.db", "SELECT count(*) FROM t") == {9}
    db.close()


@pytest.mark.parametrize("chance", range(6))
def test_no_event_goes_behind_views_whose_sync_failed_for_others(
    disk: Disk, tmp_path: Path, chance: int
) -> None:
    """A checkpoint of the housekeeping, or of the projector, failed, and nobody was told.

    Both go on then; what they were to sync was taken for written, and events went behind it.
    """
    disk.faults.random.seed(chance)
    db = views_of(disk)
    with closing(Syncing(disk.root / "views.db")) as sync_views:
        context = cast("Any", context_of(disk.root, [9]))
        context.sync_views = sync_views
        assert _removable(context).position == 10
        fill(db)
        disk.faults.arm("sync error", "sync", "*views.db-wal")
        assert not empty_wal(disk.root / "views.db")
        assert [_removable(context).position for _ in range(2)] == [0, 10]
    assert after_power_cuts(disk, tmp_path, "views.db", "SELECT count(*) FROM t") == {18}


def test_the_projector_has_views_on_the_disk_before_it_goes_on(tmp_path: Path) -> None:
    """What an earlier one wrote, and failed to sync, is written again before it is read."""
    asked: list[Path] = []
    views = tmp_path / "views.db"
    with closing(EventLog.open(tmp_path / "log.db")) as log:
        for _ in range(2):
            with closing(ProjectionRunner(views, log, make_durable=asked.append)):
                pass
    assert asked == [views, views]
