"""Purges are forgotten after their time: what tombstones say is taken over, a day in one event.

A tombstone keeps what an entity adds to the summary. So that the log does not grow with all that
ever was, those that are older than ``[retention] tombstones`` are removed, and a `log.summarised`
for each day they count for says what they said, in the same transaction.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple, Protocol

import orjson

from daemon.eventlog.connection import ReadPool
from daemon.eventlog.epochs import SOURCE
from daemon.eventlog.removal import take_over
from daemon.eventlog.requests import Work
from daemon.eventlog.statements import SQL
from daemon.eventlog.transaction import Transaction
from daemon.eventlog.truncation import Bound
from domain.catalog import validate_payload
from domain.epochs import day_stream
from domain.events import NewEvent, RecordedEvent
from projections.purged import SUMMARISED, Counted, day_counts, taken_over
from projections.summary import day_text

TOMBSTONES_AT_ONCE: Final = 200
"""How many tombstones one transaction takes over."""
WAIT_SECONDS: Final = 30.0
"""How long it is waited until the projections have read all of the log."""


class Log(Protocol):
    """The log, as far as it is needed here."""

    @property
    def log_id(self) -> str:
        """Which log this is."""
        ...

    @property
    def kept_for(self) -> str:
        """For what nothing is removed now; empty where something may be."""
        ...

    def head(self) -> int:
        """Return the newest position."""
        ...

    def position_at(self, moment: int) -> int:
        """Return the last position recorded at or before a moment."""
        ...

    def read_stream(self, stream: str) -> Sequence[RecordedEvent]:
        """Return the events of a stream."""
        ...

    def reading(self) -> ReadPool:
        """Return the read connections."""
        ...

    def work(self, work: Work) -> Any:
        """Run a function inside the writer's transaction."""
        ...


class KeptSums(Protocol):
    """The views, as far as they know what purges add to the summary."""

    def purged_sums(self, days: Iterable[int]) -> tuple[dict[Counted, int], int]:
        """Return what all purges add to some days, and as of which position."""
        ...


class _Tombstone(NamedTuple):
    position: int
    stream: str
    version: int
    type: str
    payload: Mapping[str, Any]


class Summarising:
    """Takes over what tombstones say that are older than a term (microseconds; None: never).

    ``alone`` keeps everybody else from purging meanwhile, ``wait`` waits until the projections have
    passed a position, and ``bound`` says up to where rows may go.
    """

    def __init__(
        self,
        log: Log,
        views: KeptSums,
        term: int | None,
        *,
        alone: Callable[[], AbstractContextManager[None]],
        wait: Callable[[int], bool],
        bound: Callable[[], Bound],
    ) -> None:
        self._log = log
        self._views = views
        self._term = term
        self._alone = alone
        self._wait = wait
        self._bound = bound

    def run(self, now: int) -> dict[str, int]:
        """Take over what is due at a moment, and say how many tombstones that were.

        What cannot be done now is done another time.
        """
        forgotten = 0
        if self._term is not None:
            after, upto = 0, self._log.position_at(now - self._term)
            while page := self._tombstones(after, upto):
                with self._alone():
                    if not self._take_over(page):
                        break
                forgotten += len(page)
                after = page[-1].position
        return {"forgotten": forgotten}

    def _tombstones(self, after: int, upto: int) -> list[_Tombstone]:
        asked = (after, upto, TOMBSTONES_AT_ONCE)
        with self._log.reading().connection() as db:
            rows: Any = db.execute(SQL["tombstones_upto"], asked).fetchall()
        return [
            _Tombstone(position, stream, version, type_, orjson.loads(data))
            for position, stream, version, type_, data in rows
        ]

    def _take_over(self, tombstones: Sequence[_Tombstone]) -> bool:
        """Take over some tombstones; return False where they may not go yet."""
        purged = max(each.position for each in tombstones)
        head = self._log.head()
        if not self._wait(head) or self._bound().position <= purged:
            return False
        removed: Counter[Counted] = Counter()
        for each in tombstones:
            for counted, number in day_counts(each.type, each.payload.get("summary") or {}):
                removed[counted] += number
        days = sorted({counted[0] for counted in removed})
        total, as_of = self._views.purged_sums(days)
        if as_of < head:
            return False
        events = [self._event(day, total, removed) for day in days]
        streams = [(each.stream, each.version) for each in tombstones]
        log_id = self._log.log_id

        def run(transaction: Transaction) -> bool:
            if self._log.kept_for:
                return False
            take_over(transaction, log_id, events, streams)
            return True

        done: bool = self._log.work(Work(run))
        return done

    def _event(
        self, day: int, total: Mapping[Counted, int], removed: Mapping[Counted, int]
    ) -> NewEvent:
        """Return the event that says for a day what all purges add, and what of it is forgotten."""
        text = day_text(day)
        stream = day_stream(self._log.log_id, text)
        gone = Counter({each: number for each, number in removed.items() if each[0] == day})
        for earlier in self._log.read_stream(stream):
            for counted, _, number in taken_over(earlier):
                gone[counted] += number
        sums = [[*each[1:], total[each], gone[each]] for each in sorted(total) if each[0] == day]
        data = validate_payload(SUMMARISED, {"day": text, "sums": sums})
        return NewEvent(SUMMARISED, stream.partition("/")[2], SOURCE, str(uuid.uuid4()), data)
