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
    "SELECT event_key FROM log.events WHERE event_key IS NOT NULL"
    " UNION SELECT event_key FROM log.removed_keys"
)


class Acknowledged:
    """The keys of acknowledged events, in a file of their own."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._db = apsw.Connection(str(path))
        self._db.pragma("synchronous", 0)
        self._db.execute("CREATE TABLE acknowledged (key BLOB PRIMARY KEY, id TEXT) WITHOUT ROWID")

    def add(self, lines: Iterable[bytes]) -> None:
        """Note events, each as it was sent."""
        with self._db:
            for line in lines:
                event = orjson.loads(line)
                key = event_key(event["source"], event["id"])
                self._db.execute("INSERT INTO acknowledged VALUES (?, ?)", (key, event["id"]))
                self.count += 1

    def missing(self, log: Path) -> list[str]:
        """Return what is not in a log at rest, and was not removed from it either."""
        with closing(self._db):
            self._db.execute("ATTACH ? AS log", (str(log),))
            self._db.execute(f"CREATE TEMP TABLE found AS {_FOUND}")
            self._db.execute("CREATE INDEX temp.found_by_key ON found (event_key)")
            rows: Any = self._db.execute(
                "SELECT id FROM acknowledged WHERE key NOT IN (SELECT event_key FROM found)"
            ).fetchall()
        lost = [id_ for (id_,) in rows]
        named = ", ".join(lost[:_TOLD_MAX])
        return [f"{len(lost)} acknowledged events are lost, such as {named}"] if lost else []
