"""How old jobs, alerts and files are: what decides how long each is kept, page by page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import apsw
import orjson

from domain.alert import AlertStatus
from domain.file import FileStatus
from domain.job import TERMINAL
from domain.retention import Aged
from projections.sql import named_statements
from projections.ties import key_hash

Place = tuple[int, int]
"""Where a page of a category begins: after this row."""
START: Final[Place] = (-(2**62), 0)
"""Where the first page begins."""

_SQL = named_statements("aging.sql")


class AgedPage(NamedTuple):
    """Entities of one category, the oldest first; ``next`` is None at the end."""

    items: list[Aged]
    next: Place | None


def list_aged(db: apsw.Connection, category: str, after: Place, until: int, limit: int) -> AgedPage:
    """Return entities of a category that began up to a time."""
    if category == "job":
        rows = db.execute(_SQL["jobs_upto"], (*after, until, limit)).fetchall()
        return _page(rows, [_job(row) for row in rows], limit, 4)
    if category == "alert":
        rows = db.execute(_SQL["alerts_upto"], (*after, until, limit)).fetchall()
        return _page(rows, [_alert(row) for row in rows], limit, 4)
    rows = db.execute(_SQL["files_after"], (after[1], limit)).fetchall()
    files = [_file(row) for row in rows]
    return _page(rows, [file for file in files if file.submitted <= until], limit, 0)


def list_results(db: apsw.Connection, jobs: Iterable[str]) -> list[tuple[str, str]]:
    """Return (job, stream) of the results that name one of some jobs."""
    asked = orjson.dumps([(key_hash(job), job) for job in jobs]).decode()
    rows: Any = db.execute(_SQL["results_naming"], (asked,)).fetchall()
    return list(rows)


def _page(rows: list[Any], items: list[Aged], limit: int, key: int) -> AgedPage:
    """Return a page; ``key`` is the column after which the rows are ordered."""
    last = rows[-1] if len(rows) == limit else None
    return AgedPage(items, None if last is None else (last[key], last[0]))


def _job(row: Any) -> Aged:
    _, id_, kind, status, submitted, status_time, updated, archived, pinned = row
    ended = status_time if status in TERMINAL else None
    return Aged("job", id_, kind, status, submitted, ended, updated, archived, bool(pinned))


def _alert(row: Any) -> Aged:
    _, id_, kind, state, listed, state_time, updated = row
    ended = state_time if state == AlertStatus.RESOLVED else None
    return Aged("alert", id_, kind, state, listed, ended, updated)


def _file(row: Any) -> Aged:
    _, path, state, first, state_time, updated = row
    ended = None if state == FileStatus.OBSERVED else state_time
    return Aged("file", path, None, state, first, ended, updated)
