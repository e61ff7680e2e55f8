"""Keeping a place small: snapshots that no rule keeps go, and small segments become large ones.

An object is removed in three steps, so that it is never missed, whenever a step is the last: the
manifest stops to speak of it, it is removed, and the manifest forgets that it was there. The first
step also proves that the place is still this daemon's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from daemon.backup.container import Header
from daemon.backup.errors import AlreadyThere, ObjectDamaged, ObjectMissing
from daemon.backup.keeping import Keep, kept
from daemon.backup.lineage import counts
from daemon.backup.manifest import Ledger, Manifest, Snapshot
from daemon.backup.names import SNAPSHOTS, Range, read_snapshot_name
from daemon.backup.restore import Listing, fetch
from daemon.backup.segment import BYTES_MAX, Sealed, merge, store_sealed, unsealed
from daemon.backup.shipped_log import ShippedLog
from daemon.backup.store import ObjectStore

MERGED_MIN: Final = 16
"""So many neighbours at least become one segment."""
REMOVED_MAX: Final = 1_000
"""How many objects are removed at a time: the manifest names them meanwhile."""

_UNUSABLE: Final = (ObjectDamaged, ObjectMissing, AlreadyThere)


@dataclass(frozen=True, slots=True)
class Removal:
    """What is not needed: snapshots, and the names of those that the manifest does not know."""

    snapshots: tuple[Snapshot, ...] = ()
    strays: tuple[str, ...] = ()
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The names of all of them."""
        return [*(each.name for each in self.snapshots), *self.strays]

    @property
    def bytes(self) -> int:
        """How much room they take."""
        return sum(self.sizes.get(name, 0) for name in self.names)


class Tidying:
    """Removes what is not needed from the place of one writer."""

    def __init__(self, store: ObjectStore, ledger: Ledger, log: ShippedLog) -> None:
        self._store = store
        self._ledger = ledger
        self._log = log

    # -- snapshots ------------------------------------------------------------------------------

    def removable(self, keep: Keep) -> Removal:
        """Return what the rules do not keep, and no object that is kept needs."""
        return removable(self._store, self._ledger.manifest, keep)

    def prune(self, keep: Keep) -> Removal:
        """Remove what the rules do not keep; return what was removed."""
        removal = self.removable(keep)
        gone = {each.name for each in removal.snapshots}

        self.remove(removal.names, lambda manifest: manifest.without_snapshots(gone))
        return removal

    # -- segments -------------------------------------------------------------------------------

    def merge(self, stopping: Callable[[], bool] = lambda: False) -> int:
        """Make one segment of many small ones; return how many are gone.

        Raises:
            ObjectDamaged, ObjectMissing, AlreadyThere: with some it cannot be done; with all
                others it was.

        """
        self.remove(self._ledger.manifest.replaced)
        manifest = self._ledger.manifest
        self.remove(self._foreign(Listing.of(self._store, manifest), manifest))
        manifest = self._ledger.manifest
        listing = Listing.of(self._store, manifest)
        gone, failure, wrong = 0, None, set[Range]()
        doubled = redundant(listing, manifest)
        for whole, parts in doubled.items():
            try:
                gone += 0 if stopping() else self._without(whole, parts)
            except _UNUSABLE as error:
                failure = failure or error
                wrong.add(whole)
        for run in mergeable(listing, manifest, wrong):
            try:
                gone += 0 if stopping() else self._merge(run)
            except _UNUSABLE as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return gone

    def _foreign(self, listing: Listing, manifest: Manifest) -> list[str]:
        """Return segments with other events than the log: a clone of the machine stored them.

        It was not the writer any more, so no manifest says that they are shipped; but their names
        look as if they held what was.
        """
        found = []
        for each in _settled(listing, manifest):
            header = Header.of_metadata(listing.metadata[each.segment])
            if header is not None and self._log.contradicts(each.last, header.digest_after):
                found.append(each.segment)
        return found

    def _without(self, whole: Range, parts: Sequence[Range]) -> int:
        """Remove segments that another one holds too, if that one is right."""
        self.require_right(whole)
        self.remove([each.segment for each in parts])
        return len(parts)

    def _merge(self, run: Sequence[Range]) -> int:
        """Store one segment for a run of them, and remove those."""
        parts = [self._read(each) for each in run]
        for before, after in pairwise(parts):
            told = after.header.digest_before
            if told and before.header.digest_after != told:
                raise ObjectDamaged("neighbouring segments do not continue each other")
        store_sealed(self._store, merge(parts, run[0].epoch))
        return self._without(Range(run[0].first, run[-1].last, run[0].epoch), run)

    def require_right(self, range_: Range) -> None:
        """Read a segment back before those go that it stands for."""
        header = self._read(range_).header
        if (header.first, header.last) != range_[:2]:
            raise ObjectDamaged(f"{range_.segment} does not hold what its name says")

    def _read(self, range_: Range) -> Sealed:
        content = fetch(self._store, range_.segment)
        return Sealed(unsealed(content, range_.segment)[0], content)

    def remove(
        self, names: Iterable[str], change: Callable[[Manifest], Manifest] = lambda before: before
    ) -> None:
        """Remove objects, and change the manifest where it stops to speak of them."""
        every = list(names)
        for start in range(0, len(every), REMOVED_MAX):
            part = every[start : start + REMOVED_MAX]

            def declare(manifest: Manifest, part: Sequence[str] = part) -> Manifest:
                named = {*manifest.replaced, *part}
                return change(manifest).model_copy(update={"replaced": tuple(sorted(named))})

            def forget(manifest: Manifest, part: Sequence[str] = part) -> Manifest:
                left = tuple(each for each in manifest.replaced if each not in part)
                return manifest.model_copy(update={"replaced": left})

            self._ledger.change(declare)
            for name in part:
                self._store.delete(name)
            self._ledger.change(forget)


def removable(store: ObjectStore, manifest: Manifest, keep: Keep) -> Removal:
    """Return what the rules do not keep in a place, and snapshots that nothing speaks of.

    A snapshot that was proved wrong is of no use; the newest stays to be told of.

    Segments stay: together they are the log, in less room than one snapshot, and whatever was
    recorded can be brought back as of every event for as long as they are there.
    """
    newest = manifest.newest()
    keeping = kept([each for each in manifest.snapshots if each.proof != "failed"], keep)
    gone = tuple(each for each in manifest.snapshots if each not in keeping and each != newest)
    known = {each.name for each in manifest.snapshots}
    strays, sizes = [], {}
    for stored in store.list(SNAPSHOTS):
        sizes[stored.name] = stored.size
        if stored.name not in known and read_snapshot_name(stored.name) is not None:
            strays.append(stored.name)
    return Removal(gone, tuple(strays), sizes)


def redundant(listing: Listing, manifest: Manifest) -> dict[Range, list[Range]]:
    """Return segments that hold all of others of their epoch, with those others."""
    found: dict[Range, list[Range]] = {}
    widest: dict[int, Range] = {}
    # The longest of those that begin at one position comes first.
    for each in sorted(_settled(listing, manifest), key=lambda each: (each.first, -each.last)):
        whole = widest.get(each.epoch)
        if whole is not None and each.last <= whole.last:
            found.setdefault(whole, []).append(each)
        else:
            widest[each.epoch] = each
    return found


def mergeable(
    listing: Listing, manifest: Manifest, without: Collection[Range] = ()
) -> list[list[Range]]:
    """Return runs of small neighbours of one epoch that could each become one segment."""
    doubled = {each for parts in redundant(listing, manifest).values() for each in parts}
    doubled.update(without)
    runs: list[list[Range]] = [[]]
    size = 0
    for each in sorted(_settled(listing, manifest)):
        if each in doubled:
            continue
        run = runs[-1]
        follows = run and (each.first, each.epoch) == (run[-1].last + 1, run[-1].epoch)
        size += _raw_bytes(listing, each)
        if not follows or size > BYTES_MAX:
            runs.append([])
            size = _raw_bytes(listing, each)
        runs[-1].append(each)
    return [each for each in runs if len(each) >= MERGED_MIN]


def _settled(listing: Listing, manifest: Manifest) -> list[Range]:
    """Return the segments that are shipped; those of a lost tail count for nothing."""
    return [
        each
        for each in listing.segments
        if each.last <= manifest.shipped and counts(each, manifest.epochs)
    ]


def _raw_bytes(listing: Listing, range_: Range) -> int:
    """Return the size of the database in a segment, an estimate where the store has lost it."""
    header = Header.of_metadata(listing.metadata[range_.segment])
    return listing.sizes[range_.segment] * 8 if header is None else header.raw_bytes
