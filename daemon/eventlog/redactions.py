"""What was taken out of the events of a log, as the log's own events say."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

import apsw
import orjson

from daemon.eventlog.statements import SQL

DATA: Final = 10
PAYLOAD_HASH: Final = 11
"""Where a row has its payload, and the hash of what was recorded."""


def redactions(db: apsw.Connection, own_stream: str) -> dict[int, str]:
    """Return the hash that each redacted payload has now (hexadecimal), by position."""
    found: dict[int, str] = {}
    for (data,) in db.execute(SQL["redacted_events"], (own_stream,)):
        try:
            said: Any = orjson.loads(data)
        except orjson.JSONDecodeError:
            continue
        if not isinstance(said, dict):
            continue
        position, payload_hash = said.get("position"), said.get("payload_hash")
        if isinstance(position, int) and isinstance(payload_hash, str):
            found[position] = payload_hash.lower()
    return found


def is_redacted(db: apsw.Connection, position: int, payload_hash: bytes) -> bool:
    """Return whether an event does not say any more what was recorded.

    Whether a repeat of it says that is not told then: values could be tried out.
    """
    row: Any = db.execute(SQL["row_at"], (position,)).fetchone()
    return row is not None and sha256(row[DATA]).digest() != payload_hash
