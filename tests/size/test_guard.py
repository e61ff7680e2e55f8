"""The guard of the disk: its lines, when events are refused and taken again, and the reserve."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sizes import MIB, START, size_settings

from daemon.eventlog.requests import LogHealth
from daemon.settings import SizeSettings
from daemon.size import guard as guard_module
from daemon.size.disk import Lines, Room, room_of
from daemon.size.gate import Gate
from daemon.size.guard import DiskGuard, DiskState, prepare
from daemon.size.reserve import FILE, Reserve
from domain.errors import DiskFull

HEALTHY = LogHealth()
FULL = LogHealth(False, DiskFull.code, "the disk is full", START)
TOTAL = 100_000 * MIB
RESERVE = 16 * MIB


class FakeDisk:
    """A disk whose free room is set; what the reserve takes of it is taken."""

    def __init__(self, folder: Path, settings: SizeSettings) -> None:
        self.free = 10_000 * MIB
        """What is free where nothing is in reserve."""
        self.broken = False
        self.gate = Gate()
        self._folder = folder
        self.guard = DiskGuard(folder, settings, self.gate, room=self._room)
        self._now = START

    @property
    def held(self) -> int:
        """How much the file of the reserve takes."""
        path = self._folder / FILE
        return path.stat().st_size if path.exists() else 0

    def _room(self, _folder: Path) -> Room:
        if self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return Room(TOTAL, max(0, self.free - self.held))

    def look(self, free: int, health: LogHealth = HEALTHY) -> DiskState:
        """Have so much free, and return what the guard makes of it."""
        self.free = free
        self._now += 1
        return self.guard.look(health, self._now).state


@pytest.fixture
def disk(tmp_path: Path) -> FakeDisk:
    """Return a large disk of which little is asked."""
    lines = {"disk_warn_bytes": 80 * MIB, "disk_refuse_bytes": 40 * MIB}
    return FakeDisk(tmp_path, size_settings(**lines, reserve_bytes=RESERVE))


def test_it_is_low_then_refuses_and_comes_back_by_itself(disk: FakeDisk) -> None:
    """Each state begins at its line and ends only well above it."""
    room = RESERVE
    assert disk.look(room + 80 * MIB) is DiskState.OK
    assert disk.look(room + 80 * MIB - 1) is DiskState.LOW
    assert not disk.gate.shut
    assert disk.look(room + 40 * MIB) is DiskState.LOW
    assert disk.look(room + 40 * MIB - 1) is DiskState.REFUSING
    with pytest.raises(DiskFull, match=r"41\.9 MB left.*below 41\.9 MB"):
        disk.gate.check()
    assert disk.gate.refusals == 1
    assert disk.look(room + 50 * MIB - 1) is DiskState.REFUSING
    assert disk.look(room + 50 * MIB) is DiskState.LOW
    disk.gate.check()
    assert disk.look(room + 100 * MIB - 1) is DiskState.LOW
    assert disk.look(room + 100 * MIB) is DiskState.OK


def test_a_state_says_since_when_it_is(disk: FakeDisk) -> None:
    """The time is that of the look that changed it, not of the last one."""
    disk.look(10_000 * MIB)
    disk.look(10_000 * MIB)
    assert disk.guard.disk.since == START + 1
    disk.look(60 * MIB)
    assert disk.guard.disk.since == START + 3


def test_the_reserve_is_given_up_when_the_disk_is_full_and_taken_again(disk: FakeDisk) -> None:
    """What it gives is not counted as room for events; it comes back before events do."""
    disk.look(10_000 * MIB)
    assert disk.held == RESERVE
    assert stat.S_IMODE((disk._folder / FILE).stat().st_mode) == 0o600
    assert disk.look(RESERVE + 30 * MIB) is DiskState.REFUSING
    assert disk.held == RESERVE, "there is room for deletes yet"
    assert disk.look(RESERVE + MIB) is DiskState.REFUSING
    assert disk.held == 0
    assert disk.guard.disk.free == MIB
    assert disk.look(RESERVE + 49 * MIB) is DiskState.REFUSING
    assert disk.held == 0
    assert disk.look(RESERVE + 50 * MIB) is DiskState.LOW
    assert disk.held == RESERVE


def test_a_log_that_finds_the_disk_full_gets_the_reserve(disk: FakeDisk) -> None:
    """Also where the file system says otherwise, as with a quota; events wait for the log."""
    disk.look(10_000 * MIB)
    assert disk.look(10_000 * MIB, FULL) is DiskState.REFUSING
    assert disk.held == 0
    assert disk.look(10_000 * MIB, FULL) is DiskState.REFUSING
    assert disk.look(10_000 * MIB) is DiskState.OK
    assert disk.held == RESERVE


def test_events_wait_while_the_reserve_cannot_be_taken_again(
    disk: FakeDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is less room than the file system says: what was given up is not for events."""
    disk.look(10_000 * MIB)
    disk.look(10_000 * MIB, FULL)

    def refuse(*_: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", refuse)
        assert disk.look(10_000 * MIB) is DiskState.REFUSING
        assert disk.held == 0
    assert disk.look(10_000 * MIB) is DiskState.OK


def test_another_fault_of_the_log_is_not_its_business(disk: FakeDisk) -> None:
    """A failing disk is no full one: the reserve stays, and the log itself refuses."""
    disk.look(10_000 * MIB)
    failed = LogHealth(False, "storage_failed", "an input/output error", START)
    assert disk.look(10_000 * MIB, failed) is DiskState.OK
    assert disk.held == RESERVE


def test_a_disk_that_does_not_answer_changes_nothing(disk: FakeDisk) -> None:
    """What was seen last holds until something else is seen."""
    disk.look(RESERVE + 30 * MIB)
    disk.broken = True
    assert disk.look(10_000 * MIB) is DiskState.REFUSING
    disk.broken = False
    assert disk.look(10_000 * MIB) is DiskState.OK


def test_zero_asks_for_nothing(tmp_path: Path) -> None:
    """Without lines nothing is refused, and without a reserve there is no file."""
    settings = size_settings(disk_warn_bytes=0, disk_refuse_bytes=0, reserve_bytes=0)
    disk = FakeDisk(tmp_path, settings)
    assert disk.look(0) is DiskState.OK
    assert disk.look(0, FULL) is DiskState.OK
    assert not disk.gate.shut
    assert list(tmp_path.iterdir()) == []


def test_a_reserve_of_another_size_is_made_anew(tmp_path: Path) -> None:
    """As after a change of the setting; 0 removes it."""
    reserve = Reserve(tmp_path)
    assert reserve.take(2 * MIB)
    assert Reserve(tmp_path).held == 2 * MIB
    assert Reserve(tmp_path).take(3 * MIB)
    assert (tmp_path / FILE).stat().st_blocks * 512 >= 3 * MIB
    assert Reserve(tmp_path).take(0)
    assert not (tmp_path / FILE).exists()


def test_a_link_in_place_of_the_reserve_is_not_followed(tmp_path: Path) -> None:
    """What it names is not written: the link goes, and a file of our own comes."""
    other = tmp_path / "other"
    other.write_text("precious")
    (tmp_path / FILE).symlink_to(other)
    assert Reserve(tmp_path).take(2 * MIB)
    assert other.read_text() == "precious"
    assert not (tmp_path / FILE).is_symlink()


def test_room_is_made_before_a_start_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reserve goes where there is no room, and stays where there is."""
    Reserve(tmp_path).take(2 * MIB)
    monkeypatch.setattr(guard_module, "room_of", lambda _: Room(TOTAL, 40 * MIB))
    prepare(tmp_path, size_settings())
    assert Reserve(tmp_path).held == 2 * MIB
    monkeypatch.setattr(guard_module, "room_of", lambda _: Room(TOTAL, 4 * MIB))
    prepare(tmp_path, size_settings())
    assert Reserve(tmp_path).held == 0


def test_lines_fit_a_small_disk() -> None:
    """On a large disk they are as set, on a small one a part of it; a tiny one has no reserve."""
    assert Lines.of(size_settings(), 1000 << 30) == (1 << 30, 256 * MIB, 64 * MIB)
    assert Lines.of(size_settings(), 200 * MIB) == (20 * MIB, 10 * MIB, 20 * MIB)
    assert Lines.of(size_settings(), 159 * MIB).reserve == 0


def test_the_room_is_that_of_the_file_system(tmp_path: Path) -> None:
    """What is free is what this process may take."""
    room = room_of(tmp_path)
    assert 0 < room.free <= room.total
    with pytest.raises(OSError, match="No such file"):
        room_of(tmp_path / "missing")


def test_the_lines_have_to_be_in_order() -> None:
    """What refuses above the line that warns is refused itself."""
    with pytest.raises(ValueError, match="must be less than disk_warn_bytes"):
        size_settings(disk_warn_bytes=100, disk_refuse_bytes=100)
    with pytest.raises(ValueError, match="must be less than disk_warn_bytes"):
        size_settings(disk_warn_bytes=100)
    assert size_settings(disk_warn_bytes=0, disk_refuse_bytes=100).disk_refuse_bytes == 100


def test_a_reserve_that_would_not_help_is_refused() -> None:
    """The write-ahead log could not be emptied by it; none at all is a choice."""
    with pytest.raises(ValueError, match="must be 0, or at least 16777216"):
        size_settings(reserve_bytes=MIB)
    assert size_settings(reserve_bytes=0).reserve_bytes == 0


@given(st.lists(st.integers(0, 200 * MIB), min_size=1, max_size=30))
def test_events_are_never_taken_below_the_line(
    tmp_path_factory: pytest.TempPathFactory, frees: list[int]
) -> None:
    """Whatever the room does: below the line the gate is shut, well above it is open."""
    folder = tmp_path_factory.mktemp("disk")
    lines = {"disk_warn_bytes": 80 * MIB, "disk_refuse_bytes": 40 * MIB}
    disk = FakeDisk(folder, size_settings(**lines, reserve_bytes=RESERVE))
    for free in frees:
        disk.look(free)
        for_events = free - RESERVE
        if for_events < 40 * MIB:
            assert disk.gate.shut
        elif for_events >= 50 * MIB:
            assert not disk.gate.shut
        assert disk.guard.disk.free == max(0, for_events)
