"""What simulations have found, each as a test of its own, named for the fault."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from random import Random
from types import SimpleNamespace

import apsw
import pytest
from disk import Connection, Disk
from faults import Faults

import daemon.background
from daemon.background import _removable
from daemon.backup.status import BackupStatus
from daemon.emptying import sync_wal
from daemon.eventlog.log import EventLog
from daemon.replay.verify import verify
from domain.errors import StorageFailed
from domain.events import NewEvent
from projections.runner import ProjectionRunner


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
