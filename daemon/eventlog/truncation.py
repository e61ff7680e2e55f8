"""The service that removes what is to be removed from the log, packs it, and gives room back.

A step is one short transaction of the writer, so that intake waits no longer for it than for any
group of events. Rows go only when every projection has passed the event that stands for them, so
that nobody has to fold an entity of which a part is gone, and when the backup has them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

from daemon.eventlog.log import EventLog
from daemon.eventlog.packing import is_worth_packing, pack_some
from daemon.eventlog.removal import (
    RUNS_AT_ONCE,
    Removed,
    Run,
    removable_streams,
    remove_some,
    tell_runs,
    trim,
)
from daemon.eventlog.requests import Work
from daemon.eventlog.statements import SQL
from daemon.eventlog.transaction import Transaction
from domain.epochs import removals_stream

LOOK_SECONDS: Final = 5.0
"""How often it looks for work that nobody told it of."""
ROWS_MAX: Final = 500
ROWS_MIN: Final = 10
WORK_SECONDS: Final = 0.008
"""How long one transaction may take of the writer's time, about."""
PAGES_AT_ONCE: Final = 128
"""How many pages one step gives back."""
PAGE_BYTES: Final = 4096
FREE_PAGES_MIN: Final = 256
FREE_SHARE: Final = 20
"""Pages are given back while more than 256, and more than a twentieth of the file, are free."""
TOLD_SHARE: Final = 2
TOLD_MIN: Final = 2_000
"""The runs are told anew when the events tell 2,000 more than twice as many as there are."""

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class TruncationBoard:
    """What was removed since the start, and what waits."""

    events: int = 0
    bytes: int = 0
    pages: int = 0
    pending: int = 0
    outside: int = 0
    waits_for: str = ""
    """Why nothing is removed now although something is pending."""


class Bound:
    """Up to where rows may be removed now: those before ``position``; ``why`` it is no more."""

    def __init__(self, position: int, why: str = "") -> None:
        self.position = position
        self.why = why


class _Retold(NamedTuple):
    """Up to which version the runs were told ``before``, and after which the next ones come."""

    before: int
    after: int = 0


class Truncation:
    """Removes rows, tells the runs, gives pages back; driven by `step`."""

    name = "truncation"

    def __init__(self, log: EventLog, bound: Callable[[], Bound]) -> None:
        self.woken = threading.Event()
        self.board = TruncationBoard()
        self._log = log
        self._bound = bound
        self._rows = ROWS_MAX // 5
        self._dirty = True
        """Whether there may be room to give back, or bytes of removed rows beside the file."""
        self._told: int | None = None
        """How many runs the events tell, about; None where it is to be counted."""
        self._retold: _Retold | None = None
        """How far the runs are told anew, while they are."""
        self._packed: int | None = None
        """Up to where the log is packed, while it is."""
        self._seconds = 0.0

    def step(self, now: int) -> float | None:  # noqa: ARG002
        """Do one bounded piece of work; after it the writer has about as long for others."""
        if self._remove() or self._tell_anew() or self._pack() or self._give_back():
            return self._seconds
        return LOOK_SECONDS

    def run_dry(self) -> TruncationBoard:
        """Do all that can be done now, and say what was done since the start."""
        while self.step(0) != LOOK_SECONDS:
            pass
        return self.board

    def _work(self, run: Callable[[Transaction], Any]) -> Any:
        def timed(transaction: Transaction) -> Any:
            began = time.thread_time()
            try:
                return run(transaction)
            finally:
                self._seconds = time.thread_time() - began

        return self._log.work(Work(timed))

    # -- rows ------------------------------------------------------------------------------------

    def _remove(self) -> bool:
        with self._log.reading().connection() as db:
            pending, outside = db.execute(SQL["count_removals"]).fetchone() or (0, 0)
        board = self.board
        board.pending, board.outside, board.waits_for = pending, outside, ""
        if pending == outside:
            return False
        bound = self._bound()
        with self._log.reading().connection() as db:
            streams = removable_streams(db, bound.position) if bound.position else []
        if not streams:
            board.waits_for = bound.why
            return False
        removed: Removed = self._work(partial(self._remove_from, streams, bound.position))
        if not removed.events and not removed.streams:
            why = self._log.kept_for
            board.waits_for = f"{why} reads the log" if why else bound.why
            return False
        self._dirty = True
        board.events += removed.events
        board.bytes += removed.bytes
        if self._told is not None:
            self._told += removed.events
        slow = self._seconds > WORK_SECONDS
        self._rows = max(ROWS_MIN, self._rows // 2) if slow else min(ROWS_MAX, self._rows + 25)
        return True

    def _remove_from(self, streams: list[int], before: int, transaction: Transaction) -> Removed:
        """Remove a part, unless somebody has begun to read all of the log meanwhile."""
        if self._log.kept_for:
            return Removed()
        return remove_some(
            transaction,
            self._log.log_id,
            streams=streams,
            before=before,
            rows_max=self._rows,
        )

    # -- runs ------------------------------------------------------------------------------------

    def _tell_anew(self) -> bool:
        """Tell all runs once more, and have the events removed that told them before.

        Runs grow together, so that most of what was told is told again by longer ones.
        """
        if self._retold is not None:
            return self._tell_page(self._retold)
        if self.board.pending > self.board.outside:
            # It may be those of last time that still wait to go.
            return False
        stream = removals_stream(self._log.log_id)
        with self._log.reading().connection() as db:
            if self._told is None:
                self._told = int(db.execute(SQL["told_runs"], (stream,)).get or 0)
            if self._told < TOLD_MIN:
                return False
            runs = int(db.execute(SQL["count_runs"]).get or 0)
            if self._told < TOLD_MIN + TOLD_SHARE * runs:
                return False
            self._told = int(db.execute(SQL["told_runs"], (stream,)).get or 0)
        if self._told < TOLD_MIN + TOLD_SHARE * runs:
            return False
        before: int = self._work(lambda transaction: transaction.version_of(stream))
        self._retold = _Retold(before)
        return True

    def _tell_page(self, retold: _Retold) -> bool:
        """Tell the next runs anew; after the last of them ask for what told them before to go."""
        self._retold = self._work(partial(self._tell_runs, retold))
        if self._retold is None:
            self._told = None
        return True

    def _tell_runs(self, retold: _Retold, transaction: Transaction) -> _Retold | None:
        """Tell a part of the runs; return what is left to do."""
        transaction.flush()
        log_id = self._log.log_id
        asked = (retold.after, RUNS_AT_ONCE)
        rows: Any = transaction.connection.execute(SQL["runs_after"], asked).fetchall()
        tell_runs(transaction, log_id, [Run(*row) for row in rows], "told again")
        if len(rows) == RUNS_AT_ONCE:
            return retold._replace(after=rows[-1][0])
        trim(transaction, removals_stream(log_id), retold.before)
        return None

    # -- room ------------------------------------------------------------------------------------

    def _pack(self) -> bool:
        """Pack some rows, once so much was removed that it is worth it."""
        if self._packed is None:
            if not self._dirty:
                return False
            with self._log.reading().connection() as db:
                if not is_worth_packing(db):
                    return False
            self._packed = 0
        self._packed = self._work(partial(pack_some, after=self._packed))
        return True

    def _give_back(self) -> bool:
        """Give pages back to the file system; at the end empty the write-ahead log."""
        if not self._dirty:
            return False
        freed: int = self._work(give_back_pages)
        self.board.pages += freed
        if freed == 0:
            self._dirty = False
            self._log.empty_wal()
        return freed > 0


def give_back_pages(transaction: Transaction) -> int:
    """Give some free pages back, where there are many; return how many."""
    db = transaction.connection
    free, pages = int(db.pragma("freelist_count")), int(db.pragma("page_count"))
    if free <= max(FREE_PAGES_MIN, pages // FREE_SHARE):
        return 0
    return free_pages(transaction, PAGES_AT_ONCE)


def free_pages(transaction: Transaction, most: int) -> int:
    """Give up to so many free pages back to the file system; return how many that were."""
    transaction.flush()
    db = transaction.connection
    free = int(db.pragma("freelist_count"))
    # The pragma frees one page a step of the statement.
    db.execute(f"PRAGMA incremental_vacuum({most:d})").fetchall()
    return free - int(db.pragma("freelist_count"))
