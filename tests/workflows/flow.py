"""A log, its views and the follower of workflows, each a real one, taken on by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import orjson

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import EventQuery
from daemon.intake.formats import FORMATS, decode_lines
from daemon.workflows.conclusion import SOURCE
from daemon.workflows.follower import Follower
from domain.events import NewEvent, RecordedEvent
from domain.limits import Limits
from domain.timestamps import format_timestamp
from projections.runner import ProjectionRunner
from projections.views import Views

SECOND = 1_000_000
START = 1_770_000_000 * SECOND
"""A moment of February 2026, a whole second."""
CHILD_SECONDS = 60.0


def stamp(seconds: float) -> str:
    """Return a time so many seconds after `START` as flowlord writes it."""
    return format_timestamp(START + int(seconds) * SECOND).replace(".000000", "")


def task(
    phase: str,
    created: float,
    result: str = "",
    ended: float | None = None,
    *,
    run: str = "run-1",
    workflow: str = "etl.toml",
    msg: str = "",
    **meta: str,
) -> dict[str, Any]:
    """Return a message of flowlord: to do, or with a result done."""
    kind, _, job = phase.partition(":")
    pairs = {"workflow": workflow, **({"job": job} if job else {}), **meta}
    said = {
        "type": kind,
        "job": job,
        "info": f"?of={phase}",
        "created": stamp(created),
        "id": run,
        "meta": "&".join(f"{key}={value}" for key, value in pairs.items()),
    }
    if result:
        end = created + 1 if ended is None else ended
        said |= {"result": result, "msg": msg, "started": stamp(created), "ended": stamp(end)}
    return said


def seen(path: str, created: float) -> dict[str, Any]:
    """Return a message of the file topic."""
    return {"path": path, "size": 7, "created": stamp(created)}


def loaded(
    phases: Iterable[Mapping[str, Any]], path: str = "etl.toml", sha256: str = "a" * 64
) -> NewEvent:
    """Return the event of a workflow file that was read."""
    said = orjson.dumps({"sha256": sha256, "phases": list(phases), "issues": []})
    return NewEvent("workflow.loaded", path, SOURCE, f"loaded {sha256}", said)


def removed(path: str = "etl.toml") -> NewEvent:
    """Return the event of a workflow file that is gone."""
    return NewEvent("workflow.removed", path, SOURCE, "removed", b"{}")


def events_of(message: Mapping[str, Any]) -> list[NewEvent]:
    """Return the events of a message, by the decoder of its format."""
    name = "flowlord-task" if "type" in message else "flowlord-file"
    [line] = decode_lines(FORMATS[name], orjson.dumps(dict(message)), Limits(), "test")
    assert line.dead_letter is None, line.dead_letter
    return list(line.events)


class Flow:
    """One directory's log, views and follower; `restart` drops what the follower remembers."""

    def __init__(self, directory: Path, child_seconds: float = CHILD_SECONDS) -> None:
        self.now = START
        self._child_seconds = child_seconds
        self.log = EventLog.open(directory / "log.db", clock=lambda: self.now, synchronous="NORMAL")
        self.log.start()
        self.runner = ProjectionRunner(directory / "views.db", self.log)
        self.views = Views(directory / "views.db", log=self.log)
        self.follower = self._follower()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.views.close()
        self.runner.close()
        self.log.close()

    def _follower(self) -> Follower:
        return Follower(self.log, self.views, self._child_seconds, pace_seconds=0)

    def restart(self) -> None:
        """Go on as after a start of the daemon."""
        self.follower = self._follower()

    def append(self, *given: Mapping[str, Any] | NewEvent) -> None:
        """Append messages and events, a second after what was before."""
        self.now += SECOND
        for each in given:
            events = [each] if isinstance(each, NewEvent) else events_of(each)
            self.log.append(events)

    def settle(self) -> None:
        """Take the views and the follower on until nothing is left to do now."""
        for _ in range(10_000):
            self.runner.catch_up()
            head = self.log.head()
            delay = self.follower.step(self.now)
            if delay != 0 and self.log.head() == head:
                return
        raise AssertionError("it does not come to rest")

    def tell(self, *given: Mapping[str, Any] | NewEvent) -> None:
        """Append, and settle."""
        self.append(*given)
        self.settle()

    def wait(self, seconds: float) -> None:
        """Let time pass, and settle."""
        self.now += int(seconds * SECOND)
        self.settle()

    def events(self, *types: str) -> list[RecordedEvent]:
        """Return the events of some types, in order."""
        after, found = 0, []
        while True:
            page = self.log.select(EventQuery(types=types, after=after), 1_000)
            found += page.events
            if page.next_after is None:
                return found
            after = page.next_after

    def parents(self) -> dict[str, str]:
        """Return the parent of each job that has one."""
        items = self.views.list_jobs(limit=1_000).items
        return {job["id"]: job["parent"] for job in items if job["parent"] is not None}

    def continued(self) -> dict[str, list[dict[str, Any]]]:
        """Return what follows each job that is done."""
        return {event.subject: event.payload["phases"] for event in self.events("job.continued")}


def job_id(phase: str, created: float, run: str = "run-1", attempt: int = 1) -> str:
    """Return the id that the job of a message has."""
    kind, _, job = phase.partition(":")
    return f"{kind}:{job}:{run}:{stamp(created)}:{attempt}"
