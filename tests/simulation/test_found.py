"""What simulations have found, each as a test of its own, named for the fault."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import apsw
import pytest
from disk import Connection, Disk
from faults import Faults

import daemon.background
import daemon.eventlog.log
from daemon.background import _removable
from daemon.backup.status import BackupStatus
from daemon.emptying import sync_wal
from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Append, Appended
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
        files={"views": views},
        backup_status=BackupStatus,
    )


def test_a_power_cut_sets_views_back_behind_events_that_were_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events were removed as soon as the views had passed them, which a power cut can undo.

    The views' commits are not synced each. So they were at an older position after it, where the
    events that they had still to read were gone, and counted wrong for ever.
    """
    order: list[str] = []
    context = context_of(tmp_path / "views.db", [7, 9])
    asked = context.runner.status
    context.runner.status = lambda: (order.append("asked"), asked())[1]
    monkeypatch.setattr(daemon.background, "sync_wal", lambda _: order.append("synced"))
    assert _removable(context).position == 8
    assert order == ["asked", "synced"]


def test_nothing_is_removed_while_the_views_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is not known what a power cut would leave of them."""

    def refuse(_: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(daemon.background, "sync_wal", refuse)
    bound = _removable(context_of(tmp_path / "views.db", [7]))
    assert (bound.position, bound.why) == (0, "the views cannot be synced: Input/output error")


def test_a_database_without_a_write_ahead_log_is_synced_already(tmp_path: Path) -> None:
    """Its last checkpoint did that."""
    sync_wal(tmp_path / "views.db")
    (tmp_path / "views.db-wal").write_bytes(b"")
    sync_wal(tmp_path / "views.db")


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


def test_what_a_killed_process_did_not_sync_survives_the_power_cut_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that was written and not synced was read, and acknowledged when it came again.

    The process was killed before its sync; nobody had been told of the event. The next one found
    it, answered its repeat as a duplicate, wrote nothing for that, and so synced nothing.
    """
    data = tmp_path / "data"
    data.mkdir()
    faults = Faults(Random(1))
    images: list[dict[str, bytes]] = []

    def kill() -> None:
        images.append(disk.image(power_cut=False))
        faults.dead = True

    faults.on_kill = kill
    disk = Disk(data, faults)
    monkeypatch.setattr(apsw, "Connection", Connection)
    monkeypatch.setattr(daemon.eventlog.log, "sync_wal", disk.sync_wal)
    try:
        log = EventLog.open(data / "log.db", clock=lambda: START)
        _append(log, 1)
        faults.arm_kill_at_sync()
        with suppress(ChronicledError):
            _append(log, 2)
        with suppress(ChronicledError, apsw.Error):
            log.close()
        Connection.close_all()
        disk.settle(images[0], power_cut=False)
        faults.dead = False
        log = EventLog.open(data / "log.db", clock=lambda: START)
        assert _append(log, 2).receipts[0].duplicate
        left = disk.image(power_cut=True)
        log.close()
    finally:
        Connection.close_all()
        disk.unregister()
    for name, content in left.items():
        (tmp_path / Path(name).name).write_bytes(content)
    with closing(sqlite3.connect(tmp_path / "log.db")) as db:
        assert db.execute("SELECT max(position) FROM events").fetchone() == (2,)


def _append(log: EventLog, number: int) -> Appended:
    """Append an event through a writer that is driven here; raise what it answers."""
    answers: list[Any] = []
    event = NewEvent("job.submitted", f"job-{number}", "/t", f"e{number}", b'{"kind":"k"}')
    log.writer.submit(Append([event]), answers.append)
    log.writer.step(START)
    if isinstance(answers[0], BaseException):
        raise answers[0]
    return cast("Appended", answers[0])
