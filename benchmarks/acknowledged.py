"""What a daemon acknowledged, kept beside it, and what of that its log does not have."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import apsw
import orjson

from domain.prepared import event_key

_TOLD_MAX: Final = 5
_FOUND: Final = (
    "CREATE TEMP TABLE found AS"
    " SELECT event_key AS key FROM log.events WHERE event_key IS NOT NULL"
    " UNION SELECT event_key FROM log.removed_keys"
)
_PURGED: Final = (
    "CREATE TEMP TABLE purged AS SELECT DISTINCT s.name AS stream FROM log.events e"
    " JOIN log.streams s USING (stream_id) JOIN log.types t USING (type_id)"
    " WHERE t.name LIKE '%.purged'"
)
"""Of the events of a purged stream nothing is kept but the event that says so."""
_LOST: Final = (
    "SELECT id FROM acknowledged WHERE key NOT IN (SELECT key FROM found)"
    " AND stream NOT IN (SELECT stream FROM purged)"
)


class Acknowledged:
    """The keys of acknowledged events, in a file of their own."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._db = apsw.Connection(str(path))
        self._db.pragma("synchronous", 0)
        self._db.execute("CREATE TABLE acknowledged (key BLOB, id TEXT, stream TEXT)")

    def add(self, lines: Iterable[bytes]) -> None:
        """Note events, each as it was sent."""
        rows = []
        for line in lines:
            event = orjson.loads(line)
            stream = f"{event['type'].partition('.')[0]}/{event['subject']}"
            rows.append((event_key(event["source"], event["id"]), event["id"], stream))
        with self._db:
            self._db.executemany("INSERT INTO acknowledged VALUES (?, ?, ?)", rows)
        self.count += len(rows)

    def missing(self, log: Path) -> list[str]:
        """Return what is not in a log at rest, and was not removed from it either."""
        with closing(self._db) as db:
            db.execute("ATTACH ? AS log", (str(log),))
            for statement in (_FOUND, _PURGED):
                db.execute(statement)
            db.execute("CREATE INDEX temp.found_by_key ON found (key)")
            db.execute("CREATE INDEX temp.purged_by_stream ON purged (stream)")
            rows: Any = db.execute(_LOST).fetchall()
        lost = [id_ for (id_,) in rows]
        named = ", ".join(lost[:_TOLD_MAX])
        return [f"{len(lost)} acknowledged events are lost, such as {named}"] if lost else []
