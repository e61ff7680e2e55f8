"""A log with its views and retention, real ones, taken on by hand under a clock of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import orjson

from daemon.eventlog.log import EventLog
from daemon.eventlog.truncation import Bound, Truncation
from daemon.retention.applying import Applied
from daemon.retention.plan import Plan
from daemon.retention.retention import Retention
from daemon.retention.summarising import Summarising
from daemon.retention.task import RetentionTask
from domain.errors import Unavailable, VersionConflict
from domain.events import NewEvent, RecordedEvent
from domain.policies import preset, read_policies
from domain.retention import Policies
from domain.timestamps import MICROSECONDS
from projections.runner import ProjectionRunner
from projections.views import Views

DAY = 86_400 * MICROSECONDS
HOUR = 3_600 * MICROSECONDS
START = 1_770_000_000 * MICROSECONDS
"""A moment of February 2026."""


def policies(*tables: Mapping[str, Any], named: str = "") -> Policies:
    """Return policies as a configuration has them."""
    return Policies([*read_policies(list(tables)), *preset(named)])


class FakeArchiver:
    """An archive that says of each job what it was told to."""

    def __init__(self) -> None:
        self.archived: list[tuple[str, str, str]] = []
        self.moved_on: set[str] = set()
        self.down = False
        self.asked = 0

    def archive(
        self, job: str, rule: str, reason: str, now: int, version: int | None = None
    ) -> None:
        """Note the job, or raise."""
        self.asked += 1
        if self.down:
            raise Unavailable("the store does not answer")
        if job in self.moved_on:
            raise VersionConflict("it has moved on")
        self.archived.append((job, rule, reason))


class Kept:
    """One directory's log and views, and retention over them; `now` is its clock."""

    def __init__(self, directory: Path, *policies_: Mapping[str, Any], named: str = "") -> None:
        self.now = START
        self._ids = 0
        self.directory = directory
        self.log = EventLog.open(directory / "log.db", clock=lambda: self.now, synchronous="NORMAL")
        self.log.start()
        self.runner = ProjectionRunner(directory / "views.db", self.log)
        self.views = Views(directory / "views.db", log=self.log)
        self.truncation = Truncation(self.log, lambda: Bound(self.log.head() + 1))
        self.retention = self.by(*policies_, named=named)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.views.close()
        self.runner.close()
        self.log.close()

    def by(self, *tables: Mapping[str, Any], named: str = "", **options: Any) -> Retention:
        """Return retention by some policies; what is made last is used from then on."""
        found = policies(*tables, named=named)
        self.retention = Retention(self.log, self.views, found, **options)
        return self.retention

    def say(self, type_: str, subject: str, time: int | None = None, **data: Any) -> None:
        """Append an event that happened at a time, else now."""
        self._ids += 1
        event = NewEvent(
            type_, subject, "/test", str(self._ids), orjson.dumps(data),
            self.now if time is None else time,
        )  # fmt: skip
        self.log.append([event])

    def job(self, id_: str, *verbs: str, kind: str = "work", time: int | None = None) -> None:
        """Append the course of a job, each of whose events happened now."""
        self.say("job.submitted", id_, time, kind=kind, params={"secret": f"payload of {id_}"})
        for verb in verbs:
            self.say(f"job.{verb}", id_, time)

    def after(self, days: float) -> None:
        """Let time go by."""
        self.now += int(days * DAY)

    def project(self) -> None:
        """Have the views take on what is new."""
        while self.runner.step(self.now) == 0:
            pass

    def plan(self) -> Plan:
        """Return what is due now."""
        self.project()
        return self.retention.plan(self.now)

    def due(self) -> dict[str, str]:
        """Return what is done with what, by id."""
        return {item.id: str(item.action) for item in self.plan().items}

    def apply(self, plan: Plan | None = None, **options: Any) -> Applied:
        """Apply a plan, and have the log remove what goes."""
        applied = self.retention.apply(plan or self.plan(), self.now, **options)
        self.project()
        self.truncation.run_dry()
        self.project()
        return applied

    def task(self) -> RetentionTask:
        """Return what the housekeeping runs."""
        summarising = Summarising(
            self.log,
            self.views,
            None,
            alone=self.retention.alone,
            wait=lambda _: True,
            bound=lambda: Bound(self.log.head() + 1),
        )
        return RetentionTask(self.retention, summarising)

    def stream(self, name: str) -> list[RecordedEvent]:
        """Return the events of a stream."""
        return self.log.read_stream(name)

    def types(self, name: str) -> list[str]:
        """Return the types of the events of a stream."""
        return [event.type for event in self.stream(name)]
