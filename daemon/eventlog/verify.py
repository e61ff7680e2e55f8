"""Proof that the log holds what it held: chain, gaps, keys, versions, and SQLite's own check."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

import apsw

from daemon.eventlog import chain
from daemon.eventlog.requests import Finding
from daemon.eventlog.statements import SQL
from domain.prepared import event_key

FINDINGS_MAX: Final = 100
"""How many findings one verification reports; a broken chain breaks everything after it."""
TAIL_EVENTS: Final = 1000
"""How many of the newest events are verified at each start."""
_PAGE: Final = 2000

Progress = Callable[[int, int], None]
"""Called with the events done so far and the events there are."""


def verify_rows(
    db: apsw.Connection, log_id: str, *, after: int = 0, progress: Progress | None = None
) -> list[Finding]:
    """Verify every row after a position and return what is wrong.

    Pages by position, so that it holds no long read transaction while the daemon writes.
    """
    findings: list[Finding] = []
    position, digest, recorded = _start(db, log_id, after)
    total = db.execute(SQL["last_used_position"]).get or 0
    while len(findings) < FINDINGS_MAX:
        rows: list[Any] = db.execute(SQL["rows_after"], (position, _PAGE)).fetchall()
        if not rows:
            break
        for row in rows:
            findings += _verify_row(row, position, digest, recorded)
            position, digest, recorded = row[0], row[13], row[7]
        if progress is not None:
            progress(position, max(total, position))
    else:
        return findings[:FINDINGS_MAX]
    if position < total:
        findings.append(
            Finding("missing", f"positions {position + 1} to {total} were used and are gone", total)
        )
    return findings


def _start(db: apsw.Connection, log_id: str, after: int) -> tuple[int, bytes, int]:
    if after > 0:
        row: Any = db.execute(
            "SELECT position, digest, recordedtime FROM events WHERE position <= ? "
            "ORDER BY position DESC LIMIT 1",
            (after,),
        ).fetchone()
        if row is not None:
            return row[0], row[1], row[2]
    return 0, chain.genesis(log_id), 0


def _verify_row(row: Any, before: int, digest: bytes, recorded: int) -> list[Finding]:
    (position, application, stream, version, type_name, class_version, time, recordedtime, source,
     event_id, extensions, data, payload_hash, stored_digest, key) = row  # fmt: skip
    findings = []
    if position != before + 1:
        findings.append(
            Finding("gap", f"positions {before + 1} to {position - 1} are missing", position)
        )
    if stream is None or type_name is None:
        return [*findings, Finding("name", "the stream or type of the event is unknown", position)]
    if sha256(data).digest() != payload_hash:
        findings.append(Finding("payload", "the payload is not what was recorded", position))
    row_hash = chain.row_hash(
        position, application, stream, version, type_name, class_version, time, recordedtime,
        source, event_id, extensions, payload_hash,
    )  # fmt: skip
    if chain.chained(digest, row_hash) != stored_digest:
        findings.append(Finding("chain", "the digest does not follow from the row", position))
    if recordedtime < recorded:
        findings.append(Finding("time", "recordedtime goes backwards", position))
    keyed = source is not None or event_id is not None
    if key != (event_key(source or "", event_id or "") if keyed else None):
        findings.append(Finding("key", "the key is not that of (source, id)", position))
    return findings


def verify_structure(db: apsw.Connection) -> list[Finding]:
    """Verify what spans rows: versions without holes, and SQLite's own consistency check."""
    findings = [
        Finding("version", f"{name} has {count} events between versions {low} and {high}")
        for name, count, low, high, _ in db.execute(SQL["broken_streams"])
    ]
    for (text,) in db.execute("PRAGMA quick_check(10)"):
        if text != "ok":
            findings.append(Finding("sqlite", text))
    return findings
