"""The proof of a log's file, which is only read: whatever is wrong with it is a finding."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from daemon.eventlog.connection import BUSY_TIMEOUT_MS, SCHEMA_VERSION, complete_schema
from daemon.eventlog.epochs import lost_stretches
from daemon.eventlog.findings import UNREADABLE, raise_unless_damage, told
from daemon.eventlog.requests import Finding
from daemon.eventlog.statements import SQL
from daemon.eventlog.structure import StructureProof
from daemon.eventlog.verify import TAIL_EVENTS, Progress, RowProof
from daemon.eventlog.wal import lost_commits
from domain.errors import NewerSchema


@dataclass
class LogProof:
    """What a log's file holds, and what is wrong with it."""

    position: int = 0
    events: int = 0
    dead_letters: tuple[int, int] = (0, 0)
    findings: list[Finding] = field(default_factory=list)


def prove_log(
    path: Path, *, quick: bool = False, at_rest: bool = False, progress: Progress | None = None
) -> LogProof:
    """Verify a log's file; with ``quick`` its newest events and its counters only.

    ``at_rest``: nobody writes it, so what is left of its write-ahead log can be verified too.

    Raises:
        NewerSchema: a newer release wrote it.
        apsw.BusyError: somebody else holds it.

    """
    proof = LogProof()
    try:
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            db.set_busy_timeout(BUSY_TIMEOUT_MS)
            complete_schema(db)
            if at_rest and (damage := lost_commits(path, db)):
                proof.findings.append(Finding("wal", damage))
            _prove(proof, db, quick, progress)
    except UNREADABLE as error:
        raise_unless_damage(error)
        proof.findings.append(Finding("log", f"it cannot be read: {told(error)}"))
    return proof


def _prove(proof: LogProof, db: apsw.Connection, quick: bool, progress: Progress | None) -> None:
    structure = StructureProof(db)
    version, log_id, counts, lost, removed = 0, None, None, 0, 0
    try:
        version = db.pragma("user_version")
        log_id = db.execute("SELECT value FROM log_meta WHERE key = 'log_id'").get
        counts = db.execute(SQL["event_counts"]).fetchone()
        lost = sum(each.length for each in lost_stretches(db, str(log_id)))
        removed = db.execute(SQL["removed_count"]).get
        proof.dead_letters = db.execute(SQL["dead_letter_totals"]).fetchone() or (0, 0)
    except UNREADABLE as error:
        raise_unless_damage(error)
        proof.findings.append(Finding("log", f"it cannot be read: {told(error)}"))
    known = isinstance(log_id, str)
    if known and version == SCHEMA_VERSION + 1:
        raise NewerSchema(f"the log has schema {version}; this program knows {SCHEMA_VERSION}")
    rows = RowProof(db, str(log_id), _tail(counts) if quick else 0)
    rows.run(progress)
    proof.findings += rows.findings.list()
    proof.findings += structure.run(quick=quick)
    proof.position = max(rows.used, rows.position)
    proof.events = rows.events
    if quick and counts is not None and counts[0]:
        count, first, newest = counts
        if count + lost + removed != newest or first < 1:
            detail = f"{count} events stand at the positions {first} to {newest}"
            proof.findings.append(Finding("counters", detail))


def _tail(counts: Any) -> int:
    newest = counts[2] if counts is not None else None
    return max(0, newest - TAIL_EVENTS) if isinstance(newest, int) else 0
