"""The projections on the real event log, run by a service thread as in the daemon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from daemon.eventlog.log import EventLog
from daemon.lifecycle import ServiceThread, system_clock
from domain.catalog import event_types, example_of
from domain.events import NewEvent
from projections.registry import PROJECTIONS
from projections.runner import ProjectionRunner
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


def test_every_event_of_a_job_alert_or_file_is_wanted() -> None:
    """An event type that is added to the domain is not forgotten here.

    Except a purge, which nothing records yet: it takes a job out of the log. (The ties want
    everything.)
    """
    folded = [projection.types for projection in PROJECTIONS if projection.name != "ties"]
    wanted = frozenset[str]().union(*folded)
    known = {e.name for e in event_types() if e.category in ("job", "alert", "file")}
    assert known - {"job.purged"} == wanted
