"""Restoring a log from a place: with what there is, whatever is damaged, wherever it is cut."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from backup_driving import Backed, Died, directory_place
from grown_logs import Growing, Step, positions_of, rows_of

from daemon.backup.errors import ObjectDamaged, ObjectMissing
from daemon.backup.manifest import Manifest
from daemon.backup.names import snapshot_name
from daemon.backup.positions import PlacePositions
from daemon.backup.restore import Listing, Restoring
from daemon.eventlog.connection import SCHEMA_VERSION
from daemon.eventlog.log_file import LogFile
from daemon.eventlog.proof import prove_log
from daemon.lock import LOG_FILE
from daemon.replay.checkpoints import remove_database
from domain.errors import DiskFull, NewerSchema

EVENTS = Step("events", [("a", "/s", "i", None), ("b", "/s", "j", {"count": 1})])
STEPS = [
    [EVENTS, Step("letters", [b"one"]), Step("follow", ("a", 7)), EVENTS],
    [Step("library", ("app", [("s", "t", b"\x00")])), Step("track", ("app", "up", 3)), EVENTS],
    [EVENTS, Step("letters", [b"two", b"three"]), EVENTS],
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a backup that was made once."""
    folder = tmp_path_factory.mktemp("made")
    backed = Backed(folder)
    growing = Growing(backed.log)
    for number, steps in enumerate(STEPS):
        for step in steps:
            growing.do(step)
        backed.ship()
        if number < 2:
            backed.snapshot("proved")
    growing.close()
    backed.close()
    return folder


@pytest.fixture
def backed(made: Path, tmp_path: Path) -> Iterator[Backed]:
    """Return a backup of a log in three segments, with a snapshot after each but the last."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    backed = Backed(tmp_path)
    yield backed
    backed.close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return an empty folder to restore into."""
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def restored(backed: Backed, target: Path, upto: int | None = None, **options: Any) -> Restoring:
    """Restore into a folder, and return what did it."""
    manifest = options.pop("manifest", backed.manifest)
    restoring = Restoring(backed.store, manifest, target, **options)
    restoring.run(upto)
    return restoring


def same(backed: Backed, target: Path) -> bool:
    """Return whether a restored log is the log, row by row, and right."""
    assert [path.name for path in target.iterdir()] == [LOG_FILE]
    assert not prove_log(target / LOG_FILE, at_rest=True).findings
    assert (target / LOG_FILE).stat().st_mode & 0o777 == 0o600
    return rows_of(target / LOG_FILE) == rows_of(backed.log)


def without_snapshots(manifest: Manifest) -> Manifest:
    """Return a manifest that has no snapshots."""
    return manifest.model_copy(update={"snapshots": ()})


def used(restoring: Restoring) -> list[str]:
    """Return the names of what a restore would read now."""
    plan = restoring.plan()
    snapshot = [plan.snapshot.name] if plan.snapshot else []
    return [*snapshot, *[each.segment for each in plan.segments]]


def test_the_log_comes_back_from_a_snapshot_and_segments(backed: Backed, target: Path) -> None:
    """The newest proved snapshot and the segments after it give every row of the log."""
    restored(backed, target)
    assert same(backed, target)
    read = {name.partition("/")[0] for name in backed.store.read}
    assert read == {"snapshots", "segments", "letters"}
    newest = backed.manifest.snapshots[-1]
    assert [name for name in backed.store.read if name[:9] == "snapshots"] == [newest.name]


def test_the_log_comes_back_from_segments_alone(backed: Backed, target: Path) -> None:
    """Without any snapshot the segments are the whole log, with its identity."""
    restored(backed, target, manifest=without_snapshots(backed.manifest))
    assert same(backed, target)


def test_an_empty_place_gives_an_empty_log(tmp_path: Path, target: Path) -> None:
    """A log without events comes back as that log, and not as a new one."""
    backed = Backed(tmp_path)
    Growing(backed.log).close()
    backed.ship()
    restored(backed, target)
    assert same(backed, target)
    backed.close()


def test_progress_is_told_up_to_the_end(backed: Backed, target: Path) -> None:
    """What is done never falls, never exceeds what there is, and ends there."""
    told: list[tuple[int, int]] = []
    restored(backed, target, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]


@pytest.mark.parametrize("word", ["damaged", "missing", "truncated", "unreadable"])
def test_a_snapshot_that_cannot_be_used_is_done_without(
    backed: Backed, target: Path, word: str
) -> None:
    """Where the newest snapshot is damaged, the one before and more segments give the same log."""
    newest = backed.manifest.snapshots[-1].name
    harm(backed, newest, word)
    restored(backed, target)
    assert same(backed, target)
    assert backed.manifest.snapshots[0].name in backed.store.read
    assert not list(target.glob("*.download"))


def harm(backed: Backed, name: str, word: str) -> None:
    """Harm an object."""
    path = backed.path_of(name)
    if word == "damaged":
        backed.damage(name)
    elif word == "missing":
        path.unlink()
    elif word == "truncated":
        path.write_bytes(path.read_bytes()[:-5])
    else:
        path.write_bytes(bytes(path.stat().st_size))


def test_without_any_right_snapshot_segments_do(backed: Backed, target: Path) -> None:
    """All snapshots damaged, the log still comes back."""
    for each in backed.manifest.snapshots:
        backed.damage(each.name)
    restored(backed, target)
    assert same(backed, target)


@pytest.mark.parametrize("word", ["damaged", "missing", "truncated", "unreadable"])
@pytest.mark.parametrize("kind", ["segments", "letters"])
def test_what_cannot_be_replaced_ends_the_restore(
    backed: Backed, target: Path, word: str, kind: str
) -> None:
    """A segment that nothing stands for: the error says which, and no log is left."""
    listing = Listing.of(backed.store, backed.manifest)
    names = [each.segment for each in listing.segments]
    names = names if kind == "segments" else [each.letters for each in listing.letters]
    harm(backed, max(names), word)
    with pytest.raises((ObjectDamaged, ObjectMissing)) as error:
        restored(backed, target)
    told = {"segments": [max(names), "no object has the positions"]}.get(kind, [max(names), "no "])
    assert any(each in str(error.value) for each in told)
    assert not list(target.glob(f"{LOG_FILE}*"))


def test_an_earlier_segment_is_not_needed(backed: Backed, target: Path) -> None:
    """What lies before the snapshot may be gone."""
    first = Listing.of(backed.store, backed.manifest).segments[0]
    backed.path_of(first.segment).unlink()
    restored(backed, target)
    assert same(backed, target)


@pytest.mark.parametrize("folder", ["snapshots", "segments", "letters"])
def test_a_download_that_was_damaged_on_its_way_is_read_again(
    backed: Backed, target: Path, folder: str
) -> None:
    """One damaged answer is not yet a damaged object."""
    damaged: list[str] = []

    def before(word: str, name: str) -> None:
        if word == "piece" and name.startswith(folder) and not damaged:
            damaged.append(name)
            raise ObjectDamaged("the checksum differs")

    backed.before = before
    restored(backed, target)
    assert same(backed, target)
    assert damaged
    assert backed.store.read[damaged[0]] == backed.path_of(damaged[0]).stat().st_size


def test_an_unproved_snapshot_is_verified(backed: Backed, target: Path) -> None:
    """What was stored damaged is found out by the chain, though its checksums are right."""
    backed.close()
    growing = Growing(backed.log)
    growing.do(EVENTS)
    growing.close()
    with closing(apsw.Connection(str(backed.log))) as db:
        db.execute("UPDATE events SET data = x'00' WHERE position = 2")
    wrong = backed.snapshot()
    restored(backed, target, upto=wrong.position)
    assert not prove_log(target / LOG_FILE).findings
    alone = backed.manifest.model_copy(update={"snapshots": (wrong,)})
    with pytest.raises(ObjectDamaged, match="is damaged: "):
        restored(backed, target, manifest=alone, alternatives=False)


def test_a_newer_schema_is_refused_before_it_is_read(backed: Backed, target: Path) -> None:
    """A snapshot of a newer release is not downloaded."""
    newer = backed.manifest.snapshots[-1].model_copy(update={"schema_version": SCHEMA_VERSION + 1})
    with pytest.raises(NewerSchema, match="this program knows"):
        restored(backed, target, manifest=backed.manifest.with_snapshot(newer))
    assert not backed.store.read
    assert not list(target.iterdir())


# -- at any position --------------------------------------------------------------------------


def test_every_position_can_be_restored(backed: Backed, tmp_path: Path) -> None:
    """Wherever it is cut (in a segment, at a snapshot, before the first), it is the log there."""
    for upto in [0, *positions_of(backed.log)]:
        folder = tmp_path / str(upto)
        folder.mkdir()
        restored(backed, folder, upto)
        there, here = rows_of(backed.log, upto), rows_of(folder / LOG_FILE)
        for name in ("events", "streams", "types", "sources"):
            assert here[name] == there[name], name
        times = [row[6] for row in there["events"]]
        assert here["dead_letters"] == [
            row for row in there["dead_letters"] if row[9] <= (times[-1] if times else 0)
        ]
        assert not prove_log(folder / LOG_FILE).findings


def test_what_was_not_shipped_cannot_be_restored(backed: Backed, target: Path) -> None:
    """Beyond the newest segment there is nothing."""
    with pytest.raises(ObjectMissing):
        restored(backed, target, backed.manifest.shipped + 1)
    assert not list(target.iterdir())


def test_moments_are_positions_as_the_log_has_them(backed: Backed) -> None:
    """A moment leads to the position that the log itself says, and reads one segment at most."""
    events = rows_of(backed.log)["events"]
    times = [row[6] for row in events]
    listing = Listing.of(backed.store, backed.manifest)
    positions = PlacePositions(backed.store, backed.manifest, listing)
    backed.store.read.clear()
    with closing(LogFile(backed.log)) as log:
        for moment in itertools.chain.from_iterable((t - 1, t, t + 1) for t in times):
            backed.store.read.clear()
            assert positions.position_at(moment) == log.position_at(moment)
            assert len(backed.store.read) <= 1
        assert positions.head() == log.head()
        assert positions.first_position() == log.first_position()
        for row in events:
            assert (positions.recorded_at(row[0]) or 0) >= row[6]
        assert tuple(positions.lost_stretches()) == log.lost_stretches()


def test_moments_before_every_segment_are_told_by_snapshots(backed: Backed) -> None:
    """Where early segments are gone, the first answerable position is that of a snapshot."""
    first = Listing.of(backed.store, backed.manifest).segments[0]
    backed.path_of(first.segment).unlink()
    listing = Listing.of(backed.store, backed.manifest)
    positions = PlacePositions(backed.store, backed.manifest, listing)
    assert positions.first_position() == backed.manifest.snapshots[0].position == first.last
    later = backed.manifest.model_copy(update={"snapshots": backed.manifest.snapshots[1:]})
    second = PlacePositions(backed.store, later, listing)
    assert second.first_position() == later.snapshots[0].position
    assert positions.position_at(0) == 0
    moment = rows_of(backed.log)["events"][-1][6]
    assert positions.position_at(moment) == backed.manifest.shipped


# -- broken off -------------------------------------------------------------------------------


def test_a_download_is_gone_on_with(
    backed: Backed, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was downloaded before a kill is not downloaded again."""
    monkeypatch.setattr("daemon.backup.directory_store.CHUNK_BYTES", 1000)
    newest = backed.manifest.snapshots[-1]
    pieces = 0

    def before(word: str, name: str) -> None:
        nonlocal pieces
        if (word, name) == ("piece", newest.name):
            pieces += 1
            if pieces == 3:
                raise Died

    backed.before = before
    with pytest.raises(Died):
        restored(backed, target)
    (part,) = target.glob("*.download")
    assert part.stat().st_size == 2000
    assert part.stat().st_mode & 0o777 == 0o600
    restored(backed, target)
    assert same(backed, target)
    assert backed.store.read[newest.name] == newest.bytes


def test_a_download_that_was_spoilt_is_begun_again(backed: Backed, target: Path) -> None:
    """A part that is not what was stored, or longer, does no harm."""
    newest = backed.manifest.snapshots[-1]
    for content in (b"x" * 100, b"x" * (newest.bytes + 1)):
        (target / f"{Path(newest.name).name}.download").write_bytes(content)
        restored(backed, target)
        assert same(backed, target)
        remove_database(target / LOG_FILE)


def test_downloads_of_other_snapshots_are_removed(backed: Backed, target: Path) -> None:
    """Only one download is kept; what is none of ours stays."""
    (target / f"{Path(snapshot_name(1, 7)).name}.download").write_bytes(b"x")
    theirs = target / "film.download"
    theirs.write_bytes(b"x")
    restored(backed, target)
    theirs.unlink()
    assert same(backed, target)


@pytest.mark.parametrize("steps", range(8))
def test_killed_at_any_step_nothing_is_taken_for_a_log(
    backed: Backed, target: Path, steps: int
) -> None:
    """A restore that died leaves no log, and the next one makes it."""
    left = steps

    def before(word: str, name: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Died(word, name)

    backed.before = before
    with pytest.raises(Died):
        restored(backed, target)
    assert not (target / LOG_FILE).exists()
    left = 10**6
    restored(backed, target)
    assert same(backed, target)


def test_a_finish_that_fails_leaves_no_log(backed: Backed, target: Path) -> None:
    """What is done last may still refuse; then there is no log."""

    def finish(*_: object) -> None:
        raise ObjectDamaged("not so")

    with pytest.raises(ObjectDamaged, match="not so"):
        Restoring(backed.store, backed.manifest, target).run(finish=finish)
    assert not list(target.glob(f"{LOG_FILE}*"))


def test_a_disk_without_room_is_told_before(
    backed: Backed, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no room for the log, nothing is downloaded."""

    class Usage:
        """A disk with one free byte."""

        free = 1

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(DiskFull):
        restored(backed, target)
    assert not backed.store.read


_CHILD = """
import resource, sys
from pathlib import Path
from daemon.backup.directory_store import DirectoryRegister, DirectoryStore
from daemon.backup.manifest import require
from daemon.backup.restore import Restoring
from daemon.replay.checkpoints import remove_database
from domain.errors import DiskFull, StorageFailed
root, target, most = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
manifest, _ = require(DirectoryRegister(root))
restoring = Restoring(DirectoryStore(root), manifest, target)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
try:
    restoring.run()
except (DiskFull, StorageFailed) as error:
    sys.exit(f"refused: {error}")
"""


@pytest.mark.parametrize("share", [0.01, 0.4, 0.95])
def test_a_disk_that_is_full_on_the_way(
    backed: Backed, target: Path, tmp_path: Path, share: float
) -> None:
    """A write that fails ends the restore with a storage error, and no log is left."""
    most = round(backed.log.stat().st_size * share)
    arguments = [str(tmp_path / "kept"), str(target), str(most)]
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, *arguments], capture_output=True, text=True, timeout=60
    )
    assert child.returncode == 1, child.stderr
    assert child.stderr.startswith("refused: ")
    assert not list(target.glob(f"{LOG_FILE}*"))
    restored(backed, target)
    assert same(backed, target)


def test_the_place_in_the_tests_is_a_real_one(tmp_path: Path, backed: Backed) -> None:
    """What is restored is what another process finds there."""
    place = directory_place(tmp_path / "kept")
    listed: Callable[[str], list[str]] = lambda prefix: [  # noqa: E731
        each.name for each in place.objects.list(prefix)
    ]
    assert len(listed("segments/")) == 3
    assert len(listed("snapshots/")) == 2
    assert len(listed("letters/")) == 2
