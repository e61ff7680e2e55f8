"""The data directory and its lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from waiting import wait_until

from daemon.lock import DataDirectory, Running, find_daemon
from domain.errors import DirectoryLocked, StorageFailed

HOLD = """
import sys
from daemon.lock import DataDirectory
held = DataDirectory.acquire(sys.argv[1])
held.announce(url="http://127.0.0.1:1", socket="/run/x.sock", started=7)
print("held", flush=True)
sys.stdin.read()
"""


LEAVE = """
import subprocess, sys
from daemon.lock import DataDirectory
held = DataDirectory.acquire(sys.argv[1])
child = [sys.executable, "-c", "import sys; sys.stdin.read()"]
subprocess.Popen(child, pass_fds=[held.descriptor])
print("held", flush=True)
sys.stdin.read()
"""


def hold(path: Path) -> subprocess.Popen[bytes]:
    """Return another process that holds the lock of ``path`` until its input ends."""
    return begin(HOLD, path)


def begin(program: str, path: Path) -> subprocess.Popen[bytes]:
    """Return another process that has the lock of ``path``."""
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    return holder


def test_the_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """A missing directory is created 0700 and its lock file 0600."""
    with DataDirectory.acquire(tmp_path / "a" / "data") as held:
        assert held.path.stat().st_mode & 0o777 == 0o700
        assert (held.path / "chronicled.lock").stat().st_mode & 0o777 == 0o600
        assert held.log_path == held.path / "log.db"
        assert held.views_path == held.path / "views.db"


def test_a_second_holder_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    """The error names the holder's process and where it answers; the directory is not changed."""
    with hold(tmp_path) as holder:
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(DirectoryLocked) as caught:
            DataDirectory.acquire(tmp_path)
        assert f"process {holder.pid} at http://127.0.0.1:1 and /run/x.sock" in str(caught.value)
        assert caught.value.exit_code == 3
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
        holder.stdin.close()


def test_the_running_daemon_is_found(tmp_path: Path) -> None:
    """While the lock is held, the command line learns pid, URL and socket from it."""
    with hold(tmp_path) as holder:
        found = find_daemon(tmp_path)
        assert found == Running(
            pid=holder.pid, started=7, url="http://127.0.0.1:1", socket="/run/x.sock"
        )
        holder.stdin.close()
    assert find_daemon(tmp_path) is None


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    """A lock file left behind by a crash names nobody, and the next daemon takes it."""
    with hold(tmp_path) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert b'"pid"' in (tmp_path / "chronicled.lock").read_bytes()
        assert find_daemon(tmp_path) is None
        with DataDirectory.acquire(tmp_path):
            found = find_daemon(tmp_path)
            assert found is not None
            assert found.pid == os.getpid()


def test_release_empties_the_file_and_frees_the_lock(tmp_path: Path) -> None:
    """After a release the file is there, empty, and the lock can be taken again."""
    held = DataDirectory.acquire(tmp_path)
    held.announce(url="http://127.0.0.1:12345", socket="/a/long/path/to/the.sock")
    held.release()
    held.release()
    assert (tmp_path / "chronicled.lock").read_bytes() == b""
    DataDirectory.acquire(tmp_path).release()


def test_a_shorter_text_replaces_a_longer_one(tmp_path: Path) -> None:
    """What a previous holder wrote is gone, whatever its length."""
    (tmp_path / "chronicled.lock").write_text("x" * 5000)
    with DataDirectory.acquire(tmp_path):
        assert find_daemon(tmp_path) == Running(pid=os.getpid())


def test_garbage_in_a_held_lock_file_names_nobody(tmp_path: Path) -> None:
    """A held lock whose text cannot be read is still a held lock."""
    with hold(tmp_path) as holder:
        (tmp_path / "chronicled.lock").write_bytes(b"\xff{")
        assert find_daemon(tmp_path) == Running(pid=0)
        with pytest.raises(DirectoryLocked, match="another process"):
            DataDirectory.acquire(tmp_path)
        holder.stdin.close()


def test_nobody_holds_what_is_not_there(tmp_path: Path) -> None:
    """A directory without a lock file, or no directory, has no daemon, and none is made."""
    assert find_daemon(tmp_path) is None
    assert find_daemon(tmp_path / "missing") is None
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A path through a file is no data directory, and the error says so."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="file/data cannot be used: Not a directory"):
        DataDirectory.acquire(tmp_path / "file" / "data")


@pytest.mark.parametrize("reaped", [True, False])
def test_what_a_dead_daemon_left_behind_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, reaped: bool
) -> None:
    """A process of a daemon that was killed holds the lock: the next daemon is not refused."""
    with begin(LEAVE, tmp_path) as holder, ThreadPoolExecutor(1) as pool:
        holder.kill()
        if reaped:
            holder.wait()
        acquiring = pool.submit(DataDirectory.acquire, tmp_path)
        wait_until(lambda: "a daemon that died" in caplog.text, "it says that it waits")
        assert not acquiring.done()
        assert holder.stdin is not None
        holder.stdin.close()
        acquiring.result(20).release()


def test_a_log_in_use_under_another_name_is_refused(tmp_path: Path) -> None:
    """Two directories, one file: the second is refused, and can be had once the first is free."""
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        directory.mkdir()
    (first / "log.db").touch()
    os.link(first / "log.db", second / "log.db")
    with hold(first) as holder:
        with pytest.raises(DirectoryLocked, match="under another name"):
            DataDirectory.acquire(second)
        assert find_daemon(second) is None
        holder.kill()
    DataDirectory.acquire(second).release()


def test_a_log_that_is_new_is_locked_too(tmp_path: Path) -> None:
    """A log that was made, or brought back, while the directory is held is locked from then on."""
    held = DataDirectory.acquire(tmp_path / "first")
    for _ in range(2):
        (held.path / "log.db").unlink(missing_ok=True)
        (held.path / "log.db").touch()
        held.claim_log()
        held.claim_log()
        second = tmp_path / "second"
        second.mkdir(exist_ok=True)
        (second / "log.db").unlink(missing_ok=True)
        os.link(held.path / "log.db", second / "log.db")
        with pytest.raises(DirectoryLocked, match="under another name"):
            DataDirectory.acquire(second)
    held.release()
    DataDirectory.acquire(second).release()
