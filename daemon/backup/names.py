"""How the objects of a place are named: what they hold can be told without reading them."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

SEGMENTS: Final = "segments/"
LETTERS: Final = "letters/"
SNAPSHOTS: Final = "snapshots/"

_RANGE: Final = re.compile(r"(segments|letters)/(\d{6,})-(\d{20})-(\d{20})\.seg\.zst")
_SNAPSHOT: Final = re.compile(r"snapshots/(\d{6,})-(\d{20})\.db\.zst")


class Range(NamedTuple):
    """Positions of events (or ids of dead letters), both ends included, shipped in an epoch."""

    first: int
    last: int
    epoch: int

    @property
    def segment(self) -> str:
        """The name of the segment that holds these events."""
        return self._named(SEGMENTS)

    @property
    def letters(self) -> str:
        """The name of the object that holds these dead letters."""
        return self._named(LETTERS)

    def _named(self, folder: str) -> str:
        return f"{folder}{self.epoch:06d}-{self.first:020d}-{self.last:020d}.seg.zst"


def read_range(name: str) -> Range | None:
    """Return what the name of a segment, or of dead letters, says; None for another name."""
    found = _RANGE.fullmatch(name)
    if found is None:
        return None
    epoch, first, last = (int(each) for each in found.groups()[1:])
    return Range(first, last, epoch)


def snapshot_name(epoch: int, position: int) -> str:
    """Return the name of the snapshot at a position."""
    return f"{SNAPSHOTS}{epoch:06d}-{position:020d}.db.zst"


def read_snapshot_name(name: str) -> tuple[int, int] | None:
    """Return epoch and position of a snapshot by its name; None for another name."""
    found = _SNAPSHOT.fullmatch(name)
    return None if found is None else (int(found[1]), int(found[2]))
