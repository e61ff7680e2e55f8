"""Proof: a snapshot is restored elsewhere and gives the same views, or is unused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from backup_driving import WRITER, Backed, Died
from golden_log import views_of
from grown_logs import Growing, Step, rows_of

from daemon.backup.errors import NotTheWriter, StoreUnavailable
from daemon.backup.manifest import Ledger, Snapshot
from daemon.backup.proof import Prover
from daemon.backup.restore import Listing, Restoring
from daemon.backup.status import unwatched
from daemon.lock import LOG_FILE, VIEWS_FILE
from domain.errors import DiskFull, NotReady

EVENTS = Step("events", [("a", "/s", "i", None), ("b", "/s", "j", {"count": 1})])
OTHERS = Step("events", [("c", "/s", "k", None)])


@pytest.fixture
def backed(tmp_path: Path) -> Iterator[Backed]:
    """Return the backup of a log with a snapshot, events after it, and views of all."""
    backed = Backed(tmp_path)
    growing = Growing(backed.log)
    growing.do(EVENTS)
    growing.do(Step("epoch", 1_000_000))
    growing.close()
    backed.snapshot()
    backed.close()
    growing.do(OTHERS)
    growing.close()
    views_of(backed.log, backed.data / VIEWS_FILE)
    backed.ship()
    yield backed
    backed.close()


def proved(backed: Backed) -> Snapshot:
    """Prove the newest snapshot."""
    (snapshot,) = backed.manifest.snapshots
    found = backed.workshop.prover.prove(snapshot, lambda: backed.now, unwatched)
    assert backed.manifest.snapshots == (found,)
    assert not (backed.settings.folder / "proof").exists()
    return found


def test_a_right_snapshot_is_proved(backed: Backed) -> None:
    """The manifest says that it was proved, and when."""
    found = proved(backed)
    assert (found.proof, found.proved_at, found.finding) == ("proved", backed.now, "")
    assert any(name.startswith("segments/") for name in backed.store.read)


def test_a_damaged_object_fails(backed: Backed) -> None:
    """What was damaged in the store after it was stored is found out, and not restored from."""
    assert proved(backed).proved
    name = backed.manifest.snapshots[0].name
    backed.damage(name)
    found = proved(backed)
    assert (found.proof, found.proved_at) == ("failed", None)
    assert name in found.finding
    target = backed.data.parent / "target"
    target.mkdir()
    backed.store.read.clear()
    Restoring(backed.store, backed.manifest, target).run()
    assert rows_of(target / LOG_FILE) == rows_of(backed.log)
    assert name not in backed.store.read


def test_a_missing_segment_fails(backed: Backed) -> None:
    """The events after a snapshot are proved together with it."""
    newest = max(Listing.of(backed.store, backed.manifest).segments)
    backed.path_of(newest.segment).unlink()
    found = proved(backed)
    assert (found.proof, found.finding.startswith("no object")) == ("failed", True)


def test_a_damaged_segment_fails(backed: Backed) -> None:
    """A segment that is not what was stored is named."""
    newest = max(Listing.of(backed.store, backed.manifest).segments)
    backed.damage(newest.segment)
    assert newest.segment in proved(backed).finding


def test_views_that_differ_fail(backed: Backed) -> None:
    """Views that people look at and that a replay does not give are no proof."""
    with closing(apsw.Connection(str(backed.data / VIEWS_FILE))) as db:
        tables = db.execute("SELECT tables FROM projections ORDER BY name").get
        for table in " ".join(each for each in tables if isinstance(each, str)).split():
            db.execute(f"DELETE FROM {table}")
        assert db.total_changes()
    found = proved(backed)
    assert found.proof == "failed"
    assert found.finding


class Waits(threading.Event):
    """A stop that never comes; whoever waits for it does something instead."""

    def __init__(self, instead: Callable[[], None]) -> None:
        super().__init__()
        self.count = 0
        self._instead = instead

    def wait(self, timeout: float | None = None) -> bool:
        """Return at once."""
        self.count += 1
        self._instead()
        return self.is_set()


def prover(backed: Backed, stopping: threading.Event, patience: float = 60.0) -> Prover:
    """Return a prover that waits by an event of the test."""
    return Prover(
        backed.store, backed.workshop.ledger, backed.data / VIEWS_FILE, backed.settings.folder,
        lambda position, _: backed.manifest.shipped >= position, stopping, 10**12, patience,
    )  # fmt: skip


def views_behind(backed: Backed) -> Callable[[], None]:
    """Put the views back to before the snapshot; return what brings them to the head."""
    views = backed.data / VIEWS_FILE
    newest = views.read_bytes()
    with closing(apsw.Connection(str(views))) as db:
        db.execute("UPDATE projections SET live = 0")

    def caught_up() -> None:
        views.write_bytes(newest)

    return caught_up


def test_a_proof_waits_for_the_views(backed: Backed) -> None:
    """Views that are behind the snapshot are waited for."""
    caught_up = views_behind(backed)
    waits = Waits(lambda: waits.count == 3 and caught_up())  # type: ignore[arg-type]
    found = prover(backed, waits).prove(backed.manifest.snapshots[0], lambda: backed.now, unwatched)
    assert found.proved
    assert waits.count == 3


def test_views_that_are_not_built_prove_nothing(backed: Backed) -> None:
    """After a bounded wait there is nothing to compare with: nothing is said of it."""
    views_behind(backed)
    waits = Waits(lambda: None)
    with pytest.raises(NotReady):
        prover(backed, waits).prove(backed.manifest.snapshots[0], lambda: 0, unwatched)
    assert waits.count == 60
    assert backed.manifest.snapshots[0].proof == "pending"


def test_views_that_stay_behind_are_taken_as_they_are(tmp_path: Path) -> None:
    """Where the views do not come on, the snapshot is compared at their position."""
    backed = Backed(tmp_path)
    growing = Growing(backed.log)
    growing.do(EVENTS)
    growing.close()
    views_of(backed.log, backed.data / VIEWS_FILE)
    growing.do(OTHERS)
    growing.close()
    backed.snapshot()
    waits = Waits(lambda: None)
    found = prover(backed, waits).prove(backed.manifest.snapshots[0], lambda: backed.now, unwatched)
    assert (found.proof, waits.count) == ("proved", 60)
    backed.close()


def test_a_stop_ends_the_wait_and_the_proof(backed: Backed) -> None:
    """A daemon that stops says nothing of the snapshot."""
    views_behind(backed)
    waits = Waits(lambda: waits.set())
    with pytest.raises(NotReady):
        prover(backed, waits).prove(backed.manifest.snapshots[0], lambda: 0, unwatched)
    assert waits.count == 1
    backed.stopping.set()
    with pytest.raises(NotReady):
        proved(backed)
    assert backed.manifest.snapshots[0].proof == "pending"
    assert not (backed.settings.folder / "proof").exists()


def test_a_store_that_is_away_says_nothing_of_the_snapshot(backed: Backed) -> None:
    """What could not be tried is neither proved nor failed."""

    def before(word: str, name: str) -> None:
        if word == "get":
            raise StoreUnavailable("down")

    backed.before = before
    with pytest.raises(StoreUnavailable):
        proved(backed)
    assert backed.manifest.snapshots[0].proof == "pending"


def test_a_disk_without_room_says_nothing_of_the_snapshot(
    backed: Backed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proof needs room; without it, it is not tried."""

    class Usage:
        """A full disk."""

        free = 0

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(DiskFull):
        proved(backed)
    assert backed.manifest.snapshots[0].proof == "pending"


def test_what_a_killed_proof_left_is_removed(backed: Backed) -> None:
    """A proof that died leaves a folder; the next run removes it, and proves."""

    def before(word: str, name: str) -> None:
        if word == "piece":
            raise Died

    backed.before = before
    with pytest.raises(Died):
        backed.workshop.prover.prove(backed.manifest.snapshots[0], lambda: 0, unwatched)
    folder = backed.settings.folder / "proof"
    folder.mkdir()
    (folder / "log.db.restore").write_bytes(b"x")
    backed.before = lambda *_: None
    backed.workshop.clean()
    assert not folder.exists()
    assert proved(backed).proved


def test_a_writer_that_was_taken_over_says_nothing(backed: Backed) -> None:
    """The manifest of another daemon is not changed by a proof that ends late."""
    snapshot = backed.manifest.snapshots[0]
    assert backed.workshop

    def before(word: str, name: str) -> None:
        if word == "swap":
            backed.before = lambda *_: None
            later = WRITER.model_copy(update={"session": "later"})
            Ledger(backed.place.register, later).claim(lambda: backed.manifest, lambda told: told)

    backed.before = before
    with pytest.raises(NotTheWriter):
        backed.workshop.prover.prove(snapshot, lambda: 0, unwatched)
    assert backed.manifest.snapshots[0].proof == "pending"


def test_a_snapshot_that_was_pruned_meanwhile_does_not_come_back(backed: Backed) -> None:
    """A proof that ends late does not bring a snapshot back into the manifest."""
    snapshot = backed.manifest.snapshots[0]
    backed.workshop.ledger.change(lambda manifest: manifest.without_snapshots([snapshot.name]))
    backed.workshop.prover.prove(snapshot, lambda: 0, unwatched)
    assert not backed.manifest.snapshots
