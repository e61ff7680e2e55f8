"""Applying a plan: item by item, each looked at again in the log, some in one transaction.

An item is purged by its marker, which is recorded only where the stream is as it was planned; what
the marker stands for is then removed by the log itself. What ends a run early leaves every item
either as it was or done, and the next plan holds the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from daemon.backup.errors import StoreUnavailable
from daemon.eventlog.connection import ReadPool
from daemon.eventlog.removal import mark, trim
from daemon.eventlog.requests import Work
from daemon.eventlog.transaction import Transaction
from daemon.intake.message import identity
from daemon.retention.checking import Found, StreamLog, Why, check
from daemon.retention.plan import Item, Plan, Totals
from daemon.retention.streams import are_purged, removable
from domain.alert import AlertState
from domain.catalog import validate_payload
from domain.errors import ChronicledError, NotFound, Unavailable, VersionConflict
from domain.events import NewEvent
from domain.job import JobState
from domain.retention import Action, Policies
from projections.summary import alert_summary, hours_summary, job_summary

SOURCE: Final = "/chronicled/retention"
MARKERS_MAX: Final = 200
"""How many events one transaction records, about: an item is done as a whole."""
SHOWN_MAX: Final = 200
"""How many of the items that were left a result names."""

Progress = Callable[[int, int], None]


class Archiver(Protocol):
    """What moves a job to the archive."""

    def archive(
        self, job: str, rule: str, reason: str, now: int, version: int | None = None
    ) -> object:
        """Move one job, wholly, if it is at this version.

        Raises:
            VersionConflict: it has moved on meanwhile; nothing was done.
            Unavailable, StoreUnavailable: the archive does not answer.

        """
        ...


class WritableLog(StreamLog, Protocol):
    """A log that can be written."""

    def reading(self) -> ReadPool:
        """Return the read connections."""
        ...

    def work(self, work: Work) -> Any:
        """Run a function in a transaction."""
        ...


class _Removal(NamedTuple):
    """An item that is to go, and the events that stand for it: none for the housekeeping.

    The first is its own, the others are of the results that go with it.
    """

    item: Item
    markers: Sequence[NewEvent] = ()
    outside: bool = False


@dataclass
class Applied:
    """What became of a plan: what was done, and which items were left, and why."""

    plan: Plan
    total: int
    done: Totals = field(default_factory=Totals)
    left: list[tuple[Item, Why]] = field(default_factory=list)
    message: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the result as JSON."""
        counts: dict[str, int] = {}
        for _, why in self.left:
            counts[str(why)] = counts.get(str(why), 0) + 1
        return {
            "plan": self.plan.id,
            "planned": self.total,
            "entities": self.total - len(self.left),
            "events": self.done.events,
            "bytes": self.done.bytes,
            "totals": self.done.documents(),
            "left": counts,
            "left_items": [
                {"action": str(item.action), "category": item.category, "id": item.id,
                 "rule": item.rule, "why": str(why)}
                for item, why in self.left[:SHOWN_MAX]
            ],
            "more": self.plan.more + len(self.plan.items) - self.total,
            "unarchivable": self.plan.unarchivable,
            "message": self.message,
        }  # fmt: skip


class Applying:
    """One run over the first items of a plan."""

    def __init__(
        self,
        log: WritableLog,
        policies: Policies,
        plan: Plan,
        now: int,
        *,
        actor: str | None = None,
        archiver: Archiver | None = None,
        batch: int = 20,
        limit: int | None = None,
        pause: Callable[[float], object] = lambda _seconds: None,
    ) -> None:
        self._pause = pause
        self._log, self._policies, self._now = log, policies, max(now, plan.now)
        self._actor, self._archiver, self._batch = actor, archiver, batch
        self._items: Sequence[Item] = plan.items[:limit]
        self._archive_fails = False
        self.result = Applied(plan, len(self._items))

    def run(self, progress: Progress = lambda _done, _total: None) -> Applied:
        """Do what was planned; ``progress`` hears how far that is, and may end it by raising.

        Raises:
            StorageFailed, DiskFull: the disk refused; what was done stays done.

        """
        done, total = 0, len(self._items)
        progress(done, total)
        for start in range(0, total, self._batch):
            began = time.monotonic()
            items = self._items[start : start + self._batch]
            self._remove([item for item in items if item.action is not Action.ARCHIVE])
            for item in items:
                if item.action is Action.ARCHIVE:
                    self._archive(item)
            done += len(items)
            progress(done, total)
            # Who sends events meanwhile has as long for itself.
            self._pause(time.monotonic() - began)
        return self.result

    # -- archive --------------------------------------------------------------------------------

    def _archive(self, item: Item) -> None:
        """Have one job archived; when the archive does not answer, no other is tried."""
        _, why = check(self._log, item, self._policies, self._now)
        if why is None and (self._archiver is None or self._archive_fails):
            why = Why.ARCHIVE
        if why is None and self._archiver is not None:
            try:
                self._archiver.archive(item.id, item.rule, item.reason, self._now, item.version)
            except VersionConflict:
                why = Why.MOVED_ON
            except NotFound:
                why = Why.GONE
            except ChronicledError as error:
                why = Why.ARCHIVE
                self._archive_fails = isinstance(error, Unavailable | StoreUnavailable)
                self.result.message = f"{item.id}: {error.detail}"
        self._note(item, why)

    # -- purge ----------------------------------------------------------------------------------

    def _remove(self, items: Sequence[Item]) -> None:
        """Purge and trim some items in one transaction, or a few where many results go too."""
        removals: list[_Removal] = []
        for item in items:
            if item.action is Action.TRIM:
                removals.append(_Removal(item))
                continue
            found, why = check(self._log, item, self._policies, self._now)
            if found is None or why is not None:
                self._note(item, why)
            else:
                markers = list(self._markers(item, found))
                removals.append(_Removal(item, markers, found.location is not None))
        for part in _parts(removals):
            count = sum(max(len(removal.markers), 1) for removal in part)
            outcomes = self._log.work(Work(partial(_carry_out, part), count))
            for removal, why in zip(part, outcomes, strict=True):
                self._note(removal.item, why)

    def _markers(self, item: Item, found: Found) -> Iterator[NewEvent]:
        """Yield the events that stand for what goes."""
        location = {} if found.location is None else {"location": found.location}
        more = {"summary": _summary(found), **location}
        own = self._marker(item, item.stream, item.version, more)
        yield own
        for part in item.parts:
            yield self._marker(item, part.stream, part.version, {}, own.id)

    def _marker(
        self,
        item: Item,
        stream: str,
        version: int,
        more: Mapping[str, Any],
        cause: str | None = None,
    ) -> NewEvent:
        """Return the event that stands for the events of a stream up to a version."""
        with self._log.reading().connection() as db:
            gone = removable(db, stream, version)
        category, _, subject = stream.partition("/")
        type_ = f"{category}.purged"
        payload = {
            "reason": item.reason,
            "rule": item.rule,
            "replaces": version,
            "counts": {"events": gone.events, "bytes": gone.bytes},
            "digest": gone.digest,
            **more,
        }
        said = {"actor": self._actor, "causationid": cause}
        return NewEvent(
            type_,
            subject,
            SOURCE,
            identity(type_, subject, version),
            validate_payload(type_, payload),
            self._now,
            {name: value for name, value in said.items() if value} or None,
            expected_version=version,
        )

    def _note(self, item: Item, why: Why | None) -> None:
        if why is None:
            self.result.done.add(item)
        else:
            self.result.left.append((item, why))


def _parts(removals: Iterable[_Removal]) -> Iterator[list[_Removal]]:
    """Yield removals by transactions: intake waits for each."""
    part: list[_Removal] = []
    room = MARKERS_MAX
    for removal in removals:
        if part and len(removal.markers) > room:
            yield part
            part, room = [], MARKERS_MAX
        part.append(removal)
        room -= len(removal.markers)
    if part:
        yield part


def _carry_out(removals: Sequence[_Removal], transaction: Transaction) -> list[Why | None]:
    """Ask for each removal; one whose streams have moved on is left."""
    outcomes: list[Why | None] = []
    for item, markers, outside in removals:
        # The log refuses one that has moved on; all of an item go, or none.
        if _have_moved_on(transaction, item, markers):
            outcomes.append(Why.MOVED_ON)
            continue
        if not markers:
            trim(transaction, item.stream, item.version)
        for place, marker in enumerate(markers):
            mark(transaction, marker, outside=outside and place == 0)
        outcomes.append(None)
    return outcomes


def _have_moved_on(transaction: Transaction, item: Item, markers: Sequence[NewEvent]) -> bool:
    """Return whether anything is not as it was planned: also of jobs that name its results too."""
    if any(transaction.version_of(each.stream) != each.expected_version for each in markers):
        return True
    others = {job for part in item.parts for job in part.others}
    if others:
        transaction.flush()
    return not are_purged(transaction.connection, others)


def _summary(found: Found) -> dict[str, Any]:
    """Return what the entity adds to the day summaries, which stays."""
    state = found.state
    if isinstance(state, JobState):
        return job_summary(state)
    if isinstance(state, AlertState):
        return alert_summary(state)
    return hours_summary(found.observed)
