"""``verify`` and ``rebuild``: by the daemon and on files at rest, and what their exit codes say."""

from __future__ import annotations

import fcntl
from pathlib import Path

import apsw
import pytest
from commands import chronicled, document, event, lines
from daemon_process import DaemonProcess

COUNT = 40


@pytest.fixture
def filled(daemon: DaemonProcess) -> DaemonProcess:
    """Return a daemon with some jobs, its views caught up."""
    events = [event(n) for n in range(1, COUNT + 1)]
    chronicled("append", "--data", daemon.data, text=lines(*events))
    with daemon.client() as client:
        assert client.get("/api/jobs", params={"wait_for": COUNT}).status_code == 200
    return daemon


def test_verify_finds_nothing_by_either_way(filled: DaemonProcess) -> None:
    """The daemon verifies beside its other work; a directory at rest is verified itself."""
    by_daemon = document("verify", "--data", filled.data)
    assert (by_daemon["ok"], by_daemon["events"], by_daemon["findings"]) == (True, COUNT, [])
    filled.stop()
    assert document("verify", "--data", filled.data) == by_daemon
    said = chronicled("verify", "--data", filled.data)
    assert said.stdout.splitlines()[-1] == (
        f"{COUNT} events up to position {COUNT}: everything is as it was recorded"
    )
    assert "verify: " in said.stderr


def test_a_changed_view_is_exit_1_and_rebuild_mends_it(filled: DaemonProcess) -> None:
    """Views that differ from a replay are a finding; the log is not damaged."""
    filled.stop()
    with apsw.Connection(str(filled.data / "views.db")) as db:
        db.execute("UPDATE jobs SET owner = 'somebody else' WHERE job = 7")
    found = document("verify", "--data", filled.data, code=1)
    assert not found["ok"]
    assert found["findings"]
    shown = chronicled("verify", "--data", filled.data, code=1)
    count = len(found["findings"])
    noun = "finding" if count == 1 else "findings"
    assert f"{count} {noun} up to position {COUNT}" in shown.stdout
    rebuilt = document("rebuild", "jobs", "--data", filled.data)
    assert rebuilt == {"ok": True, "projections": ["jobs"]}
    assert document("verify", "--data", filled.data)["ok"]


def test_a_changed_log_is_exit_5(filled: DaemonProcess) -> None:
    """An event that is not as it was recorded is damage of the log."""
    filled.stop()
    with apsw.Connection(str(filled.data / "log.db")) as db:
        db.execute("UPDATE events SET data = CAST(data || ' ' AS BLOB) WHERE position = 9")
    found = document("verify", "--data", filled.data, code=5)
    assert {"payload"} <= {finding["kind"] for finding in found["findings"]}
    assert 9 in {finding["position"] for finding in found["findings"]}


def test_a_file_that_is_no_log_is_exit_5(tmp_path: Path) -> None:
    """Something else under the log's name is refused, for reading and for maintenance."""
    (tmp_path / "log.db").write_bytes(b"not a database" * 1000)
    assert document("verify", "--data", tmp_path, code=5)["findings"]
    for command in ("events list", "rebuild"):
        done = chronicled(*command.split(), "--data", tmp_path, code=5)
        assert done.stderr.splitlines()[-1].startswith("Hint: ")


def test_rebuild_builds_all_or_one_by_either_way(filled: DaemonProcess) -> None:
    """Without a name every projection is built again; the answers stay the same."""
    before = document("jobs", "list", "--data", filled.data)
    everything = document("rebuild", "--data", filled.data)
    assert "jobs" in everything["projections"]
    assert len(everything["projections"]) > 3
    said = chronicled("rebuild", "jobs", "--data", filled.data)
    assert said.stdout == "Rebuilt: jobs\n"
    assert document("jobs", "list", "--data", filled.data) == before
    filled.stop()
    assert document("rebuild", "--data", filled.data) == everything
    assert document("jobs", "list", "--data", filled.data) == before


def test_missing_views_are_built_by_rebuild(filled: DaemonProcess) -> None:
    """At rest without views, reading says what to do, and rebuild does it."""
    before = document("jobs", "list", "--data", filled.data)
    filled.stop()
    for path in filled.data.glob("views.db*"):
        path.unlink()
    error = chronicled("jobs", "list", "--data", filled.data, code=1).stderr
    assert "chronicled rebuild" in error
    chronicled("rebuild", "--data", filled.data)
    assert document("jobs", "list", "--data", filled.data) == before


def test_a_directory_held_by_something_else_is_exit_3(filled: DaemonProcess) -> None:
    """Whoever holds the lock and takes no requests keeps every command out."""
    filled.stop()
    with (filled.data / "chronicled.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = chronicled("verify", "--data", filled.data, code=3)
    assert "in use" in done.stderr
