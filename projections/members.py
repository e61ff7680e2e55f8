"""The sets of tables that a runner keeps, each with the fold that writes it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import apsw

from domain.errors import DiskFull, StorageFailed, UnreadableEvent
from projections.job_states import JobStates, Log
from projections.seam import Batch, Fold
from projections.store import STORAGE, Generation

_logger = logging.getLogger(__name__)


@dataclass
class Member:
    """A set of tables; without a fold when it is of another version than this program's."""

    generation: Generation
    fold: Fold | None

    @property
    def active(self) -> bool:
        """Whether it goes on: it fits this program and has not failed."""
        return self.fold is not None and self.generation.error is None


def find_member(members: Sequence[Member], name: str, *, live: bool) -> Member | None:
    """Return the live tables of a projection, or its build; None where there are none."""
    for member in members:
        if member.generation.name == name and member.generation.live == live:
            return member
    return None


def are_caught_up(members: Sequence[Member], names: Iterable[str], head: int) -> bool:
    """Return whether the live tables of every projection that has not failed are at the head."""
    for name in names:
        able = [each for each in members if each.active and each.generation.name == name]
        at_head = any(each.generation.live and each.generation.position >= head for each in able)
        if able and not at_head:
            return False
    return True


def fold_batch(
    db: apsw.Connection, member: Member, batch: Batch, log: Log
) -> tuple[int, str] | None:
    """Apply a batch up to the event that fails, if one does: its position, and the error."""
    if member.fold is None or not batch.events:
        return None
    try:
        with db:
            member.fold.apply(batch)
    except (*STORAGE, StorageFailed, DiskFull):
        # The disk's fault, of the views or of the log: the whole step is tried again.
        raise
    except Exception as error:
        if not db.in_transaction:
            # SQLite has given up all of it, and the end of the savepoint hid why.
            raise apsw.IOError("the transaction was lost") from error
        member.fold.forget()
        if len(batch.events) == 1:
            position = batch.events[0].position
            _logger.exception("%s failed at event %d", member.generation.name, position)
            return position, f"{type(error).__name__}: {error}"
        # The jobs before a half are known to the log alone.
        for half in batch.halves(lambda: JobStates(log)):
            failure = fold_batch(db, member, half, log)
            half.close()
            if failure is not None:
                return failure
    return None


def stopped_before(
    generation: Generation, error: UnreadableEvent, digest: bytes | None
) -> Generation:
    """Return a set of tables that stands before an event that cannot be read."""
    return generation._replace(
        position=error.position - 1,
        digest=digest,
        error=f"{type(error).__name__}: {error.detail}",
        failed_position=error.position,
    )
