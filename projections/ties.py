"""What ties entities together: the projection `ties`.

A job's own correlation and parent are columns of the jobs, with an index each. This projection
adds what is written nowhere else: which entities name an event as their cause, which name a job,
to which run those belong that are no jobs, and which results are of one file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from zlib import crc32

import apsw

from domain.catalog import event_types
from domain.events import RecordedEvent
from domain.lives import ARCHIVED, HOUSEKEEPING, is_marker
from projections.seam import Batch
from projections.sql import delete_rows, named_statements

CORRELATION: Final = "correlation"
CAUSATION: Final = "causation"
JOB: Final = "job"
PATH: Final = "path"

_TYPES: Final = frozenset(
    entry.name for entry in event_types() if entry.category not in HOUSEKEEPING
)
_RECORDED: Final = "result.recorded"
_NAMING: Final = {"job.linked": "to", "job.retried": "next"}
_PLAIN: Final = frozenset(
    entry.name
    for entry in event_types()
    if entry.category == "job" and entry.name not in (*_NAMING, ARCHIVED)
)
"""The types of most events, which name nobody but by their ``causationid``.

A marker with which a job goes on names whom its row names.
"""


class Ties:
    """Who names which job, which cause, which run and which file."""

    name = "ties"
    version = 3
    types = _TYPES

    def schema(self, prefix: str) -> str:
        """Return the DDL of its table."""
        return named_statements("ties.sql", prefix)["schema"]

    def fold(self, db: apsw.Connection, prefix: str) -> TiesFold:
        """Return the fold over the table with this prefix."""
        return TiesFold(db, prefix)


class TiesFold:
    """Writes the ties of a batch, each once."""

    def __init__(self, db: apsw.Connection, prefix: str) -> None:
        self._db = db
        self._sql = named_statements("ties.sql", prefix)

    def forget(self) -> None:
        """Nothing is remembered here."""

    def apply(self, batch: Batch) -> None:
        """Write what the events name."""
        delete_rows(self._db, self._sql, ["delete_ties"], batch.gone)
        # By place, not by name: this is asked of every event there is.
        naming = [
            event for event in batch.events if event[3] not in _PLAIN or "causationid" in event[10]
        ]
        if naming:
            entities, tombstones = batch.entities, batch.tombstones
            rows = {
                (key_hash(key), kind, entities[event.stream], key)
                for event in naming
                if event.position not in tombstones
                for kind, key in ties_of(event)
            }
            self._db.executemany(self._sql["insert_tie"], sorted(rows))


def ties_of(event: RecordedEvent) -> Iterator[tuple[str, str]]:
    """Yield the kind and the key of each tie that an event makes."""
    cause = event.extensions.get("causationid")
    if cause is not None:
        yield CAUSATION, str(cause)
    if not event.stream.startswith("job/"):
        run = event.extensions.get("correlationid")
        if run is not None:
            yield CORRELATION, str(run)
    if event.type == _RECORDED:
        path = event.payload.get("path")
        if isinstance(path, str):
            yield PATH, path
    for job in named_jobs(event):
        yield JOB, job


def named_jobs(event: RecordedEvent) -> list[str]:
    """Return the ids of the jobs that an event names beside its own."""
    said = event.payload.get
    if event.type in _PLAIN:
        return []
    if event.type == ARCHIVED:
        row = (said("row") or {}) if is_marker(event) else {}
        named = [row.get("next"), *(link[0] for link in row.get("links") or ())]
    elif event.type in _NAMING:
        named = [said(_NAMING[event.type])]
    else:
        named = [said("job"), *(said("jobs") or ())]
    return [job for job in named if isinstance(job, str)]


def key_hash(key: str) -> int:
    """Return the hash by which a key is found."""
    return crc32(key.encode())
