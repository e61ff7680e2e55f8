"""Events that are to be removed: how that is asked for, and what a removal does to the log.

A removal is asked for together with the marker that stands for the events (`domain.lives`), in one
transaction, so that what was decided is carried out whenever the daemon comes to it: a part at a
time, by `remove_some`. Each part is one transaction: rows go, the runs of positions without events
are merged, and a chained `log.truncated` says each run that is new.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import apsw
import orjson

from daemon.eventlog.epochs import SOURCE
from daemon.eventlog.requests import Append
from daemon.eventlog.statements import SQL
from daemon.eventlog.transaction import Transaction
from domain.catalog import validate_payload
from domain.epochs import removals_stream
from domain.errors import VersionConflict
from domain.events import NewEvent, Receipt
from domain.lives import ARCHIVED, HOUSEKEEPING, PURGED, category_of_stream, replaced_versions

STREAMS_AT_ONCE: Final = 200
"""From how many streams one transaction removes, at the most."""
ROWS_OF_ONE_MAX: Final = 1_000
"""How many rows of one stream go in one transaction where they have to go at once."""
RUNS_AT_ONCE: Final = 1_000
"""How many runs one event tells, at the most."""


class PendingRemoval(NamedTuple):
    """The events of a stream up to a version are to be removed.

    ``outside``: something that is kept elsewhere, and that the marker names, has to go first.
    """

    stream: str
    version: int
    outside: bool


class Removed(NamedTuple):
    """What one transaction removed."""

    events: int = 0
    bytes: int = 0
    streams: int = 0


class Run(NamedTuple):
    """A stretch of positions without events, and the chain's digest at its last."""

    first: int
    last: int
    digest: bytes


# -- asking for it ---------------------------------------------------------------------------------


def mark(transaction: Transaction, marker: NewEvent, *, outside: bool = False) -> Receipt:
    """Append the marker of a stream, and ask for the removal of what it stands for.

    ``marker.expected_version`` is the version it stands for: where the stream has moved on, nothing
    is recorded. The marker of an earlier purge stays.

    Raises:
        VersionConflict: the stream is at another version.

    """
    if marker.expected_version is None:
        raise VersionConflict(f"the marker of {marker.stream} says no version")
    (receipt,) = transaction.append(Append([marker])).receipts
    if not receipt.duplicate:
        ask(transaction, marker.stream, receipt.version - 1, outside=outside)
    return receipt


def trim(transaction: Transaction, stream: str, version: int) -> None:
    """Ask for the removal of a stream's events up to a version, for which nothing has to stand."""
    ask(transaction, stream, version, outside=False)


def ask(transaction: Transaction, stream: str, version: int, *, outside: bool) -> None:
    """Ask for the removal of a stream's events up to a version."""
    if version > 0:
        stream_id = transaction.stream_id(stream)
        transaction.flush()
        asked = (stream_id, version, int(outside))
        transaction.connection.execute(SQL["ask_removal"], asked)


def ask_again(db: apsw.Connection, after: int) -> int:
    """Ask for the removals of all markers after a position; return how many there are.

    For a log that was brought back from an older copy: what was removed since is there again.
    """
    asked = 0
    markers: Any = db.execute(SQL["markers_after"], (after,)).fetchall()
    for stream_id, version, type_name, data in markers:
        payload = _decoded(data)
        if replaced_versions(type_name, payload):
            outside = payload.get("files" if type_name == ARCHIVED else "location")
            db.execute(SQL["ask_removal"], (stream_id, version - 1, int(bool(outside))))
            asked += 1
    return asked


def settle(transaction: Transaction, stream: str, version: int) -> None:
    """Say that what was kept outside of the log for the events up to a version is gone."""
    transaction.connection.execute(SQL["settle_removal"], (stream, version))


def pending_removals(
    db: apsw.Connection, *, outside: bool, limit: int = 1000
) -> list[PendingRemoval]:
    """Return removals that are asked for and not done, in the order of their streams."""
    rows: Any = db.execute(SQL["pending_removals"], (int(outside), 0, limit))
    return [PendingRemoval(name, version, bool(waits)) for name, version, waits, _, _ in rows]


# -- doing it --------------------------------------------------------------------------------------


def removable_streams(db: apsw.Connection, before: int) -> list[int]:
    """Return streams of which events may go now: all of it lies before a position, markers too.

    This looks at each removal that waits, which the writer has no time for.
    """
    rows: Any = db.execute(SQL["removable_streams"], (before, STREAMS_AT_ONCE))
    return [stream_id for (stream_id,) in rows]


def remove_some(
    transaction: Transaction,
    log_id: str,
    *,
    before: int,
    rows_max: int,
    streams: Sequence[int],
) -> Removed:
    """Remove up to so many events of some streams, whose removals lie before a position.

    Their markers do too: what moved on since `removable_streams` looked is left.
    """
    transaction.flush()
    db = transaction.connection
    gone: list[tuple[Any, ...]] = []
    ended = 0
    asked = (orjson.dumps(list(streams)).decode(), before)
    pending: Any = db.execute(SQL["removals_among"], asked).fetchall()
    for stream in pending:
        room = rows_max - len(gone)
        if room <= 0:
            break
        rows, done = _remove_of(transaction, _Pending(*stream), room)
        gone += rows
        ended += done
    return _told(transaction, log_id, gone, "retention", ended)


def take_over(
    transaction: Transaction,
    log_id: str,
    events: Sequence[NewEvent],
    tombstones: Iterable[tuple[str, int]],
) -> Removed:
    """Append events that say what tombstones say, and remove those, in one transaction.

    Each of ``tombstones`` is a stream and the version up to which it is forgotten. Of the streams
    of the events those before go too. So at any time the log says it once. A stream of which
    nothing is left is a new one for whoever sends to it.
    """
    receipts = transaction.append(Append(events)).receipts
    transaction.flush()
    going = [(each.stream, each.version - 1, False) for each in receipts]
    going += [(stream, version, True) for stream, version in tombstones]
    gone: list[tuple[Any, ...]] = []
    for stream, version, forget in going:
        stream_id = transaction.stream_id(stream)
        pending = _Pending(stream_id, version, 0, stream, None, forget)
        gone += _remove_of(transaction, pending, ROWS_OF_ONE_MAX)[0]
    return _told(transaction, log_id, gone, "purges are forgotten", len(going))


def _told(
    transaction: Transaction, log_id: str, rows: list[tuple[Any, ...]], reason: str, streams: int
) -> Removed:
    """Say which rows are gone, and return how many."""
    size = sum(row[3] for row in rows)
    if rows:
        runs = _merge(transaction.connection, sorted((row[0], row[2]) for row in rows))
        tell_runs(transaction, log_id, runs, reason, {"events": len(rows), "bytes": size})
    return Removed(len(rows), size, streams)


class _Pending(NamedTuple):
    stream_id: int
    version: int
    floor: int
    name: str
    marker: str | None
    forget: bool = False
    """Whether tombstones go too, and nothing is kept to know the events by."""


def _remove_of(
    transaction: Transaction, pending: _Pending, room: int
) -> tuple[list[tuple[Any, ...]], bool]:
    """Remove rows of a stream; return them, and whether all of it is done."""
    db, stream_id = transaction.connection, pending.stream_id
    asked = (stream_id, pending.floor, pending.version, pending.forget, room)
    rows: Any = db.execute(SQL["rows_to_remove"], asked).fetchall()
    db.executemany(SQL["delete_event"], [(row[0],) for row in rows])
    keeps = pending.marker not in PURGED and category_of_stream(pending.name) not in HOUSEKEEPING
    if keeps and not pending.forget:
        keys = [(stream_id, row[4], row[0], row[1]) for row in rows if row[4] is not None]
        db.executemany(SQL["keep_key"], keys)
    done = len(rows) < room
    floor = pending.version if done else rows[-1][1]
    db.execute(SQL["raise_floor"], (floor, stream_id))
    purged = transaction.note_removed(stream_id, floor)
    # An archive may go on where an earlier purge was not done yet, of which none is kept.
    db.execute(SQL["forget_keys"], (stream_id, pending.version if pending.forget else purged))
    if done:
        db.execute(SQL["drop_removal"], (stream_id, pending.version))
    if done and pending.forget:
        db.execute(SQL["delete_empty_stream"], (stream_id,))
        transaction.forget_stream(pending.name)
    return rows, done


def _merge(db: apsw.Connection, positions: list[tuple[int, bytes]]) -> list[Run]:
    """Add removed positions to the runs; return those that are new, each as long as it can be."""
    db.execute(SQL["note_unpacked"], (len(positions),))
    runs: list[Run] = []
    for position, digest in positions:
        if runs and runs[-1].last == position - 1:
            runs[-1] = runs[-1]._replace(last=position, digest=digest)
        else:
            runs.append(Run(position, position, digest))
    merged: list[Run] = []
    for run in runs:
        before: Any = db.execute(SQL["run_before"], (run.first,)).fetchone()
        after: Any = db.execute(SQL["run_from"], (run.last + 1,)).fetchone()
        if after is not None:
            db.execute(SQL["delete_run"], (run.last + 1,))
            run = Run(run.first, *after)
        if before is not None and before[1] == run.first - 1:
            run = run._replace(first=before[0])
            if merged and merged[-1].first == run.first:
                merged.pop()
        db.execute(SQL["insert_run"], run)
        merged.append(run)
    return merged


def tell_runs(
    transaction: Transaction,
    log_id: str,
    runs: Iterable[Run],
    reason: str,
    counts: dict[str, int] | None = None,
) -> None:
    """Append what says which runs of positions have no events, so many runs an event."""
    remaining = iter(runs)
    while part := list(islice(remaining, RUNS_AT_ONCE)):
        payload: dict[str, Any] = {
            "runs": [{"from": r.first, "to": r.last, "digest": r.digest.hex()} for r in part],
            "reason": reason,
        }
        if counts:
            payload["counts"], counts = counts, None
        data = validate_payload("log.truncated", payload)
        subject = removals_stream(log_id).partition("/")[2]
        event = NewEvent("log.truncated", subject, SOURCE, str(uuid.uuid4()), data)
        transaction.append(Append([event]))
    transaction.flush()


def _decoded(data: bytes) -> dict[str, Any]:
    try:
        payload = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return payload if isinstance(payload, dict) else {}
