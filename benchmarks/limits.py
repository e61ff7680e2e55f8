"""The yardsticks: the least that durable inserts of the same events cost on this disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import apsw

from benchmarks.suite import Bench, Figures
from daemon.eventlog.connection import open_writer
from daemon.eventlog.log import EventLog
from daemon.eventlog.statements import SQL
from domain.cloudevents import from_batch
from domain.limits import Limits

GROUP_WITHOUT_INTAKE = 300.0
SINGLE_ROWS_SHARE = 0.05
BATCH = 1_000
_PLAIN_SCHEMA = """
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
_PLAIN_INSERT = "INSERT INTO events(stream_id, version, state) VALUES (?, ?, ?)"

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """The same events three ways: as sent, as rows of our log, as rows of the plainest table."""

    log: list[Row]
    streams: dict[Any, Row]
    types: list[Row]
    sources: list[Row]
    plain: list[Row]


def measure(bench: Bench) -> Figures:
    """Insert the same rows at every group size that matters."""
    directory = bench.fresh("limits")
    rows = rows_of(bench.events("limits", bench.scale.rows), bench.fresh("rows"))
    single = rows.plain[: int(len(rows.plain) * SINGLE_ROWS_SHARE)]
    figures = {
        "limits/plain 100 rows a commit events/s": plain_rate(directory, rows.plain, 100),
        "limits/plain 1 row a commit events/s": plain_rate(directory, single, 1),
    }
    for load in ("batches", "singles"):
        group = max(1, round(bench.groups.get(load, GROUP_WITHOUT_INTAKE)))
        figures[f"limits/our schema at the groups of {load} events/s"] = schema_rate(
            directory, rows, group
        )
        figures[f"limits/events a commit, {load}"] = group
    return figures


@cache
def rows_of(events: Path, directory: Path) -> Rows:
    """Append the events to a log of their own and read the rows back, digests and all."""
    lines = events.read_bytes().splitlines()
    log = EventLog.open(directory / "log.db", synchronous="OFF")
    log.start()
    try:
        for at in range(0, len(lines), BATCH):
            log.append(from_batch(b"[" + b",".join(lines[at : at + BATCH]) + b"]", Limits()))
    finally:
        log.close()
    db = apsw.Connection(str(directory / "log.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        columns = SQL["insert_event"].partition("(")[2].partition(")")[0]
        stored = db.execute(f"SELECT {columns} FROM events ORDER BY position").fetchall()
        tables = [
            db.execute(f"SELECT {columns} FROM {table}").fetchall()
            for columns, table in (
                ("stream_id, application, name", "streams"),
                ("type_id, application, name", "types"),
                ("source_id, name", "sources"),
            )
        ]
    finally:
        db.close()
    plain = [(row[1], row[2], line) for row, line in zip(stored, lines, strict=True)]
    streams = {row[0]: row for row in tables[0]}
    return Rows(stored, streams, tables[1], tables[2], plain)


def schema_rate(directory: Path, rows: Rows, group: int) -> float:
    """Return the rows a second of our own tables and indexes, everything computed before."""
    path = directory / f"schema-{group}.db"
    groups = []
    known: set[int] = set()
    for at in range(0, len(rows.log), group):
        part = rows.log[at : at + group]
        born = sorted({row[1] for row in part} - known)
        known.update(born)
        groups.append(([rows.streams[stream] for stream in born], part))
    db = open_writer(str(path))
    try:
        db.executemany(SQL["insert_type"], rows.types)
        db.executemany(SQL["insert_source"], rows.sources)
        started = time.perf_counter()
        for streams, part in groups:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(SQL["insert_stream"], streams)
            db.executemany(SQL["insert_event"], part)
            db.execute("COMMIT")
        return len(rows.log) / (time.perf_counter() - started)
    finally:
        db.close()
        path.unlink()


def plain_rate(directory: Path, rows: Sequence[Row], rows_a_commit: int) -> float:
    """Return the rows a second of one table, integer stream ids, and one unique index."""
    path = directory / f"plain-{rows_a_commit}.db"
    db = apsw.Connection(str(path))
    try:
        db.execute(_PLAIN_SCHEMA).fetchall()
        started = time.perf_counter()
        for at in range(0, len(rows), rows_a_commit):
            db.execute("BEGIN IMMEDIATE")
            db.executemany(_PLAIN_INSERT, rows[at : at + rows_a_commit])
            db.execute("COMMIT")
        return len(rows) / (time.perf_counter() - started)
    finally:
        db.close()
        path.unlink()
