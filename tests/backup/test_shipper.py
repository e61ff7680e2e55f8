"""Shipping: what is shown when it fails in a way that nobody foresaw."""

from __future__ import annotations

from pathlib import Path

import pytest
from backup_driving import Backed
from grown_logs import Growing, Step

from daemon.backup.status import State
from domain.errors import StorageFailed


@pytest.fixture
def backed(tmp_path: Path) -> Backed:
    """Return a directory that has shipped its only event, and has another one."""
    backed = Backed(tmp_path)
    growing = Growing(backed.log)
    growing.do(Step("events", [("first", "/a", "1", None)]))
    backed.ship()
    growing.do(Step("events", [("second", "/a", "2", None)]))
    growing.close()
    return backed


def test_what_nobody_foresaw_is_not_taken_for_shipping(backed: Backed) -> None:
    """It is raised for the log of the daemon, counted and shown; the next step ships."""

    def fail(call: str, name: str) -> None:
        if call == "put":
            raise RuntimeError(f"{call} {name}")

    backed.before = fail
    backed.now += 60_000_000
    shipper = backed.workshop.shipper
    with pytest.raises(RuntimeError):
        shipper.step(backed.now)
    status = backed.board.status
    assert (status.state, dict(status.failures)) == (State.UNAVAILABLE, {"segment": 1})
    assert status.behind_since is not None
    backed.before = lambda *_: None
    shipper.step(backed.now)
    assert (backed.board.status.state, backed.manifest.shipped) == (State.SHIPPING, 2)


def test_a_folder_that_cannot_be_written_is_told(backed: Backed) -> None:
    """A place is claimed by who can note that it is his: else shipping says why it is not."""
    folder = backed.settings.folder
    (folder / "place").unlink()
    (folder / "place.part").mkdir()
    with pytest.raises(StorageFailed, match="folder of the backup"):
        Backed(backed.data.parent, place=backed.place).ship()
