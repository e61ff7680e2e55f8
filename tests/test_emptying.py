"""Syncing a write-ahead log past SQLite: of which files, and that nothing of it changes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from daemon.emptying import renew_wal, sync_wal


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


@pytest.mark.parametrize("call", [sync_wal, renew_wal])
def test_where_there_is_none_nothing_is_made(
    tmp_path: Path, synced: list[str], call: Callable[[Path], None]
) -> None:
    """A database that was closed well has no write-ahead log."""
    call(tmp_path / "some.db")
    assert not synced
    assert not list(tmp_path.iterdir())


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
