"""Packing: the same rows at the same positions, in fewer pages."""

from __future__ import annotations

from pathlib import Path

import pytest
from log_driving import event, sql
from test_log_removal import END, marker

from daemon.eventlog import packing
from daemon.eventlog.log import EventLog
from daemon.eventlog.packing import is_worth_packing
from daemon.eventlog.proof import prove_log
from daemon.eventlog.removal import mark
from daemon.eventlog.requests import Work
from daemon.eventlog.truncation import Bound, Truncation


def fill(log: EventLog, count: int) -> None:
    """Record events of jobs, of which every second one is purged."""
    for number in range(count):
        data = b'{"message":"%s"}' % (b"x" * 500)
        log.append([event(number, f"j{number}", data=data)])
    for number in range(count):
        if number % 2:
            purge = marker("job.purged", f"j{number}", 1)
            log.work(Work(lambda t, purge=purge: mark(t, purge)))


def test_the_rows_stay_and_the_pages_go(
    running: EventLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After many removals the log is packed once: every row is as it was, and proved."""
    monkeypatch.setattr(packing, "REMOVED_MIN", 10**9)
    fill(running, 1500)
    truncation = Truncation(running, lambda: Bound(END))
    truncation.run_dry()
    rows = "SELECT * FROM events ORDER BY position"
    used = "SELECT (SELECT * FROM pragma_page_count) - (SELECT * FROM pragma_freelist_count)"
    before, pages = sql(path, rows), sql(path, used)[0][0]
    monkeypatch.setattr(packing, "REMOVED_MIN", 1)
    packed = Truncation(running, lambda: Bound(END))
    packed.run_dry()
    assert sql(path, rows) == before
    assert sql(path, used)[0][0] < 0.8 * pages
    with running.reading().connection() as db:
        assert not is_worth_packing(db)
    assert running.verify() == []
    running.append([event(9999)])
    running.close()
    assert prove_log(path, at_rest=True).findings == []


def test_large_rows_are_packed_one_at_a_time(
    running: EventLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One transaction takes no more bytes than it may, and at least a row."""
    monkeypatch.setattr(packing, "REMOVED_MIN", 1)
    for number in range(6):
        data = b'{"message":"%s"}' % (b"y" * 300_000)
        running.append([event(number, f"j{number}", data=data)])
    steps = []
    after: int | None = 0
    while after is not None:
        steps.append(after)
        after = running.work(Work(lambda t, at=after: packing.pack_some(t, at)))
    assert steps == [0, 1, 2, 3, 4, 5, 6]
    assert running.verify() == []
