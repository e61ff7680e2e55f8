"""Statements that an error keeps open: nothing is read from the past because of them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from log_driving import drive, events, large, one

from daemon.eventlog.connection import ReadPool
from daemon.eventlog.log import EventLog
from daemon.eventlog.reader import PAGE_BYTES
from daemon.eventlog.requests import EventQuery, Work
from daemon.eventlog.transaction import Transaction
from domain.errors import Conflict

ROWS = "SELECT position FROM events"


@pytest.fixture(autouse=True)
def _no_collection() -> Iterator[None]:
    """Let what lies in a cycle of references stay: when it is collected is not for us to say."""
    gc.disable()
    yield
    gc.enable()


def refuse(db: apsw.Connection) -> None:
    """Find fault with the first of several rows."""
    rows = db.execute(ROWS)
    for (position,) in rows:
        raise Conflict(f"no to {position}")


def test_work_that_is_refused_leaves_the_writer_with_no_statement(log: EventLog, path: Path):
    """Its read transaction would keep the write-ahead log from being emptied."""
    one(log, events(0, 5))

    def work(transaction: Transaction) -> None:
        refuse(transaction.connection)

    outcomes = drive(log, Work(work))
    assert isinstance(outcomes[0], Conflict)
    one(log, events(5, 5))
    with closing(apsw.Connection(str(path))) as db:
        busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]
    assert not busy
    assert path.with_name("log.db-wal").stat().st_size == 0


def test_a_lent_connection_comes_back_without_a_snapshot(log: EventLog):
    """A reader sees what was committed before it began, whatever became of the one before."""
    one(log, events(0, 5))
    with pytest.raises(Conflict) as caught, log.reading().connection() as db:
        refuse(db)
    one(log, events(5, 5))
    assert [each.position for each in log.read(0, 100)] == list(range(1, 11))
    assert caught.value


@pytest.mark.parametrize(
    "read",
    [
        lambda log: log.read(0, 100),
        lambda log: log.read_stream("job/j1"),
        lambda log: log.select(EventQuery(), 100).events,
    ],
    ids=["page", "stream", "listing"],
)
def test_a_page_that_ends_early_gives_its_connection_back(
    log: EventLog, read: Callable[[EventLog], list[object]], monkeypatch: pytest.MonkeyPatch
):
    """A page of large events stops in the middle of its rows, and its statement with it."""
    half = PAGE_BYTES // 2 + 1
    for number in range(4):
        one(log, [large(number, half)])
    assert len(read(log)) == 2
    # It is idle now: there is no need of another one.
    monkeypatch.setattr(ReadPool, "_open", None)
    assert len(read(log)) == len(read(log)) == 2
