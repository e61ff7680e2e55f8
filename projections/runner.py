"""Brings the projections up to the log, one bounded batch a step.

Sets of tables at the same position share a lane: one page of events, read once, applied to each of
them in one transaction with their new positions. Live tables come first, builds behind them. A
lane's page ends where the next lane stands, so lanes that meet become one; a build that has reached
its live tables (or the head of the log, when those stand still) takes their place.

A projection that raises is rolled back alone, up to the very event it fails at; the others go on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import apsw

from domain.errors import ChronicledError, DiskFull, NotFound, StorageFailed, UnreadableEvent
from domain.events import RecordedEvent
from domain.suggest import did_you_mean
from projections import members as lanes_of
from projections import store as storage
from projections.bulk import BULK_EVENTS_MIN, BulkBuild, begin_bulk
from projections.entities import Entities, drop_ended, stretches
from projections.job_states import JobStates
from projections.jobs import JobsFold
from projections.members import Member, are_caught_up, find_member
from projections.pages import events_before, read_page
from projections.progress import Projector
from projections.registry import PROJECTIONS
from projections.seam import Batch, Feed, Projection, ProjectionStatus
from projections.search import merge_words
from projections.store import Store, open_store, statuses
from projections.whole import StartFolding

BATCH_EVENTS: Final = 10_000
"""How many events one transaction of the live tables takes, at the most."""
BESIDE_EVENTS: Final = 5_000
"""The same of a build beside live tables, which wait for it meanwhile."""
BUILD_EVENTS: Final = 20_000
"""The same while everything is being built: rows that change often are then written once."""
UNINDEXED_MAX: Final = 2_000_000
"""So far a first build is without its indexes: to make one takes seconds, and room in the WAL."""
INDEXED_AT_ONCE_MAX: Final = 100_000
"""Up to here all indexes are made in one step."""
UNINDEXED_BESIDE_MAX: Final = 1_000_000
"""The same of a build of whole streams beside live tables, which wait meanwhile."""

T = TypeVar("T")

_logger = logging.getLogger(__name__)


class ProjectionRunner(Projector):
    """Keeps ``views.db`` up to date with a log; a service driven by `step`.

    `step` belongs to one thread at a time, everything else may be called from any.
    """

    name = "projections"

    def __init__(
        self,
        path: Path,
        feed: Feed,
        projections: Sequence[Projection] = PROJECTIONS,
        *,
        batch_events: int = BATCH_EVENTS,
        build_events: int = BUILD_EVENTS,
        bulk_events: int = BULK_EVENTS_MIN,
        synchronous: str = "NORMAL",
        folding: StartFolding | None = None,
        folding_beside: bool = True,
        make_durable: Callable[[Path], None] = lambda _: None,
    ) -> None:
        super().__init__(projection.name for projection in projections)
        self.woken = threading.Event()
        self._path = path
        self._feed = feed
        self._before = partial(events_before, feed)
        self._projections = {projection.name: projection for projection in projections}
        self._batch_events = batch_events
        self._build_events = build_events
        self._bulk_events = bulk_events
        self._synchronous = synchronous
        self._start_folding = folding
        self._folding_beside = folding_beside
        self._make_durable = make_durable
        self._bulk: BulkBuild | None = None
        self._bulk_failed = self._distrusted = False
        self._store: Store | None = None
        self._members: list[Member] = []
        self._states: dict[int, JobStates] = {}
        self._numbers: dict[int, Entities] = {}
        self._requested: set[str] = set()
        self._head = 0
        # Views of another log must be gone before the first reader comes; a disk may refuse now.
        try:
            self._guarded(self._opened)
        except ChronicledError:
            _logger.exception("the views cannot be opened yet")
            self._publish()

    # -- what others ask and say, on any thread ------------------------------------------------

    def wake(self) -> None:
        """Say that there may be new events."""
        self.woken.set()

    def request_rebuild(self, name: str | None = None) -> None:
        """Ask for a projection (default: all of them) to be built again from the log.

        It is `rebuilding` in the status from now until the new tables are live. One that is being
        built already goes on.

        Raises:
            NotFound: there is no such projection.

        """
        if name is not None and name not in self._projections:
            hint = did_you_mean(name, self._projections)
            raise NotFound(f"there is no projection {name!r}; {hint}")
        with self._published:
            self._requested |= {name} if name else set(self._projections)
        self._publish()
        self.wake()

    def distrust(self) -> None:
        """Say that a reader found the file damaged: the next step moves it away and rebuilds."""
        self._distrusted = True
        self.wake()

    @property
    def position(self) -> int:
        """How far every set of tables is that has not failed; the head where there is none."""
        positions = [each.generation.position for each in self._members if each.active]
        return min(positions, default=self._head)

    @property
    def head(self) -> int:
        """The newest position of the log when the last step began."""
        return self._head

    def close(self) -> None:
        """Close the file; call it when no thread runs `step` any more."""
        self._end()
        self._release()

    # -- the work ------------------------------------------------------------------------------

    def step(self, now: int) -> float | None:  # noqa: ARG002
        """Apply at most one batch to each lane; 0 when there is more to do.

        Raises:
            StorageFailed, DiskFull: the disk refused; nothing of the batch was written.

        """
        if self._distrusted:
            self._put_aside("a reader found it damaged")
        worked = self._guarded(self._work)
        # None: the file was damaged, and is to be built afresh.
        return None if worked is False else 0

    def _work(self) -> bool:
        store = self._opened()
        self._begin_requested(store)
        self._begin_bulk(store)
        worked = self._advance_bulk(store)
        if self._advance_lanes(store) or worked:
            return True
        if self._drop_ended(store) or store.sweep():
            return True
        built = all(member.generation.live for member in self._members)
        return built and merge_words(store.db)

    def _guarded(self, work: Callable[[], T]) -> T | None:
        """Do something with the file; a damaged one is put aside, and the answer is None."""
        try:
            return work()
        except storage.DAMAGED as error:
            self._put_aside(str(error))
            return None
        except Exception as error:
            # What the members remember may not be what the file holds: start from the file again.
            self._release()
            if isinstance(error, storage.STORAGE):
                raise storage.translate(error) from error
            raise

    def catch_up(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Step until nothing is left to do; for those who have no thread for it."""
        while self.step(0) is not None:
            if progress is not None:
                status = self.status()
                done = min((max(each.position, each.built or 0) for each in status), default=0)
                progress(done, max((each.head for each in status), default=0))

    def _opened(self) -> Store:
        if self._store is not None and self._store.removed:
            _logger.warning("%s was taken away; the views are opened again", self._path)
            self._release()
        if self._store is None:
            # Where a sync failed, none that follows would write it.
            self._make_durable(self._path)
            self._store = open_store(self._path, self._feed, synchronous=self._synchronous)
            with self._store.transaction():
                self._store.set_epoch(self._feed.epoch)
                self._members = self._resume(self._store)
            self._publish()
        return self._store

    def _release(self) -> None:
        if self._bulk is not None:
            self._bulk.close()
            self._bulk = None
        if self._store is not None:
            with suppress(apsw.Error):
                self._store.close()
        self._store, self._members, self._states, self._numbers = None, [], {}, {}

    def _put_aside(self, why: str) -> None:
        _logger.error("%s is moved away and built afresh: %s", self._path, why)
        self._release()
        storage.put_aside(self._path, "damaged")
        self._distrusted = False

    def _resume(self, store: Store) -> list[Member]:
        """Take up the tables that fit this program, retire the rest, begin what is missing."""
        members = []
        again = set()
        for found in store.generations():
            projection = self._projections.get(found.name)
            fits = projection is not None and found.version == projection.version
            if projection is None or not (fits or found.live):
                store.retire(found)
                again |= {found.name} if found.version == storage.NO_VERSION else set()
            elif fits:
                # A failed one is tried again after a restart: the fault may have been mended.
                build = found._replace(error=None, failed_position=None)
                members.append(Member(build, projection.fold(store.db, build.prefix)))
            else:
                members.append(Member(found, None))
        # Nobody waits for a first build: it gets its indexes at the end, all at once.
        first = not any(each.active and each.generation.live for each in members)
        for name, projection in self._projections.items():
            able = any(each.fold for each in members if each.generation.name == name)
            if name in again or not able:
                members.append(self._begin(store, projection, indexed=not first))
        return members

    def _begin(self, store: Store, projection: Projection, *, indexed: bool = True) -> Member:
        _logger.info("building %s version %d", projection.name, projection.version)
        build = store.begin_build(projection, indexed=indexed)
        return Member(build, projection.fold(store.db, build.prefix))

    def _begin_requested(self, store: Store) -> None:
        with self._published:
            requested = set(self._requested)
        if not requested:
            return
        with store.transaction():
            for name in sorted(requested):
                build = find_member(self._members, name, live=False)
                if build is not None and build.active:
                    continue
                if build is not None:
                    store.retire(build.generation)
                    self._members.remove(build)
                self._members.append(self._begin(store, self._projections[name]))
        with self._published:
            self._requested -= requested

    # -- builds of whole streams ---------------------------------------------------------------

    def _begin_bulk(self, store: Store) -> None:
        """Build what begins at the beginning of a long log from whole streams, where that goes."""
        if self._bulk is None and not self._bulk_failed:
            builds = [
                (self._projections[each.generation.name], each.generation)
                for each in self._members
                if each.active and not each.generation.live and each.generation.position == 0
            ]
            live = any(each.active and each.generation.live for each in self._members)
            most = UNINDEXED_BESIDE_MAX if live else UNINDEXED_MAX
            folding = None if live and not self._folding_beside else self._start_folding
            self._bulk = begin_bulk(store, self._feed, builds, folding, self._bulk_events, most)

    def _advance_bulk(self, store: Store) -> bool:
        """Write the next part of the build of whole streams; return whether there is such a build.

        What fails in it is left to the ordinary way, which finds out what fails, and where.
        """
        bulk = self._bulk
        if bulk is None:
            return False
        try:
            finished = bulk.step(self._feed)
        except (*storage.STORAGE, StorageFailed, DiskFull):
            raise
        except Exception:
            _logger.warning("the log cannot be built from whole streams", exc_info=True)
            self._give_up_bulk(store, bulk)
            return True
        if finished is not None:
            bulk.close()
            self._bulk = None
            for member in self._members:
                member.generation = finished.get(member.generation.number, member.generation)
        self._publish()
        return True

    def _give_up_bulk(self, store: Store, bulk: BulkBuild) -> None:
        bulk.close()
        self._bulk, self._bulk_failed = None, True
        with store.transaction():
            for place, member in enumerate(self._members):
                if member.generation.number in bulk.numbers:
                    store.retire(member.generation)
                    projection = self._projections[member.generation.name]
                    live = find_member(self._members, projection.name, live=True) is not None
                    self._members[place] = self._begin(store, projection, indexed=live)

    def _advance_lanes(self, store: Store) -> bool:
        """Apply one batch to each lane, the foremost first; return whether there was any."""
        lanes: dict[int, list[Member]] = {}
        in_bulk = self._bulk.numbers if self._bulk is not None else ()
        for member in self._members:
            if member.active and member.generation.number not in in_bulk:
                lanes.setdefault(member.generation.position, []).append(member)
        self._states = {after: self._states[after] for after in lanes if after in self._states}
        self._numbers = {after: self._numbers[after] for after in lanes if after in self._numbers}
        worked = False
        following: int | None = None
        head = self._feed.head()
        for after, members in sorted(lanes.items(), reverse=True):
            # A build of whole streams may have come past the live tables, and taken their place.
            lane = [member for member in members if member in self._members]
            worked |= bool(lane) and self._advance(store, lane, after, following)
            following = min(
                (each.generation.position for each in lane if each.active), default=None
            )
        if not worked:
            self._publish(head)
        return worked

    def _advance(self, store: Store, lane: list[Member], after: int, following: int | None) -> bool:
        """Apply the next page to the members of a lane, in one transaction."""
        limit = self._batch_events
        if not any(member.active and member.generation.live for member in lane):
            # A build beside live tables takes small steps, so that they do not fall behind.
            live = any(member.active and member.generation.live for member in self._members)
            limit = min(limit, BESIDE_EVENTS) if live else self._build_events
        if following is not None:
            limit = min(limit, following - after)
        head = self._feed.head()
        blocked: UnreadableEvent | None = None
        try:
            page, last = read_page(self._feed, after, limit)
        except UnreadableEvent as error:
            # Behind where the next lane stands it is not this lane's business yet.
            page, last = [], True
            blocked = error if following is None or error.position <= following else None
        reached = page[-1].position if page else after
        if blocked is not None:
            reached = blocked.position - 1
        elif last:
            # Positions may have gaps (an epoch, other users of the log's file), also at the end.
            reached = max(reached, head)
        if following is not None and reached > following:
            page = [event for event in page if event.position <= following]
            reached = following
        idle = reached == after and blocked is None
        if idle and not any(self._is_complete(each, reached >= head) for each in lane):
            return False
        with store.transaction():
            if blocked is None:
                self._apply(store, lane, page, reached)
            else:
                self._fail(store, lane, blocked)
            for member in lane:
                complete = self._is_complete(member, reached >= head)
                if complete or (reached > UNINDEXED_MAX and not member.generation.live):
                    complete &= self._is_indexed(store, member)
                if complete:
                    self._swap(store, member)
            self._drop_ended(store)
            store.set_head(head)
        self._publish(head)
        return True

    def _apply(
        self, store: Store, lane: list[Member], page: Sequence[RecordedEvent], reached: int
    ) -> None:
        """Apply a page, stretch by stretch: in each, an entity has one life at the most."""
        parts = stretches(page)
        for number, part in enumerate(parts, 1):
            active = [member for member in lane if member.active]
            if active:
                end = reached if number == len(parts) else part[-1].position
                self._apply_stretch(store, active, part, end)

    def _apply_stretch(
        self, store: Store, lane: list[Member], events: Sequence[RecordedEvent], reached: int
    ) -> None:
        states = self._states_of(lane)
        after = lane[0].generation.position
        numbers = self._numbers.pop(after, None) or Entities(store.db)
        ahead = [each.generation.position for each in self._members]
        numbered = numbers.number(events, min([at for at in ahead if at > after], default=None))
        whole = Batch(events, numbered.entities, states, numbered.ended)
        for member in lane:
            batch = whole.of(self._projections[member.generation.name].types)
            failure = lanes_of.fold_batch(store.db, member, batch, self._before)
            position = reached if failure is None else failure[0] - 1
            newest = next((event for event in reversed(events) if event.position <= position), None)
            member.generation = member.generation._replace(
                position=position,
                digest=self._feed.digest_at(position),
                recordedtime=newest.recordedtime if newest else member.generation.recordedtime,
                error=failure and failure[1],
                failed_position=failure and failure[0],
            )
            store.advance(member.generation)
        self._numbers[reached] = numbers
        if whole.jobs_are_known:
            self._states[reached] = states
        whole.close()

    def _drop_ended(self, store: Store) -> bool:
        """Drop the numbers of lives that every set of tables has seen the end of."""
        positions = [member.generation.position for member in self._members]
        return drop_ended(store.db, min(positions, default=0))

    def _fail(self, store: Store, lane: list[Member], error: UnreadableEvent) -> None:
        """Fail a lane at an event that this program cannot read: to pass over it would be wrong."""
        _logger.error("the projections stop: %s", error.detail)
        digest = self._feed.digest_at(error.position - 1)
        for member in lane:
            member.generation = lanes_of.stopped_before(member.generation, error, digest)
            store.advance(member.generation)

    def _states_of(self, lane: list[Member]) -> JobStates:
        """Return the jobs as of the position of a lane."""
        states = self._states.pop(lane[0].generation.position, None)
        if states is None:
            states = JobStates(self._before)
        folds = [member.fold for member in lane if isinstance(member.fold, JobsFold)]
        states.rows = folds[0].load if folds else None
        return states

    def _is_complete(self, member: Member, at_head: bool) -> bool:
        """Whether a build may take the place of the live tables, or is all there will be."""
        if member.generation.live:
            return False
        live = find_member(self._members, member.generation.name, live=True)
        if not member.active:
            # The rows before the event it fails at are better than none.
            return live is None
        if live is not None and live.active:
            return member.generation.position >= live.generation.position
        return at_head

    def _is_indexed(self, store: Store, member: Member) -> bool:
        """Make the indexes that a build lacks, of a large one one a step; return if it has all."""
        projection = self._projections[member.generation.name]
        while store.add_index(projection, member.generation):
            # One that has failed has no further step.
            if member.active and member.generation.position > INDEXED_AT_ONCE_MAX:
                return False
        return True

    def _swap(self, store: Store, member: Member) -> None:
        build = member.generation
        live = find_member(self._members, build.name, live=True)
        member.generation = store.swap(build, live.generation if live else None)
        member.fold = self._projections[build.name].fold(store.db, "")
        if live is not None:
            self._members.remove(live)
        _logger.info("%s version %d is live at %d", build.name, build.version, build.position)

    def _publish(self, head: int | None = None) -> None:
        """Show the others how the projections stand."""

        def read() -> list[ProjectionStatus]:
            if head is not None:
                self._head = head
                self._caught_up = self._caught_up or are_caught_up(
                    self._members, self._projections, head
                )
            generations = [member.generation for member in self._members]
            if self._bulk is not None:
                generations = [self._bulk.shown(each) for each in generations]
            return statuses(self._projections.values(), generations, self._head, self._requested)

        self._show(read)
