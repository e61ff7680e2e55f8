"""A few seeds, one of them chosen anew; and that what a simulation rests on is as it says.

The long form is ``make sim-long``; ``make sim-mutants`` plants bugs and has them found.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from random import Random

import apsw
import pytest
from disk import Connection, Disk
from faults import Faults
from mutants import MUTANTS, planted

HERE = Path(__file__).resolve().parent
STEPS = 250


def simulation(*arguments: str) -> str:
    """Run simulations in processes of their own; return what they print, and fail as they do."""
    command = [sys.executable, str(HERE), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    sys.stdout.write(done.stdout)
    return done.stdout


@pytest.mark.parametrize("seeds", ["1-3", "4-6"])
def test_nothing_acknowledged_is_lost(seeds: str) -> None:
    """Whatever goes wrong, all of it is there in the end, once, in order and unchanged."""
    said = simulation(seeds, "--steps", str(STEPS))
    assert "3 seeds, 0 found something" in said


def test_a_seed_that_nobody_has_tried_finds_nothing_either() -> None:
    """It is printed, so that it can be tried again."""
    said = simulation("--random", "1", "--steps", str(STEPS))
    assert re.search(r"seed \d+: clean", said)


def test_a_seed_is_the_same_run_each_time() -> None:
    """Every step, every fault and every answer follows from the seed."""
    traces = {
        re.search(r"trace (\w+)", simulation("77", "--steps", "120")).group(1) for _ in range(2)
    }
    assert len(traces) == 1


@pytest.mark.parametrize("name", MUTANTS)
def test_every_planted_bug_still_fits_the_code(name: str) -> None:
    """One that changes nothing would be found by nobody."""
    with planted(name):
        pass
    assert MUTANTS[name].edits or MUTANTS[name].options


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Return a disk that is mounted while the test runs."""
    monkeypatch.setattr(apsw, "Connection", Connection)
    disk = Disk(tmp_path, Faults(Random(1)))
    yield disk
    disk.unregister()


def rows(path: Path) -> list[int]:
    """Return the rows of the table that `fill` made."""
    db = apsw.Connection(str(path))
    found = [number for (number,) in db.execute("SELECT n FROM t ORDER BY n")]
    db.close()
    return found


@pytest.mark.parametrize(("level", "kept"), [("FULL", 20), ("NORMAL", 0)])
def test_a_power_cut_leaves_what_was_synced(disk: Disk, level: str, kept: int) -> None:
    """With a sync for each commit all of them are left; without, at most a part of them."""
    path = Path(disk._root) / "some.db"
    db = apsw.Connection(str(path))
    db.pragma("journal_mode", "wal")
    db.execute("CREATE TABLE t (n)")
    db.pragma("wal_checkpoint(TRUNCATE)")
    db.pragma("synchronous", level)
    for number in range(20):
        db.execute("INSERT INTO t VALUES (?)", (number,))
    fewest = 20
    for _ in range(40):
        image = disk.image(power_cut=True)
        copy = path.with_name("copy.db")
        for suffix in ("", "-wal"):
            copy.with_name(copy.name + suffix).write_bytes(image.get(f"{path}{suffix}", b""))
        found = rows(copy)
        copy.unlink()
        assert found == list(range(len(found)))
        fewest = min(fewest, len(found))
    db.close()
    assert fewest == kept


def test_a_sync_that_failed_made_nothing_durable(disk: Disk) -> None:
    """The commit fails, and is not there after a power cut."""
    path = Path(disk._root) / "some.db"
    db = apsw.Connection(str(path))
    db.pragma("journal_mode", "wal")
    db.pragma("synchronous", "FULL")
    db.execute("CREATE TABLE t (n)")
    disk.faults.arm("sync error", "sync", "*-wal")
    with pytest.raises(apsw.IOError):
        db.execute("INSERT INTO t VALUES (1)")
    assert disk.faults.fired["sync error"] == 1
    assert db.execute("SELECT count(*) FROM t").get == 0
    db.close()
