"""``chronicled demo``: it works on its own, and what it prints is what the daemon knows."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import httpx
from commands import chronicled, document, start
from waiting import wait_until

from daemon.demo.samples import CUT_LINE
from daemon.lock import find_daemon


def test_the_demo_shows_what_is_in_its_log(tmp_path: Path) -> None:
    """Once through: the numbers printed are those of the log that it leaves behind."""
    done = chronicled("demo", "--once", cwd=tmp_path)
    data = tmp_path / ".demo" / "data"
    assert find_daemon(data) is None
    totals = re.findall(r"appended (\d+), duplicates (\d+), dead letters (\d+)", done.stdout)
    assert len(totals) == 4
    head = document("events", "list", "--limit", "1", "--data", data)["as_of"]
    assert sum(int(appended) for appended, _, _ in totals) == head
    assert sum(int(letters) for _, _, letters in totals) == 1

    failing = document(
        "jobs", "list", "--status", "failed", "--status", "lost", "--status", "interrupted",
        "--data", data,
    )["items"]  # fmt: skip
    assert {job["status"] for job in failing} == {"failed", "lost", "interrupted"}
    assert all(job["id"] in done.stdout for job in failing)

    most_tried = max(failing, key=lambda job: job["attempt"])
    assert most_tried["attempt"] == 4
    history = document("jobs", "history", most_tried["id"], "--all-attempts", "--data", data)
    attempts = [entry["attempt"] for entry in history["items"] if entry["to"] == "failed"]
    assert attempts == [1, 2, 3, 4]

    summary = document("summary", "--data", data)
    printed = chronicled("summary", "--data", data).stdout
    assert printed in done.stdout
    assert summary["as_of"] == head
    (letter,) = document("deadletters", "list", "--data", data)["items"]
    assert letter["raw"] == CUT_LINE
    assert re.search(r"http://127\.0\.0\.1:\d+/docs", done.stdout)


def test_the_demo_stays_until_it_is_interrupted(tmp_path: Path) -> None:
    """Without --once the daemon answers until Ctrl-C, and is gone afterwards."""
    process = start("demo", "--data", tmp_path / "shown")
    printed = ""
    while "Ctrl-C ends it." not in printed:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        printed += line
    url = re.findall(r"http://127\.0\.0\.1:\d+", printed)[-1]
    assert httpx.get(f"{url}/readyz").status_code == 200
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert "Traceback" not in err
    wait_until(lambda: find_daemon(tmp_path / "shown" / "data") is None, "the daemon is gone")


def test_the_demo_leaves_other_directories_alone(tmp_path: Path) -> None:
    """A directory with something else in it is not touched; an earlier demo is made afresh."""
    (tmp_path / "precious").write_text("mine")
    chronicled("demo", "--once", "--data", tmp_path, code=2)
    assert (tmp_path / "precious").read_text() == "mine"
