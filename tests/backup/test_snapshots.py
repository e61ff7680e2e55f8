"""Snapshots: skipped, adopted, taken again, broken off; and never held whole in memory."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from backup_driving import LOG_ID, Backed, Died
from grown_logs import Growing, Step, rows_of

from daemon.backup.container import HEADER_BYTES_MAX, Header, read_header
from daemon.backup.errors import AlreadyThere, StoreRefused, StoreUnavailable
from daemon.backup.identity import PLACE_FILE
from daemon.backup.restore import Restoring
from daemon.backup.snapshots import StepFailed
from daemon.backup.status import Progress, unwatched
from daemon.eventlog.log import EventLog
from daemon.lock import LOG_FILE
from domain.errors import DiskFull, NotReady
from domain.events import NewEvent

EVENTS = Step("events", [("a", "/s", "i", None), ("b", "/s", "j", {"count": 1})])

OTHERS = Step("events", [("c", "/s", "k", None)])


@pytest.fixture
def backed(tmp_path: Path) -> Iterator[Backed]:
    """Return the backup of a small log that was shipped."""
    backed = Backed(tmp_path)
    grow(backed, EVENTS, Step("letters", [b"one"]))
    backed.ship()
    yield backed
    backed.close()


def grow(backed: Backed, *steps: Step) -> None:
    """Go on with the log."""
    growing = Growing(backed.log)
    for step in steps:
        growing.do(step)
    growing.close()


def created(backed: Backed) -> str | None:
    """Take a snapshot; return its name, None where nothing was new."""
    taken = backed.workshop.snapshots.create(backed.now, unwatched)
    return None if taken is None else taken.name


def left(backed: Backed) -> list[str]:
    """Return what lies in the folder of the backup, but for what stays there."""
    return sorted({path.name for path in backed.settings.folder.iterdir()} - {PLACE_FILE})


def test_a_snapshot_says_what_it_is(backed: Backed) -> None:
    """Manifest, metadata and header of a snapshot agree, and it restores the log."""
    name = created(backed)
    (told,) = backed.manifest.snapshots
    stored = backed.store.find(told.name)
    assert stored is not None
    assert told.name == name == stored.name
    start = backed.store.get_range(told.name, 0, HEADER_BYTES_MAX)
    header, _ = read_header(start, told.name)
    assert Header.of_metadata(stored.metadata) == header
    assert (header.kind, header.last, header.letters) == ("snapshot", told.position, 1)
    assert header.raw_sha256 == told.raw_sha256
    assert (told.bytes, told.sha256) == (stored.size, stored.metadata["sha256"])
    assert told.taken == backed.now
    assert not left(backed)
    assert backed.board.status.bytes["snapshot"] == told.bytes


def test_nothing_new_is_no_snapshot(backed: Backed) -> None:
    """A snapshot is skipped when nothing came but the backup's own events."""
    assert created(backed)
    assert created(backed) is None
    log = EventLog.open(backed.log)
    log.start()
    log.append([NewEvent("backup.proved", "s", "/chronicled", "1", b"{}")])
    log.close()
    backed.ship()
    assert created(backed) is None


@pytest.mark.parametrize("step", [OTHERS, Step("library", ("app", [("s", "t", b"")]))])
def test_something_new_is_a_snapshot(backed: Backed, step: Step) -> None:
    """An event of the daemon or of an application is worth the next one."""
    assert created(backed)
    grow(backed, step)
    backed.ship()
    assert created(backed)
    assert created(backed) is None


def test_dead_letters_alone_are_no_snapshot(backed: Backed) -> None:
    """They are shipped by themselves, and come back; the next snapshot has them."""
    assert created(backed)
    grow(backed, Step("letters", [b"two"]))
    backed.ship()
    assert created(backed) is None
    target = backed.data.parent / "target"
    target.mkdir()
    Restoring(backed.store, backed.manifest, target).run()
    assert rows_of(target / LOG_FILE) == rows_of(backed.log)


def test_an_epoch_is_news(backed: Backed) -> None:
    """The event that begins an epoch is worth a snapshot."""
    position = backed.manifest.shipped
    assert not backed.workshop.log.has_news(position)
    grow(backed, Step("epoch", 10))
    assert backed.workshop.log.has_news(position)


def test_an_object_that_was_stored_and_not_told_of_is_adopted(backed: Backed) -> None:
    """A run that died between storing and saying so has not stored for nothing."""

    def before(word: str, name: str) -> None:
        if word == "swap":
            raise Died(name)

    backed.before = before
    with pytest.raises(Died):
        created(backed)
    backed.close()
    (stored,) = backed.store.list("snapshots/")
    assert not backed.manifest.snapshots
    backed.before = lambda *_: None
    backed.now += 5_000_000
    backed.ship()
    assert created(backed) == stored.name
    (told,) = backed.manifest.snapshots
    assert (told.bytes, told.sha256) == (stored.size, stored.metadata["sha256"])
    assert told.taken == backed.now - 5_000_000


def test_an_object_of_another_log_is_not_adopted(backed: Backed) -> None:
    """What has the name of a snapshot and holds something else stops it, and is left."""
    name = created(backed)
    assert name is not None
    backed.close()
    (told,) = backed.manifest.snapshots
    backed.ship()
    backed.workshop.ledger.change(lambda manifest: manifest.without_snapshots([name]))
    backed.store.delete(name)
    header = Header(
        kind="snapshot", log_id=LOG_ID, epoch=1, schema_version=1, release="0", first=1,
        last=told.position, count=0, raw_bytes=1, raw_sha256="", digest_after=told.digest,
    )  # fmt: skip
    backed.store.put_if_absent(name, io.BytesIO(b"other"), 5, header.metadata("x"))
    with pytest.raises(StepFailed) as failed:
        created(backed)
    assert isinstance(failed.value.error, AlreadyThere)
    assert not backed.manifest.snapshots


def test_a_snapshot_that_was_proved_wrong_is_taken_again(backed: Backed) -> None:
    """Under the same name, where nothing is new: the wrong object makes way."""
    wrong = backed.snapshot("failed")
    backed.damage(wrong.name)
    assert created(backed) == wrong.name
    (told,) = backed.manifest.snapshots
    assert told.proof == "pending"
    target = backed.data.parent / "target"
    target.mkdir()
    Restoring(backed.store, backed.manifest, target, alternatives=False).run()
    assert rows_of(target / LOG_FILE) == rows_of(backed.log)


@pytest.mark.parametrize(
    ("word", "error", "step"),
    [
        ("put", StoreUnavailable("down"), "upload"),
        ("put", StoreRefused("no"), "upload"),
        ("swap", StoreUnavailable("down"), "manifest"),
    ],
)
def test_a_step_that_fails_is_named(backed: Backed, word: str, error: Exception, step: str) -> None:
    """The step says what failed; nothing is left in the way of the next attempt."""

    def before(called: str, name: str) -> None:
        if called == word:
            raise error

    backed.before = before
    with pytest.raises(StepFailed) as failed:
        created(backed)
    assert (failed.value.step, failed.value.error) == (step, error)
    assert not left(backed)
    assert not backed.manifest.snapshots
    backed.before = lambda *_: None
    assert created(backed)


@pytest.mark.parametrize("error", [DiskFull("full"), OSError(28, "No space left on device")])
def test_a_copy_that_fails_is_told(
    backed: Backed, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A disk that is full ends the copy, and nothing of it stays."""

    def copy(self: Backed, target: Path, progress: Progress) -> None:
        target.write_bytes(b"half")
        raise error

    monkeypatch.setattr(Backed, "copy", copy)
    backed.close()
    backed.ship()
    with pytest.raises(StepFailed) as failed:
        created(backed)
    assert failed.value.step == "copy"
    assert not left(backed)


def test_a_stop_ends_a_snapshot(backed: Backed) -> None:
    """A daemon that stops does not finish a copy."""
    assert backed.workshop
    backed.stopping.set()
    with pytest.raises(StepFailed) as failed:
        created(backed)
    assert isinstance(failed.value.error, NotReady)
    assert not left(backed)


def test_progress_rises(backed: Backed) -> None:
    """What is done never falls and never exceeds what there is."""
    told: list[tuple[int, int]] = []
    backed.workshop.snapshots.create(backed.now, lambda done, total: told.append((done, total)))
    shares = [done / total for done, total in told]
    assert shares == sorted(shares)
    assert shares[-1] <= 1


_CHILD = """
import resource, sys
from pathlib import Path
import apsw
from backup_driving import Backed
from daemon.backup.restore import Restoring
from daemon.eventlog.copying import copy_log

class Large(Backed):
    def copy(self, target, progress):
        copy_log(self.log, target)
        db = apsw.Connection(str(target))
        db.execute("CREATE TABLE filler (content BLOB)")
        for _ in range(30):
            db.execute("INSERT INTO filler VALUES (zeroblob(10 << 20))")
        db.close()

def grown(do):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    do()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

backed = Large(Path(sys.argv[1]))
backed.ship()
packing = grown(lambda: backed.snapshot("proved"))
target = Path(sys.argv[1]) / "target"
target.mkdir()
unpacking = grown(Restoring(backed.store, backed.manifest, target).run)
print(packing, unpacking, (target / "log.db").stat().st_size)
"""


def test_memory_is_bounded(backed: Backed, tmp_path: Path) -> None:
    """A snapshot of 300 MiB, and its restore, take less than 80 MiB more than before."""
    backed.close()
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parent,
        env={"PYTHONPATH": f"{Path(__file__).parents[2]}:{Path(__file__).parents[1]}"},
    )
    assert child.returncode == 0, child.stderr
    packing, unpacking, size = (int(each) for each in child.stdout.split())
    assert size > 300 << 20
    assert packing < 80 << 10
    assert unpacking < (80 + 64) << 10
