"""Making a plan: goes through the views in pages, and asks the log how much each entity is."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from itertools import islice
from typing import Final, Protocol

import apsw

from daemon.retention.plan import AHEAD, DAY, Item, Part, Plan, Upcoming
from daemon.retention.streams import ReadableLog, aged_of, are_purged, others_of, size_of
from domain.errors import NotReady
from domain.retention import ENTITIES, HOUSEKEEPING, Action, Aged, Due, Policies, spoken
from projections.aging import START, AgedPage, Place

PAGE: Final = 500
"""How many rows of the views one page looks at."""

RESULTS_MAX: Final = 1_000
"""How many results of a job are purged with it, at the most."""

Stopping = Callable[[], bool]


class AgedViews(Protocol):
    """Views that say how old things are."""

    def aged(self, category: str, after: Place, until: int, limit: int) -> tuple[AgedPage, int]:
        """Return a page of entities, and the position."""
        ...

    def results_naming(self, jobs: Iterable[str]) -> list[tuple[str, str]]:
        """Return (job, stream) of the results that name jobs."""
        ...


def make_plan(
    log: ReadableLog,
    views: AgedViews,
    policies: Policies,
    now: int,
    *,
    items_max: int,
    archiving: bool,
    stopping: Stopping = lambda: False,
    skip: Container[str] = (),
) -> Plan:
    """Return what is due at a moment, without some streams.

    Raises:
        NotReady: the views are not built, or the daemon stops.

    """
    return _Planning(log, views, policies, now, items_max, archiving, stopping, skip).make()


class _Planning:
    """One plan in the making."""

    def __init__(
        self,
        log: ReadableLog,
        views: AgedViews,
        policies: Policies,
        now: int,
        items_max: int,
        archiving: bool,
        stopping: Stopping,
        skip: Container[str],
    ) -> None:
        self._log, self._views, self._policies = log, views, policies
        self._now, self._items_max = now, items_max
        self._archiving, self._stopping = archiving, stopping
        self._skip = skip
        self._items: list[Item] = []
        self._more = self._unarchivable = 0
        self._as_of: int | None = None
        self._upcoming = Upcoming()
        self._purged: set[str] = set()
        """The jobs that are purged by the items so far."""

    def make(self) -> Plan:
        """Go through every category that a policy speaks of."""
        for category in ENTITIES:
            for page in self._pages(category):
                self._take(page)
        for category in HOUSEKEEPING:
            self._trim(category)
        as_of = 0 if self._as_of is None else self._as_of
        return Plan(self._now, as_of, self._items, self._more, self._unarchivable, self._upcoming)

    def _pages(self, category: str) -> Iterator[list[Aged]]:
        """Yield what began early enough to be due within the days that are looked ahead.

        An age never counts from before an entity began.
        """
        shortest = self._policies.shortest(category)
        if shortest is None:
            return
        until = self._now + max(AHEAD) * DAY - shortest
        place: Place | None = START
        while place is not None:
            if self._stopping():
                raise NotReady("The daemon is stopping.")
            page, as_of = self._views.aged(category, place, until, PAGE)
            self._as_of = as_of if self._as_of is None else min(self._as_of, as_of)
            yield page.items
            place = page.next

    def _take(self, page: list[Aged]) -> None:
        """Plan what is due of a page."""
        found: list[tuple[Aged, Due]] = []
        for entity in page:
            due = self._policies.due(entity, self._now)
            if due is None:
                self._look_ahead(entity)
            elif f"{entity.category}/{entity.id}" in self._skip:
                continue
            elif due.action is Action.ARCHIVE and not self._archiving:
                self._unarchivable += 1
            elif len(self._items) + len(found) >= self._items_max:
                self._more += 1
            else:
                found.append((entity, due))
        if not found:
            return
        results = self._results(found)
        with self._log.reading().connection() as db:
            for entity, due in found:
                self._items.append(self._item(db, entity, due, results.get(entity.id, ())))
                if due.action is Action.PURGE and entity.category == "job":
                    self._purged.add(entity.id)

    def _look_ahead(self, entity: Aged) -> None:
        coming = self._policies.next(entity)
        if coming is not None:
            self._upcoming.add(coming.policy.name, coming.action, coming.at, self._now)

    def _results(self, found: list[tuple[Aged, Due]]) -> dict[str, list[str]]:
        """Return the results that name a job which is to be purged, by job."""
        purged = [
            entity.id
            for entity, due in found
            if due.action is Action.PURGE and entity.category == "job"
        ]
        results: dict[str, list[str]] = {}
        for job, stream in self._views.results_naming(purged) if purged else ():
            results.setdefault(job, []).append(stream)
        return results

    def _trim(self, category: str) -> None:
        """Plan the old events of the housekeeping; each ages by itself, from its recording."""
        policy = self._policies.of(Aged(category, "", None, "", 0, None, 0))
        if policy is None or policy.purge_after is None:
            return
        until, told = self._now - policy.purge_after, spoken(policy.purge_after)
        for stream in self._log.streams_of(category):
            with self._log.reading().connection() as db:
                size, newest = aged_of(db, stream, until)
            if newest is None or not size.events or stream in self._skip:
                continue
            if len(self._items) >= self._items_max:
                self._more += 1
                continue
            self._items.append(
                Item(
                    Action.TRIM,
                    category,
                    stream.partition("/")[2],
                    policy.name,
                    f"{told} after each was recorded",
                    newest + policy.purge_after,
                    *size,
                )
            )

    def _item(self, db: apsw.Connection, entity: Aged, due: Due, results: Iterable[str]) -> Item:
        """Return the item of an entity; results go with the last of their jobs."""
        size = size_of(db, f"{entity.category}/{entity.id}")
        events, in_bytes, parts = size.events, size.bytes, []
        for stream in islice(results, RESULTS_MAX):
            others = others_of(db, stream, entity.id)
            if others is not None and are_purged(db, others - self._purged):
                part = size_of(db, stream)
                if part.version:
                    parts.append(Part(stream, part.version, tuple(sorted(others))))
                    events, in_bytes = events + part.events, in_bytes + part.bytes
        return Item(
            due.action,
            entity.category,
            entity.id,
            due.policy.name,
            due.reason,
            due.at,
            events,
            in_bytes,
            size.version,
            tuple(parts),
        )
