"""Verification of the views: whole ones pass, and every difference from a replay is named."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import orjson
import pytest

from daemon.eventlog.log import EventLog
from daemon.replay.verify import Report, verify
from domain.events import NewEvent
from projections.jobs import JobsFold
from projections.registry import PROJECTIONS
from projections.runner import ProjectionRunner
from projections.seam import Batch
from projections.views import Views

NAMES = ("submitted", "started", "progressed", "succeeded")
PAYLOADS = {"submitted": {"kind": "k", "name": "some words"}, "progressed": {"fraction": 0.5}}


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    """Return a real log with jobs, alerts and files in it."""
    log = EventLog.open(tmp_path / "log.db")
    log.start()
    append(log, 0, 50)
    yield log
    log.close()


def append(log: EventLog, first: int, last: int) -> None:
    """Append the events of some jobs, one alert and one file each."""
    events = []
    for number in range(first, last):
        names = [(f"job.{name}", PAYLOADS.get(name, {})) for name in NAMES]
        names += [("alert.raised", {"severity": "error"}), ("file.observed", {"size": number})]
        events += [
            NewEvent(name, f"s-{number}", "/tests", f"{number}-{name}", orjson.dumps(payload))
            for name, payload in names
        ]
    log.append(events)


@pytest.fixture
def path(tmp_path: Path, log: EventLog) -> Path:
    """Return views of that log, built and closed."""
    path = tmp_path / "views.db"
    runner = ProjectionRunner(path, log)
    runner.catch_up()
    runner.close()
    return path


def change(path: Path, *statements: str) -> None:
    """Execute SQL on a file by a connection of its own."""
    db = apsw.Connection(str(path))
    try:
        for sql in statements:
            db.execute(sql)
    finally:
        db.close()


def details(report: Report) -> list[str]:
    """Return what the findings say; all have to be about the views."""
    assert all(finding.kind == "views" for finding in report.findings)
    return [finding.detail for finding in report.findings]


def test_whole_views_pass(path: Path, log: EventLog) -> None:
    """Nothing is found, every event was replayed, and nothing is left on the disk."""
    seen: list[tuple[int, int]] = []
    report = verify(Path(log.path), path, progress=lambda done, total: seen.append((done, total)))
    assert (report.ok, report.position, report.events) == (True, 300, 300), report
    assert seen[-1] == (600, 600)
    assert all(done <= total for done, total in seen)
    assert sorted(seen) == seen
    assert not path.with_name("verify").exists()


CHANGES = {
    "jobs": ("UPDATE jobs SET owner = 'x' WHERE job = 1", "job 1"),
    "job_documents": ("INSERT INTO job_documents (job, params) VALUES (1, '{}')", "job 1"),
    "job_history": ("DELETE FROM job_history WHERE position = 2", "position 2"),
    "alerts": ("UPDATE alerts SET count = count + 1 WHERE id = 's-0'", "alert 5"),
    "alert_timeline": ("DELETE FROM alert_timeline WHERE position = 5", "position 5"),
    "files": ("UPDATE files SET state = 'removed' WHERE path = 's-0'", "file 6"),
    "file_messages": ("UPDATE file_messages SET matched = 1 WHERE message = 6", "message 6"),
    "summary_counters": (
        "UPDATE summary_counters SET count = 7 WHERE measure = 'status' AND span = 0",
        "measure 'status', span 0",
    ),
    "search": ("DELETE FROM search WHERE rowid = 1", "rowid 1"),
    "entities": ("UPDATE entities SET stream = 'job/x' WHERE entity = 1", "entity 1"),
}


@pytest.mark.parametrize("table", CHANGES)
def test_a_changed_row_is_found(path: Path, log: EventLog, table: str) -> None:
    """A row that is other, missing or too much is found in any table, with its key."""
    sql, key = CHANGES[table]
    change(path, sql)
    found = details(verify(Path(log.path), path))
    assert found
    assert all(detail.startswith(f"{table}: 1 rows") and key in detail for detail in found)


def test_every_table_is_compared(path: Path, log: EventLog) -> None:
    """Emptying all tables is found in each of them that had rows."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    tables = [
        "entities",
        *" ".join(r[0] for r in db.execute("SELECT tables FROM projections")).split(),
    ]
    filled = {table for table in tables if db.execute(f"SELECT count(*) FROM {table}").get}
    db.close()
    change(path, *(f"DELETE FROM {table}" for table in tables))
    found = {detail.partition(":")[0] for detail in details(verify(Path(log.path), path))}
    assert found == filled
    assert set(CHANGES) - {"job_documents"} <= filled


def test_an_index_that_differs_is_found(path: Path, log: EventLog) -> None:
    """Right rows under a wrong index would answer wrongly, too."""
    change(
        path,
        "PRAGMA writable_schema = 1",
        "UPDATE sqlite_schema SET sql = replace(sql, 'owner IS NOT NULL', 'owner IS NULL')"
        " WHERE name LIKE '%jobs_by_owner'",
    )
    assert "missing from index" in str(details(verify(Path(log.path), path)))


def test_a_live_directory_can_be_verified(path: Path, log: EventLog) -> None:
    """While events come and the runner goes on, whole views pass."""
    runner = ProjectionRunner(path, log)
    done = threading.Event()

    def write() -> None:
        number = 1000
        while not done.is_set():
            append(log, number, number + 5)
            runner.step(0)
            number += 5

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            assert details(verify(Path(log.path), path)) == []
    finally:
        done.set()
        writer.join()
        runner.close()


def test_projections_at_different_positions_are_compared_at_theirs(
    path: Path, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A projection that lags behind is compared with a replay up to where it is."""
    append(log, 50, 60)
    with monkeypatch.context() as patch:
        apply = JobsFold.apply

        def failing(fold: JobsFold, batch: Batch) -> None:
            apply(fold, batch)
            if batch.events[-1].position > 330:
                raise ValueError("no")

        patch.setattr(JobsFold, "apply", failing)
        runner = ProjectionRunner(path, log)
        runner.catch_up()
        assert {status.position for status in runner.status()} == {330, 360}
        runner.close()
    change(path, "UPDATE projections SET error = NULL")
    report = verify(Path(log.path), path)
    assert (details(report), report.events) == ([], 360)
    change(path, "DELETE FROM jobs WHERE job = 325")
    assert "job 325" in str(details(verify(Path(log.path), path)))


def test_streams_that_nobody_began_are_a_finding(path: Path, log: EventLog) -> None:
    """A number beyond what the views know belongs to no event."""
    change(path, "INSERT INTO entities (entity, stream, hash) VALUES (100000, 'job/ghost', 1)")
    found = verify(Path(log.path), path).findings
    assert [each.detail for each in found] == [
        "entities: 1 rows are beyond position 300, first: 100000"
    ]


def test_a_failed_projection_is_a_finding(path: Path, log: EventLog) -> None:
    """Standing still on an error is said, with the error and the position."""
    change(path, "UPDATE projections SET error = 'KeyError: x', failed_position = 301")
    found = verify(Path(log.path), path).findings
    assert len(found) == len(PROJECTIONS)
    assert found[0].position == 301
    assert "failed: KeyError: x" in found[0].detail


def test_views_that_are_not_these_are_a_finding(path: Path, log: EventLog) -> None:
    """Missing, foreign, older, unbuilt and damaged views are each said as what they are."""
    cases = {
        "of another log": "UPDATE views_meta SET value = 'x' WHERE key = 'log_id'",
        "another event at 300": "UPDATE projections SET digest = x'00'",
        "has to be rebuilt": "UPDATE projections SET version = 0 WHERE name = 'jobs'",
        "is not built yet": "DELETE FROM projections WHERE name = 'jobs'",
        "schema of another version": "PRAGMA user_version = 9",
    }
    for expected, sql in cases.items():
        other = path.with_name("other.db")
        other.unlink(missing_ok=True)
        change(path, f"VACUUM INTO '{other}'")
        change(other, sql)
        assert expected in str(details(verify(Path(log.path), other)))
    assert "not there" in str(details(verify(Path(log.path), path.with_name("nothing.db"))))
    garbage = path.with_name("garbage.db")
    garbage.write_bytes(b"garbage " * 1000)
    assert "damage" in str(details(verify(Path(log.path), garbage)))


def test_a_damaged_log_is_a_finding_about_the_log(path: Path, log: EventLog) -> None:
    """What the log's own verification finds is reported as such, and nothing is replayed."""
    change(Path(log.path), "UPDATE events SET data = x'7B7D' WHERE position = 1")
    report = verify(Path(log.path), path)
    assert not report.ok
    assert "views" not in {finding.kind for finding in report.findings}


def test_views_of_a_real_log_are_rebuilt_by_themselves(path: Path, log: EventLog) -> None:
    """Deleted views come back the same, event by event, from the log alone."""
    before = Views(path)
    jobs = before.list_jobs(limit=1000)
    before.close()
    path.unlink()
    runner = ProjectionRunner(path, log)
    runner.catch_up()
    runner.close()
    views = Views(path)
    try:
        assert views.list_jobs(limit=1000) == jobs
    finally:
        views.close()
    assert verify(Path(log.path), path).ok


def test_a_report_says_how_far_it_went_beside_a_log_that_grows(path: Path, log: EventLog) -> None:
    """Events that come during the verification are replayed as far as the views have them."""
    began = log.head()

    def grow(_done: int, _total: int) -> None:
        if log.head() == began:
            append(log, 50, 60)
            runner = ProjectionRunner(path, log)
            runner.catch_up()
            runner.close()

    report = verify(Path(log.path), path, progress=grow)
    assert (report.ok, report.position) == (True, log.head())
