"""Two daemons on one log, by whatever name the second one knows it: it is refused, and harmless."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from clients import post, recorded, verify
from daemon_process import DaemonProcess

Daemons = Callable[..., DaemonProcess]
Way = Callable[[Path, Path, ExitStack], None]


def by_symbolic_link(data: Path, other: Path, _: ExitStack) -> None:
    """Give the directory another name."""
    other.symlink_to(data)


def by_mount(data: Path, other: Path, stack: ExitStack) -> None:
    """Mount the directory elsewhere too."""
    other.mkdir()
    subprocess.run(["mount", "--bind", str(data), str(other)], check=True)
    stack.callback(subprocess.run, ["umount", str(other)], check=True)


def by_hard_link(data: Path, other: Path, _: ExitStack) -> None:
    """Link the log into another directory, as some backups do."""
    other.mkdir(mode=0o700)
    os.link(data / "log.db", other / "log.db")


def by_link_of_the_log(data: Path, other: Path, _: ExitStack) -> None:
    """Put a symbolic link to the log into another directory."""
    other.mkdir(mode=0o700)
    (other / "log.db").symlink_to(data / "log.db")


WAYS: tuple[Way, ...] = (by_symbolic_link, by_mount, by_hard_link, by_link_of_the_log)


@pytest.mark.needs("root", "mount")
def test_a_second_daemon_on_the_same_log_is_refused(daemons: Daemons, tmp_path: Path) -> None:
    """Exit 3 with a message that says so; the first one goes on, and its log is whole."""
    first = daemons().start()
    with first.client() as client, ExitStack() as stack:
        for way in WAYS:
            assert post(client, way.__name__).status_code == 201
            other = tmp_path / way.__name__
            way(first.data, other, stack)
            second = daemons(other)
            assert second.launch().wait() == 3, way
            assert "is in use by" in second.stderr()
            assert "data_directory_locked" in second.stderr()
            shared = (other / "chronicled.lock").samefile(first.data / "chronicled.lock")
            assert shared or not list(other.glob("log.db-*")), "it was not opened"
        assert post(client, "after").status_code == 201
        assert first.wait_caught_up().stop() == 0
    assert list(recorded(first.data)) == [*(way.__name__ for way in WAYS), "after"]
    verify(first)


def test_a_copy_of_a_log_that_shares_its_file_waits_its_turn(
    daemons: Daemons, tmp_path: Path
) -> None:
    """Where the first daemon has ended, the other name can be used; the lock is not the name's."""
    first = daemons().start()
    with first.client() as client:
        assert post(client, "before").status_code == 201
    assert first.stop() == 0
    other = tmp_path / "other"
    with ExitStack() as stack:
        by_hard_link(first.data, other, stack)
    second = daemons(other).start()
    # The directory of the first one was given back, but not the log in it.
    assert first.launch().wait() == 3
    with second.client() as client:
        assert post(client, "after").status_code == 201
    assert second.stop() == 0
    assert list(recorded(other)) == ["before", "after"]
