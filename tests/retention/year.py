"""A year of work as a function of its seed, and what the policies have to make of it.

Nothing here knows how the daemon decides: when each job, alert and file has to be archived and
purged is computed from the work itself, so that it can be compared with what the log says was done.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any, Final

import orjson

from domain.events import NewEvent

MICROSECONDS: Final = 1_000_000
HOUR: Final = 3_600 * MICROSECONDS
DAY: Final = 24 * HOUR
START: Final = 1_767_225_600 * MICROSECONDS
"""2026-01-01T00:00:00Z."""
PROGRESS_MAX: Final = int(os.environ.get("CHRONICLED_YEAR_PROGRESS", "3"))
"""How often a job tells of its progress, at the most."""
SPREAD: Final = 6
"""Within so many hours all of a job happens."""

POLICIES: Final[list[dict[str, Any]]] = [
    {"category": "job", "status": "succeeded", "age": "ended", "archive_after": "7d"},
    {"category": "job", "status": "archived", "age": "archived", "purge_after": "30d"},
    {"category": "job", "status": "failed", "age": "ended", "purge_after": "14d"},
    {"category": "job", "status": "submitted", "age": "last_event", "purge_after": "2d"},
    {"category": "job", "status": "running", "age": "last_event", "purge_after": "7d"},
    {"category": "job", "kind": "reference", "age": "ended", "purge_after": "forever"},
    {"category": "alert", "age": "last_event", "purge_after": "20d"},
    {"category": "file", "age": "last_event", "purge_after": "20d"},
]


@dataclass(frozen=True, slots=True)
class Told:
    """An event of the work: in which hour it is sent, and what it says."""

    hour: int
    type: str
    subject: str
    payload: dict[str, Any]

    def event(self, number: int) -> NewEvent:
        """Return the event; ``number`` tells it from others of its entity."""
        id_ = f"{self.subject}/{self.type}/{number}"
        data = orjson.dumps(self.payload)
        return NewEvent(self.type, self.subject, "/year", id_, data, START + self.hour * HOUR)


@dataclass(frozen=True, slots=True)
class Due:
    """When an entity is archived and purged, in days since the start; None for never."""

    stream: str
    archived: int | None
    purged: int | None


class Year:
    """So many jobs an hour for so many days, each with its events, alerts and files."""

    def __init__(self, seed: int, days: int, jobs_an_hour: int) -> None:
        self.seed = seed
        self.days = days
        self.jobs_an_hour = jobs_an_hour

    def events(self, hour: int) -> list[NewEvent]:
        """Return what is sent in an hour."""
        told = [
            (number, each)
            for begun in range(max(0, hour - SPREAD), hour + 1)
            for job in self._jobs(begun)
            for number, each in enumerate(job)
            if each.hour == hour
        ]
        return [each.event(number) for number, each in told]

    def due(self, end: int) -> Iterator[Due]:
        """Yield what has to become of each entity by the run of a day."""
        for begun in range(min(end * 24, self.days * 24)):
            for job in self._jobs(begun):
                yield from _due_of(job, end)

    def _jobs(self, hour: int) -> tuple[tuple[Told, ...], ...]:
        return _jobs_of(self.seed, hour, self.jobs_an_hour) if hour < self.days * 24 else ()


@lru_cache(maxsize=16)
def _jobs_of(seed: int, hour: int, count: int) -> tuple[tuple[Told, ...], ...]:
    random = Random(f"{seed}/{hour}")
    return tuple(tuple(_job(random, hour, f"{hour}-{number}")) for number in range(count))


def _job(random: Random, hour: int, name: str) -> Iterator[Told]:
    """Yield what is told of one job, its alert and its file."""
    kind = random.choices(["annotation", "image", "reference"], [60, 37, 3])[0]
    course = random.choices(
        ["succeeded", "failed", "submitted", "running", "pinned"], [72, 15, 5, 6, 2]
    )[0]
    text = f"words-{name} " + "x" * random.randint(0, 200)
    params = {"input": f"in/{name}.fna", "note": text}
    yield Told(hour, "job.submitted", name, {"kind": kind, "name": name, "params": params})
    if random.random() < 0.2:
        yield Told(hour, "file.observed", f"/in/{name}.fna", {"path": f"/in/{name}.fna", "size": 9})
    if course == "submitted":
        return
    at = hour + random.randint(0, 2)
    yield Told(at, "job.started", name, {"worker": f"w{random.randint(1, 9)}"})
    for _ in range(random.randint(0, PROGRESS_MAX)):
        fraction = round(random.random(), 2)
        yield Told(at, "job.progressed", name, {"fraction": fraction, "stage": text})
    if course == "running":
        return
    end = at + random.randint(0, 3)
    if course == "failed":
        yield Told(end, "job.failed", name, {"error": {"class": "Boom", "message": text}})
        yield Told(end, "alert.raised", name, {"severity": "error", "kind": "boom", "title": text})
    else:
        yield Told(end, "job.succeeded", name, {"result": {"words": text}})
    if course == "pinned":
        yield Told(end, "job.pinned", name, {"reason": "asked for"})


def _due_of(job: tuple[Told, ...], end: int) -> Iterator[Due]:
    events: dict[str, list[Told]] = {}
    for told in job:
        category = told.type.partition(".")[0]
        events.setdefault(f"{category}/{told.subject}", []).append(told)
    for stream, those in events.items():
        if min(told.hour for told in those) > end * 24:
            continue
        last = max(told.hour for told in those)
        if not stream.startswith("job/"):
            yield Due(stream, None, _run_after(last + 20 * 24, end))
            continue
        types = {told.type for told in those}
        if "job.pinned" in types or those[0].payload["kind"] == "reference":
            yield Due(stream, None, None)
        elif "job.succeeded" in types:
            archived = _run_after(last + 7 * 24, end)
            purged = None if archived is None else _run_after((archived + 30) * 24, end)
            yield Due(stream, archived, purged)
        else:
            kept = 14 if "job.failed" in types else 7 if "job.started" in types else 2
            yield Due(stream, None, _run_after(last + kept * 24, end))


def _run_after(hour: int, end: int) -> int | None:
    """Return the day at whose beginning it is done, None where that is after the last one."""
    day = -(-hour // 24)
    return day if day <= end else None
