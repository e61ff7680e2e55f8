"""The yardstick: the least that a durable insert of the same events costs on this disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import apsw

_SCHEMA = """
    PRAGMA page_size=4096;
    PRAGMA auto_vacuum=INCREMENTAL;
    PRAGMA journal_mode=WAL;
    PRAGMA synchronous=FULL;
    CREATE TABLE events(
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        stream_id INTEGER NOT NULL,
        version INTEGER NOT NULL,
        state BLOB NOT NULL,
        UNIQUE(stream_id, version)
    );
"""
_INSERT = "INSERT INTO events(stream_id, version, state) VALUES (?, ?, ?)"

Row = tuple[int, int, bytes]


def rows_of(events: Sequence[bytes], streams: Sequence[str]) -> list[Row]:
    """Return the rows to insert: integer stream ids and versions are given, not looked up."""
    ids: dict[str, int] = {}
    versions: dict[int, int] = {}
    rows = []
    for event, stream in zip(events, streams, strict=True):
        stream_id = ids.setdefault(stream, len(ids) + 1)
        versions[stream_id] = versions.get(stream_id, 0) + 1
        rows.append((stream_id, versions[stream_id], event))
    return rows


def insert_rate(directory: Path, rows: Sequence[Row], rows_a_transaction: int) -> float:
    """Return the rows a second of a file of its own in ``directory``, commits included."""
    db = apsw.Connection(str(directory / f"raw-{rows_a_transaction}.db"))
    try:
        for _ in db.execute(_SCHEMA):
            pass
        started = time.perf_counter()
        for at in range(0, len(rows), rows_a_transaction):
            db.execute("BEGIN IMMEDIATE")
            db.executemany(_INSERT, rows[at : at + rows_a_transaction])
            db.execute("COMMIT")
        return len(rows) / (time.perf_counter() - started)
    finally:
        db.close()
