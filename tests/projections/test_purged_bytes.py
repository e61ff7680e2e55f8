"""What is purged leaves no byte in the file of the views."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from lived import RemovedFeed

from projections.runner import ProjectionRunner

SECRET = "xylotomousquagga"
"""A word that nothing else holds."""


@pytest.mark.parametrize("marker", ["job.purged", "job.archived"])
def test_words_of_a_job_leave_no_byte(tmp_path: Path, marker: str) -> None:
    """Neither a row, nor the full-text index, nor an earlier wording of it; nor its documents."""
    path, feed = tmp_path / "views.db", RemovedFeed()
    runner = ProjectionRunner(path, feed)
    for number in range(60):
        feed.add("job.submitted", f"job-{number}", {"name": f"other {number}", "params": {"a": 1}})
    secret = {"params": {"token": SECRET}, "input": SECRET, "extra": {"meta_raw": SECRET}}
    feed.add("job.submitted", "it", secret)
    for word in ("one", "two"):
        error = {"class": "E", "message": f"{SECRET}{word}", "log": SECRET}
        feed.add("job.failed", "it", {"error": error})
        runner.catch_up()
    feed.add("job.retried", "it", {"next": "job-1"})
    feed.add("job.submitted", "it", {"name": "harmless"})
    feed.add("job.started", "it", {})
    runner.catch_up()
    assert SECRET.encode() in path.read_bytes() + path.with_name("views.db-wal").read_bytes()
    if marker == "job.archived":
        event = feed.mark(marker, "it")
        assert event is not None
        row = {**event.payload["row"], "error": None, "message": None}
        feed.events[-1] = event._replace(payload={**event.payload, "row": row})
    else:
        feed.mark(marker, "it")
    runner.catch_up()
    runner.close()
    db = apsw.Connection(str(path))
    db.pragma("wal_checkpoint(TRUNCATE)")
    assert db.execute("SELECT count(*) FROM search").get == 60 + (marker == "job.archived")
    db.close()
    assert SECRET.encode() not in path.read_bytes()
    assert not path.with_name("views.db-wal").exists()


def test_what_names_an_alert_or_a_file_leaves_no_byte(tmp_path: Path) -> None:
    """Rows of alerts, their timeline, messages about files and ties are gone as well."""
    path, feed = tmp_path / "views.db", RemovedFeed()
    runner = ProjectionRunner(path, feed)
    feed.add("alert.raised", SECRET, {"message": SECRET, "job": SECRET}, causationid=SECRET)
    feed.add("file.observed", SECRET, {"checksum": SECRET}, correlationid=SECRET)
    feed.add("file.matched", SECRET, {"jobs": [SECRET], "reason": SECRET})
    runner.catch_up()
    feed.mark("alert.purged", SECRET)
    feed.mark("file.purged", SECRET)
    runner.catch_up()
    runner.close()
    assert SECRET.encode() not in path.read_bytes()
