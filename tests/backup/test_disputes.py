"""Whose events count: when the place has others than the log, and when its manifest is gone."""

from __future__ import annotations

import shutil
import threading
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from backup_driving import CellRegister, directory_place
from epoch_log import resume
from sites import Site, manifest_of, settings_of

from daemon.backup.applying import Applier
from daemon.backup.board import Board
from daemon.backup.errors import NotTheWriter, ObjectDamaged, RestoreRefused, StoreRefused
from daemon.backup.manifest import RESERVED_EVENTS
from daemon.backup.names import SNAPSHOTS
from daemon.backup.restore import Listing
from daemon.backup.segment import Sealed, Source, last_recorded, seal, store_sealed, unsealed
from daemon.backup.shipper import SWAP_SEGMENTS
from daemon.backup.status import BackupStatus, Progress, State, unwatched
from daemon.backup.store import Place
from daemon.backup.workshop import Workshop
from daemon.eventlog.connection import open_writer
from daemon.eventlog.copying import copy_log
from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Append, DeadLetter
from daemon.lifecycle import system_clock
from daemon.lock import LOG_FILE


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return an empty place."""
    return directory_place(tmp_path / "kept")


@pytest.fixture
def site(tmp_path: Path, place: Place) -> Site:
    """Return a directory whose five events are shipped."""
    site = Site(tmp_path / "data", place)
    site.append(5).ship()
    return site


def store(site: Site, after: int) -> None:
    """Store the events after a position as a segment that no manifest speaks of."""
    sealed = Source(site.data / LOG_FILE, manifest_of(site.place).log_id).seal(1, after)
    assert sealed is not None
    store_sealed(site.place.objects, sealed)


class Run:
    """One run of the backup of a directory, whose steps of shipping are taken by hand."""

    def __init__(self, site: Site, place: Place | None = None) -> None:
        """Begin it, with the place of the directory or another one."""

        def copy(target: Path, _: Progress) -> None:
            copy_log(site.data / LOG_FILE, target)

        place = place or site.place
        settings = settings_of(site.data, place)
        settings.folder.mkdir(exist_ok=True)
        self.board = Board(BackupStatus(url=settings.url), system_clock)
        self.workshop = Workshop(
            settings, place, site.writer(), self.board, copy, threading.Event(), system_clock
        )
        self._now = system_clock()

    def step(self) -> State:
        """Ship when it is time again; return how shipping stands."""
        self._now += 120_000_000
        self.workshop.shipper.step(self._now)
        return self.board.status.state

    def close(self) -> None:
        """End it."""
        self.workshop.close()


def require_restored(site: Site, folder: Path) -> None:
    """Fail unless a machine that has nothing gets every event of a directory back."""
    back = Site(folder, site.place, "another")
    back.start()
    assert back.chain().items() >= site.chain().items()
    back.require_right()


class TestOtherEvents:
    """A segment of the same epoch holds other events than the log."""

    def test_a_segment_that_was_lost_here_is_removed(
        self, site: Site, place: Place, tmp_path: Path
    ) -> None:
        """Shipping goes on after a power cut that took events which were stored already."""
        before = site.copied(tmp_path / "before", name=site.name)
        store(site.append(5, "lost"), 5)
        before.start()
        before.append(5, "new")
        with closing(Run(before)) as run:
            assert [run.step(), run.step()] == [State.SHIPPING] * 2
        assert manifest_of(place).shipped == 10
        require_restored(before, tmp_path / "back")

    def test_one_that_comes_later_does_not_hold_up_shipping(
        self, site: Site, place: Place, tmp_path: Path
    ) -> None:
        """A name that a clone took is taken back by who is the writer."""
        clone = site.copied(tmp_path / "clone")
        with closing(Run(site)) as run:
            run.step()
            store(clone.append(5, "clone"), 5)
            site.append(5)
            assert run.step() is State.UNAVAILABLE
            assert run.step() is State.SHIPPING
        assert manifest_of(place).shipped == 10
        require_restored(site, tmp_path / "back")

    def test_a_restored_log_ends_as_the_manifest_says(self, site: Site, tmp_path: Path) -> None:
        """A wider segment of a clone is read, and not taken for what was shipped."""
        clone = site.copied(tmp_path / "clone")
        site.append(5).ship()
        store(clone.append(10, "clone"), 5)
        require_restored(site, tmp_path / "back")

    def test_it_stands_for_nothing_when_segments_are_merged(
        self, site: Site, tmp_path: Path
    ) -> None:
        """What only looks as if it held shipped segments is removed, not they."""
        clone = site.copied(tmp_path / "clone")
        site.append(5).ship()
        store(clone.append(10, "clone"), 5)
        site.append(10).ship()
        with closing(site.workshop()) as workshop:
            workshop.shipper.ship_all(system_clock)
            workshop.tidying.merge()
        require_restored(site, tmp_path / "back")

    def test_a_clone_that_has_taken_the_place_keeps_it(self, site: Site, tmp_path: Path) -> None:
        """Two that have one id do not take the place from each other in turns."""
        clone = site.copied(tmp_path / "clone", name=site.name)
        with closing(Run(site)) as run:
            assert run.step() is State.SHIPPING
            clone.ship()
            site.append(1)
            assert [run.step(), run.step()] == [State.REFUSED] * 2
        assert clone.append(2, "clone").ship().shipped == 7


def test_the_first_manifest_reserves_what_the_log_has_used(place: Place, tmp_path: Path) -> None:
    """A log that gets a backup late is not restored into positions that it had used."""
    site = Site(tmp_path / "data", place)
    head = resume(site.append(3).data / LOG_FILE, gap=3 * RESERVED_EVENTS)
    shutil.copytree(site.data, tmp_path / "lost")
    register = CellRegister()
    register.refused = set(range(2, 100))
    with closing(Run(site, Place(place.objects, register))) as run:
        assert run.step() is State.UNAVAILABLE
    manifest = manifest_of(Place(place.objects, register))
    assert (manifest.shipped, manifest.head, manifest.reserved) == (0, head, head + RESERVED_EVENTS)


class TestNoManifest:
    """The objects of a backup are there, and its manifest is gone."""

    @pytest.fixture(autouse=True)
    def lost(self, site: Site, tmp_path: Path) -> None:
        """Take a snapshot, and lose the manifest."""
        with closing(site.workshop()) as workshop:
            workshop.shipper.ship_all(system_clock)
            workshop.create(unwatched)
        (tmp_path / "kept" / "manifest.json").unlink()

    def test_an_empty_machine_does_not_start(self, place: Place, tmp_path: Path) -> None:
        """It would begin another log, and prune what is left of this one."""
        with pytest.raises(RestoreRefused, match="no manifest") as refused:
            Site(tmp_path / "empty", place).start()
        assert "--allow-empty" in (refused.value.operator_hint or "")

    def test_another_log_does_not_ship_there(self, place: Place, tmp_path: Path) -> None:
        """One that was begun without the backup, as asked, leaves what is there alone."""
        other = Site(tmp_path / "other", place)
        assert other.start(allow_empty=True).action == "fresh"
        with closing(Run(other.append(1))) as run:
            assert run.step() is State.REFUSED
        assert list(place.objects.list(SNAPSHOTS))
        with pytest.raises(NotTheWriter, match="no manifest"):
            other.ship()


class TestLetters:
    """Dead letters that were shipped belong to what a log goes on with."""

    def test_a_takeover_fetches_those_that_are_missing(self, site: Site, tmp_path: Path) -> None:
        """A copy with every event and fewer letters leaves a backup that can be restored."""
        letter(site, b"1", b"2")
        site.ship()
        standby = site.copied(tmp_path / "standby", name="standby")
        letter(site, b"3", b"4")
        site.ship()
        standby.recovery().take_over("the other machine burnt down")
        assert letters(standby) == [b"1", b"2", b"3", b"4"]
        letter(standby, b"5")
        standby.append(1).ship()
        back = Site(tmp_path / "back", site.place, "another")
        back.start()
        assert letters(back) == letters(standby) == [b"1", b"2", b"3", b"4", b"5"]


def letter(site: Site, *raws: bytes) -> None:
    """Record dead letters."""
    with closing(EventLog.open(site.data / LOG_FILE)) as log:
        found = [DeadLetter("text", raw, "bad", "it is bad", "a test") for raw in raws]
        log.submit(Append([], found), lambda _: None)
        log.writer.step(system_clock())


def letters(site: Site) -> list[bytes]:
    """Return the dead letters of a directory, the oldest first."""
    with closing(apsw.Connection(str(site.data / LOG_FILE))) as db:
        return [kept for (kept,) in db.execute("SELECT kept FROM dead_letters ORDER BY 1")]


class _Frozen:
    """A register that can be read only."""

    def __init__(self, place: Place) -> None:
        self._register = place.register
        self.frozen = False

    def read(self) -> object:
        return self._register.read()

    def swap(self, content: bytes, version: str | None) -> str:
        if self.frozen:
            raise StoreRefused("manifest.json: 403 Forbidden")
        return self._register.swap(content, version)


def test_what_cannot_be_said_is_not_piled_up(site: Site, place: Place) -> None:
    """Without the right to swap the manifest, only so many segments are stored beyond it."""
    register = _Frozen(place)
    with closing(Run(site, Place(place.objects, register))) as run:  # type: ignore[arg-type]
        run.step()
        register.frozen = True
        for _ in range(2 * SWAP_SEGMENTS):
            site.append(1)
            assert run.step() is State.REFUSED
        stored = len(Listing.of(place.objects, manifest_of(place)).segments)
        assert stored == 1 + SWAP_SEGMENTS
        register.frozen = False
        assert [run.step(), run.step()][-1] is State.SHIPPING
    assert manifest_of(place).shipped == 5 + 2 * SWAP_SEGMENTS


class TestForeignSegments:
    """A segment comes from the store: nothing in it may run, and it is what its name says."""

    @pytest.mark.parametrize(
        "change",
        [
            "ALTER TABLE follows RENAME TO f;"
            "CREATE VIEW follows AS SELECT 'n' AS name, 1 AS offset, 1 AS updated",
            "ALTER TABLE events ADD COLUMN more BLOB AS (zeroblob(9))",
            "CREATE VIRTUAL TABLE more USING fts5(word)",
        ],
    )
    def test_programs_are_refused(self, change: str, site: Site, tmp_path: Path) -> None:
        """Views, computed columns and virtual tables are not read."""
        sealed = changed(site, change)
        with closing(open_writer(str(tmp_path / "new.db"))) as db:
            db.execute("INSERT INTO log_meta VALUES ('log_id', ?)", (sealed.header.log_id,))
            with pytest.raises(ObjectDamaged, match="holds more than a segment"):
                Applier(db, sealed.header.log_id).apply(sealed.content, "a segment")
        with pytest.raises(ObjectDamaged, match="holds more than a segment"):
            last_recorded(sealed.content, "a segment", 0)

    def test_what_is_no_database_is_damaged(self, site: Site) -> None:
        """It has its checksum, and cannot be read."""
        sealed = seal(b"x" * 8192, changed(site, "").header)
        with pytest.raises(ObjectDamaged, match="does not hold a database"):
            last_recorded(sealed.content, "a segment", 0)

    def test_an_object_is_what_its_name_says(self, site: Site, place: Place) -> None:
        """The segment of other positions under a name is damaged."""
        (range_,) = Listing.of(place.objects, manifest_of(place)).segments
        other = range_._replace(last=9).segment
        with pytest.raises(ObjectDamaged, match="than its name says"):
            unsealed(changed(site, "").content, other)


def changed(site: Site, sql: str) -> Sealed:
    """Return a segment of all events whose database was changed by whoever made it."""
    sealed = Source(site.data / LOG_FILE, manifest_of(site.place).log_id).seal(1, 0)
    assert sealed is not None
    with closing(apsw.Connection(":memory:")) as db:
        db.deserialize("main", unsealed(sealed.content, "a segment")[1])
        db.execute(sql)
        return seal(db.serialize("main"), sealed.header)
