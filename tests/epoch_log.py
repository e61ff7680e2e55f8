"""Logs with epochs, for the tests of every part that reads a log."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

from daemon.eventlog.connection import BUSY_TIMEOUT_MS
from daemon.eventlog.epochs import begin_epoch
from daemon.eventlog.log import EventLog
from domain.events import NewEvent

GAP = 1_000_000
"""How many positions an epoch leaves empty, as a restore does."""


def resume(path: Path | str, *, gap: int = GAP, **said: Any) -> int:
    """Begin the next epoch in a log's file, this far behind its head; return its position."""
    with closing(apsw.Connection(str(path))) as db:
        db.set_busy_timeout(BUSY_TIMEOUT_MS)
        meta: dict[str, Any] = dict(db.execute("SELECT key, value FROM log_meta"))
        used = db.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'events'").get or 0
        wanted: dict[str, Any] = {
            "epoch": meta["epoch"] + 1,
            "resume_after": used + gap,
            "reported_head": used + gap // 2,
            "location": "file:///backup",
            "reason": "a test",
            "now": meta["created"],
        }
        return begin_epoch(db, meta["log_id"], **{**wanted, **said})


def two_epochs(path: Path, *, gap: int = GAP) -> list[int]:
    """Make a log of three runs of jobs with an epoch before each of the last two.

    Returns the positions of its events. Each run submits ten jobs and starts the ten of the run
    before, so that streams go on over the epochs.
    """
    for run in range(3):
        if run:
            resume(path, gap=gap)
        log = EventLog.open(path)
        log.start()
        log.append([_event("job.submitted", run, n, b'{"kind":"k"}') for n in range(10)])
        if run:
            log.append([_event("job.started", run - 1, n, b"{}") for n in range(10)])
        log.close()
    with closing(apsw.Connection(str(path))) as db:
        return [row[0] for row in db.execute("SELECT position FROM events ORDER BY position")]


def _event(name: str, run: int, number: int, data: bytes) -> NewEvent:
    job = f"job-{run}-{number}"
    return NewEvent(name, job, "/tests", f"{name}/{job}", data)
