"""Overdue attempts: one alert each, resolved at the end, and none for what is history."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.config import load
from daemon.eventlog.log import EventLog
from daemon.workflows import overdue
from daemon.workflows.limits import OverdueLimits
from daemon.workflows.overdue import Overdue
from domain.catalog import validate_payload
from domain.errors import ConfigurationError
from domain.events import NewEvent, RecordedEvent
from projections.runner import ProjectionRunner
from projections.views import Views

START = 1_770_000_000_000_000
SECOND = 1_000_000
HOUR = 3600 * SECOND
LIMITS = OverdueLimits.parse("4h", {"sql-load:events": "30m", "bakta": "off", "probe": "1h"})


class Watch:
    """A log with its views, a clock to set, and the service that looks for overdue attempts."""

    def __init__(self, folder: Path, limits: OverdueLimits = LIMITS) -> None:
        self.now = START
        self.log = EventLog.open(folder / "log.db", clock=lambda: self.now, synchronous="OFF")
        self.log.start()
        self.runner = ProjectionRunner(folder / "views.db", self.log)
        self.views = Views(folder / "views.db")
        self.limits = limits
        self.service = Overdue(self.log, self.views, limits)

    def close(self) -> None:
        """Close what was opened."""
        self.views.close()
        self.runner.close()
        self.log.close()

    def restart(self) -> None:
        """Forget what the service remembers."""
        self.service = Overdue(self.log, self.views, self.limits)

    def add(self, type_: str, subject: str = "j1", time: int | None = None, **payload: Any) -> None:
        """Record an event of a job, with the clock's time unless another is given."""
        number = len(self.log.read(0, 10_000))
        data = validate_payload(type_, payload)
        at = self.now if time is None else time
        self.log.append([NewEvent(type_, subject, "/test", f"e{number}", data, at)])

    def catch_up(self) -> None:
        """Let the views take in everything."""
        while self.runner.step(self.now) == 0:
            pass

    def look(self, hours: float = 0) -> list[RecordedEvent]:
        """Let time go by and the service look at everything; return all alert events."""
        self.now += round(hours * HOUR)
        self.catch_up()
        while self.service.step(self.now) != overdue.REST_SECONDS:
            pass
        self.catch_up()
        return [event for event in self.log.read(0, 10_000) if event.type.startswith("alert.")]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    """Return a service on an empty log."""
    watch = Watch(tmp_path)
    yield watch
    watch.close()


def types(events: list[RecordedEvent]) -> list[str]:
    """Return the verbs of alert events."""
    return [event.type.partition(".")[2] for event in events]


def test_attempt_is_overdue_once_and_resolved_at_its_end(watch: Watch) -> None:
    """One alert when the limit is over, however often it is looked at; one resolution after."""
    watch.add("job.submitted", kind="load", name="a", phase="load:a", workflow="etl/h.toml")
    watch.add("job.started")
    assert watch.look(3.9) == []
    (raised,) = watch.look(0.2)
    assert raised.subject == "j1:overdue"
    assert raised.source == "/chronicled/workflows"
    assert raised.time == watch.now
    assert raised.payload == {
        "severity": "warning",
        "kind": "overdue",
        "title": "load:a: overdue",
        "message": "running, and not ended within 4h",
        "fingerprint": "load:a",
        "job": "j1",
        "labels": {"workflow": "etl/h.toml", "attempt": "1"},
    }
    watch.restart()
    assert len(watch.look(10)) == 1
    watch.add("job.succeeded")
    resolved = watch.look()
    assert types(resolved) == ["raised", "resolved"]
    assert resolved[1].payload["reason"] == "the job ended: succeeded"
    watch.restart()
    assert len(watch.look(10)) == 2
    alert, _ = watch.views.alert("j1:overdue")
    assert alert is not None
    assert (alert["state"], alert["count"]) == ("resolved", 1)


@pytest.mark.parametrize("end", ["job.failed", "job.cancelled", "job.interrupted", "job.lost"])
def test_every_end_resolves(watch: Watch, end: str) -> None:
    """An end of any kind resolves, also one that is found only after a restart."""
    watch.add("job.submitted", kind="load")
    watch.look(5)
    watch.add(end)
    watch.restart()
    assert types(watch.look()) == ["raised", "resolved"]


def test_acknowledged_alert_is_resolved_too(watch: Watch) -> None:
    """That somebody looks after it does not keep it open."""
    watch.add("job.submitted", kind="load")
    watch.look(5)
    watch.add("alert.acknowledged", "j1:overdue", by="mara")
    watch.add("job.succeeded")
    assert types(watch.look()) == ["raised", "acknowledged", "resolved"]


def test_limits_are_of_phase_then_kind_then_all(watch: Watch) -> None:
    """The nearest limit counts; a kind may be left out; a job without a kind is not watched."""
    watch.add("job.submitted", "phase", kind="x", phase="sql-load:events")
    watch.add("job.submitted", "both", kind="sql-load", name="events")
    watch.add("job.submitted", "kind", kind="probe", name="other")
    watch.add("job.submitted", "never", kind="bakta")
    watch.add("job.submitted", "general", kind="other")
    watch.add("job.submitted", "bare")
    assert {event.payload["job"] for event in watch.look(0.6)} == {"phase", "both"}
    assert {event.payload["job"] for event in watch.look(0.6)} == {"phase", "both", "kind"}
    assert len(watch.look(30)) == 4


def test_job_that_ended_meanwhile_is_not_alerted(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An end that the views do not show yet counts, up to the writer's transaction itself."""
    watch.add("job.submitted", "behind", kind="load")
    watch.add("job.submitted", "racing", kind="load")
    watch.now += 5 * HOUR
    watch.catch_up()
    watch.add("job.succeeded", "behind")
    work = watch.log.work

    def late(*given: Any, **options: Any) -> Any:
        watch.add("job.succeeded", "racing")
        return work(*given, **options)

    monkeypatch.setattr(watch.log, "work", late)
    while watch.service.step(watch.now) != overdue.REST_SECONDS:
        pass
    assert "alert.raised" not in {event.type for event in watch.log.read(0, 100)}


def test_time_counts_by_our_clock(watch: Watch) -> None:
    """A producer whose clock is far ahead, or some hours behind, is measured by ours."""
    watch.add("job.submitted", "ahead", START + 1000 * HOUR, kind="load")
    watch.add("job.submitted", "behind", START - 10 * HOUR, kind="load")
    assert watch.look(3.9) == []
    assert {event.payload["job"] for event in watch.look(0.2)} == {"ahead", "behind"}


def test_history_is_not_alerted(watch: Watch) -> None:
    """A job that the log got to know more than a day after its submission is not watched."""
    watch.add("job.submitted", "old", START - 25 * HOUR, kind="load")
    assert watch.look(100) == []


def test_next_attempt_of_a_job_is_alerted_by_itself(watch: Watch) -> None:
    """An attempt that begins resolves the alert of the one before, and is measured anew."""
    watch.add("job.submitted", kind="load", attempt=1)
    watch.look(5)
    watch.add("job.started", attempt=2)
    assert types(watch.look(3)) == ["raised", "resolved"]
    assert types(watch.look(2)) == ["raised", "resolved", "raised"]
    watch.add("job.succeeded")
    assert types(watch.look()) == ["raised", "resolved", "raised", "resolved"]


def test_reopened_attempt_is_measured_anew(watch: Watch) -> None:
    """A job that runs again after its end can be overdue again."""
    watch.add("job.submitted", kind="load")
    watch.look(5)
    watch.add("job.failed")
    watch.look(1)
    watch.add("job.started")
    assert types(watch.look(3)) == ["raised", "resolved"]
    assert types(watch.look(2)) == ["raised", "resolved", "raised"]


def test_alerts_of_others_are_left_alone(watch: Watch) -> None:
    """An alert of the same kind that somebody else raised is not resolved."""
    watch.add("job.submitted", kind="load")
    watch.add("job.succeeded")
    watch.add("alert.raised", "theirs", kind="overdue", job="j1")
    assert types(watch.look(5)) == ["raised"]


def test_clock_that_was_set_back_still_resolves(watch: Watch) -> None:
    """The resolution is never before the alert, whatever the clock says."""
    watch.add("job.submitted", kind="load")
    watch.look(5)
    watch.now -= 2 * HOUR
    watch.add("job.succeeded", time=START + 5 * HOUR)
    watch.look()
    alert, _ = watch.views.alert("j1:overdue")
    assert alert is not None
    assert alert["state"] == "resolved"


def test_many_overdue_jobs_take_many_steps(watch: Watch) -> None:
    """One step raises a bounded number of alerts, and all steps together every one."""
    for number in range(overdue.LOOKS_MAX + 5):
        watch.add("job.submitted", f"j{number}", kind="load")
    watch.now += 5 * HOUR
    watch.catch_up()
    head = watch.log.head()
    for _ in range(2):
        watch.service.step(watch.now)
    assert watch.log.head() == head + overdue.LOOKS_MAX
    assert len(watch.look()) == overdue.LOOKS_MAX + 5


def test_what_ended_is_not_remembered(watch: Watch) -> None:
    """What needs no look is remembered while it is open, and let go two rounds later."""
    for number in range(5):
        watch.add("job.submitted", f"j{number}", time=START - 48 * HOUR, kind="load")
    for _ in range(4):
        watch.look()
        assert len(watch.service._settled_before) == 5
    for number in range(5):
        watch.add("job.succeeded", f"j{number}")
    watch.look()
    watch.look()
    assert not watch.service._settled
    assert not watch.service._settled_before


def test_views_are_left_alone_while_nothing_is_open(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no job and no alert is open, the views are not asked again before the log grows."""
    watch.add("job.submitted", kind="load")
    watch.look(5)
    watch.add("job.succeeded")
    watch.look()
    watch.look()
    with monkeypatch.context() as patch:
        patch.setattr(watch.views, "list_alerts", None)
        patch.setattr(watch.views, "list_jobs", None)
        assert watch.service.step(watch.now) == overdue.REST_SECONDS
    watch.add("job.submitted", "j2", kind="load")
    assert types(watch.look(5)) == ["raised", "resolved", "raised"]


def test_views_that_are_not_there_are_waited_for(tmp_path: Path) -> None:
    """While the views are being built, nothing is done and nothing fails."""
    watch = Watch(tmp_path)
    watch.add("job.submitted", kind="load")
    assert watch.service.step(START) == overdue.REST_SECONDS
    watch.close()


@pytest.mark.parametrize("text", ["", "4", "0s", "-4h", "never", "10ms"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    """A limit is off, or a duration of at least a second."""
    with pytest.raises(ValueError, match=r"."):
        OverdueLimits.parse(text, {})
    with pytest.raises(ValueError, match="load: "):
        OverdueLimits.parse("4h", {"load": text})


@pytest.mark.parametrize(
    ("variable", "value"), [("OVERDUE", "4 hours"), ("OVERDUE_FOR", '{"load": "soon"}')]
)
def test_configuration_names_a_limit_that_is_none(variable: str, value: str) -> None:
    """A limit that cannot be read is refused at the start, with the setting it stands in."""
    name = f"CHRONICLED_WORKFLOWS__{variable}"
    with pytest.raises(ConfigurationError, match=rf"{name}.*no duration"):
        load(data="data", environment={name: value})
