"""Archiving a job: what is stored, what the log says then, and what is deleted."""

from __future__ import annotations

import errno
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from archive_site import Site

from daemon.archive.errors import ArchiveDamaged, ArchiveError, NotArchived
from daemon.archive.journal import Begun
from daemon.archive.marker import find_marker
from daemon.eventlog.requests import Work
from daemon.redaction.redacting import Redaction
from domain.job import fold_job


def test_a_job_moves_to_the_archive(site: Site) -> None:
    """Its events and files are in the archive, the originals are gone, the log has one event."""
    site.job("j1", one=b"GFF one", two=b"GFF two")
    before = site.log.read_stream("job/j1")
    archived = site.store_job("j1")
    assert (archived.files, archived.again) == (2, False)
    assert archived.events == len(before) + 2
    assert site.originals() == {}
    assert site.types("result/j1/one.gff3") == ["result.recorded", "result.archived"]
    marker = find_marker(site.log, "j1")
    assert marker is not None
    assert set(site.objects()) == marker.objects
    site.truncate()
    assert site.types("job/j1") == ["job.archived"]
    assert site.events("j1")[:-1] == before
    assert site.log.verify() == []


def test_what_the_marker_says(site: Site) -> None:
    """It names rule, reason and place, the job as it is shown, and each file with its digest."""
    site.job("j1", one=b"GFF one")
    site.store_job("j1")
    [event] = site.log.read_stream("job/j1")[-1:]
    said = event.payload
    assert (said["rule"], said["reason"], said["replaces"]) == (
        "ended",
        "a test",
        event.version - 1,
    )
    assert said["row"]["status"] == "succeeded"
    assert "params" not in said["row"]
    [file] = said["files"]
    assert (file["result"], file["path"]) == ("j1/one.gff3", "j1/one.gff3")
    assert file["sha256"] == sha256(b"GFF one").hexdigest()
    stored = b"".join(site.store.get(f"{said['location']}/events-{said['replaces']}.ndjson.zst"))
    assert (len(stored), sha256(stored).hexdigest()) == (said["bytes"], said["sha256"])


def test_twice_does_nothing(site: Site) -> None:
    """A job that is archived, and has not moved since, is left as it is."""
    site.job("j1", one=b"GFF one")
    first = site.store_job("j1")
    head = site.log.head()
    assert site.store_job("j1") == first._replace(again=True)
    assert site.log.head() == head


def test_a_job_that_goes_on_is_archived_again(site: Site) -> None:
    """The second object holds the events of the first too, and the first is deleted."""
    site.job("j1", one=b"GFF one")
    before = site.log.read_stream("job/j1")
    site.store_job("j1")
    site.truncate()
    site.record("job.retried", "j1", {"next": "j2"})
    rest = site.log.read_stream("job/j1")
    again = site.store_job("j1")
    assert again.files == 1
    site.truncate()
    marker = find_marker(site.log, "j1")
    assert marker is not None
    assert set(site.objects()) == marker.objects
    assert site.events("j1")[:-1] == before + rest
    assert fold_job(None, site.events("j1")).next == "j2"


def test_what_was_redacted_since_is_not_archived_again(site: Site) -> None:
    """The second object has each event of a result once, as the log has it."""
    site.job("j1")
    said = {"job": "j1", "media_type": "text/of-mara-cohen"}
    position = site.record("result.offered", "j1/one", said)
    first = site.store_job("j1")
    site.truncate()
    redaction = Redaction(position, "/data/media_type", "a request")
    site.log.work(Work(redaction.run))
    site.record("job.retried", "j1", {"next": "j2"})
    again = site.store_job("j1")
    marker = find_marker(site.log, "j1")
    assert marker is not None
    stored = b"".join(site.archive.archiver._shelf.read(marker.object))
    assert b"mara" not in stored
    assert stored.count(b"result.offered") == 1
    assert again.events == first.events + 2


def test_a_job_that_moves_on_meanwhile(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is changed where an event comes in between; what was stored is deleted."""
    from domain.errors import VersionConflict

    site.job("j1", one=b"GFF one")
    removals = site.archive.archiver._removals
    mark = removals.mark

    def late(*arguments: Any, **more: Any) -> Any:
        site.record("job.retried", "j1", {"next": "j2"})
        return mark(*arguments, **more)

    monkeypatch.setattr(removals, "mark", late)
    with pytest.raises(VersionConflict):
        site.store_job("j1")
    assert site.originals() == {"j1/one.gff3": b"GFF one"}
    assert site.types("result/j1/one.gff3") == ["result.recorded"]
    site.settle()
    assert site.objects() == []


def test_no_such_job(site: Site) -> None:
    """There has to be a job."""
    with pytest.raises(NotArchived, match="no job 'j1'"):
        site.store_job("j1")


def test_a_missing_file(site: Site) -> None:
    """What is not there is recorded as missing, once, and the rest is archived."""
    site.job("j1", one=b"GFF one", two=b"GFF two")
    (site.root / "j1/one.gff3").unlink()
    assert site.store_job("j1").files == 1
    assert site.types("result/j1/one.gff3") == ["result.recorded", "result.missing"]
    assert site.types("result/j1/two.gff3") == ["result.recorded", "result.archived"]


def test_a_file_that_is_not_what_was_recorded(site: Site) -> None:
    """A file with another digest is left where it is, and told as changed."""
    site.job("j1", one=b"GFF one")
    (site.root / "j1/one.gff3").write_bytes(b"another")
    assert site.store_job("j1").files == 0
    assert site.originals() == {"j1/one.gff3": b"another"}
    [_, changed] = site.log.read_stream("result/j1/one.gff3")
    assert changed.type == "result.changed"
    assert changed.payload["sha256"] == sha256(b"another").hexdigest()


def test_a_file_that_changes_after_it_was_archived(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The original is left that is not what was archived any more."""
    site.job("j1", one=b"GFF one")
    removals = site.archive.archiver._removals
    mark = removals.mark

    def changing(*arguments: Any, **more: Any) -> Any:
        (site.root / "j1/one.gff3").write_bytes(b"another")
        return mark(*arguments, **more)

    monkeypatch.setattr(removals, "mark", changing)
    assert site.store_job("j1").files == 1
    assert site.originals() == {"j1/one.gff3": b"another"}
    assert site.types("result/j1/one.gff3")[1:] == ["result.archived", "result.changed"]


def test_a_file_without_a_recorded_digest(site: Site) -> None:
    """Where nobody said what it is, it is taken as it is."""
    (site.root / "out.txt").write_bytes(b"text")
    site.record("job.submitted", "j1")
    site.record("result.recorded", "r1", {"job": "j1", "path": "out.txt"})
    assert site.store_job("j1").files == 1
    assert site.originals() == {}


def test_a_result_of_another_job(site: Site) -> None:
    """A result that was recorded for another job since is not this one's."""
    site.job("j1", one=b"GFF one")
    site.record("job.submitted", "j2")
    site.record("result.recorded", "j1/one.gff3", {"job": "j2", "path": "j1/one.gff3"})
    assert site.store_job("j1").files == 0
    assert site.originals() == {"j1/one.gff3": b"GFF one"}


def test_other_jobs_of_one_file(site: Site) -> None:
    """A file that two results name is archived with each, and deleted with the last."""
    site.job("j1", one=b"GFF one")
    site.job("j2")
    digest = sha256(b"GFF one").hexdigest()
    said = {"job": "j2", "path": "j1/one.gff3", "sha256": digest}
    site.record("result.recorded", "j2/one.gff3", said)
    assert site.store_job("j1").files == 1
    assert site.originals() == {"j1/one.gff3": b"GFF one"}
    assert site.store_job("j2").files == 1
    assert site.originals() == {}
    assert site.types("result/j2/one.gff3") == ["result.recorded", "result.archived"]
    site.truncate()
    site.purge("j1")
    site.settle()
    marker = find_marker(site.log, "j2")
    assert marker is not None
    assert frozenset(site.objects()) == marker.objects


def test_a_file_that_another_job_has_back_stays(site: Site) -> None:
    """A job that was restored needs its file like one that was never archived."""
    site.job("j1", one=b"GFF one")
    site.job("j2")
    said = {"job": "j2", "path": "j1/one.gff3", "sha256": sha256(b"GFF one").hexdigest()}
    site.record("result.recorded", "j2/one.gff3", said)
    site.store_job("j1")
    site.archive.restorer.restore("j1", None, None, lambda *_: None)
    site.store_job("j2")
    assert site.originals() == {"j1/one.gff3": b"GFF one"}


def test_a_damaged_archive_is_not_built_upon(site: Site) -> None:
    """A job whose archived events cannot be read is not archived again: nothing is lost more."""
    site.job("j1")
    archived = site.store_job("j1")
    site.truncate()
    site.record("job.retried", "j1", {"next": "j2"})
    [name] = site.objects()
    path = site.folder / "kept" / name
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ArchiveDamaged):
        site.store_job("j1")
    assert site.types("job/j1") == ["job.archived", "job.retried"]
    assert archived.location in name


def test_objects_of_two_logs_do_not_meet(tmp_path: Path) -> None:
    """Two daemons may share an archive: the same job of each has a place of its own."""
    locations = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with Site(tmp_path / name) as site:
            site.job("j1")
            locations.append(site.store_job("j1").location)
    assert len(set(locations)) == 2


@pytest.mark.parametrize("job", ["a/b/../c", "ä ö", "x" * 500, ".", "job/history"])
def test_any_id(site: Site, job: str) -> None:
    """The id of a job is no part of a name."""
    site.record("job.submitted", job, {"name": "n"})
    site.store_job(job)
    site.truncate()
    assert [event.type for event in site.events(job)] == ["job.submitted", "job.archived"]


def test_a_purge_deletes_the_objects(site: Site) -> None:
    """What a purge names in the archive is deleted before the rows go."""
    site.job("j1", one=b"GFF one")
    site.job("j2", one=b"GFF one")
    archived, other = site.store_job("j1"), site.store_job("j2")
    site.truncate()
    site.purge("j1")
    site.truncate()
    assert site.types("job/j1") == ["job.archived", "job.purged"]
    site.settle()
    assert all(name.startswith(f"{other.location}/") for name in site.objects())
    assert not (site.folder / "kept" / archived.location).exists()
    site.truncate()
    assert site.types("job/j1") == ["job.purged"]
    assert list(site.archive.reader.between("job/j1", 0, None)) == []


def test_nothing_goes_before_the_backup_has_what_stands_for_it(site: Site) -> None:
    """Originals and objects went at once; a log that came back without the marker had neither.

    A disk was lost in between (seed 1143): the log named an object that was deleted.
    """
    site.shipped = site.log.head()
    site.job("j1", one=b"ONE")
    site.store_job("j1")
    site.settle()
    assert site.originals() == {"j1/one.gff3": b"ONE"}
    site.shipped = site.log.head()
    site.settle()
    assert site.originals() == {}
    first = site.objects()

    site.record("job.progressed", "j1", {"fraction": 0.9})
    site.store_job("j1")
    site.settle()
    assert set(first) < set(site.objects())
    site.shipped = site.log.head()
    site.settle()
    assert not set(first) & {name for name in site.objects() if "/events-" in name}

    before = site.objects()
    site.shipped = site.log.head()
    site.purge("j1")
    site.settle()
    assert site.objects() == before
    assert site.archive.service.waiting == 0
    site.shipped = site.log.head()
    site.settle()
    assert site.objects() == []


def test_what_an_attempt_left_goes_and_what_was_there_before_stays(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill behind the marker: what the marker before it names went before the backup had it."""
    site.job("j1", one=b"ONE")
    site.store_job("j1")
    first = set(site.objects())
    site.shipped = site.log.head()
    site.record("job.retried", "j1", {"next": "j9"})
    site.result("j1", "one.gff3", b"OTHER")
    with monkeypatch.context() as patched:
        patched.setattr(site.archive.archiver, "_finish", lambda *_, **__: None)
        site.store_job("j1")
    site.settle()
    assert first < set(site.objects())
    site.shipped = site.log.head()
    site.settle()
    marker = find_marker(site.log, "j1")
    assert marker is not None
    assert set(site.objects()) == marker.objects


def test_an_attempt_that_the_log_knows_nothing_of_leaves_what_was_there(site: Site) -> None:
    """In a log of an earlier position: the only copies of the files of the job were deleted."""
    site.job("j1", one=b"ONE")
    site.store_job("j1")
    before = site.objects()
    marker = find_marker(site.log, "j1")
    assert marker is not None
    journal = site.archive.service._journal
    journal.begin(Begun("j2", marker.location, frozenset(before)))
    site.store.put_if_absent(f"{marker.location}/more", BytesIO(b"MORE"), 4, {})
    site.settle()
    assert site.objects() == before
    assert journal.begun() == []


def test_an_original_that_waited_goes_only_if_the_archive_still_has_it(site: Site) -> None:
    """Its object was read when it was stored, and not again when the original went later."""
    site.shipped = 0
    site.job("j1", one=b"ONE")
    site.store_job("j1")
    marker = find_marker(site.log, "j1")
    assert marker is not None
    site.store.delete(marker.files[0].object)
    site.shipped = site.log.head()
    site.job("j2", two=b"TWO")
    site.store_job("j2")
    site.settle()
    assert site.originals()["j1/one.gff3"] == b"ONE"


def test_a_result_that_is_recorded_again_keeps_its_file(site: Site) -> None:
    """By the same job, while the archive waited for the backup: the file went with the old one."""
    site.shipped = 0
    site.job("j1", one=b"ONE")
    site.store_job("j1")
    site.record("job.retried", "j1", {"next": "j9"})
    site.result("j1", "one.gff3", b"ONE")
    site.shipped = site.log.head()
    site.settle()
    assert site.originals() == {"j1/one.gff3": b"ONE"}


def test_a_purge_before_the_originals_are_deleted(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Originals that an archive had not come to are deleted by the purge's end."""
    site.job("j1", one=b"GFF one")
    with monkeypatch.context() as patched:
        patched.setattr(site.archive.archiver, "_finish", lambda *_, **__: None)
        site.store_job("j1")
    site.purge("j1")
    assert site.originals() == {"j1/one.gff3": b"GFF one"}
    site.settle()
    assert site.originals() == {}
    assert site.objects() == []


@pytest.mark.parametrize("path", ["gs://bucket/one", "https://host/one", "file:///one"])
def test_an_address_is_no_path(site: Site, path: str) -> None:
    """A result that is kept elsewhere is neither archived nor told as missing."""
    site.record("job.submitted", "j1")
    site.record("result.recorded", "r1", {"job": "j1", "path": path})
    assert site.store_job("j1").files == 0
    assert site.types("result/r1") == ["result.recorded"]


def test_a_file_that_cannot_be_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is not archived, and it is said why; whoever archives many goes on with the next."""

    class Broken(BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    site.job("j1", one=b"GFF one")
    monkeypatch.setattr(site.archive.archiver._files, "open", lambda _path: Broken())
    with pytest.raises(ArchiveError, match=r"j1/one\.gff3: Input/output error"):
        site.store_job("j1")
    site.settle()
    assert site.originals() == {"j1/one.gff3": b"GFF one"}
    assert site.objects() == []
