"""The chain followed without the daemon's code: it holds for its logs, and for no other."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from chain import breaks
from epoch_log import resume
from log_driving import Clock, one
from oracle import Broken, Recorded

from daemon.eventlog.log import EventLog
from daemon.eventlog.removal import mark, removable_streams, remove_some
from daemon.eventlog.requests import Work
from daemon.eventlog.transaction import Transaction
from daemon.redaction.redacting import Redaction
from domain.events import NewEvent

END = 2**62
NOTED = b'{"kind":"k","params":{"note":"%s"}}'


def noted(number: int, stream: str) -> NewEvent:
    """Return an event with something to redact, and words beyond ASCII in an extension."""
    more = {"correlationid": "Ümläut 日本", "count": -number}
    data = NOTED % (b"n%d" % number)
    return NewEvent("job.submitted", stream, "/t/é", f"e{number}", data, extensions=more)


def remove(log: EventLog) -> None:
    """Remove what its markers stand for."""

    def run(transaction: Transaction) -> None:
        streams = removable_streams(transaction.connection, END)
        gone = remove_some(transaction, log.log_id, before=END, rows_max=99, streams=streams)
        assert gone.events == 3

    one(log, Work(run))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a log with a removal (1 and 3 to 4), a redaction (2), an epoch and events behind."""
    path, clock = tmp_path / "log.db", Clock()
    with closing(EventLog.open(path, clock=clock)) as log:
        one(log, [noted(1, "j1"), noted(2, "j2"), noted(3, "j1"), noted(4, "j1")])
        one(log, Work(Redaction(2, "/data/params/note", "a test", "ana").run))
        marker = NewEvent("job.purged", "j1", "/t", "m", b'{"replaces":3}', expected_version=3)
        one(log, Work(lambda transaction: mark(transaction, marker)))
        remove(log)
    resume(path)
    with closing(EventLog.open(path, clock=clock)) as log:
        one(log, [noted(5, "j2"), noted(6, "j3"), noted(7, "j3")])
        assert log.verify() == []
    return path


def found(path: Path, *statements: str) -> list[str]:
    """Return where the chain of a log does not hold when statements have been run on it."""
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            assert db.execute(statement).rowcount > 0
        return list(breaks(db))


def test_the_chain_of_a_log_holds(path: Path) -> None:
    """Over what was removed and redacted, and over an epoch."""
    assert found(path) == []
    with closing(sqlite3.connect(path)) as db:
        rows = [row[0] for row in db.execute("SELECT position FROM events ORDER BY position")]
        runs = db.execute("SELECT first, last FROM removed_runs").fetchall()
    assert rows[:4] == [2, 5, 6, 7]
    assert len(rows) == 8
    assert rows[4] > 1_000_000
    assert runs == [(1, 1), (3, 4)]


BEHIND = "(SELECT max(position) - 1 FROM events)"
"""The position of an event before the newest one, which is behind the epoch."""


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE events SET data = CAST(replace(data, 'n6', 'n7') AS BLOB) WHERE position={BEHIND}",
        "UPDATE events SET data = CAST(replace(data, 'red', 'rad') AS BLOB) WHERE position = 2",
        f"UPDATE events SET digest = zeroblob(32) WHERE position = {BEHIND}",
        "UPDATE events SET digest = (SELECT digest FROM events WHERE position = 5)"
        " WHERE position = 2",
        f"UPDATE events SET payload_hash = zeroblob(32) WHERE position = {BEHIND}",
        "UPDATE events SET extensions = replace(extensions, 'Ü', 'U') WHERE position = 2",
        "UPDATE events SET id = 'e9' WHERE position = 2",
        "UPDATE events SET source_id = NULL WHERE position = 2",
        f"UPDATE events SET time = time + 1 WHERE position = {BEHIND}",
        f"UPDATE events SET recordedtime = recordedtime + 1 WHERE position = {BEHIND}",
        f"UPDATE events SET version = 99 WHERE position = {BEHIND}",
        f"UPDATE events SET class_version = 2 WHERE position = {BEHIND}",
        "UPDATE streams SET name = 'job/j9' WHERE name = 'job/j3'",
        "UPDATE streams SET application = 'a' WHERE name = 'job/j3'",
        "UPDATE types SET name = 'job.queued' WHERE name = 'job.submitted'",
        "UPDATE sources SET name = '/t/e' WHERE name = '/t/é'",
        "UPDATE log_meta SET value = 'another' WHERE key = 'log_id'",
        "DELETE FROM events WHERE position = (SELECT max(position) FROM events)",
        "UPDATE events SET stream_id = 999 WHERE position = (SELECT max(position) FROM events)",
        "DELETE FROM events WHERE position = 2",
        f"DELETE FROM events WHERE position = {BEHIND}",
        "DELETE FROM events WHERE position = (SELECT min(position) FROM events WHERE position > 7)",
        "DELETE FROM removed_runs WHERE first = 3",
        "UPDATE removed_runs SET digest = zeroblob(32) WHERE first = 3",
        "INSERT INTO removed_runs SELECT 2, 2, digest FROM events WHERE position = 2",
    ],
)
def test_whatever_is_changed_breaks_it(path: Path, statement: str) -> None:
    """A byte, a digest, a name, a row that is gone, a run that nobody tells."""
    assert found(path, statement)


def test_a_removal_that_no_event_tells_breaks_it(path: Path) -> None:
    """Also where the run of the row that is gone has the right digest."""
    run = "INSERT INTO removed_runs SELECT 2, 2, digest FROM events WHERE position = 2"
    told = found(path, run, "DELETE FROM events WHERE position = 2")
    assert told[0] == "no event tells of the removal of 2 up to 2"


def test_a_run_that_is_longer_than_what_was_told_breaks_it(path: Path) -> None:
    """Though it ends where a run ends that was told, and with its digest."""
    gone = "DELETE FROM events WHERE position = 2", "DELETE FROM removed_runs WHERE first = 1"
    longer = "UPDATE removed_runs SET first = 1 WHERE first = 3"
    assert found(path, *gone, longer) == ["no event tells of the removal of 1 up to 4"]


def test_the_oracle_refuses_a_log_whose_chain_is_broken(path: Path, tmp_path: Path) -> None:
    """It follows the chain of each log that it reads."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert len(Recorded.of(path, scratch).rows) == 8
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE events SET time = time + 1 WHERE position = 2")
    with pytest.raises(Broken, match="the digest at 2 is another one"):
        Recorded.of(path, scratch)
