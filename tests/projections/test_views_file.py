"""views.db itself: how it is made, and that no fault of the file is more than a rebuild."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest
from feeds import MemoryFeed, WordCounts, built, rows, submitted, table_names

from domain.errors import NotReady
from projections.runner import ProjectionRunner
from projections.views import Views

WORDS = [("a", 2, 1), ("b", 1, 2)]


@pytest.fixture
def feed() -> MemoryFeed:
    """Return a log of three events."""
    feed = MemoryFeed()
    submitted(feed, ["a1", "b1", "a2"])
    return feed


@pytest.fixture
def path(tmp_path: Path, feed: MemoryFeed) -> Path:
    """Return views that were built and closed."""
    path = tmp_path / "views.db"
    built(path, feed, projections=[WordCounts()])
    return path


def change(path: Path, sql: str) -> None:
    """Execute SQL on a file by a connection of its own."""
    db = apsw.Connection(str(path))
    try:
        db.execute(sql)
    finally:
        db.close()


def test_the_file_is_made_as_it_should_be(path: Path) -> None:
    """Pages of 4096 bytes, incremental vacuum, WAL, our application id and schema version."""
    db = apsw.Connection(str(path))
    try:
        pragmas = ("page_size", "auto_vacuum", "journal_mode", "application_id", "user_version")
        assert [db.pragma(name) for name in pragmas] == [4096, 2, "wal", 0x63687276, 3]
    finally:
        db.close()


def test_views_of_this_log_are_gone_on_with(path: Path, feed: MemoryFeed) -> None:
    """Reopening reads nothing again: rows already there are trusted."""
    change(path, "UPDATE words SET count = 7 WHERE word = 'a'")
    submitted(feed, ["a1"])
    built(path, feed, projections=[WordCounts()])
    assert rows(path, "words") == [("a", 8, 1), ("b", 1, 2)]


def test_views_of_another_log_are_rebuilt(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of another log's views is ever shown."""
    other = MemoryFeed("log-2")
    submitted(other, ["x1"])
    runner = ProjectionRunner(path, other, [WordCounts()])
    try:
        assert "words" not in table_names(path)
        runner.catch_up()
    finally:
        runner.close()
    assert rows(path, "words") == [("x", 1, 1)]
    assert "another log" in caplog.text


def test_views_of_another_epoch_are_rebuilt(path: Path, feed: MemoryFeed) -> None:
    """A new epoch may have lost a tail that the views have seen."""
    change(path, "UPDATE words SET count = 7")
    feed.epoch = 2
    built(path, feed, projections=[WordCounts()])
    assert rows(path, "words") == WORDS


def test_views_with_another_past_are_rebuilt(path: Path) -> None:
    """The same log id with another event at the views' position is another log."""
    other = MemoryFeed()
    submitted(other, ["x1", "x2", "x3", "x4"])
    built(path, other, projections=[WordCounts()])
    assert rows(path, "words") == [("x", 4, 1)]


def test_views_beyond_the_log_are_rebuilt(path: Path) -> None:
    """Views that know more than the log (it was put back from a copy) are another log's."""
    shorter = MemoryFeed()
    submitted(shorter, ["a1", "b1"])
    built(path, shorter, projections=[WordCounts()])
    assert rows(path, "words") == [("a", 1, 1), ("b", 1, 2)]


def test_a_missing_file_is_rebuilt(path: Path, feed: MemoryFeed) -> None:
    """Deleting views.db costs a rebuild, nothing else."""
    path.unlink()
    built(path, feed, projections=[WordCounts()])
    assert rows(path, "words") == WORDS


@pytest.mark.parametrize(
    "content", [b"", b"not a database " * 1000, b"SQLite format 3\0" + bytes(5000)]
)
def test_a_file_that_is_no_database_is_moved_away(
    path: Path, feed: MemoryFeed, content: bytes
) -> None:
    """It is kept beside, except an empty one, and the views are built afresh."""
    path.write_bytes(content)
    built(path, feed, projections=[WordCounts()])
    assert rows(path, "words") == WORDS
    kept = path.with_name("views.db.damaged")
    assert kept.read_bytes() == content if content else not kept.exists()


def test_another_programs_database_is_moved_away(path: Path, feed: MemoryFeed) -> None:
    """A database that is not ours is kept beside, whole."""
    path.unlink()
    change(path, "CREATE TABLE mine (a); INSERT INTO mine VALUES (1)")
    built(path, feed, projections=[WordCounts()])
    assert rows(path.with_name("views.db.damaged"), "mine") == [(1,)]
    assert rows(path, "words") == WORDS


def test_an_older_schema_is_rebuilt(path: Path, feed: MemoryFeed) -> None:
    """Until then a reader is told so, where it asks for what was not there."""
    change(path, "DROP INDEX entities_by_hash; ALTER TABLE entities DROP COLUMN hash")
    change(path, "PRAGMA user_version = 1; UPDATE projections SET name = 'alerts'")
    views = Views(path)
    try:
        with pytest.raises(NotReady, match="another version"):
            views.alert("a")
    finally:
        views.close()
    built(path, feed, projections=[WordCounts()])
    assert rows(path, "words") == WORDS


def test_a_newer_schema_is_moved_away_and_said(
    path: Path, feed: MemoryFeed, caplog: pytest.LogCaptureFixture
) -> None:
    """Views are derived: a newer program's are put aside, with a word about it, and rebuilt."""
    change(path, "PRAGMA user_version = 4")
    built(path, feed, projections=[WordCounts()])
    assert rows(path, "words") == WORDS
    assert path.with_name("views.db.newer").exists()
    assert "schema 4, this program knows 3" in caplog.text


def test_a_file_taken_away_at_work_is_rebuilt(path: Path, feed: MemoryFeed) -> None:
    """The runner does not go on writing into a file that nobody else can see."""
    runner = ProjectionRunner(path, feed, [WordCounts()])
    try:
        runner.catch_up()
        for part in ("", "-wal", "-shm"):
            path.with_name(path.name + part).unlink()
        runner.catch_up()
        assert rows(path, "words") == WORDS
        path.replace(path.with_name("away.db"))
        submitted(feed, ["a9"])
        runner.catch_up()
        assert rows(path, "words") == [("a", 3, 1), ("b", 1, 2)]
    finally:
        runner.close()


def damage(path: Path, table: str) -> None:
    """Overwrite the root page of a table with bytes that mean nothing."""
    db = apsw.Connection(str(path))
    root = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).get
    db.pragma("wal_checkpoint(truncate)")
    db.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xa5" * 4096)


@pytest.mark.parametrize("table", ["words", "projections", "entities"])
def test_a_damaged_page_is_rebuilt(path: Path, feed: MemoryFeed, table: str) -> None:
    """Damage found at open or at work is not fatal: the file is moved away and built afresh."""
    damage(path, table)
    submitted(feed, ["a9"])
    built(path, feed, projections=[WordCounts()])
    assert rows(path, "words") == [("a", 3, 1), ("b", 1, 2)]
    assert path.with_name("views.db.damaged").exists()


def test_damage_found_while_opening_is_not_fatal(path: Path, feed: MemoryFeed) -> None:
    """A file that cannot even take the tables of a new version is moved away at once."""
    damage(path, "sqlite_sequence")
    runner = ProjectionRunner(path, feed, [WordCounts(version=2)])
    try:
        assert path.with_name("views.db.damaged").exists()
        runner.catch_up()
    finally:
        runner.close()
    assert rows(path, "words") == [("a", 2, 1, None), ("b", 1, 2, None)]


def test_damage_that_a_reader_finds_is_rebuilt(path: Path, feed: MemoryFeed) -> None:
    """The runner takes a reader's word that the file is damaged."""
    change(path, "UPDATE words SET count = 7")
    runner = ProjectionRunner(path, feed, [WordCounts()])
    try:
        runner.distrust()
        runner.catch_up()
    finally:
        runner.close()
    assert rows(path, "words") == WORDS


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from feeds import MemoryFeed, WordCounts, submitted
from domain.errors import NotReady
from projections.runner import ProjectionRunner
from projections.views import Views
feed = MemoryFeed()
submitted(feed, [f"{n % 7}{n}" for n in range(400)])
runner = ProjectionRunner(Path(sys.argv[2]), feed, [WordCounts()], batch_events=20, build_events=20)
if sys.argv[3] == "again":
    runner.catch_up()
    runner.request_rebuild()
print("ready", flush=True)
while runner.step(0) is not None:
    sys.stdout.write("step\\n")
    sys.stdout.flush()
sys.stdout.close()
sys.stdin.read()
"""


@pytest.mark.parametrize("when", ["first", "again"])
@pytest.mark.parametrize("lines", [1, 6, 15, 20, 21])
def test_a_kill_in_the_middle_of_a_build_leaves_nothing_behind(
    tmp_path: Path, when: str, lines: int
) -> None:
    """Killed at any step of a build, a later run ends with the same rows and no leftovers."""
    path = tmp_path / "views.db"
    here = str(Path(__file__).parent)
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, here, str(path), when],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        for _ in range(lines):
            child.stdout.readline()
        os.kill(child.pid, signal.SIGKILL)
    feed = MemoryFeed()
    submitted(feed, [f"{n % 7}{n}" for n in range(400)])
    built(path, feed, projections=[WordCounts()])
    built(tmp_path / "whole.db", feed, projections=[WordCounts()])
    assert rows(path, "words") == rows(tmp_path / "whole.db", "words")
    assert not [name for name in table_names(path) if name.startswith("g")]
