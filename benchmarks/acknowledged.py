"""What a daemon acknowledged, kept beside it, and what of that its log does not have, or otherwise.

Of each event a hash is kept: there are millions.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import apsw
import orjson

from domain.prepared import event_key

_TOLD_MAX: Final = 5
_HASH_BYTES: Final = 12
_PURGED: Final = (
    "CREATE TEMP TABLE purged AS SELECT DISTINCT s.name AS stream FROM log.events e"
    " JOIN log.streams s USING (stream_id) JOIN log.types t USING (type_id)"
    " WHERE t.name LIKE '%.purged'"
)
"""Of the events of a purged stream nothing is kept but the event that says so."""
_WRONG: Final = (
    "SELECT a.id, e.position IS NULL FROM acknowledged a"
    " LEFT JOIN log.streams s ON s.application = '' AND s.name = a.stream"
    " LEFT JOIN log.events e ON e.stream_id = s.stream_id AND e.event_key = a.key"
    " LEFT JOIN log.types t ON t.type_id = e.type_id"
    " WHERE CASE WHEN e.position IS NULL THEN NOT EXISTS (SELECT 1 FROM log.removed_keys r"
    " WHERE r.stream_id = s.stream_id AND r.event_key = a.key)"
    " AND a.stream NOT IN (SELECT stream FROM purged)"
    " ELSE content(t.name, e.data) <> a.content END"
)
"""Each event is looked for in the stream of its subject, by an index that the log has."""


def _content(type_: str, data: Any) -> bytes:
    """Return a hash of what an event says, however its payload is written."""
    told = orjson.dumps([type_, data], option=orjson.OPT_SORT_KEYS)
    return sha256(told).digest()[:_HASH_BYTES]


def _recorded_content(*row: Any) -> bytes:
    type_, data = row
    try:
        return _content(type_, orjson.loads(data))
    except orjson.JSONDecodeError:
        return b""


class Acknowledged:
    """The keys of acknowledged events, and hashes of their contents, in a file of their own."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._db = apsw.Connection(str(path))
        self._db.pragma("synchronous", 0)
        self._db.execute("CREATE TABLE acknowledged (key BLOB, id TEXT, stream TEXT, content BLOB)")

    def add(self, lines: Iterable[bytes]) -> None:
        """Note events, each as it was sent."""
        rows = []
        for line in lines:
            event = orjson.loads(line)
            stream = f"{event['type'].partition('.')[0]}/{event['subject']}"
            key = event_key(event["source"], event["id"])
            rows.append((key, event["id"], stream, _content(event["type"], event["data"])))
        with self._db:
            self._db.executemany("INSERT INTO acknowledged VALUES (?, ?, ?, ?)", rows)
        self.count += len(rows)

    def missing(self, log: Path) -> list[str]:
        """Return what is not in a log at rest as it was sent, and was not removed from it."""
        with closing(self._db) as db:
            db.execute("ATTACH ? AS log", (str(log),))
            db.create_scalar_function("content", _recorded_content, 2)
            db.execute(_PURGED)
            db.execute("CREATE INDEX temp.purged_by_stream ON purged (stream)")
            rows: Any = db.execute(_WRONG).fetchall()
        lost = [id_ for id_, gone in rows if gone]
        other = [id_ for id_, gone in rows if not gone]
        return [
            f"{len(ids)} acknowledged events are {what}, such as {', '.join(ids[:_TOLD_MAX])}"
            for ids, what in ((lost, "lost"), (other, "not as they were sent"))
            if ids
        ]
