"""How much room events take in the log file."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from benchmarks.workload import structured_events
from daemon.eventlog.log import EventLog
from domain.cloudevents import from_batch
from domain.limits import Limits

EVENTS = 100_000
BATCH = 1_000
SEED = 1


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Return a closed log of typical job events, and the bytes of their structured JSON."""
    path = tmp_path_factory.mktemp("size") / "log.db"
    log = EventLog.open(path, clock=lambda: 1_767_225_600_000_000)
    log.start()
    events = list(structured_events(EVENTS, SEED))
    try:
        for at in range(0, EVENTS, BATCH):
            log.append(from_batch(b"[" + b",".join(events[at : at + BATCH]) + b"]", Limits()))
    finally:
        log.close()
    return path, sum(map(len, events))


def test_events_take_little_more_than_their_json(recorded: tuple[Path, int]) -> None:
    """100,000 typical events, indexes and digests included, take at most 1.35 of their JSON."""
    path, json_bytes = recorded
    wal = path.with_name("log.db-wal")
    assert not wal.exists() or wal.stat().st_size == 0, "close did not checkpoint"
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        assert db.execute("SELECT count(*) FROM events").get == EVENTS
    finally:
        db.close()
    assert path.stat().st_size <= 1.35 * json_bytes


def test_removed_events_can_give_their_room_back(recorded: tuple[Path, int]) -> None:
    """The file is made with incremental auto-vacuum, which cannot be added later."""
    db = apsw.Connection(str(recorded[0]), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        assert db.pragma("auto_vacuum") == 2
        assert db.pragma("page_size") == 4096
    finally:
        db.close()
