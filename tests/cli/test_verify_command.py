"""``chronicled verify``: its report, its exit codes, and that it leaves the files alone."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest
from commands import chronicled, document, event, lines
from daemon_process import DaemonProcess

from daemon.eventlog.log_file import LogFile
from daemon.replay.replay import replay

COUNT = 30


@pytest.fixture
def stopped(daemon: DaemonProcess) -> Path:
    """Return the directory of a daemon that took some jobs, and stopped."""
    events = [event(n) for n in range(1, COUNT + 1)]
    chronicled("append", "--data", daemon.data, text=lines(*events))
    with daemon.client() as client:
        assert client.get("/api/jobs", params={"wait_for": COUNT}).status_code == 200
    quick = document("verify", "--quick", "--data", daemon.data)
    assert (quick["ok"], quick["quick"], quick["position"]) == (True, True, COUNT)
    daemon.stop()
    return daemon.data


def test_the_report_has_every_part(stopped: Path) -> None:
    """Each projection with its digest, the dead letters, no findings; quick says less."""
    report = document("verify", "--data", stopped)
    keys = {"ok", "position", "events", "quick", "projections", "dead_letters", "findings"}
    assert set(report) == keys
    assert {each["name"] for each in report["projections"]} >= {"jobs", "job_history", "summary"}
    for each in report["projections"]:
        assert set(each) == {"name", "position", "rows", "digest", "ok"}
        assert (each["position"], each["ok"], len(each["digest"])) == (COUNT, True, 32)
    assert report["dead_letters"] == {"letters": 0, "count": 0}
    quick = document("verify", "--quick", "--data", stopped)
    assert {each["digest"] for each in quick["projections"]} == {None}
    assert report == document("verify", "--data", stopped)


def test_views_that_are_behind_are_said_to_be(stopped: Path) -> None:
    """Views of an earlier position are compared there, and the verdict says so."""
    views = stopped / "views.db"
    views.unlink()
    with closing(LogFile(stopped / "log.db")) as log:
        replay(log, views, COUNT - 9)
    said = chronicled("verify", "--data", stopped).stdout
    assert f"{COUNT} events up to position {COUNT}: everything is as it was recorded" in said
    assert f"the views were compared up to position {COUNT - 9} only" in said


def test_a_damaged_log_is_told_and_left_as_it_is(stopped: Path) -> None:
    """Exit 5 names the place by both ways of looking; not one byte is written into the log."""
    with apsw.Connection(str(stopped / "log.db")) as db:
        db.execute("UPDATE events SET time = time + 1 WHERE position = 29")
    db.close()
    before = (stopped / "log.db").read_bytes()
    for options in ((), ("--quick",)):
        found = document("verify", *options, "--data", stopped, code=5)["findings"]
        assert [(each["kind"], each["position"]) for each in found] == [("chain", 29)]
    assert (stopped / "log.db").read_bytes() == before


def test_a_changed_row_of_the_views_is_shown(stopped: Path) -> None:
    """Exit 1 shows the first differing row: its key, the column, and both values."""
    with apsw.Connection(str(stopped / "views.db")) as db:
        db.execute("UPDATE jobs SET owner = 'nobody' WHERE job = 7")
    db.close()
    said = chronicled("verify", "--data", stopped, code=1).stdout
    assert "first: job 7 has other values: owner is 'nobody', in the replay None" in said
    assert f"1 finding up to position {COUNT}" in said
