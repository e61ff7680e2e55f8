"""Defects of the archiver of the AMR predictor, each shown not to be here.

It pointed the record to the new file before it removed "the original", and so deleted what it had
just made; it did not look at a file again after moving it; a purge took the history along; there
was no way to see beforehand what would happen; and a copied configuration changed the defaults.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from archive_site import Site

from daemon.archive.checking import check_all
from daemon.archive.errors import ArchiveDamaged
from daemon.archive.marker import find_marker
from daemon.backup.directory_store import DirectoryStore
from daemon.config import load


def test_the_archive_is_not_deleted_as_an_original(tmp_path: Path) -> None:
    """A result that names an object of the archive, below the root of the files, stays."""
    store = DirectoryStore(tmp_path / "root" / "archive")
    with Site(tmp_path, store) as site:
        site.job("j1", one=b"GFF one")
        site.store_job("j1")
        objects = site.objects()
        site.record("job.submitted", "j2")
        for number, name in enumerate(objects):
            path = f"archive/{name}"
            site.record("result.recorded", f"j2-{number}", {"job": "j2", "path": path})
        site.store_job("j2")
        assert set(objects) <= set(site.objects())
        assert check_all(site.archive.reader, lambda *_: None)["ok"]


def test_the_record_goes_on_to_name_the_original(site: Site) -> None:
    """`result.recorded` is never changed: where the file was is known, and it comes back there."""
    site.job("j1", one=b"GFF one")
    site.store_job("j1")
    recorded, archived = site.log.read_stream("result/j1/one.gff3")
    assert recorded.payload["path"] == archived.payload["path"] == "j1/one.gff3"
    assert archived.payload["location"] in site.objects()
    site.archive.restorer.restore("j1", None, None, lambda *_: None)
    assert site.originals() == {"j1/one.gff3": b"GFF one"}


def test_a_file_is_looked_at_after_it_was_moved(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be read back from the archive is not deleted where it was."""
    site.job("j1", one=b"GFF one")
    put = site.store.put_if_absent

    def losing(name: str, *arguments: object) -> object:
        stored = put(name, *arguments)  # type: ignore[arg-type]
        (site.folder / "kept" / name).write_bytes(b"")
        return stored

    monkeypatch.setattr(site.store, "put_if_absent", losing)
    with pytest.raises(ArchiveDamaged):
        site.store_job("j1")
    assert site.originals() == {"j1/one.gff3": b"GFF one"}


def test_the_history_stays_with_the_archive(site: Site) -> None:
    """The events of an archived job are all there, until a purge that leaves its tombstone."""
    site.job("j1")
    before = site.types("job/j1")
    site.store_job("j1")
    site.truncate()
    assert [event.type for event in site.events("j1")] == [*before, "job.archived"]
    site.purge("j1")
    site.settle()
    site.truncate()
    assert site.types("job/j1") == ["job.purged"]


def test_what_was_done_is_told(site: Site) -> None:
    """Every file that moved, is missing or was left has an event, and the job names its rule."""
    site.job("j1", one=b"GFF one", two=b"GFF two", three=b"GFF three")
    (site.root / "j1/two.gff3").unlink()
    (site.root / "j1/three.gff3").write_bytes(b"another")
    site.store_job("j1")
    told = {name: site.types(f"result/j1/{name}.gff3")[1:] for name in ("one", "two", "three")}
    assert told == {
        "one": ["result.archived"],
        "two": ["result.missing"],
        "three": ["result.changed"],
    }
    marker = find_marker(site.log, "j1")
    assert marker is not None
    assert (marker.rule, marker.reason, len(marker.files)) == ("ended", "a test", 1)


def test_settings_do_not_leak(tmp_path: Path) -> None:
    """What one configuration sets is in no other one."""
    environment = {"CHRONICLED_RETENTION__ARCHIVE": f"file://{tmp_path}/kept"}
    assert load(data=tmp_path / "data", environment=environment).retention.archive
    assert load(data=tmp_path / "data", environment={}).retention.archive == ""
