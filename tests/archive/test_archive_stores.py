"""The archive in a directory and in a bucket: the same way, and what a store may do to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from archive_site import Site
from gcs_fake import GcsFake
from gcs_faults import Kind, Operation

from daemon.archive.checking import check_all
from daemon.archive.errors import ArchiveDamaged
from daemon.archive.marker import find_marker
from daemon.backup.errors import BackupError


@pytest.fixture(params=["directory", "bucket"])
def any_site(request: pytest.FixtureRequest) -> Site:
    """Return an empty site, for each kind of store."""
    name = "site" if request.param == "directory" else "bucket_site"
    found: Site = request.getfixturevalue(name)
    return found


def restore(site: Site, job: str) -> dict[str, Any]:
    """Bring a job back."""
    return site.archive.restorer.restore(job, None, None, lambda *_: None)


def test_the_whole_way(any_site: Site) -> None:
    """A job is archived, read, brought back, archived again and purged."""
    site = any_site
    site.job("j1", one=b"GFF one" * 1000, two=b"")
    before = site.log.read_stream("job/j1")
    site.store_job("j1")
    site.truncate()
    assert site.originals() == {}
    assert site.events("j1")[:-1] == before
    assert check_all(site.archive.reader, lambda *_: None)["ok"]
    assert restore(site, "j1")["files"] == 2
    assert site.originals() == {"j1/one.gff3": b"GFF one" * 1000, "j1/two.gff3": b""}
    again = site.store_job("j1")
    assert (again.files, again.again) == (2, False)
    assert site.originals() == {}
    site.truncate()
    assert site.events("j1")[: len(before)] == before
    marker = find_marker(site.log, "j1")
    assert marker is not None
    assert set(site.objects()) == marker.objects
    site.purge("j1")
    site.settle()
    assert site.objects() == []


@pytest.mark.parametrize("operation", [Operation.INSERT, Operation.LIST])
def test_a_store_that_is_away(bucket_site: Site, gcs_fake: GcsFake, operation: Operation) -> None:
    """Nothing is changed while the store does not answer, and all is done when it does."""
    site = bucket_site
    site.job("j1", one=b"GFF one")
    gcs_fake.arm(Kind.STATUS, times=None, operation=operation, status=403)
    with pytest.raises(BackupError):
        site.store_job("j1")
    assert site.originals() == {"j1/one.gff3": b"GFF one"}
    assert "job.archived" not in site.types("job/j1")
    gcs_fake.disarm()
    assert site.store_job("j1").files == 1


def test_a_store_that_refuses_afterwards(bucket_site: Site, gcs_fake: GcsFake) -> None:
    """What cannot be ended at once is ended by the service, and rows stay until then."""
    site = bucket_site
    site.job("j1", one=b"GFF one")
    site.store_job("j1")
    site.record("job.retried", "j1", {"next": "j2"})
    gcs_fake.arm(Kind.STATUS, times=None, operation=Operation.DELETE, status=403)
    site.store_job("j1")
    assert len(gcs_fake.objects.names("kept")) > 2
    site.truncate()
    assert site.types("job/j1")[-1] == "job.archived"
    assert len(site.types("job/j1")) > 1
    site.settle()
    assert site.archive.service.waiting > 0
    gcs_fake.disarm()
    site.settle()
    site.truncate()
    assert site.types("job/j1") == ["job.archived"]
    marker = find_marker(site.log, "j1")
    assert marker is not None
    assert set(site.objects()) == marker.objects


def test_a_lost_answer(bucket_site: Site, gcs_fake: GcsFake) -> None:
    """Where the answer to a stored object is lost, the object is met again and counts."""
    site = bucket_site
    site.job("j1", one=b"GFF one")
    gcs_fake.arm(Kind.LOSE_ANSWER, operation=Operation.INSERT)
    assert site.store_job("j1").files == 1
    marker = find_marker(site.log, "j1")
    assert marker is not None
    assert set(site.objects()) == marker.objects


def test_an_object_that_arrived_damaged(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read back and is not what was stored is stored once more, before any deletion."""
    site.job("j1", one=b"GFF one")
    put, damaged = site.store.put_if_absent, []

    def damaging(name: str, *arguments: Any) -> Any:
        stored = put(name, *arguments)
        if not damaged:
            damaged.append(name)
            path = Path(site.folder / "kept" / name)
            path.write_bytes(path.read_bytes()[:-1] + b"\0")
        return stored

    monkeypatch.setattr(site.store, "put_if_absent", damaging)
    assert site.store_job("j1").files == 1
    assert damaged
    assert check_all(site.archive.reader, lambda *_: None)["ok"]


def test_an_object_that_never_arrives_whole(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that gives something else back ends the attempt: nothing is deleted."""
    site.job("j1", one=b"GFF one")
    get = site.store.get
    monkeypatch.setattr(site.store, "get", lambda name: (piece[:-1] for piece in get(name)))
    with pytest.raises(ArchiveDamaged):
        site.store_job("j1")
    assert site.originals() == {"j1/one.gff3": b"GFF one"}
    assert "job.archived" not in site.types("job/j1")


def test_an_original_whose_object_is_gone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who resumes looks at the object first; an original without one stays."""
    site.job("j1", one=b"GFF one")
    with monkeypatch.context() as patched:
        patched.setattr(site.archive.archiver, "_finish", lambda *_, **__: None)
        site.store_job("j1")
    [name] = [name for name in site.objects() if "/file-" in name]
    site.store.delete(name)
    site.settle()
    assert site.originals() == {"j1/one.gff3": b"GFF one"}
    assert site.archive.service.waiting == 1
    site.truncate()
    assert "job.started" in site.types("job/j1")
