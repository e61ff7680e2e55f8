"""Packing what is left of the log after many removals: pages that are half empty become full.

SQLite joins pages only when they are nearly empty, so that a log of which rows go here and there
keeps a third more pages than it needs. Rows that are taken out and put back in their order fill
the pages they come to; they are the same rows at the same positions.
"""

from __future__ import annotations

from typing import Any, Final

import apsw

from daemon.eventlog.statements import SQL
from daemon.eventlog.transaction import Transaction

ROWS_AT_ONCE: Final = 100
BYTES_AT_ONCE: Final = 256 * 1024
"""How many rows, and about how many bytes of payload, one transaction packs."""
REMOVED_MIN: Final = 5_000
REMOVED_SHARE: Final = 4
"""It is worth it once a quarter as many events were removed as are left, and 5,000."""
UNPACKED: Final = "unpacked"
"""The key under which the log counts the events that were removed since it was packed."""


def is_worth_packing(db: apsw.Connection) -> bool:
    """Return whether so much was removed since the last time that packing is worth it."""
    removed = int(db.execute(SQL["find_meta"], (UNPACKED,)).get or 0)
    if removed < REMOVED_MIN:
        return False
    newest = int(db.execute(SQL["newest_position"]).get or 0)
    left = newest - int(db.execute(SQL["removed_count"]).get or 0)
    return removed * REMOVED_SHARE >= left


def pack_some(transaction: Transaction, after: int) -> int | None:
    """Pack the rows after a position; return up to which, None where there are no more."""
    transaction.flush()
    db = transaction.connection
    rows: list[tuple[Any, ...]] = []
    size = 0
    found: Any = db.execute(SQL["rows_to_pack"], (after, ROWS_AT_ONCE))
    for row in found:
        rows.append(row)
        size += len(row[11])
        if size >= BYTES_AT_ONCE:
            break
    found.close()
    if not rows:
        db.execute(SQL["set_meta"], (UNPACKED, 0))
        return None
    db.executemany(SQL["delete_event"], [(row[0],) for row in rows])
    db.executemany(SQL["insert_event"], rows)
    last: int = rows[-1][0]
    return last
