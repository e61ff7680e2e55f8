"""The chain of digests of a log, followed without the daemon's code (docs/architecture.md)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final

_ROWS: Final = """
SELECT position, version, class_version, time, recordedtime,
       coalesce(streams.application, ''), coalesce(streams.name, ''), coalesce(types.name, ''),
       coalesce(sources.name, ''), coalesce(id, ''), coalesce(extensions, ''),
       data, payload_hash, digest
FROM events LEFT JOIN streams USING (stream_id) LEFT JOIN types USING (type_id)
     LEFT JOIN sources USING (source_id)
ORDER BY position
"""


def breaks(db: sqlite3.Connection) -> Iterator[str]:
    """Yield where the chain of a log does not hold, and why.

    Positions that are missing have to be removed ones, of which a ``log.truncated`` tells the
    digest at their end, or to lie before a ``log.restored`` that says so. A payload may be another
    one where a ``log.redacted`` tells its hash. Only streams of this very log say so: its id is in
    no digest any more when its first event was removed.
    """
    log_id = db.execute("SELECT value FROM log_meta WHERE key = 'log_id'").fetchone()[0]
    said = [(name, json.loads(data)) for name, data in _said(db, log_id)]
    redacted = {(each["position"], each["payload_hash"])
                for name, each in said if name == "log.redacted"}  # fmt: skip
    told = {(run["from"], run["to"], run["digest"])
            for name, each in said if name == "log.truncated" for run in each["runs"]}  # fmt: skip
    runs = {first: (last, end) for first, last, end in db.execute("SELECT * FROM removed_runs")}
    yield from (f"no event tells of the removal of {first} up to {last}"
                for first, (last, end) in runs.items()
                if (first, last, end.hex()) not in told)  # fmt: skip
    before, digest = 0, sha256(f"chronicled log {log_id}".encode()).digest()
    for row in db.execute(_ROWS):
        position, type_, data, payload_hash = row[0], row[7], row[11], row[12]
        if before + 1 in runs:
            before, digest = runs[before + 1]
        own = (row[6], type_) == (f"log/{log_id}", "log.restored")
        resumes = own and json.loads(data)["complete_to"] == before
        if position != before + 1 and not resumes:
            yield f"{position} comes behind {before}"
        hashed = sha256(data)
        if hashed.digest() != payload_hash and (position, hashed.hexdigest()) not in redacted:
            yield f"the payload at {position} is another one"
        digest = sha256(digest + _row_hash(*row[:11], payload_hash)).digest()
        if digest != row[13]:
            yield f"the digest at {position} is another one"
        before = position
    used = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    if used is not None and used[0] > before:
        yield f"{before + 1} to {used[0]} were used, and are gone"


def _said(db: sqlite3.Connection, log_id: str) -> list[tuple[str, bytes]]:
    own = f"log/{log_id}"
    return db.execute(
        "SELECT types.name, data FROM events JOIN types USING (type_id)"
        " JOIN streams USING (stream_id) WHERE (types.name, streams.name)"
        " IN (VALUES ('log.redacted', ?), ('log.truncated', ?))",
        (own, f"{own}/removed"),
    ).fetchall()


def _row_hash(*parts: Any) -> bytes:
    """Return the hash of a row: numbers, texts behind their lengths, the hash of the payload."""
    *told, payload_hash = parts
    numbers, texts = told[:5], told[5:]
    head = "".join(f"{number} " for number in numbers)
    tail = "".join(f"{len(text)}:{text}" for text in texts)
    return sha256((head + tail).encode() + payload_hash).digest()
