"""``chronicled size``: by the daemon and on files at rest, for people and for machines."""

from __future__ import annotations

from commands import chronicled, document, event, lines
from daemon_process import DaemonProcess


def test_the_daemon_is_asked_and_measures(daemon: DaemonProcess) -> None:
    """Without a measure it says how to make one; with one it has tables and categories."""
    chronicled("append", "--data", daemon.data, text=lines(*[event(n) for n in range(1, 41)]))
    before = chronicled("size", "--data", daemon.data)
    assert before.stdout.startswith("disk: ok, ")
    assert "chronicled size --measure" in before.stderr
    after = chronicled("size", "--measure", "--data", daemon.data)
    assert "up to position 40" in after.stdout
    rows = [line.split("\t") for line in after.stdout.splitlines()]
    assert [row[:3] for row in rows if row[:2] == ["log", "events"]] == [["log", "events", "40"]]
    assert ["job", "40"] in [row[:2] for row in rows]
    assert [row[1:] for row in rows if row[0] == "log_bytes"] == []
    [refuse] = [row for row in rows if row[0] == "disk_refuse"]
    assert refuse[-1] == "not known yet"
    answer = document("size", "--data", daemon.data)
    assert answer["measured"]["position"] == 40


def test_files_at_rest_are_measured_under_their_lock(daemon: DaemonProcess) -> None:
    """Without a daemon the command does it itself, and the next one shows what it found."""
    chronicled("append", "--data", daemon.data, text=lines(*[event(n) for n in range(1, 11)]))
    daemon.stop()
    assert document("size", "--data", daemon.data)["measured"] is None
    measured = document("size", "--measure", "--data", daemon.data)["measured"]
    assert measured["position"] == 10
    assert document("size", "--data", daemon.data)["measured"] == measured


def test_a_directory_without_a_log_is_refused(tmp_path: object) -> None:
    """There is nothing to measure, and nothing is made."""
    done = chronicled("size", "--measure", "--data", f"{tmp_path}/none", code=1)
    assert "none" in done.stderr
