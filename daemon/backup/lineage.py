"""Which objects make up a log, told by their names, from a snapshot or from nothing on.

Every stretch of positions is covered by at least one segment; several may overlap, where a daemon
died between storing one and saying so, or where many small ones became one. Those of one epoch
agree. Of an epoch that ended, only what lies before its end counts: what its writer stored after
that belongs to a log that nobody goes on with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from daemon.backup.errors import ObjectMissing
from daemon.backup.manifest import Epoch, Manifest, Snapshot
from daemon.backup.names import Range


class Plan(NamedTuple):
    """What to restore from: a snapshot, or None, segments, and objects with dead letters.

    ``position`` is where that ends. ``gaps`` are the ids of dead letters that are skipped.
    """

    snapshot: Snapshot | None
    segments: tuple[Range, ...]
    position: int
    letters: tuple[Range, ...] = ()
    gaps: tuple[tuple[int, int], ...] = ()


class PositionsMissing(ObjectMissing):
    """No segment has these positions."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__(f"no object has the positions {first} to {last}")
        self.first = first
        self.last = last


class LettersMissing(ObjectMissing):
    """All events are there, but no object has these dead letters; ``because`` says of one why."""

    hint = "All the rest is brought back without them: --skip-letters."

    def __init__(self, first: int, last: int, because: str = "") -> None:
        reason = f": {because}" if because else ""
        super().__init__(f"no object has the dead letters {first} to {last}{reason}")
        self.first = first
        self.last = last


def cover(
    ranges: Iterable[Range], after: int, upto: int, epochs: Sequence[Epoch] = ()
) -> list[Range]:
    """Return segments that have every position after one and up to another, in order.

    Raises:
        PositionsMissing: some are in none of them.

    """
    valid = sorted(each for each in ranges if counts(each, epochs) and each.last > after)
    chosen: list[Range] = []
    open_: list[Range] = []
    position, at = after, 0
    while position < upto:
        while at < len(valid) and valid[at].first <= position + 1:
            open_.append(valid[at])
            at += 1
        open_ = [each for each in open_ if each.last > position]
        if not open_:
            following = valid[at].first - 1 if at < len(valid) else upto
            raise PositionsMissing(position + 1, min(following, upto))
        best = max(open_, key=lambda each: (each.epoch, each.last))
        chosen.append(best)
        position = best.last
    return chosen


def cover_letters(letters: Iterable[Range], after: int, manifest: Manifest) -> list[Range]:
    """Return objects that have the dead letters after an id, up to the newest that was shipped.

    Raises:
        LettersMissing: some are in none of them.

    """
    try:
        return cover(letters, after, manifest.letters, _letter_ends(manifest))
    except PositionsMissing as error:
        raise LettersMissing(error.first, error.last) from None


def left_letters(
    letters: Iterable[Range], after: int, manifest: Manifest
) -> tuple[list[Range], list[tuple[int, int]]]:
    """Return the objects that have dead letters after an id, and the first and last of each gap."""
    ends, position, gaps = _letter_ends(manifest), after, list[tuple[int, int]]()
    left = sorted(each for each in letters if counts(each, ends) and each.last > after)
    for each in left:
        if each.first > position + 1:
            gaps.append((position + 1, each.first - 1))
        position = max(position, each.last)
    if position < manifest.letters:
        gaps.append((position + 1, manifest.letters))
    return left, gaps


def _letter_ends(manifest: Manifest) -> list[Epoch]:
    return [each.model_copy(update={"after": each.letters}) for each in manifest.epochs]


def plan(
    manifest: Manifest,
    segments: Sequence[Range],
    letters: Sequence[Range],
    upto: int | None = None,
    *,
    without: frozenset[str] = frozenset(),
    skip_letters: bool = False,
) -> Plan:
    """Return what to restore a log from, up to a position or to the newest.

    The newest snapshot that was proved is taken where there is one that is not beyond; then the
    newest; then the segments alone. ``without`` are snapshots that turned out damaged. With
    ``skip_letters`` it does not matter which dead letters are there.

    Raises:
        PositionsMissing, LettersMissing: no way leads there.

    """
    goal = manifest.shipped if upto is None else upto
    usable = [
        each
        for each in manifest.snapshots
        if each.name not in without
        and each.proof != "failed"
        and each.position <= goal
        and _snapshot_counts(each, manifest.epochs)
    ]
    usable.sort(key=lambda each: (each.proved, each.position, each.epoch), reverse=True)
    first_error: ObjectMissing | None = None
    for snapshot in [*usable, None]:
        after, letter = (0, 0) if snapshot is None else (snapshot.position, snapshot.letters)
        try:
            chosen = tuple(cover(segments, after, goal, manifest.epochs))
            if skip_letters:
                left, gaps = left_letters(letters, letter, manifest)
                return Plan(snapshot, chosen, goal, tuple(left), tuple(gaps))
            covered = tuple(cover_letters(letters, letter, manifest))
            return Plan(snapshot, chosen, goal, covered)
        except (PositionsMissing, LettersMissing) as error:
            first_error = first_error or error
    assert first_error is not None  # noqa: S101  the last way is without a snapshot
    raise first_error


def counts(range_: Range, epochs: Sequence[Epoch]) -> bool:
    """Return whether a segment is of the log that is gone on with, and not of a lost tail."""
    return range_.last >= range_.first and all(
        range_.last <= each.after for each in epochs if each.epoch > range_.epoch
    )


def _snapshot_counts(snapshot: Snapshot, epochs: Sequence[Epoch]) -> bool:
    return all(snapshot.position <= each.after for each in epochs if each.epoch > snapshot.epoch)
