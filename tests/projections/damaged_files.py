"""A small real log with everything in it, and damage done to copies of it, for the proofs."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import apsw
import orjson

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import DeadLetter
from daemon.replay.verify import Report, verify
from domain.events import NewEvent
from projections.runner import ProjectionRunner

EVENTS = """
    SELECT e.position, s.application, s.name, e.version, t.application, t.name, e.class_version,
           e.time, e.recordedtime, o.name, e.id, e.event_key, e.extensions, e.data,
           e.payload_hash, e.digest
    FROM events e NOT INDEXED LEFT JOIN streams s ON s.rowid = e.stream_id
    LEFT JOIN types t ON t.rowid = e.type_id LEFT JOIN sources o ON o.rowid = e.source_id
    WHERE e.position = ?
"""


def make(folder: Path) -> int:
    """Write a log and its views, and close both; return the newest position."""
    log = EventLog.open(folder / "log.db")
    log.start()
    chance = random.Random(4)
    for number in range(60):
        text = "Übergrößenträger ☃ " * chance.choice((1, 3, 400))
        job = [
            ("job.submitted", {"kind": "k", "name": f"näme {number}", "params": {"text": text}}),
            ("job.started", {"worker": "w"}),
            ("job.progressed", {"fraction": 0.5, "message": "halb fertig…"}),
            ("job.succeeded", {"result": {"sum": number}}),
            ("alert.raised", {"severity": "error", "title": f"ø {number}"}),
            ("file.observed", {"size": number}),
        ]
        log.append(
            [
                NewEvent(
                    name, f"s-{number}", "/tésts", f"{number}-{name}", orjson.dumps(payload),
                    extensions={"correlationid": f"c-{number}"},
                )
                for name, payload in job
            ],
            dead_letters=[DeadLetter("cloudevents", b"{%d" % number, "undecodable", "", "test")],
        )  # fmt: skip
    runner = ProjectionRunner(folder / "views.db", log)
    runner.catch_up()
    runner.close()
    head = log.head()
    log.close()
    return head


def flip(path: Path, seed: int) -> str:
    """Flip one bit of a file; return where."""
    chance = random.Random(seed)
    content = bytearray(path.read_bytes())
    place, bit = chance.randrange(len(content)), chance.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"seed {seed}: bit {bit} of byte {place % 4096} of page {place // 4096 + 1}"


def copy(source: Path, target: Path) -> None:
    """Copy the two files into a folder."""
    for name in ("log.db", "views.db"):
        shutil.copy(source / name, target / name)


def check(folder: Path) -> Report:
    """Verify the files in a folder."""
    return verify(folder / "log.db", folder / "views.db")


def dump_events(path: Path, head: int) -> dict[int, Any]:
    """Return the events as plain sqlite3 reads them, each for itself; None for what it cannot."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    db.text_factory = bytes
    found: dict[int, Any] = {}
    try:
        for position in range(1, head + 1):
            try:
                found[position] = db.execute(EVENTS, (position,)).fetchone()
            except (sqlite3.Error, OverflowError, UnicodeDecodeError):
                found[position] = None
    finally:
        db.close()
    return found


def whole(path: Path) -> bool:
    """Return whether SQLite finds nothing wrong with a file's structure and indexes."""
    try:
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        finally:
            db.close()
    except (sqlite3.Error, UnicodeDecodeError):
        return False


def dump_views(path: Path) -> Any:
    """Return every row of the views' tables as bytes, or None where they cannot be read."""
    try:
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        db.text_factory = bytes
        try:
            names = " ".join(
                row[0].decode()
                for row in db.execute("SELECT tables FROM projections ORDER BY name")
            )
            return {
                name: db.execute(f"SELECT * FROM {name}").fetchall()
                for name in ("entities", *names.split())
            }
        finally:
            db.close()
    except (sqlite3.Error, UnicodeDecodeError):
        return None


def change(path: Path, *statements: str) -> None:
    """Execute SQL on a file by a connection of its own."""
    db = apsw.Connection(str(path))
    try:
        for sql in statements:
            db.execute(sql)
    finally:
        db.close()
