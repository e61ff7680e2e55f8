"""Damage in the write-ahead log: commits that SQLite passes over in silence are told of."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from log_driving import events, one

from daemon.eventlog.log import EventLog
from daemon.eventlog.proof import prove_log

HEADER, FRAME, PAGE = 32, 24, 4096


def kept(path: Path) -> list[tuple[int, bytes]]:
    """Return what a reader sees of the events; nothing where it sees no table of them."""
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
        try:
            return db.execute("SELECT position, digest FROM events ORDER BY position").fetchall()
        except apsw.SQLError:
            return []


@pytest.fixture
def crashed(opened: Callable[..., EventLog], path: Path, tmp_path: Path) -> Path:
    """Return the files of a log as a crash leaves them: the newest events are in the WAL alone.

    The WAL was begun anew once, so behind its frames there are those of an earlier one.
    """
    log = opened()
    for first in range(0, 200, 20):
        one(log, events(first, 20))
    with closing(apsw.Connection(str(path))) as db:
        frames, copied = db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
        assert frames == copied
    for first in range(200, 260, 20):
        one(log, events(first, 20))
    folder = tmp_path / "crashed"
    folder.mkdir()
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{path}{suffix}", folder / f"log.db{suffix}")
    return folder / "log.db"


def damaged(crashed: Path, folder: Path, change: Callable[[bytearray], None]) -> Path:
    """Return a copy of the files with a change in the WAL."""
    folder.mkdir()
    content = bytearray(Path(f"{crashed}-wal").read_bytes())
    change(content)
    shutil.copyfile(crashed, folder / "log.db")
    (folder / "log.db-wal").write_bytes(content)
    return folder / "log.db"


def test_what_a_crash_leaves_is_sound(crashed: Path) -> None:
    """A WAL with the frames of an earlier one behind its own is no damage."""
    assert len(kept(crashed)) == 260
    assert prove_log(crashed, at_rest=True).findings == []


def test_a_transaction_that_was_cut_off_is_no_damage(crashed: Path, tmp_path: Path) -> None:
    """Frames without a commit behind them were never acknowledged."""
    frames = (Path(f"{crashed}-wal").stat().st_size - HEADER) // (FRAME + PAGE)
    for left in (frames - 1, 1):
        folder = tmp_path / f"cut{left}"

        def cut(content: bytearray, left: int = left) -> None:
            del content[HEADER + left * (FRAME + PAGE) + FRAME + 100 :]

        path = damaged(crashed, folder, cut)
        found = prove_log(path, at_rest=True).findings
        assert [each.kind for each in found if each.kind == "wal"] == []


def test_a_flipped_bit_never_takes_commits_away_in_silence(crashed: Path, tmp_path: Path) -> None:
    """120 seeds: where a reader misses events, or sees other ones, the proof has a finding."""
    size = Path(f"{crashed}-wal").stat().st_size
    everything, missed = kept(crashed), 0
    for seed in range(120):
        chance = random.Random(seed)
        at = chance.randrange(size)

        def flip(content: bytearray, at: int = at, bit: int = chance.randrange(8)) -> None:
            content[at] ^= 1 << bit

        path = damaged(crashed, tmp_path / str(seed), flip)
        found = prove_log(path, at_rest=True).findings
        if kept(path) != everything:
            missed += 1
            assert found, f"seed {seed}: byte {at} of {size}"
        shutil.rmtree(path.parent)
    assert missed > 10
