"""Which objects make up a log: held against slow rules, with overlaps, holes and lost tails."""

from __future__ import annotations

import pytest
from backup_driving import manifest_of, snapshot_at
from hypothesis import given
from hypothesis import strategies as st

from daemon.backup.lineage import LettersMissing, PositionsMissing, cover, plan
from daemon.backup.manifest import Epoch, Snapshot
from daemon.backup.names import Range

RANGES = st.lists(
    st.builds(
        lambda first, length, epoch: Range(first, first + length, epoch),
        st.integers(1, 24),
        st.integers(-1, 8),
        st.integers(1, 3),
    ),
    max_size=14,
)


@st.composite
def epochs(draw: st.DrawFn) -> tuple[Epoch, ...]:
    """Draw up to two ends of epochs, with gaps."""
    found: list[Epoch] = []
    at = 0
    for number in range(2, 2 + draw(st.integers(0, 2))):
        after = draw(st.integers(at, at + 12))
        first = after + 1 + draw(st.integers(0, 4))
        letters = draw(st.integers(0, 9))
        found.append(
            Epoch(epoch=number, after=after, first=first, letters=letters, reported_head=0, began=0)
        )
        at = first
    return tuple(found)


def counts(range_: Range, ended: tuple[Epoch, ...]) -> bool:
    """Return whether a segment is of the log that is gone on with."""
    return range_.first <= range_.last and not any(
        range_.epoch < each.epoch and range_.last > each.after for each in ended
    )


@given(RANGES, epochs(), st.integers(0, 20), st.integers(0, 32))
def test_segments_are_chosen_that_cover_every_position(
    ranges: list[Range], ended: tuple[Epoch, ...], after: int, upto: int
) -> None:
    """Exactly where every position is in some segment that counts, such segments are returned."""
    usable = [each for each in ranges if counts(each, ended)]
    held = {position for each in usable for position in range(each.first, each.last + 1)}
    missing = [position for position in range(after + 1, upto + 1) if position not in held]
    if missing:
        with pytest.raises(PositionsMissing) as error:
            cover(ranges, after, upto, ended)
        assert error.value.first == missing[0]
        assert set(range(missing[0], error.value.last + 1)) <= set(missing)
        return
    chosen = cover(ranges, after, upto, ended)
    assert all(each in usable for each in chosen)
    position = after
    for each in chosen:
        assert position < upto
        assert each.first <= position + 1 <= each.last
        rivals = [other for other in usable if other.first <= position + 1 <= other.last]
        assert (each.epoch, each.last) == max((other.epoch, other.last) for other in rivals)
        position = each.last
    assert position >= min(upto, max(after, upto))


SNAPSHOTS = st.lists(
    st.builds(
        lambda position, epoch, proof, letters: snapshot_at(
            position, epoch, proof=proof, letters=letters
        ),
        st.integers(0, 24),
        st.integers(1, 3),
        st.sampled_from(["pending", "proved", "failed"]),
        st.integers(0, 9),
    ),
    max_size=5,
    unique_by=lambda each: each.name,
)


@given(SNAPSHOTS, RANGES, RANGES, epochs(), st.integers(0, 24), st.integers(0, 9), st.data())
def test_the_best_way_is_planned(
    snapshots: list[Snapshot],
    segments: list[Range],
    letters: list[Range],
    ended: tuple[Epoch, ...],
    shipped: int,
    newest_letter: int,
    draw: st.DataObject,
) -> None:
    """The newest proved snapshot that leads there, then the newest other, then segments alone."""
    manifest = manifest_of(
        snapshots=tuple(snapshots), epochs=ended, shipped=shipped, letters=newest_letter
    )
    upto = draw.draw(st.none() | st.integers(0, 24))
    without = frozenset(draw.draw(st.sets(st.sampled_from(["", *[s.name for s in snapshots]]))))
    goal = shipped if upto is None else upto
    letter_ends = tuple(each.model_copy(update={"after": each.letters}) for each in ended)

    def leads(snapshot: Snapshot | None) -> bool:
        after, letter = (snapshot.position, snapshot.letters) if snapshot else (0, 0)
        try:
            cover(segments, after, goal, ended)
            cover(letters, letter, newest_letter, letter_ends)
        except PositionsMissing:
            return False
        return True

    usable = [
        each
        for each in snapshots
        if each.proof != "failed" and each.name not in without and each.position <= goal
        and counts(Range(each.position, each.position, each.epoch), ended) and leads(each)
    ]  # fmt: skip
    if not usable and not leads(None):
        with pytest.raises((PositionsMissing, LettersMissing)):
            plan(manifest, segments, letters, upto, without=without)
        return
    found = plan(manifest, segments, letters, upto, without=without)
    assert found.position == goal
    if usable:
        best = max(usable, key=lambda each: (each.proved, each.position, each.epoch))
        assert found.snapshot == best
    else:
        assert found.snapshot is None


def test_a_lost_tail_is_never_chosen() -> None:
    """What the writer of an ended epoch stored later is left aside, also where it fits."""
    ended = (Epoch(epoch=2, after=10, first=100, letters=0, reported_head=15, began=0),)
    stale, kept, new = Range(5, 20, 1), Range(1, 10, 1), Range(11, 110, 2)
    assert cover([stale, kept, new], 0, 110, ended) == [kept, new]
    with pytest.raises(PositionsMissing, match="11 to 20"):
        cover([stale, kept], 0, 20, ended)
