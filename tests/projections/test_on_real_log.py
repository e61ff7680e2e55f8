"""The projections on the real event log, run by a service thread as in the daemon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import orjson
import pytest
from feeds import dump

from daemon.eventlog.log import EventLog
from daemon.lifecycle import ServiceThread, system_clock
from domain.alert import fold_alert
from domain.catalog import event_types, example_of
from domain.events import NewEvent
from domain.job import fold_job, row_of
from projections.registry import PROJECTIONS
from projections.runner import ProjectionRunner
from projections.summary import alert_summary, file_summary, job_summary
from projections.views import Views


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    """Return a real log, running."""
    log = EventLog.open(tmp_path / "log.db")
    log.start()
    yield log
    log.close()


def event(event_type: str, subject: str, number: int, **payload: object) -> NewEvent:
    """Return an event for the log."""
    return NewEvent(event_type, subject, "/tests", f"{number}", orjson.dumps(payload))


def test_what_is_appended_can_be_asked(tmp_path: Path, log: EventLog) -> None:
    """Appended, committed, woken, folded, waited for, read: without any polling."""
    runner = ProjectionRunner(tmp_path / "views.db", log)
    leave = log.on_commit(lambda _: runner.wake())
    thread = ServiceThread(runner, system_clock)
    views = Views(tmp_path / "views.db", on_damage=runner.distrust)
    thread.start()
    try:
        for number in range(20):
            appended = log.append([event("job.submitted", f"job/{number}", number, kind="k")])
            position = appended.receipts[0].position
            assert runner.wait_for(position, 30)
            job, as_of = views.job(f"job/{number}")
            assert job is not None
            assert job["status"] == "submitted"
            assert as_of >= position
        assert runner.caught_up
        runner.request_rebuild()
        appended = log.append([event("job.started", "job/3", 100)])
        assert runner.wait_for(appended.head, 30)
        assert views.job_counts()["running"] == 1
        assert {status.state for status in views.status()} <= {"live", "rebuilding"}
    finally:
        leave()
        thread.stop()
        views.close()
        runner.close()


def test_every_event_type_of_the_catalog_can_be_folded(tmp_path: Path, log: EventLog) -> None:
    """Whatever the log can hold, no projection fails at it."""
    log.append(
        [
            NewEvent(entry.name, "x", "/tests", entry.name, orjson.dumps(example_of(entry.name)))
            for entry in event_types()
        ]
    )
    runner = ProjectionRunner(tmp_path / "views.db", log)
    try:
        runner.catch_up()
        standing = {(each.state, each.error) for each in runner.status()}
        assert standing == {("live", None)}
    finally:
        runner.close()


def test_a_log_without_the_replaced_rows_gives_the_same_views(
    tmp_path: Path, log: EventLog
) -> None:
    """Rows that markers stand for are deleted from the file: a rebuild makes the same views."""
    for number, verb in enumerate(("submitted", "started", "succeeded")):
        jobs = [event(f"job.{verb}", f"j{each}", number, name="n") for each in range(6)]
        log.append([*jobs, event("alert.raised", "a", number), event("file.observed", "f", number)])
    told = {each: log.read_stream(each) for each in ("job/j0", "job/j1", "alert/a", "file/f")}
    row = row_of(fold_job(None, told["job/j0"]))
    facts = job_summary(fold_job(None, told["job/j1"]))
    alert = alert_summary(fold_alert(None, told["alert/a"]))
    file = file_summary(told["file/f"])
    views, anew = tmp_path / "views.db", tmp_path / "anew.db"
    runner = ProjectionRunner(views, log)
    runner.catch_up()
    log.append(
        [
            event("job.archived", "j0", 10, replaces=3, row=row),
            event("job.purged", "j1", 10, replaces=3, summary=facts),
            event("alert.purged", "a", 10, replaces=3, summary=alert),
            event("file.purged", "f", 10, replaces=3, summary=file),
            event("job.submitted", "j1", 11, name="again"),
        ]
    )
    runner.catch_up()
    runner.close()
    db = apsw.Connection(log.path)
    streams = "SELECT stream_id FROM streams WHERE name IN (?, ?, ?, ?)"
    db.execute(f"DELETE FROM events WHERE version <= 3 AND stream_id IN ({streams})", tuple(told))
    assert db.changes() == 12
    db.close()
    for bulk in (1, 2**60):
        runner = ProjectionRunner(anew, log, bulk_events=bulk)
        runner.catch_up()
        runner.close()
        assert dump(anew) == dump(views)
        anew.unlink()
    assert max(dump(views)["entities"])[1] == "job/j1"


def test_every_event_that_is_folded_is_wanted() -> None:
    """An event type that is added to the domain is not forgotten (the ties want them all)."""
    folded = [projection.types for projection in PROJECTIONS if projection.name != "ties"]
    wanted = frozenset[str]().union(*folded)
    categories = ("job", "alert", "file", "workflow", "queue")
    known = {e.name for e in event_types() if e.category in categories}
    assert known | {"log.summarised"} == wanted
