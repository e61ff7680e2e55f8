"""Unallocated space of pages: what was deleted is in no byte of a file, and the rest is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daemon.unallocated
from daemon.emptying import empty_wal
from daemon.unallocated import clear_unallocated

SECRET = "s3cr3t-{:04}"


def opened(path: Path) -> apsw.Connection:
    """Open a database as the log and the views are, with a table and an index of its words."""
    db = apsw.Connection(str(path))
    db.pragma("auto_vacuum", 2)
    db.pragma("journal_mode", "wal")
    db.pragma("secure_delete", 1)
    db.pragma("synchronous", "OFF")
    db.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, word TEXT, filling BLOB)")
    db.execute("CREATE INDEX IF NOT EXISTS words ON t (word)")
    return db


def fill(db: apsw.Connection, sizes: list[int]) -> None:
    """Insert rows with secrets, and fillings of these sizes."""
    with db:
        for number, size in enumerate(sizes, 1):
            row = (number, SECRET.format(number), bytes(size))
            db.execute("INSERT INTO t VALUES (?, ?, ?)", row)


def moved(db: apsw.Connection) -> None:
    """Delete rows so that others move to other pages; then replace the words of those."""
    with db:
        db.execute("DELETE FROM t WHERE n % 3")
    with db:
        db.execute("UPDATE t SET word = 'nothing'")


def secrets_in(path: Path) -> list[str]:
    """Return the secrets that are in the files of a database."""
    wal = path.with_name(f"{path.name}-wal")
    content = path.read_bytes() + (wal.read_bytes() if wal.exists() else b"")
    return [word for word in map(SECRET.format, range(1, 1000)) if word.encode() in content]


def rows_of(db: apsw.Connection) -> list[Any]:
    """Return all that a database holds, once through the table and once through the index."""
    assert db.execute("PRAGMA integrity_check").get == "ok"
    by_word = "SELECT word, n FROM t INDEXED BY words ORDER BY word, n"
    return [*db.execute("SELECT * FROM t ORDER BY n"), *db.execute(by_word)]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[apsw.Connection]:
    """Return a database of which many rows have moved, and have been replaced since."""
    with closing(opened(tmp_path / "some.db")) as db:
        random = Random(1)
        fill(db, [random.randrange(600) for _ in range(600)])
        moved(db)
        yield db


def test_rows_that_moved_before_they_were_replaced_are_gone(
    db: apsw.Connection, tmp_path: Path
) -> None:
    """A value that was redacted stayed where its row had been before (seed 1971).

    SQLite clears what is deleted where it is, and not where it was copied from.
    """
    before = rows_of(db)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert secrets_in(tmp_path / "some.db")
    assert clear_unallocated(tmp_path / "some.db")
    assert secrets_in(tmp_path / "some.db") == []
    assert rows_of(db) == before


def test_who_writes_on_brings_nothing_back(
    db: apsw.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection has pages in its memory as they were just before, and writes them just after."""
    asked: list[Path] = []

    def empty(path: Path) -> bool:
        asked.append(path)
        if len(asked) == 3:
            with db:
                db.execute("UPDATE t SET word = 'Nothing'")
        done = empty_wal(path)
        rows_of(db)
        return done

    monkeypatch.setattr(daemon.unallocated, "empty_wal", empty)
    assert clear_unallocated(tmp_path / "some.db")
    assert len(asked) > 3
    assert secrets_in(tmp_path / "some.db") == []


def test_where_somebody_reads_or_stops_it_is_tried_again(
    db: apsw.Connection, tmp_path: Path
) -> None:
    """What a reader still needs is in the write-ahead log, which cannot be emptied then."""
    path = tmp_path / "some.db"
    assert not clear_unallocated(path, lambda: True)
    with closing(apsw.Connection(str(path))) as reader:
        reader.execute("BEGIN; SELECT * FROM t LIMIT 1").fetchall()
        with db:
            db.execute("UPDATE t SET word = word || '!'")
        assert not clear_unallocated(path)
        reader.execute("COMMIT")
        assert clear_unallocated(path)
    assert secrets_in(path) == []


def test_a_file_at_rest_stays_one_file(db: apsw.Connection, tmp_path: Path) -> None:
    """A copy that nobody has open: it is left without a write-ahead log beside it."""
    copy = tmp_path / "copy.db"
    with closing(apsw.Connection(str(copy))) as target, target.backup("main", db, "main") as made:
        made.step()
    assert secrets_in(copy)
    assert clear_unallocated(copy)
    assert secrets_in(copy) == []
    assert sorted(each.name for each in tmp_path.iterdir() if "copy" in each.name) == ["copy.db"]


def test_a_file_that_became_shorter_is_no_fault(
    db: apsw.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages are given back while others are looked for: what is not there is not cleared."""

    def empty(path: Path) -> bool:
        with db:
            db.execute("DELETE FROM t")
        db.execute("PRAGMA incremental_vacuum").fetchall()
        return empty_wal(path)

    assert empty_wal(tmp_path / "some.db")
    size = (tmp_path / "some.db").stat().st_size
    asked = iter([empty_wal, empty])
    monkeypatch.setattr(daemon.unallocated, "empty_wal", lambda path: next(asked, empty_wal)(path))
    assert clear_unallocated(tmp_path / "some.db")
    assert (tmp_path / "some.db").stat().st_size < size / 2
    assert db.execute("PRAGMA integrity_check").get == "ok"


@pytest.mark.parametrize("ends", ["a kill", "a failed sync"])
def test_what_was_cleared_and_not_synced_is_not_taken_for_done(
    db: apsw.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """The next run found nothing to clear, and a power cut brought all of it back.

    After a kill the pages are written and have to be synced; after a sync that failed they are
    taken for written, and have to be written again.
    """
    path = tmp_path / "some.db"
    written: list[int] = []
    cleared = daemon.unallocated._cleared

    def counted(db: apsw.Connection, path: Path, numbers: list[int]) -> bool:
        written.append(len(numbers))
        return cleared(db, path, numbers)

    monkeypatch.setattr(daemon.unallocated, "_cleared", counted)
    if ends == "a kill":
        assert clear_unallocated(path)
        count, written[:] = sum(written), []
        assert count > 5
        assert clear_unallocated(path)
        assert written == [0, 0]
    else:
        asked = iter([empty_wal, empty_wal, lambda _: False])
        monkeypatch.setattr(
            daemon.unallocated, "empty_wal", lambda path: next(asked, empty_wal)(path)
        )
        assert clear_unallocated(path)
        assert written[0] == written[1] > 5


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from([0, 20, 200, 1500, 9000]), min_size=20, max_size=250),
    st.lists(st.tuples(st.integers(1, 250), st.integers(1, 60)), max_size=12),
)
def test_nothing_is_left_and_nothing_else_is_changed(
    sizes: list[int], deleted: list[tuple[int, int]]
) -> None:
    """Whatever was deleted, in whatever order, with overflow pages and free ones."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "some.db"
        with closing(opened(path)) as db:
            fill(db, sizes)
            for first, count in deleted:
                with db:
                    db.execute("DELETE FROM t WHERE n BETWEEN ? AND ?", (first, first + count))
            before = rows_of(db)
            kept = {word for (word,) in db.execute("SELECT word FROM t")}
            assert clear_unallocated(path)
            assert set(secrets_in(path)) == kept
            assert rows_of(db) == before
