"""Pruning and merging: nothing that is needed goes, wherever it is broken off."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from backup_driving import WRITER, Backed, Died, manifest_of, snapshot_at
from grown_logs import Growing, Step, positions_of, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.backup.errors import NotTheWriter, ObjectDamaged
from daemon.backup.keeping import Keep
from daemon.backup.lineage import cover
from daemon.backup.manifest import Epoch, Ledger
from daemon.backup.names import Range
from daemon.backup.restore import Listing, Restoring, fetch
from daemon.backup.segment import BYTES_MAX, Sealed, Source, merge, store_sealed, unsealed
from daemon.backup.tidying import mergeable, redundant
from daemon.lock import LOG_FILE

HOUR = 3_600_000_000
KEEP = Keep(hourly=2)
ROUNDS = 9


@pytest.fixture(autouse=True, scope="module")
def _few_are_enough() -> Iterator[None]:
    """Merge three neighbours and more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("daemon.backup.tidying.MERGED_MIN", 3)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a backup with many segments, a snapshot every hour, and an epoch."""
    folder = tmp_path_factory.mktemp("made")
    backed = Backed(folder)
    growing = Growing(backed.log)
    for number in range(ROUNDS):
        growing.do(Step("events", [("a", "/s", f"{number}", None), ("b", "/s", "j", None)]))
        growing.do(Step("letters", [b"%d" % number]))
        backed.ship()
        if number % 2:
            backed.now += HOUR
            backed.snapshot("proved" if number < 6 else "pending")
    growing.close()
    backed.close()
    return folder


@pytest.fixture
def backed(made: Path, tmp_path: Path) -> Iterator[Backed]:
    """Return the backup, claimed again."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    backed = Backed(tmp_path)
    backed.ship()
    yield backed
    backed.close()


def segments_of(backed: Backed) -> list[Range]:
    """Return the segments that are there."""
    return Listing.of(backed.store, backed.manifest).segments


def read(backed: Backed, range_: Range) -> Sealed:
    """Return a segment."""
    content = fetch(backed.store, range_.segment)
    return Sealed(unsealed(content, "x")[0], content)


def require_whole(backed: Backed, folder: Path) -> None:
    """Restore the newest state, and see that every position could be."""
    newest = backed.manifest.shipped
    cover(segments_of(backed), 0, newest, backed.manifest.epochs)
    folder.mkdir()
    Restoring(backed.store, backed.manifest, folder).run()
    assert rows_of(folder / LOG_FILE) == rows_of(backed.log)
    for each in backed.manifest.snapshots:
        assert backed.store.find(each.name)


def names_of(backed: Backed, prefix: str) -> list[str]:
    """Return the names of the objects that are there."""
    return [each.name for each in backed.store.list(prefix)]


# -- pruning ------------------------------------------------------------------------------------


def test_snapshots_that_no_rule_keeps_go(backed: Backed, tmp_path: Path) -> None:
    """The newest ones and the newest proved one stay, with every segment and dead letter."""
    before = [*names_of(backed, "segments/"), *names_of(backed, "letters/")]
    snapshots = backed.manifest.snapshots
    removal = backed.workshop.tidying.prune(KEEP)
    assert [each.name for each in removal.snapshots] == [each.name for each in snapshots[:2]]
    assert removal.bytes == sum(each.bytes for each in snapshots[:2])
    assert backed.manifest.snapshots == snapshots[2:]
    assert names_of(backed, "snapshots/") == [each.name for each in snapshots[2:]]
    assert before == [*names_of(backed, "segments/"), *names_of(backed, "letters/")]
    assert not backed.manifest.replaced
    require_whole(backed, tmp_path / "t")


def test_a_dry_run_removes_nothing(backed: Backed) -> None:
    """What would be removed is told, and stays."""
    before = names_of(backed, "")
    assert backed.workshop.tidying.removable(KEEP).names
    assert names_of(backed, "") == before


def test_snapshots_that_nothing_speaks_of_go(backed: Backed) -> None:
    """Objects of runs that died before the manifest knew are removed; other names are left."""
    stray = snapshot_at(3).name
    for name in (stray, "snapshots/mine.txt"):
        backed.store.put_if_absent(name, io.BytesIO(b"x"), 1, {})
    removal = backed.workshop.tidying.prune(KEEP)
    assert removal.strays == (stray,)
    assert stray not in names_of(backed, "")
    assert "snapshots/mine.txt" in names_of(backed, "")


def test_snapshots_that_were_proved_wrong_count_for_nothing(backed: Backed) -> None:
    """A failed snapshot keeps no place of a good one; the newest stays to be told of."""
    snapshots = backed.manifest.snapshots
    for each in snapshots[-2:]:
        failed = each.model_copy(update={"proof": "failed"})
        backed.workshop.ledger.change(lambda told, failed=failed: told.with_snapshot(failed))
    backed.workshop.tidying.prune(Keep(hourly=1))
    left = [(each.name, each.proof) for each in backed.manifest.snapshots]
    assert left == [(snapshots[1].name, "proved"), (snapshots[-1].name, "failed")]


# -- merging ------------------------------------------------------------------------------------


def test_small_neighbours_become_one(backed: Backed, tmp_path: Path) -> None:
    """A run of small segments becomes one that holds the same; dead letters stay as they are."""
    letters = names_of(backed, "letters/")
    assert backed.workshop.tidying.merge() == ROUNDS
    assert segments_of(backed) == [Range(1, backed.manifest.shipped, 1)]
    assert names_of(backed, "letters/") == letters
    assert backed.workshop.tidying.merge() == 0
    require_whole(backed, tmp_path / "t")


def test_an_object_that_is_there_already_is_no_hindrance(backed: Backed, tmp_path: Path) -> None:
    """What an earlier run merged and did not get to say stands for its parts."""
    run = segments_of(backed)
    merged = merge([read(backed, each) for each in run], 1)
    store_sealed(backed.store, merged)
    assert backed.workshop.tidying.merge() == ROUNDS
    assert segments_of(backed) == [Range(1, backed.manifest.shipped, 1)]
    require_whole(backed, tmp_path / "t")


def test_a_damaged_object_stands_for_nothing(backed: Backed, tmp_path: Path) -> None:
    """Where what was merged is damaged, its parts stay, and others are merged all the same."""
    first = segments_of(backed)[:4]
    parts = [read(backed, each) for each in first]
    merged = merge(parts, 1)
    store_sealed(backed.store, merged)
    backed.damage(Range(1, first[-1].last, 1).segment)
    with pytest.raises(ObjectDamaged):
        backed.workshop.tidying.merge()
    assert set(first) <= set(segments_of(backed))
    assert Range(first[-1].last + 1, backed.manifest.shipped, 1) in segments_of(backed)
    backed.path_of(Range(1, first[-1].last, 1).segment).unlink()
    require_whole(backed, tmp_path / "t")


def test_segments_that_overlap_are_merged(backed: Backed, tmp_path: Path) -> None:
    """Runs with overlaps are merged as far as they follow each other; doubled ones go."""
    source = Source(backed.log, backed.manifest.log_id)
    for after, most in ((2, 3), (4, 2), (6, 6)):
        sealed = source.seal(1, after, events_max=most)
        assert sealed
        store_sealed(backed.store, sealed)
    assert backed.workshop.tidying.merge() > 0
    assert len(segments_of(backed)) < ROUNDS
    require_whole(backed, tmp_path / "t")


def test_a_lost_tail_is_not_merged() -> None:
    """What does not count is in no run: parts that count would go for one that does not."""
    listing = Listing()
    for each in [Range(n, n, 1) for n in range(1, 9)] + [Range(5, 200, 2), Range(201, 201, 2)]:
        listing.segments.append(each)
        listing.sizes[each.segment], listing.metadata[each.segment] = 10, {}
    epoch = Epoch(epoch=2, after=4, first=100, letters=0, reported_head=8, began=0)
    manifest = manifest_of(shipped=201, epochs=(epoch,), epoch=2)
    assert mergeable(listing, manifest) == [[Range(n, n, 1) for n in range(1, 5)]]
    assert not redundant(listing, manifest)


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(0, 9), st.integers(1, 2)), max_size=14),
    st.integers(0, 25),
)
def test_whatever_is_removed_the_rest_covers_the_same(
    drawn: list[tuple[int, int, int]], shipped: int
) -> None:
    """Without what is doubled, and with runs made one, the same positions are covered."""
    ranges = {Range(first, first + length, epoch) for first, length, epoch in drawn}
    epoch = Epoch(epoch=2, after=9, first=12, letters=0, reported_head=9, began=0)
    manifest = manifest_of(shipped=shipped, epochs=(epoch,), epoch=2)
    listing = Listing(sorted(ranges))
    for each in ranges:
        listing.sizes[each.segment] = BYTES_MAX // 32
        listing.metadata[each.segment] = {}

    def covered(left: set[Range]) -> set[tuple[int, int]]:
        return {
            (each.epoch, position)
            for each in left
            if each.epoch == 2 or each.last <= epoch.after
            for position in range(each.first, each.last + 1)
        }

    doubled = redundant(listing, manifest)
    left = ranges - {each for parts in doubled.values() for each in parts}
    assert covered(left) == covered(ranges)
    assert all(each.first <= part.first <= part.last <= each.last
               for each, parts in doubled.items() for part in parts)  # fmt: skip
    for run in mergeable(listing, manifest):
        assert 3 <= len(run) <= 4
        assert set(run) <= left
        left = left - set(run) | {Range(run[0].first, run[-1].last, run[0].epoch)}
    assert covered(left) == covered(ranges)


# -- broken off -----------------------------------------------------------------------------------


def tidied(backed: Backed) -> list[str]:
    """Prune and merge; return the names that are left."""
    backed.workshop.tidying.prune(KEEP)
    backed.workshop.tidying.merge()
    return names_of(backed, "")


def test_killed_after_any_step_the_next_run_completes_the_work(made: Path) -> None:
    """After each put, swap and removal everything can be restored, and nothing is left behind."""
    with TemporaryDirectory() as folder:
        shutil.copytree(made, folder, dirs_exist_ok=True)
        undisturbed = Backed(Path(folder))
        undisturbed.ship()
        undisturbed.calls.clear()
        wanted = tidied(undisturbed)
        words = [word for word, _ in undisturbed.calls]
        undisturbed.close()
    steps = [n for n, word in enumerate(words) if word in ("put", "swap", "delete")]
    assert len(steps) > ROUNDS
    for last in steps:
        with TemporaryDirectory() as folder:
            shutil.copytree(made, folder, dirs_exist_ok=True)
            backed = Backed(Path(folder))
            backed.ship()
            left = last

            def before(word: str, name: str) -> None:
                nonlocal left
                left -= 1
                if left < 0:
                    raise Died(word, name)

            backed.before = before
            with pytest.raises(Died):
                tidied(backed)
            backed.close()
            backed.before = lambda *_: None
            require_whole(backed, Path(folder, "restored"))
            backed.ship()
            assert tidied(backed) == wanted
            assert not backed.manifest.replaced
            backed.close()


def test_a_writer_that_was_taken_over_removes_nothing(backed: Backed) -> None:
    """Whoever is not the writer any more finds that out before it removes anything."""
    tidying = backed.workshop.tidying
    assert backed.manifest.writer == WRITER
    later = WRITER.model_copy(update={"session": "later"})
    Ledger(backed.place.register, later).claim(lambda: backed.manifest, lambda told: told)
    backed.calls.clear()
    with pytest.raises(NotTheWriter):
        tidying.prune(KEEP)
    with pytest.raises(NotTheWriter):
        tidying.merge()
    assert "delete" not in [word for word, _ in backed.calls]


@settings(max_examples=8)
@given(
    keep=st.builds(Keep, hourly=st.integers(0, 3), daily=st.integers(0, 1)),
    proofs=st.lists(st.sampled_from(["pending", "proved", "failed"]), min_size=4, max_size=4),
    upto=st.integers(0, 2 * ROUNDS),
)
def test_every_position_can_be_restored_after_tidying(
    made: Path, keep: Keep, proofs: list[str], upto: int
) -> None:
    """Whatever the rules are and came of the proofs, any position is there afterwards."""
    with TemporaryDirectory() as folder:
        shutil.copytree(made, folder, dirs_exist_ok=True)
        backed = Backed(Path(folder))
        backed.ship()
        for each, proof in zip(backed.manifest.snapshots, proofs, strict=True):
            told = each.model_copy(update={"proof": proof})
            backed.workshop.ledger.change(lambda manifest, told=told: manifest.with_snapshot(told))
        right = [each for each in backed.manifest.snapshots if each.proof == "proved"]
        backed.workshop.tidying.prune(keep)
        backed.workshop.tidying.merge()
        if right:
            assert right[-1] in backed.manifest.snapshots
        require_whole(backed, Path(folder, "newest"))
        target = Path(folder, "target")
        target.mkdir()
        Restoring(backed.store, backed.manifest, target).run(upto)
        there = [position for position in positions_of(backed.log) if position <= upto]
        assert positions_of(target / LOG_FILE) == there
        backed.close()
