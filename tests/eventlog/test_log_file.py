"""The file of the log: how it is made, and which files are refused."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from log_driving import event, events, one, sql

from daemon.eventlog.connection import APPLICATION_ID, SCHEMA_VERSION, ReadPool
from daemon.eventlog.log import EventLog
from domain.errors import LogDamaged, NewerSchema, StorageFailed


def test_a_new_file_has_the_settings_that_cannot_be_changed_later(log, path) -> None:
    """Page size, auto-vacuum and journal are as wanted, and the file says whose it is."""
    settings = {
        name: sql(path, f"PRAGMA {name}")[0][0]
        for name in ("page_size", "auto_vacuum", "journal_mode", "application_id", "user_version")
    }
    assert settings == {
        "page_size": 4096,
        "auto_vacuum": 2,
        "journal_mode": "wal",
        "application_id": APPLICATION_ID,
        "user_version": SCHEMA_VERSION,
    }


def test_the_writer_syncs_each_commit_and_wipes_what_it_deletes(opened) -> None:
    """FULL and secure_delete unless asked otherwise; a synchronous that is none is refused."""
    writer = opened().writer._connection
    assert (writer.pragma("synchronous"), writer.pragma("secure_delete")) == (2, 1)
    assert opened(synchronous="NORMAL").writer._connection.pragma("synchronous") == 1
    with pytest.raises(ValueError, match="not in"):
        opened(synchronous="FULLEST")


def test_a_log_whose_journal_was_changed_is_changed_back(opened, path) -> None:
    """Whatever a tool did to the file, the log runs with a write-ahead log."""
    opened().close()
    assert sql(path, "PRAGMA journal_mode = delete") == [("delete",)]
    one(opened(), [event(1)])
    assert sql(path, "PRAGMA journal_mode") == [("wal",)]


def test_a_log_keeps_its_id(opened, tmp_path: Path) -> None:
    """A log has the same id each time it is opened, and no two logs have the same."""
    first = opened()
    first.close()
    again, other = opened(), opened(tmp_path / "other.db")
    assert first.log_id == again.log_id != other.log_id
    assert again.epoch == 1


def test_an_empty_file_becomes_a_log(opened, path) -> None:
    """A file that was made but never written, as by a crash at the start, is used."""
    path.touch()
    assert one(opened(), [event(1)]).head == 1


def test_a_log_that_was_made_half_is_finished(opened, path) -> None:
    """A crash between the schema and the id: the next start gives the log its id."""
    opened().close()
    sql(path, "DELETE FROM log_meta")
    log = opened()
    assert log.log_id
    assert one(log, [event(1)]).head == 1


def test_a_newer_schema_is_refused_and_left_alone(opened, path) -> None:
    """A file of a newer program is not touched."""
    opened().close()
    sql(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(NewerSchema, match=f"schema {SCHEMA_VERSION + 1}"):
        EventLog.open(path)
    assert path.read_bytes() == before


def test_a_foreign_database_is_refused_and_left_alone(path) -> None:
    """Somebody else's SQLite file is not turned into a log."""
    sql(path, "CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(LogDamaged, match="not an event log"):
        EventLog.open(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(path) -> None:
    """Text in the place of the log is damage, not a new log."""
    path.write_text("This is not a database. " * 500)
    with pytest.raises(LogDamaged):
        EventLog.open(path)
    assert path.read_text() == "This is not a database. " * 500


def test_a_log_cut_in_half_is_refused(opened, path) -> None:
    """A file that lost its end is damage, whether the opening finds it or the verification."""
    log = opened()
    one(log, events(1, 2000))
    log.close()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(LogDamaged):
        opened().verify_tail()


def test_a_directory_that_is_not_there_is_a_failure_of_the_disk(tmp_path: Path) -> None:
    """An impossible path is an error of ours, with the connection closed."""
    with pytest.raises(StorageFailed):
        EventLog.open(tmp_path / "nowhere" / "log.db")


def test_readers_cannot_write(log) -> None:
    """The connections lent for reading are read-only."""
    with pytest.raises(StorageFailed), log.reading().connection() as db:
        db.execute("DELETE FROM events")


def test_a_closed_pool_lends_nothing(log, path) -> None:
    """A reader at work when the pool closes is interrupted; later ones are refused."""
    one(log, events(1, 300))
    pool = ReadPool(str(path))
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"

    def read() -> None:
        with pool.connection() as db:
            for (x,) in db.execute(endless):
                if x == 1000:
                    pool.close(timeout_seconds=0)

    with pytest.raises(StorageFailed, match="interrupt"):
        read()
    with pytest.raises(StorageFailed, match="closed"), pool.connection():
        pass


def test_idle_read_connections_are_bounded(path, log) -> None:
    """However many read at once, only so many connections stay open after."""
    pool = ReadPool(str(path), idle_max=2)
    lent = [pool.connection() for _ in range(5)]
    connections = [context.__enter__() for context in lent]
    assert len(set(map(id, connections))) == 5
    for context in lent:
        context.__exit__(None, None, None)
    assert len(pool._idle) == 2
    with pytest.raises(apsw.ConnectionClosedError):
        connections[-1].execute("SELECT 1")
    pool.close()
