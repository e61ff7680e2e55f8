"""Proof of what spans rows: the file's header and schema, its pages and indexes, versions, keys.

Each part of it is tried for itself: where a file is damaged, any of them may fail.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import apsw

from daemon.eventlog.connection import APPLICATION_ID, SCHEMA_VERSION, TABLES_OF_REMOVAL, is_memory
from daemon.eventlog.findings import (
    FINDINGS_MAX,
    UNREADABLE,
    Findings,
    raise_unless_damage,
    told,
)
from daemon.eventlog.redactions import DATA, PAYLOAD_HASH, redactions
from daemon.eventlog.requests import Finding
from daemon.eventlog.statements import SQL
from domain.epochs import complete_to, is_log_id, removals_stream, stream_of, told_epoch

_SCHEMA = Path(__file__).with_name("schema.sql")
_OBJECTS = "SELECT type || ' ' || name, tbl_name, sql FROM sqlite_schema"

# Byte, length, wanted value and meaning of what SQLite keeps in the head of the file and never
# changes in one of ours.
_HEADER: Final = (
    (16, 2, 4096, "page size"),
    (18, 1, 2, "write version"),
    (19, 1, 2, "read version"),
    (20, 1, 0, "reserved space"),
    (21, 1, 64, "largest payload fraction"),
    (22, 1, 32, "smallest payload fraction"),
    (23, 1, 32, "leaf payload fraction"),
    (44, 4, 4, "schema format"),
    (56, 4, 1, "text encoding"),
    (64, 4, 1, "incremental vacuum"),
    (72, 20, 0, "unused part"),
)


def verify_structure(db: apsw.Connection) -> list[Finding]:
    """Verify header, schema, pages, indexes, versions, keys and counters of a log."""
    return StructureProof(db).run()


class StructureProof:
    """Verifies the parts of a log one after another."""

    def __init__(self, db: apsw.Connection) -> None:
        self.findings = Findings()
        self._db = db

    def run(self, *, quick: bool = False) -> list[Finding]:
        """Verify all of it, or only what takes no time at any size."""
        parts: list[tuple[str, Callable[[], None]]] = [
            ("header", self._header),
            ("schema", self._schema),
            ("meta", self._meta),
            ("sequence", self._counters),
            ("epoch", self._epochs),
            ("removed", self._removed),
            ("redaction", self._redactions),
        ]
        if not quick:
            parts += [
                ("version", self._versions),
                ("key", self._keys),
                ("structure", self._integrity),
            ]
        for kind, part in parts:
            try:
                part()
            except (*UNREADABLE, TypeError, ValueError) as error:
                # Damaged columns hold values of any kind.
                raise_unless_damage(error)
                self.findings.add(kind, f"it cannot be verified: {told(error)}")
        return self.findings.list()

    def _header(self) -> None:
        path = self._db.db_filename("main")
        if is_memory(path) or not path or not Path(path).is_file():
            return
        with Path(path).open("rb") as file:
            head = file.read(100)
        if not head or int.from_bytes(head[44:48], "big") == 0:
            # All of a young log is in its write-ahead log. Where there is none, its schema is gone.
            return
        if head[:16] != b"SQLite format 3\0":
            self.findings.add("header", "page 1 does not begin as that of a database")
        for start, length, wanted, name in _HEADER:
            value = int.from_bytes(head[start : start + length], "big")
            if value != wanted:
                self.findings.add("header", f"page 1, byte {start}: {name} is {value}")

    def _schema(self) -> None:
        with closing(apsw.Connection(":memory:")) as fresh:
            fresh.execute(_SCHEMA.read_text())
            wanted = {row[0]: row for row in fresh.execute(_OBJECTS)}
        present = {row[0]: row for row in self._db.execute(_OBJECTS)}
        lacking = TABLES_OF_REMOVAL if self._db.pragma("user_version") == 1 else ()
        for name, row in wanted.items():
            if row[1] in lacking:
                continue
            if name not in present:
                self.findings.add("schema", f"{name} is missing")
            elif present[name] != row:
                self.findings.add("schema", f"{name} is defined otherwise")
        ours = {row[1] for row in wanted.values()}
        for name, table, _ in present.values():
            # Applications of the library may have tables of their own.
            if name not in wanted and (table in ours or name.startswith("trigger ")):
                self.findings.add("schema", f"{name} does not belong to a log")

    def _meta(self) -> None:
        application, version = (
            self._db.pragma("application_id"),
            self._db.pragma("user_version"),
        )
        if application != APPLICATION_ID:
            self.findings.add("meta", f"application_id is {application}: not that of a log")
        if version not in (1, SCHEMA_VERSION):
            self.findings.add("meta", f"user_version is {version}, not {SCHEMA_VERSION}")
        meta = dict(self._db.execute("SELECT key, value FROM log_meta"))
        log_id, epoch, created = (meta.get(key) for key in ("log_id", "epoch", "created"))
        if not is_log_id(log_id):
            self.findings.add("meta", "the log has no id that can be one")
        if not isinstance(epoch, int) or epoch < 1:
            self.findings.add("meta", f"the epoch is {epoch!r}")
        if not isinstance(created, int):
            self.findings.add("meta", f"the time of creation is {created!r}")

    def _counters(self) -> None:
        for name, count in self._db.execute(SQL["repeated_counters"]):
            self.findings.add("sequence", f"there are {count} counters of {name!r}")
        row: Any = self._db.execute(SQL["counters"]).fetchone()
        for name, used, newest in (("positions", *row[:2]), ("dead letters", *row[2:])):
            if newest is not None and (not isinstance(used, int) or used < newest):
                detail = f"the counter of {name} stands at {used!r}, the newest has {newest}"
                self.findings.add("sequence", detail)

    def _epochs(self) -> None:
        """Each epoch goes on from the event before it, and the newest is the log's present one."""
        meta = dict(self._db.execute("SELECT key, value FROM log_meta"))
        present, newest = meta.get("epoch"), None
        own = stream_of(str(meta.get("log_id")))
        for position, data, before in self._db.execute(SQL["restored_events"], (own,)):
            newest = told_epoch(data)
            if complete_to(data) not in {None, before}:
                detail = f"the log is complete to {complete_to(data)}, and has {before} before it"
                self.findings.add("epoch", detail, position)
        if newest is not None and newest != present:
            self.findings.add("epoch", f"the log is in epoch {present}, and began {newest}")

    def _removed(self) -> None:
        """Each run of removed positions is told, as it is, by an event of the log."""
        own = removals_stream(str(self._db.execute(SQL["find_meta"], ("log_id",)).get))
        for first, last in self._db.execute(SQL["untold_runs"], (own, FINDINGS_MAX + 1)):
            detail = f"positions {first} to {last} were removed, and no event says so"
            self.findings.add("removed", detail, first)
        for first, last, position in self._db.execute(SQL["filled_runs"], (FINDINGS_MAX + 1,)):
            detail = f"positions {first} to {last} were removed, and there is an event"
            self.findings.add("removed", detail, position)

    def _redactions(self) -> None:
        """Say where something is there again that was taken out of an event."""
        own = stream_of(str(self._db.execute(SQL["find_meta"], ("log_id",)).get))
        for position, payload_hash in redactions(self._db, own).items():
            row: Any = self._db.execute(SQL["row_at"], (position,)).fetchone()
            if row is not None and isinstance(row[DATA], bytes):
                hashed = sha256(row[DATA]).digest()
                # Where it is neither, the proof of the rows says so.
                if hashed == row[PAYLOAD_HASH] and hashed.hex() != payload_hash:
                    self.findings.add("redaction", "what was redacted is there again", position)

    def _versions(self) -> None:
        rows = self._db.execute(SQL["version_breaks"], (FINDINGS_MAX + 1,))
        for name, position, before, version in rows:
            detail = f"{name}: version {version} follows {before}"
            self.findings.add("version", detail, position)
        rows = self._db.execute(SQL["broken_streams"], (FINDINGS_MAX + 1,))
        for name, floor, low, high, position in rows:
            if low is None:
                detail = f"{name} has no event, and versions may be gone up to {floor} only"
            else:
                detail = f"{name} has versions {low} to {high} where {floor + 1} has to come first"
            self.findings.add("version", detail, position)

    def _keys(self) -> None:
        for name, count, position in self._db.execute(SQL["repeated_keys"], (FINDINGS_MAX + 1,)):
            self.findings.add("key", f"{name} has the same event {count} times", position)

    def _integrity(self) -> None:
        for (text,) in self._db.execute(f"PRAGMA integrity_check({FINDINGS_MAX:d})"):
            for line in str(text).splitlines():
                if line != "ok" and not line.startswith("*** in database"):
                    self.findings.add("structure", line)
