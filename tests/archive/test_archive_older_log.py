"""A log that came back from a backup, and is older than the archive: nothing is lost by that."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from archive_site import Site

from daemon.archive.errors import ArchiveDamaged
from daemon.archive.marker import Marker, find_marker
from daemon.archive.reading import read_lines
from daemon.backup.errors import StoreUnavailable


@pytest.fixture
def aged(tmp_path: Path) -> Callable[[Callable[[Site], None], Callable[[Site], None]], Site]:
    """Return what does something, keeps the log, does more, and goes on with the older log."""

    def make(before: Callable[[Site], None], after: Callable[[Site], None]) -> Site:
        with Site(tmp_path) as site:
            before(site)
            site.project(site.log.head())
        shutil.copytree(tmp_path / "data", tmp_path / "older")
        with Site(tmp_path) as site:
            after(site)
            site.truncate()
        shutil.rmtree(tmp_path / "data")
        (tmp_path / "older").rename(tmp_path / "data")
        return Site(tmp_path)

    return make


Aged = Callable[[Callable[[Site], None], Callable[[Site], None]], Site]


def test_the_log_does_not_know_of_the_archive(aged: Aged) -> None:
    """The files whose originals are deleted are met in the archive when it is archived again."""
    with aged(lambda site: site.job("j1", one=b"GFF"), lambda site: site.store_job("j1")) as site:
        assert site.originals() == {}
        archived = site.store_job("j1")
        assert archived.files == 1
        assert site.types("result/j1/one.gff3") == ["result.recorded", "result.archived"]
        site.archive.restorer.restore("j1", None, None, lambda *_: None)
        assert site.originals() == {"j1/one.gff3": b"GFF"}


def archive_again(site: Site) -> None:
    """Have an archived job go on, and archive it again: the earlier object is deleted."""
    site.record("job.retried", "j1", {"next": "j2"})
    site.store_job("j1")


def first_archive(site: Site) -> None:
    """Archive a job, whose rows go."""
    site.job("j1", one=b"GFF")
    site.store_job("j1")
    site.truncate()


def test_the_log_knows_an_earlier_archive(aged: Aged) -> None:
    """The later object stands in for the one that the log names, and is not deleted meanwhile."""
    with aged(first_archive, archive_again) as site:
        marker = find_marker(site.log, "j1")
        assert marker is not None
        assert marker.object not in site.objects()
        types = [event.type for event in site.events("j1")]
        assert types == [
            "job.submitted", "job.started", "job.progressed", "job.succeeded", "job.archived",
        ]  # fmt: skip
        site.archive.service._finisher.finish(marker)
        assert [event.type for event in site.events("j1")] == types
        site.record("job.retried", "j1", {"next": "j3"})
        site.store_job("j1")
        assert [event.type for event in site.events("j1")][-2:] == ["job.retried", "job.archived"]
        marker = find_marker(site.log, "j1")
        assert marker is not None
        assert set(site.objects()) == marker.objects


def marker_of(site: Site) -> Marker:
    """Return the marker of the job."""
    marker = find_marker(site.log, "j1")
    assert marker is not None
    return marker


def test_what_stands_in_is_not_deleted_before_another_has_its_events(
    aged: Aged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job came to the version of the later object again, which was replaced by its own.

    It was deleted first; a store that went away then left the archived events nowhere.
    """
    with aged(first_archive, archive_again) as site:
        shelf, marker = site.archive.reader.shelf, marker_of(site)
        before = read_lines(shelf, marker).own
        site.record("job.retried", "j1", {"next": "j3"})
        delete, put = site.store.delete, site.store.put_if_absent
        deleted: list[str] = []

        def deleting(name: str) -> None:
            delete(name)
            deleted.append(name)

        def putting(name: str, *arguments: object) -> object:
            if deleted:
                raise StoreUnavailable("the store does not answer")
            return put(name, *arguments)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(site.store, "delete", deleting)
            patch.setattr(site.store, "put_if_absent", putting)
            with pytest.raises(StoreUnavailable):
                site.store_job("j1")
        assert deleted == [f"{marker.location}/events-6.ndjson.zst"]
        assert read_lines(shelf, marker).own == before
        site.settle()
        assert read_lines(shelf, marker).own == before
        site.store_job("j1")
        again = marker_of(site)
        assert read_lines(shelf, again).own[: len(before)] == before
        assert set(site.objects()) == again.objects


def test_a_job_comes_back_by_what_stands_in(aged: Aged) -> None:
    """It was refused as damaged, while its events and its files were there."""
    with aged(first_archive, archive_again) as site:
        site.archive.restorer.restore("j1", None, None, lambda *_: None)
        assert site.originals() == {"j1/one.gff3": b"GFF"}


def purge_and_archive_anew(site: Site) -> None:
    """Purge a job; it comes back under its name, and is archived in its next life."""
    site.purge("j1")
    site.settle()
    site.truncate()
    site.job("j1")
    site.store_job("j1")


def test_a_later_life_does_not_stand_in(aged: Aged) -> None:
    """It has the same place and later versions: a job without any event was read out of it."""
    with aged(first_archive, purge_and_archive_anew) as site:
        assert any("/events-" in name for name in site.objects())
        with pytest.raises(ArchiveDamaged, match="is missing"):
            site.events("j1")
