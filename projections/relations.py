"""Which entities are tied to one: its family of jobs, what names them, and what shares its run.

The rows know names and numbers only. What each entity did, who asks reads from the log.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

import apsw
import orjson

from projections.entities import entity_number
from projections.paging import check_values
from projections.sql import named_statements
from projections.ties import CAUSATION, CORRELATION, JOB, key_hash

ENTITIES_MAX: Final = 500
"""How many entities one question finds, at the most."""
RUN_MAX: Final = 2_000
"""Of how many jobs of a run it is looked at whether they are attempts of one job."""

_SQL = named_statements("ties.sql")


class Relation(StrEnum):
    """How an entity is tied to the one that it was reached from."""

    SELF = "self"
    PARENT = "parent"
    CHILD = "child"
    ATTEMPT = "attempt"
    LINKED = "linked"
    JOB = "job"
    ALERT = "alert"
    FILE = "file"
    RESULT = "result"
    CAUSE = "cause"
    EFFECT = "effect"
    CORRELATION = "correlation"


class Related(NamedTuple):
    """An entity, how it is tied, and the stream it was reached from (None = asked for)."""

    stream: str
    relation: Relation
    origin: str | None

    @property
    def is_job(self) -> bool:
        """Whether it is a job."""
        return self.stream.startswith("job/")


@dataclass
class Relations:
    """What was found so far, by stream: each entity once, as it was reached first."""

    found: dict[str, Related] = field(default_factory=dict)
    truncated: bool = False

    def add(self, stream: str, relation: Relation, origin: str | None) -> Related | None:
        """Add an entity; None where it is known, or where there are too many."""
        if stream in self.found:
            return None
        if len(self.found) >= ENTITIES_MAX:
            self.truncated = True
            return None
        self.found[stream] = related = Related(stream, relation, origin)
        return related


def find_family(db: apsw.Connection, start: str) -> Relations | None:
    """Return an entity and, of a job, its family; None when the entity is not known.

    The family is its parents, and its attempts and children with all of theirs; with the alerts,
    files and results that name one of them but a parent, and the jobs they are linked with.
    """
    if entity_number(db, start) is None:
        return None
    relations = Relations()
    seed = relations.add(start, Relation.SELF, None)
    _Search(db, relations).widen([seed] if seed is not None and seed.is_job else [])
    return relations


def find_run(db: apsw.Connection, correlation: str) -> Relations:
    """Return what has a correlation: jobs, under their parents, with their family; then the rest.

    Raises:
        Invalid: the correlation is not text that can be written.

    """
    check_values({"correlation": correlation})
    relations = Relations()
    rows = db.execute(_SQL["list_correlated"], (correlation, ENTITIES_MAX + 1)).fetchall()
    members = {f"job/{row[1]}": row[0] for row in rows}
    seeds = []
    for stream, number in members.items():
        parent = f"job/{db.execute(_SQL['find_job'], (number,)).get[0]}"
        if parent in members and parent != stream:
            seeds.append(relations.add(stream, Relation.CHILD, parent))
        else:
            seeds.append(relations.add(stream, Relation.CORRELATION, None))
    _Search(db, relations).widen([seed for seed in seeds if seed is not None])
    for _, stream in find_tied(db, CORRELATION, [correlation]):
        relations.add(stream, Relation.CORRELATION, None)
    return relations


def find_correlated(db: apsw.Connection, correlation: str) -> list[str]:
    """Return the streams of what has a correlation."""
    jobs = db.execute(_SQL["list_correlated"], (correlation, ENTITIES_MAX + 1)).fetchall()
    others = find_tied(db, CORRELATION, [correlation])
    return [f"job/{row[1]}" for row in jobs] + [stream for _, stream in others]


def find_effects(db: apsw.Connection, ids: Iterable[str]) -> list[tuple[str, str]]:
    """Return (event id, stream) of what names one of these events as its cause."""
    return find_tied(db, CAUSATION, ids)


def find_tied(db: apsw.Connection, kind: str, keys: Iterable[str]) -> list[tuple[str, str]]:
    """Return (key, stream) of what has an event that names one of the keys."""
    asked = orjson.dumps([(key_hash(key), key) for key in keys]).decode()
    rows: Any = db.execute(_SQL["find_tied"], (asked, kind, ENTITIES_MAX + 1)).fetchall()
    return [(key, stream) for key, _, stream in sorted(rows, key=lambda row: row[1])]


def find_results(db: apsw.Connection, kind: str, key: str, limit: int) -> list[str]:
    """Return the streams of the results that name a job or a path, as they came; so many."""
    rows: Any = db.execute(_SQL["find_results"], (key_hash(key), kind, key, limit)).fetchall()
    return [stream for (stream,) in rows]


class _Search:
    """Goes from job to job."""

    def __init__(self, db: apsw.Connection, relations: Relations) -> None:
        self._db = db
        self._relations = relations
        self._queue: deque[Related] = deque()
        self._linked: list[tuple[str, str]] = []

    def widen(self, seeds: Iterable[Related]) -> None:
        """Add the families of these jobs, then what they are linked with."""
        self._queue.extend(seeds)
        while self._queue and not self._relations.truncated:
            self._widen(self._queue.popleft())
        for stream, origin in self._linked:
            if self._relations.truncated:
                return
            if entity_number(self._db, stream) is not None:
                self._relations.add(stream, Relation.LINKED, origin)

    def _widen(self, job: Related) -> None:
        number = entity_number(self._db, job.stream)
        row: Any = self._db.execute(_SQL["find_job"], (number,)).fetchone()
        if row is None:
            return
        parent, correlation, kind, name, following, links = row
        if parent is not None and job.relation in (Relation.SELF, Relation.PARENT):
            self._add_job(parent, Relation.PARENT, job)
        if job.relation is Relation.PARENT:
            return
        job_id = job.stream.partition("/")[2]
        if following is not None:
            self._add_job(following, Relation.ATTEMPT, job)
        self._add_tied(job_id, job)
        if correlation is not None:
            asked = (correlation, RUN_MAX, kind, name)
            attempts: Any = self._db.execute(_SQL["list_attempts"], asked).fetchall()
            for _, attempt in attempts:
                self._add_job(attempt, Relation.ATTEMPT, job)
        children: Any = self._db.execute(_SQL["list_children"], (job_id, ENTITIES_MAX + 1))
        for _, child in children.fetchall():
            self._add_job(child, Relation.CHILD, job)
        for to, _ in orjson.loads(links)[:ENTITIES_MAX]:
            self._linked.append((f"job/{to}", job.stream))

    def _add_job(self, job_id: str, relation: Relation, origin: Related) -> None:
        stream = f"job/{job_id}"
        if stream not in self._relations.found and entity_number(self._db, stream) is None:
            return
        added = self._relations.add(stream, relation, origin.stream)
        if added is not None:
            self._queue.append(added)

    def _add_tied(self, job_id: str, job: Related) -> None:
        """Add what names a job: the job that it is the next attempt of, alerts, files, results."""
        for _, stream in find_tied(self._db, JOB, [job_id]):
            category = stream.partition("/")[0]
            if category in (Relation.ALERT, Relation.FILE, Relation.RESULT):
                self._relations.add(stream, Relation(category), job.stream)
            elif category == JOB:
                number = entity_number(self._db, stream)
                row: Any = self._db.execute(_SQL["find_job"], (number,)).fetchone()
                if row is not None and row[4] == job_id:
                    self._add_job(stream.partition("/")[2], Relation.ATTEMPT, job)
                else:
                    self._linked.append((stream, job.stream))
