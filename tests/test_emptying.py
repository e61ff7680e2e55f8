"""Syncing a write-ahead log past SQLite: of which files, and that nothing of it changes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import apsw
import pytest

import daemon.emptying
from daemon.emptying import Syncing, renew_wal


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of what is synced from now on, in order."""
    names: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        names.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return names


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    """Return a database of which everything is in its write-ahead log."""
    path = tmp_path / "some.db"
    with closing(apsw.Connection(str(path))) as db:
        db.pragma("journal_mode", "wal")
        db.execute("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(3000000))")
        yield path


def sync_wal(path: Path) -> None:
    """Sync a write-ahead log, as who removes events does."""
    with closing(Syncing(path)) as syncing:
        assert syncing() is None


@pytest.mark.parametrize("call", [sync_wal, renew_wal])
@pytest.mark.parametrize("linked", [False, True])
def test_the_log_and_its_name_are_synced_and_stay(
    database: Path, synced: list[str], call: Callable[[Path], None], *, linked: bool
) -> None:
    """SQLite has it beside the file itself, also where the database is opened by a link."""
    wal = database.with_name("some.db-wal")
    before = wal.read_bytes()
    path = database
    if linked:
        (database.parent / "elsewhere").mkdir()
        path = database.parent / "elsewhere" / "link.db"
        path.symlink_to(database)
    call(path)
    assert synced == [wal.name, wal.parent.name]
    assert len(before) > 3_000_000
    assert wal.read_bytes() == before


def test_where_there_is_none_nothing_is_made(tmp_path: Path, synced: list[str]) -> None:
    """A database that was closed well has no write-ahead log."""
    renew_wal(tmp_path / "some.db")
    assert not synced
    assert not list(tmp_path.iterdir())


def test_a_database_that_was_closed_well_is_on_the_disk(database: Path) -> None:
    """The checkpoint that removed its write-ahead log has synced it."""
    wal = database.with_name("some.db-wal")
    with closing(Syncing(database)) as syncing:
        assert syncing() is None
        wal.unlink()
        assert syncing() is None


def test_who_asks_while_another_moves_what_a_sync_left_behind_waits(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told that all is well, before the other one found that it is not."""
    began, go_on = threading.Event(), threading.Event()

    def refuse(*_: object, **__: object) -> bool:
        began.set()
        assert go_on.wait(30)
        return False

    monkeypatch.setattr(daemon.emptying, "_move", refuse)
    with closing(Syncing(database)) as syncing, ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(syncing)]
        assert began.wait(30)
        asked.append(threads.submit(syncing))
        wait(asked, 0.2, FIRST_COMPLETED)
        go_on.set()
        assert all(each.result() is not None for each in asked)


def test_what_is_renewed_is_written_again(database: Path) -> None:
    """Every byte of it, or the pages that a failed sync left behind would not reach the disk."""
    wal = database.with_name("some.db-wal")
    written = _written()
    renew_wal(database)
    assert _written() - written >= wal.stat().st_size


def _written() -> int:
    """Return how many bytes this process has written (proc(5), wchar)."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])
