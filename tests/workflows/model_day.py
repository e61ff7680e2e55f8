"""A model of a task master: what it sends in a day, and what it knows of that itself.

It starts tasks by schedule, in batches and by files, starts children of what is complete, tries
again what failed, and reports the last failure of a chain. Everything is drawn from one seed. The
messages are what goes over the bus, with what a bus does to them: repeats, another order within an
hour, losses. The book-keeping is the model's own, kept while it goes, not read from the messages.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import quote_plus

HOUR: Final = timedelta(hours=1)
HOURS: Final = 22
"""How long a day is: all of it has to be so new that it is watched, and over by now."""


@dataclass(frozen=True)
class Phase:
    """A phase of a workflow file of the model."""

    workflow: str
    topic: str
    job: str = ""
    depends_on: str = ""
    cron: str = ""
    batch: int = 0
    files: str = ""
    require: str = ""
    retry: int = 0

    @property
    def name(self) -> str:
        """The phase as others name it."""
        return f"{self.topic}:{self.job}" if self.job else self.topic

    def table(self) -> str:
        """Return the phase as a table of its workflow file."""
        parts = {"cron": self.cron, "files": self.files, "require": self.require}
        if self.batch:
            parts |= {"for": f"-{24 * (self.batch - 1)}h", "by": "day"}
        rule = "&".join(f"{name}={value}" for name, value in parts.items() if value)
        said = {"task": self.name, "dependsOn": self.depends_on, "rule": rule}
        lines = [f'{name} = "{value}"' for name, value in said.items() if value]
        template = 'template = "{meta:file}"' if not self.cron else 'template = "?day={yyyy}"'
        return "\n".join(["[[phase]]", *lines, f"retry = {self.retry}", template, ""])


PHASES: Final = (
    Phase("etl/hourly.toml", "csv2json", "hourly", cron="0 0 * * * *", retry=2),
    Phase("etl/hourly.toml", "sql-load", "events", depends_on="csv2json:hourly", retry=3,
          require="{meta:file}"),
    Phase("etl/hourly.toml", "report", depends_on="sql-load"),
    Phase("batch.toml", "worker", "days", cron="0 30 */4 * * *", batch=3, retry=1),
    Phase("batch.toml", "check", depends_on="worker:days"),
    Phase("files.toml", "transform", "clicks", files="gs://raw/clicks/*/*.json.gz", retry=1),
    Phase("files.toml", "index", depends_on="transform:clicks"),
)  # fmt: skip
"""What the model runs."""


def workflow_files() -> dict[str, str]:
    """Return the text of each workflow file by its path."""
    files: dict[str, str] = {}
    for phase in PHASES:
        files[phase.workflow] = files.get(phase.workflow, "") + phase.table()
    return files


@dataclass
class Attempt:
    """One attempt as the model knows it; ``parent`` is what was complete before it began."""

    phase: Phase
    run: str
    created: datetime
    number: int = 1
    parent: Attempt | None = None
    result: str = ""
    exhausted: bool = False
    info: str = ""
    cron: str = ""
    path: str = ""
    """The file that it was started for."""
    meta: str = ""
    times: tuple[str, str] = ("", "")
    follows: dict[str, str] | None = None
    """What became of each phase that depends on it; None unless it is complete."""

    @property
    def job_id(self) -> str:
        """The id of its job."""
        parts = [self.phase.topic, self.phase.job, self.run]
        return f"{':'.join(parts)}:{stamp(self.created)}:{self.number}"

    @property
    def status(self) -> str:
        """What its job has to be."""
        ends = {"complete": "succeeded", "warn": "succeeded", "error": "failed", "alert": "failed"}
        return ends.get(self.result, "submitted")

    @property
    def chain(self) -> tuple[str, str]:
        """What it is one of several attempts of."""
        return self.run, self.phase.name


class Sent(NamedTuple):
    """A message on the bus."""

    time: datetime
    topic: str
    fields: dict[str, Any]


def stamp(moment: datetime) -> str:
    """Return a time as messages have it."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


@dataclass
class ModelDay:
    """A day of the model: its attempts, its files, and every message in the order it is sent."""

    seed: int
    start: datetime
    """The hour in which it begins, UTC; everything but the times is a function of the seed."""
    runs_an_hour: int = 12
    attempts: list[Attempt] = field(default_factory=list)
    files: dict[str, list[Attempt]] = field(default_factory=dict)
    """Each path that was announced, and what was started for it: nothing where no rule matches."""
    sent: list[Sent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        for hour in range(HOURS):
            start = self.start + hour * HOUR
            for number in range(self.runs_an_hour):
                self._begin(start + timedelta(seconds=number), number)
        self.attempts.sort(key=lambda attempt: attempt.job_id)

    @property
    def last_path(self) -> str:
        """The file that is announced last of all, which no rule matches."""
        return "gs://raw/the-last"

    def last(self) -> tuple[str, dict[str, Any]]:
        """Return the last message of the day, as topic and message."""
        return "files", {"path": self.last_path, "size": 0, "created": stamp(self.start)}

    def delivered(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what arrives, as topic and message: reordered in the hour, repeated, lost.

        Only to-do messages are lost: its done message says all of a task.
        """
        arriving = []
        for time, topic, fields in sorted(self.sent, key=lambda sent: sent.time):
            if topic == "todo" and self._chance.random() < 0.05 and self._is_told(fields):
                continue
            for _ in range(1 + (self._chance.random() < 0.1)):
                late = timedelta(minutes=self._chance.randrange(60))
                arriving.append((time + late, len(arriving), topic, fields))
        return [(topic, fields) for _, _, topic, fields in sorted(arriving, key=lambda x: x[:2])]

    def _is_told(self, fields: dict[str, Any]) -> bool:
        """Whether a done message says what a to-do message says too."""
        same = ("type", "job", "id", "created")
        done = (each.fields for each in self.sent if each.topic == "done")
        return any(all(each.get(name) == fields.get(name) for name in same) for each in done)

    def _begin(self, now: datetime, number: int) -> None:
        phase = self._chance.choice([phase for phase in PHASES if not phase.depends_on])
        if phase.files:
            self._announce(now, number, phase)
            return
        for place in range(phase.batch or 1):
            run = f"{phase.topic}-{now:%H}-{number}-{place}"
            cron = f"{now - place * 24 * HOUR:%Y-%m-%dT%H}"
            self._run(Attempt(phase, run, now, info=f"?day={cron[:10]}", cron=cron))

    def _announce(self, now: datetime, number: int, phase: Phase) -> None:
        """Announce a file; where the rule matches its path a task follows."""
        matched = self._chance.random() < 0.6
        folder = "a" if matched else "a/b"
        path = f"gs://raw/clicks/{folder}/{now:%H}-{number}.json.gz"
        self.files[path] = []
        self.sent.append(Sent(now, "files", {"path": path, "size": 9, "created": stamp(now)}))
        if matched:
            run = f"file-{now:%H}-{number}"
            self._run(Attempt(phase, run, now + timedelta(seconds=1), info=path, path=path))

    def _run(self, attempt: Attempt) -> None:
        """Run an attempt to its end, then what follows from that."""
        attempt.meta = self._meta(attempt)
        self.attempts.append(attempt)
        if attempt.path:
            self.files[attempt.path].append(attempt)
        self.sent.append(Sent(attempt.created, "todo", self._message(attempt)))
        if self._chance.random() < 0.03:
            return  # Its worker died: nothing more is heard of it.
        started = attempt.created + timedelta(seconds=self._chance.randrange(1, 40))
        ended = started + timedelta(seconds=self._chance.randrange(1, 400))
        attempt.times = stamp(started), stamp(ended)
        weights = {"complete": 70, "error": 22, "warn": 4, "alert": 4}
        attempt.result = self._chance.choices([*weights], [*weights.values()])[0]
        output = f"gs://out/{attempt.run}.json" if self._chance.random() < 0.8 else ""
        if output and attempt.result == "complete":
            attempt.meta = self._meta(attempt, output)
        self.sent.append(Sent(ended, "done", self._message(attempt)))
        if attempt.result == "complete":
            self._follow(attempt, ended, output)
        elif attempt.result == "error":
            self._retry(attempt, ended)

    def _follow(self, parent: Attempt, now: datetime, output: str) -> None:
        """Start what depends on an attempt; now and then the master dies before it does."""
        parent.follows = {}
        for phase in PHASES:
            starts = phase.depends_on in (parent.phase.name, parent.phase.topic)
            if phase.workflow != parent.phase.workflow or not starts:
                continue
            if phase.require and not output:
                parent.follows[phase.name] = "require_unmet"
                continue
            if self._chance.random() < 0.05:
                parent.follows[phase.name] = "missing"
                continue
            parent.follows[phase.name] = "started"
            info, created = f"{output}?table=ev", now + timedelta(seconds=1)
            self._run(
                Attempt(phase, parent.run, created, parent=parent, info=info, cron=parent.cron)
            )

    def _retry(self, failed: Attempt, now: datetime) -> None:
        phase, number = failed.phase, failed.number
        if number <= phase.retry:
            created = now + timedelta(seconds=self._chance.randrange(1, 50))
            again = Attempt(phase, failed.run, created, number + 1, failed.parent)
            again.info, again.cron, again.path = failed.info, failed.cron, failed.path
            self._run(again)
            return
        failed.exhausted = True
        told = self._message(failed) | {
            "meta": f"{self._encoded(failed)}&retried={number - 1}&retry=failed"
        }
        self.sent.append(Sent(now + timedelta(seconds=1), "retry-failed", told))

    def _meta(self, attempt: Attempt, output: str = "") -> str:
        """Return the text of ``meta``: as it is, and percent-encoded for what is tried again.

        The file that a worker has written takes the place of the one that its task was started for.
        """
        if attempt.number > 1:
            return f"{self._encoded(attempt, output)}&retry={attempt.number - 1}"
        parts = self._parts(attempt, output)
        return "&".join(f"{name}={value}" for name, value in parts.items())

    def _encoded(self, attempt: Attempt, output: str = "") -> str:
        parts = sorted(self._parts(attempt, output).items())
        return "&".join(f"{name}={quote_plus(value)}" for name, value in parts)

    def _parts(self, attempt: Attempt, output: str) -> dict[str, str]:
        phase = attempt.phase
        parts = {"file": output}
        if attempt.path:
            parts["file"] = output or attempt.path
            parts |= {"filename": attempt.path.rsplit("/", 1)[1], "files": phase.files}
        parts |= {"workflow": phase.workflow, "cron": attempt.cron}
        parts["job"] = "" if attempt.path else phase.job
        return {name: value for name, value in parts.items() if value}

    def _message(self, attempt: Attempt) -> dict[str, Any]:
        started, ended = attempt.times
        said = {
            "type": attempt.phase.topic,
            "job": attempt.phase.job,
            "info": attempt.info,
            "created": stamp(attempt.created),
            "id": attempt.run,
            "meta": attempt.meta,
            "result": attempt.result,
            "msg": f"said {attempt.result}" if attempt.result else "",
            "started": started,
            "ended": ended,
        }
        return {name: value for name, value in said.items() if value or name == "info"}

    def alerts(self) -> set[tuple[str, str]]:
        """Return the kind and the job of each alert."""
        return {
            ("retries_exhausted" if each.exhausted else "task_alert", each.job_id)
            for each in self.attempts
            if each.exhausted or each.result == "alert"
        }

    def incomplete(self) -> set[str]:
        """Return the jobs after which something should have started and did not."""
        return {each.job_id for each in self.attempts if "missing" in (each.follows or {}).values()}

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many jobs of each kind have each status."""
        counts: dict[str, Counter[str]] = {}
        for each in self.attempts:
            counts.setdefault(each.phase.topic, Counter())[each.status] += 1
        return {kind: dict(statuses) for kind, statuses in counts.items()}

    def chains(self) -> Iterator[list[Attempt]]:
        """Yield the attempts of each chain that has more than one."""
        found: dict[tuple[str, str], list[Attempt]] = {}
        for each in self.attempts:
            found.setdefault(each.chain, []).append(each)
        for chain in found.values():
            if len(chain) > 1:
                yield sorted(chain, key=lambda attempt: attempt.number)
