"""Who ships, how fast a proof reads, and how the backup stands."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from daemon.backup.board import Board
from daemon.backup.errors import NotTheWriter, StoreUnavailable
from daemon.backup.identity import FILE, identify
from daemon.backup.pace import Pace
from daemon.backup.status import BackupStatus, State
from domain.errors import NotReady

SECOND = 1_000_000


def test_a_directory_keeps_its_id(tmp_path: Path) -> None:
    """Each start on a directory has the same id, and a session of its own."""
    first, second = identify(tmp_path / "backup"), identify(tmp_path / "backup")
    assert first.id == second.id
    assert first.session != second.session
    assert (tmp_path / "backup" / FILE).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o700


def test_a_copied_directory_is_another_writer(tmp_path: Path) -> None:
    """A copy is not taken for the original, whichever of them is asked first."""
    first = identify(tmp_path / "backup")
    shutil.copytree(tmp_path / "backup", tmp_path / "copy")
    copy = identify(tmp_path / "copy")
    assert copy.id != first.id
    assert identify(tmp_path / "copy").id == copy.id
    assert identify(tmp_path / "backup").id == first.id


def test_a_moved_directory_is_the_same_writer(tmp_path: Path) -> None:
    """What is only called something else goes on."""
    first = identify(tmp_path / "backup")
    (tmp_path / "backup").rename(tmp_path / "moved")
    assert identify(tmp_path / "moved").id == first.id


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"id": 7, "inode": 7}', b"\xff"])
def test_a_file_that_says_nothing_is_made_anew(tmp_path: Path, content: bytes) -> None:
    """Whatever became of the file, there is an id, and it stays; so does a half-made one."""
    (tmp_path / FILE).write_bytes(content)
    (tmp_path / f"{FILE}.part").write_bytes(content)
    assert identify(tmp_path).id == identify(tmp_path).id
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


class Waits(threading.Event):
    """A stop that never comes; the time that is waited for it passes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0
        self.waits = 0

    def wait(self, timeout: float | None = None) -> bool:
        """Let time pass."""
        self.time += timeout or 0
        self.waits += 1
        return self.is_set()


def test_reading_keeps_to_its_rate() -> None:
    """So many bytes a second pass, and small debts are not waited for."""
    waits = Waits()
    pace = Pace(1_000_000, waits, lambda: waits.time)
    for _ in range(1000):
        pace(10_000)
    assert waits.time == pytest.approx(10, abs=0.1)
    assert 50 < waits.waits < 250


def test_who_was_slow_does_not_wait() -> None:
    """Time that the work itself took counts."""
    waits = Waits()
    pace = Pace(1_000_000, waits, lambda: waits.time)
    waits.time = 5.0
    pace(5_000_000)
    assert waits.waits == 0


def test_a_stop_ends_the_work() -> None:
    """Nothing more is read when the daemon stops."""
    waits = Waits()
    pace = Pace(1_000_000, waits, lambda: waits.time)
    pace(1)
    waits.set()
    with pytest.raises(NotReady):
        pace(1)


def board(now: list[int], **heard: Any) -> Board:
    """Return the board of a backup that ships."""
    return Board(BackupStatus(state=State.SHIPPING), lambda: now[0], **heard)


def test_counts_of_several_threads_are_all_there() -> None:
    """Shipping and what goes on beside it count on one board."""
    told: list[BackupStatus] = []
    shown = board([0], tell=told.append)

    def count(_: int) -> None:
        for _ in range(200):
            shown.count("upload")
            shown.stored("segment", 2)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(4)))
    assert shown.status.failures == {"upload": 800}
    assert shown.status.bytes == {"segment": 1600}
    assert told[-1] == shown.status
    assert [each.bytes.get("segment", 0) for each in told] == sorted(
        each.bytes.get("segment", 0) for each in told
    )


def test_what_does_not_change_is_not_told() -> None:
    """Whoever listens hears of changes only."""
    told: list[BackupStatus] = []
    shown = board([0], tell=told.append)
    shown.show(detail="")
    shown.show(detail="x")
    shown.show(detail="x")
    assert [each.detail for each in told] == ["x"]


def test_a_step_that_keeps_failing_is_recorded_once_an_hour() -> None:
    """Each failure is counted; the log hears of a step once an hour, also when clocks jump."""
    now, recorded = [10 * 3600 * SECOND], list[tuple[str, str, dict[str, Any]]]()
    shown = board(now, record=lambda *told: recorded.append(told))
    for _ in range(3):
        shown.failed("upload", StoreUnavailable("down"))
    shown.failed("prune", StoreUnavailable("down"))
    assert [each[1] for each in recorded] == ["upload", "prune"]
    assert recorded[0] == ("backup.failed", "upload", {"step": "upload", "message": "down"})
    now[0] += 3601 * SECOND
    shown.failed("upload", StoreUnavailable("down"))
    now[0] -= 2 * 3601 * SECOND
    shown.failed("upload", StoreUnavailable("down"))
    assert [each[1] for each in recorded] == ["upload", "prune", "upload", "upload"]
    assert shown.status.failures == {"upload": 5, "prune": 1}


def test_shipping_that_fails_says_whether_it_may_pass() -> None:
    """What needs an operator is shown as refused, with what to do."""
    shown = board([0])
    shown.shipping_failed("segment", StoreUnavailable("down"))
    assert (shown.status.state, shown.status.detail) == (State.UNAVAILABLE, "down")
    shown.shipping_failed("manifest", NotTheWriter("another"))
    assert shown.status.state is State.REFUSED
    assert "takeover" in shown.status.hint
