"""The whole way of a log to a place and back, over every kind of store."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from backup_driving import Backed
from golden_log import views_of
from grown_logs import Growing, Step, rows_of
from stores import Open

from daemon.backup.errors import ObjectMissing
from daemon.backup.keeping import Keep
from daemon.backup.positions import PlacePositions
from daemon.backup.restore import Listing, Restoring
from daemon.backup.status import unwatched
from daemon.lock import LOG_FILE, VIEWS_FILE


def restored(backed: Backed, target: Path) -> bool:
    """Restore into a folder, and return whether every row is there; the folder is removed."""
    target.mkdir()
    Restoring(backed.store, backed.manifest, target).run()
    same = rows_of(target / LOG_FILE) == rows_of(backed.log)
    shutil.rmtree(target)
    return same


def test_a_log_goes_there_and_comes_back(
    open_place: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shipped, copied, proved, merged, pruned: after each of these the log comes back whole."""
    monkeypatch.setattr("daemon.backup.tidying.MERGED_MIN", 3)
    backed, target = Backed(tmp_path, place=open_place()), tmp_path / "target"
    growing = Growing(backed.log)
    for number in range(4):
        growing.do(Step("events", [("a", "/s", f"{number}", None)]))
        growing.do(Step("letters", [b"%d" % number]))
        growing.do(Step("follow", ("a", number + 1)))
        backed.ship()
    growing.close()
    assert restored(backed, target)
    views_of(backed.log, backed.data / VIEWS_FILE)
    for _ in range(2):
        backed.now += 3_600_000_000
        growing.do(Step("library", ("app", [("s", "t", b"\x00")])))
        growing.close()
        taken = backed.snapshot()
        proved = backed.workshop.prover.prove(taken, lambda: backed.now, unwatched)
        assert proved.proved, proved.finding
    assert restored(backed, target)
    assert backed.workshop.tidying.merge() > 3
    assert len(backed.workshop.tidying.prune(Keep(hourly=1)).snapshots) == 1
    assert restored(backed, target)
    listing = Listing.of(backed.store, backed.manifest)
    positions = PlacePositions(backed.store, backed.manifest, listing)
    for row in rows_of(backed.log)["events"]:
        assert (positions.position_at(row[6]) or 0) >= row[0]
    backed.close()
    again = Backed(tmp_path, place=open_place())
    again.ship()
    again.store.delete(listing.segments[-1].segment)
    again.store.delete(again.manifest.snapshots[-1].name)
    target.mkdir()
    with pytest.raises(ObjectMissing):
        Restoring(again.store, again.manifest, target).run()
    again.close()
