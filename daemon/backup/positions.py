"""Which position of a backup a moment names: looked up by what is told of the segments."""

from __future__ import annotations

from typing import NamedTuple

from daemon.backup.errors import ObjectMissing
from daemon.backup.lineage import cover
from daemon.backup.manifest import Manifest
from daemon.backup.names import Range
from daemon.backup.restore import Listing, fetch
from daemon.backup.segment import last_recorded
from daemon.backup.store import ObjectStore
from domain.epochs import LostStretch


class _Stretch(NamedTuple):
    """A segment and when its events were recorded."""

    range: Range
    first: int
    last: int


class PlacePositions:
    """The positions of a backup, as `daemon.replay.points` asks for those of a log.

    One segment is read at the most. What lies before every segment has no known time.
    """

    def __init__(self, store: ObjectStore, manifest: Manifest, listing: Listing) -> None:
        self._store = store
        self._manifest = manifest
        self._listing = listing
        first = min((each.first for each in listing.segments), default=manifest.shipped + 1)
        self._before = first - 1
        try:
            chosen = cover(listing.segments, self._before, manifest.shipped, manifest.epochs)
        except ObjectMissing:
            # What is left says all the same when it was recorded.
            chosen = sorted(listing.segments)
        self._stretches = [self._stretch(each) for each in chosen]

    def head(self) -> int:
        """Return the newest position that is shipped."""
        return self._manifest.shipped

    def first_position(self) -> int:
        """Return the first position that can be restored: the oldest snapshot's, or the first."""
        if self._before == 0:
            return 1
        snapshots = [each.position for each in self._manifest.snapshots if each.proof != "failed"]
        return min(snapshots, default=self._before + 1)

    def position_at(self, moment: int) -> int:
        """Return the last position recorded at or before a moment."""
        found = 0
        for each in self._stretches:
            if each.first > moment:
                break
            if each.last <= moment:
                found = each.range.last
            else:
                name = each.range.segment
                content = fetch(self._store, name, self._listing.sizes[name])
                found = last_recorded(content, name, moment) or found
        return min(found, self._manifest.shipped)

    def lost_stretches(self) -> list[LostStretch]:
        """Return the stretches of positions that epochs left empty."""
        shipped = self._manifest.shipped
        return [
            LostStretch(each.after, each.first, each.epoch)
            for each in self._manifest.epochs
            if each.first <= shipped
        ]

    def recorded_at(self, position: int) -> int | None:
        """Return about when the newest event up to a position was recorded."""
        times = [each.last for each in self._stretches if each.range.first <= position]
        return max(times, default=None)

    def _stretch(self, range_: Range) -> _Stretch:
        header = self._listing.header(self._store, range_.segment)
        return _Stretch(range_, header.recorded_first, header.recorded_last)
