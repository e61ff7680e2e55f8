"""Forgetting: objects that hold what was removed from the log since, or redacted, go in time.

Which they are follows from the log: an object was made when the log was at some position, and what
was decided after that about positions within it is not in it. So nothing has to be noted, and a
daemon that takes the place over finds the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from daemon.backup.container import Header
from daemon.backup.errors import ObjectDamaged
from daemon.backup.lineage import counts
from daemon.backup.manifest import Forgetting, Ledger, Snapshot
from daemon.backup.names import Range
from daemon.backup.restore import Listing
from daemon.backup.segment import EVENTS_MAX, Sealed, Source, store_sealed
from daemon.backup.shipped_log import Decision, ShippedLog
from daemon.backup.store import ObjectStore
from daemon.backup.tidying import Tidying

_TRIES: Final = 100
"""So many other ends are tried where a segment would have the name of one that goes."""


class Stale(NamedTuple):
    """What holds something that was removed or redacted, each with since when (microseconds)."""

    snapshots: dict[Snapshot, int]
    segments: dict[Range, int]
    bytes: int

    def summary(self, forget_after: int) -> Forgetting | None:
        """Return what the manifest says of it, None where there is nothing."""
        times = [*self.snapshots.values(), *self.segments.values()]
        if not times:
            return None
        since = min(times)
        return Forgetting(
            objects=len(times), bytes=self.bytes, since=since, due=since + forget_after
        )


class Forgetter:
    """Has the place of one writer forget, ``forget_after`` microseconds after the log did."""

    def __init__(
        self,
        store: ObjectStore,
        ledger: Ledger,
        log: ShippedLog,
        tidying: Tidying,
        forget_after: int,
    ) -> None:
        self.forget_after = forget_after
        self._store = store
        self._ledger = ledger
        self._log = log
        self._tidying = tidying
        self._source = Source(Path(log.path), log.log_id)

    def forget(self, now: int, stopping: Callable[[], bool] = lambda: False) -> int:
        """Replace or remove what is due, and say in the manifest what is left; return how many.

        Raises:
            BackupError, StorageFailed: it could not be done now.

        """
        # What somebody who was killed did not get to remove.
        self._tidying.remove(self._ledger.manifest.replaced)
        stale = self._look()
        gone = self._forget_snapshots(stale, now)
        due = [at for at in stale.segments.values() if at + self.forget_after <= now]
        if due and not stopping():
            gone += self._rewrite(sorted(stale.segments), stopping)
        left = (self._look() if gone else stale).summary(self.forget_after)
        if left != self._ledger.manifest.forgetting:
            told = {"forgetting": left}
            self._ledger.change(lambda manifest: manifest.model_copy(update=told))
        return gone

    def snapshot_since(self) -> int | None:
        """Return since when the newest snapshot holds what was removed or redacted."""
        newest = self._ledger.manifest.newest()
        return (
            _since(self._log.decisions(), newest.position, 1, newest.position) if newest else None
        )

    # -- what holds it ---------------------------------------------------------------------------

    def _look(self) -> Stale:
        decisions = self._log.decisions()
        if not decisions:
            return Stale({}, {}, 0)
        manifest, snapshots, size = self._ledger.manifest, dict[Snapshot, int](), 0
        for snapshot in manifest.snapshots:
            since = _since(decisions, snapshot.position, 1, snapshot.position)
            if since is not None:
                snapshots[snapshot] = since
                size += snapshot.bytes
        listing, segments = Listing.of(self._store, manifest), dict[Range, int]()
        for range_ in listing.segments:
            if range_.last > manifest.shipped or not counts(range_, manifest.epochs):
                continue
            header = None
            with suppress(ObjectDamaged):
                header = listing.header(self._store, range_.segment)
            since = self._segment_since(decisions, range_, header)
            if since is not None:
                segments[range_] = since
                size += listing.sizes[range_.segment]
        return Stale(snapshots, segments, size)

    def _segment_since(
        self, decisions: Sequence[Decision], range_: Range, header: Header | None
    ) -> int | None:
        # A merged one is as old as the oldest of its parts, however far it goes; of one that does
        # not tell it, nothing is known but that it was not made before its first event.
        made = (header and header.head) or range_.first
        since = _since(decisions, made, range_.first, range_.last)
        if since is None or header is None:
            return since
        redacted = [each for each in decisions if each.redacted]
        if self._log.count(range_.first, range_.last) == header.count:
            # Stretches without events grow: this time nothing of it was removed.
            return _since(redacted, made, range_.first, range_.last)
        return since

    # -- doing it --------------------------------------------------------------------------------

    def _forget_snapshots(self, stale: Stale, now: int) -> int:
        """Remove snapshots that are due, if a newer one can be used that holds nothing of it."""
        fresh = [
            each
            for each in self._ledger.manifest.snapshots
            if each not in stale.snapshots and each.proof != "failed"
        ]
        if not fresh:
            return 0
        due = [each.name for each, at in stale.snapshots.items() if at + self.forget_after <= now]
        names = set(due)
        self._tidying.remove(due, lambda manifest: manifest.without_snapshots(names))
        return len(due)

    def _rewrite(self, stale: Sequence[Range], stopping: Callable[[], bool]) -> int:
        """Store the events of some segments again as the log has them now, and remove those."""
        manifest = self._ledger.manifest
        taken = {each.segment for each in Listing.of(self._store, manifest).segments}
        gone = {each.segment for each in stale}
        after, end = stale[0].first - 1, max(each.last for each in stale)
        while after < end:
            if stopping():
                return 0
            sealed = self._sealed(after, manifest.epoch, manifest.shipped, gone)
            range_ = Range(sealed.header.first, sealed.header.last, sealed.header.epoch)
            if range_.segment not in taken:
                store_sealed(self._store, sealed)
            self._tidying.require_right(range_)
            after = sealed.header.last
        self._tidying.remove(gone)
        return len(gone)

    def _sealed(self, after: int, epoch: int, upto: int, gone: set[str]) -> Sealed:
        """Return a segment that has not the name of one that goes."""
        most = EVENTS_MAX
        for attempt in range(_TRIES):
            sealed = self._source.seal(epoch, after, events_max=most, upto=upto)
            if sealed is None:
                break
            if Range(sealed.header.first, sealed.header.last, epoch).segment not in gone:
                return sealed
            count = sealed.header.count
            most = count - 1 if count > 1 else attempt + 2
        raise ObjectDamaged(f"the log has no other segment after position {after}")


def _since(decisions: Sequence[Decision], made: int, first: int, last: int) -> int | None:
    """Return when it was first decided about positions within some, after an object was made."""
    times = [
        each.recorded
        for each in decisions
        if each.position > made
        and any(start <= last and end >= first for start, end in each.stretches)
    ]
    return min(times, default=None)
