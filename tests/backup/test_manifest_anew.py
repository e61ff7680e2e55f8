"""A place whose manifest was deleted, while the objects of an epoch that ended are still in it."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest
from backup_driving import directory_place
from grown_logs import Growing, Step, rows_of
from sites import Site, manifest_of

from daemon.backup.errors import PlaceEmpty, RestoreRefused
from daemon.backup.manifest import RESERVED_EVENTS, Manifest
from daemon.backup.names import SEGMENTS, Range
from daemon.backup.restore import Restoring
from daemon.backup.segment import Source, store_sealed
from daemon.backup.status import unwatched
from daemon.backup.store import MANIFEST
from daemon.lifecycle import system_clock
from daemon.lock import LOG_FILE

SHIPPED, TAIL = 40, 5
"""What the first epoch shipped and said, and what it stored after that."""


@pytest.fixture
def first(tmp_path: Path) -> Site:
    """Return a directory whose last events were stored, and the manifest never said so."""
    site = Site(tmp_path / "first", directory_place(tmp_path / "kept"), "first")
    site.append(SHIPPED // 2).ship()
    letters(site, b"one")
    log_id = site.append(SHIPPED // 2).ship().log_id
    letters(site.append(TAIL, "lost"), b"lost")
    source = Source(site.data / LOG_FILE, log_id)
    for sealed in (source.seal(1, SHIPPED), source.seal_letters(1, 1)):
        assert sealed is not None
        store_sealed(site.place.objects, sealed)
    return site


def letters(site: Site, *content: bytes) -> None:
    """Record dead letters."""
    growing = Growing(site.data / LOG_FILE)
    growing.do(Step("letters", list(content)))
    growing.close()


def begun(manifest: Manifest) -> list[tuple[int, int, int]]:
    """Return what a manifest says of the epochs."""
    return [(each.epoch, each.after, each.first) for each in manifest.epochs]


def require_same(site: Site, target: Path) -> None:
    """Fail unless a restore gives the log of a directory, row by row."""
    target.mkdir()
    Restoring(site.place.objects, manifest_of(site.place), target).run()
    assert rows_of(target / LOG_FILE) == rows_of(site.data / LOG_FILE)


def test_a_manifest_that_is_made_anew_leaves_a_lost_tail_lost(first: Site, tmp_path: Path) -> None:
    """In the second epoch all is shipped again; what comes back is the log, merged or not."""
    second = Site(tmp_path / "second", first.place, "second")
    second.start()
    letters(second.append(7, "second"), b"two", b"three")
    before = second.ship()
    (Path(first.place.objects.url.removeprefix("file://")) / MANIFEST).unlink()
    # Nobody but its operator knows whether a disk is not mounted.
    assert second.start().action == "unseen"
    with pytest.raises(PlaceEmpty):
        second.ship()
    assert second.recovery().take_over("a test").action == "fresh"
    manifest = second.ship()
    names = {stored.name for stored in first.place.objects.list(SEGMENTS)}
    assert Range(SHIPPED + 1, SHIPPED + TAIL, 1).segment in names
    assert begun(manifest) == begun(before) == [(2, SHIPPED, SHIPPED + RESERVED_EVENTS + 1)]
    require_same(second, tmp_path / "restored")

    with closing(second.workshop()) as workshop:
        workshop.shipper.ship_all(system_clock)
        assert workshop.tidying.merge() > 0
    require_same(second, tmp_path / "merged")
    second.append(3, "more").ship()
    require_same(second, tmp_path / "more")
    # Whoever still has the lost tail is told since when there are two logs.
    with pytest.raises(RestoreRefused, match=f"two since position {SHIPPED}"):
        first.start()
    third = Site(tmp_path / "third", first.place, "third")
    assert third.start().epoch == 3
    assert third.chain().items() >= second.chain().items()


def test_what_had_a_backup_is_not_begun_by_itself(tmp_path: Path) -> None:
    """A directory that shipped to a place, and finds it empty, ships nothing there and says why."""
    site = Site(tmp_path / "data", directory_place(tmp_path / "kept")).append(3)
    with closing(site.workshop()) as workshop:
        workshop.shipper.step(system_clock())
        taken = workshop.snapshots.create(system_clock(), unwatched)
    (tmp_path / "kept").rename(tmp_path / "elsewhere")
    site.append(2)
    with pytest.raises(PlaceEmpty) as empty:
        site.ship()
    assert "takeover" in empty.value.operator_hint
    assert not list(site.place.objects.list(""))
    assert site.start().action == "unseen"
    (site.data / LOG_FILE).rename(tmp_path / "log.db")
    with pytest.raises(RestoreRefused, match="has no manifest"):
        site.start()
    # It is back, and all is well.
    (tmp_path / "log.db").rename(site.data / LOG_FILE)
    shutil.rmtree(tmp_path / "kept", ignore_errors=True)
    (tmp_path / "elsewhere").rename(tmp_path / "kept")
    assert site.start().action == "kept"
    manifest = site.ship()
    assert (manifest.shipped, [each.name for each in manifest.snapshots]) == (
        5,
        [taken and taken.name],
    )
    # Whoever loses the manifest alone finds the snapshots again.
    (tmp_path / "kept" / MANIFEST).unlink()
    assert site.recovery().take_over("it is lost").action == "fresh"
    assert site.ship().snapshots == manifest.snapshots
