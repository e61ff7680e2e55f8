"""The alert about sizes: raised when its reasons change, resolved when there are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sizes import START, Clock, event, size_settings
from waiting import wait_until

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import EventQuery, Request
from daemon.size.alert import ALERT, SizeAlert
from daemon.size.board import SizeBoard
from daemon.size.disk import Room
from daemon.size.gate import Gate
from daemon.size.guard import DiskGuard
from daemon.size.measure import Files
from daemon.size.thresholds import Over
from daemon.size.watch import SIZES_SECONDS, SizeWatch
from domain.alert import AlertStatus, fold_alert
from domain.errors import DiskFull, QueueFull

LOW = Over("disk_low", "the disk has 900 MB left")
FULL = Over("disk_refusing", "events are refused", severe=True)
LOG = Over("log_bytes", "log.db has 12 GB")


def said(log: EventLog) -> list[tuple[str, Any, Any]]:
    """Return what the log says: types, severities, and what is over."""
    page = log.select(EventQuery(stream=f"alert/{ALERT}"), 100)
    return [
        (e.type, e.payload.get("severity"), (e.payload.get("labels") or {}).get("over"))
        for e in page.events
    ]


def settle(log: EventLog, alert: SizeAlert, *over: Over, now: int = START) -> None:
    """Have the alert say something, until the log has it."""

    def settled() -> bool:
        alert.settle(over, now)
        return alert.said == tuple(each.name for each in over)

    wait_until(settled, "the log says so")


def test_it_is_raised_changed_and_resolved(log: EventLog) -> None:
    """One event for each change, none for what stays so."""
    alert = SizeAlert(log)
    for over in ([], [LOW], [LOW], [FULL, LOG], [FULL, LOG], [LOG], [], []):
        settle(log, alert, *over)
    assert said(log) == [
        ("alert.raised", "warning", "disk_low"),
        ("alert.raised", "error", "disk_refusing,log_bytes"),
        ("alert.raised", "warning", "log_bytes"),
        ("alert.resolved", None, None),
    ]
    state = fold_alert(None, log.read_stream(f"alert/{ALERT}"))
    assert (state.state, state.kind, state.count) == (AlertStatus.RESOLVED, "size", 3)


def test_a_start_goes_on_where_the_log_is(log: EventLog) -> None:
    """What is open is not raised twice, and is resolved by the next daemon."""
    settle(log, SizeAlert(log), LOW)
    settle(log, SizeAlert(log), LOW)
    settle(log, SizeAlert(log))
    settle(log, SizeAlert(log))
    assert [type_ for type_, _, _ in said(log)] == ["alert.raised", "alert.resolved"]


def test_the_same_may_come_again(log: EventLog) -> None:
    """An alert that was over is raised anew, with an id of its own."""
    alert = SizeAlert(log)
    for over in ([LOW], [], [LOW], []):
        settle(log, alert, *over)
    assert len(said(log)) == 4


def test_a_clock_that_is_set_back_does_not_hide_a_change(log: EventLog) -> None:
    """What comes later is never older, so that it counts."""
    alert = SizeAlert(log)
    settle(log, alert, LOW, now=START)
    settle(log, alert, now=START - 1_000_000)
    state = fold_alert(None, log.read_stream(f"alert/{ALERT}"))
    assert state.state is AlertStatus.RESOLVED


def test_what_the_log_did_not_take_is_said_again(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a full queue nor a full disk loses an alert, and none is recorded twice."""
    submit = log.submit
    faults: list[Exception] = [QueueFull("full"), DiskFull("full")]

    def faulty(request: Request, done: Callable[[Any], None]) -> None:
        if not faults:
            submit(request, done)
        elif isinstance(fault := faults.pop(0), QueueFull):
            raise fault
        else:
            done(fault)

    monkeypatch.setattr(log, "submit", faulty)
    settle(log, SizeAlert(log), LOW)
    assert not faults
    assert len(said(log)) == 1


def test_the_watch_tells_of_the_disk_and_of_the_files(
    log: EventLog, clock: Clock, tmp_path: Path
) -> None:
    """The disk at once, the files at most a minute later; both in one alert."""
    room = Room(1 << 40, 1 << 39)
    settings = size_settings(log_bytes=500_000, reserve_bytes=0)
    guard = DiskGuard(tmp_path, settings, Gate(), room=lambda _: room)
    board = SizeBoard(Files(Path(log.path), tmp_path / "views.db"), settings, clock)
    watch = SizeWatch(log, guard, board)

    def told(wanted: str) -> None:
        def look() -> bool:
            assert watch.step(clock.now) <= 1
            return bool(said(log)) and said(log)[-1][2] == wanted

        wait_until(look, f"{wanted} is told")

    room = Room(1 << 40, 1 << 29)
    told("disk_low")
    log.append([event(n, size=1000) for n in range(1000)])
    watch.step(clock.now)
    assert said(log)[-1][2] == "disk_low"
    clock.now += int(SIZES_SECONDS * 1_000_000)
    told("disk_low,log_bytes")
    room = Room(1 << 40, 1 << 20)
    told("disk_refusing,log_bytes")
    assert board.disk() == guard.disk
    room = Room(1 << 40, 1 << 39)
    told("log_bytes")
