"""Beginning a new epoch in a log's file, and the stretches of positions that epochs left empty."""

from __future__ import annotations

import uuid
from typing import Final

import apsw

from daemon.eventlog.known import Known
from daemon.eventlog.requests import Append
from daemon.eventlog.statements import SQL
from daemon.eventlog.transaction import Transaction
from domain.catalog import validate_payload
from domain.epochs import RESTORED, LostStretch, complete_to, stream_of, told_epoch
from domain.errors import Conflict
from domain.events import NewEvent
from domain.limits import INTEGER_MAX

SOURCE: Final = "/chronicled"
"""The source of the daemon's own events."""


def begin_epoch(
    db: apsw.Connection,
    log_id: str,
    *,
    epoch: int,
    resume_after: int,
    reported_head: int,
    location: str,
    reason: str,
    now: int,
) -> int:
    """Begin an epoch at the position after ``resume_after``, and return that position.

    All of it is done in the caller's transaction, or in one of its own where there is none.

    Raises:
        Conflict: the log is another one, is in this epoch or a later one, or has used positions
            after ``resume_after``; nothing was changed.

    """
    with db:
        _require(db, log_id, epoch, resume_after)
        newest = db.execute(SQL["newest_position"]).get or 0
        db.execute(SQL["raise_counter"], (resume_after,))
        if db.changes() == 0:
            db.execute(SQL["insert_counter"], (resume_after,))
        db.execute(SQL["set_meta"], ("epoch", epoch))
        payload = {
            "epoch": epoch,
            "location": location,
            "complete_to": newest,
            "reported_head": reported_head,
            "reason": reason,
        }
        data = validate_payload(RESTORED, payload)
        event = NewEvent(RESTORED, log_id, SOURCE, str(uuid.uuid4()), data)
        transaction = Transaction(db, Known.read(db, log_id), now, careful=True)
        (receipt,) = transaction.append(Append([event])).receipts
        transaction.flush()
    return receipt.position


def _require(db: apsw.Connection, log_id: str, epoch: int, resume_after: int) -> None:
    present = db.execute(SQL["find_meta"], ("log_id",)).get
    if present != log_id:
        raise Conflict(f"the log is {present}, not {log_id}")
    before = db.execute(SQL["find_meta"], ("epoch",)).get
    if epoch <= before:
        raise Conflict(f"the log is in epoch {before}: epoch {epoch} cannot begin")
    head = Known.read(db, log_id).head.position
    if not head <= resume_after < INTEGER_MAX:
        raise Conflict(f"the log has used {head}: it cannot resume after {resume_after}")


def lost_stretches(db: apsw.Connection, log_id: str) -> tuple[LostStretch, ...]:
    """Return the stretches of positions that the epochs of a log left empty, the oldest first."""
    return tuple(
        LostStretch(before, position, told_epoch(data) or 0)
        for position, data, before in db.execute(SQL["restored_events"], (stream_of(log_id),))
        if complete_to(data) == before
    )
