"""A process that archives, restores or purges may be killed at any of its steps."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from archive_site import Site

from daemon.archive.marker import find_marker

FILES = {"j1/one.gff3": b"GFF one" * 1000, "j1/two.gff3": b"GFF two" * 1000}


def killed(step: str, folder: Path, repository: Path, stride: int = 1) -> Iterator[Site]:
    """Yield what each process left, opened again as a daemon would; the last came through."""
    script = repository / "tests" / "archive" / "killed_archives.py"
    done = subprocess.run(
        [sys.executable, str(script), step, str(folder), str(stride)],
        check=True,
        capture_output=True,
        text=True,
        cwd=repository,
        timeout=500,
    )
    number = int(done.stdout)
    assert number > 10
    for each in range(1, number + 2):
        with Site(folder / str(each)) as site:
            yield site


def test_killed_while_archiving(tmp_path: Path, repository: Path) -> None:
    """Nothing is lost, nothing there twice, and the next attempt ends what was begun."""
    seen = set()
    for site in killed("archive", tmp_path, repository):
        before = [event for event in site.events("j1") if event.type != "job.archived"]
        marker = find_marker(site.log, "j1")
        kept = {file.path for file in marker.files} if marker else set()
        there = {path: data for path, data in site.originals().items() if path in FILES}
        assert kept | there.keys() == FILES.keys()
        assert all(FILES[path] == data for path, data in there.items())
        seen.add((marker is not None, len(there)))
        site.settle()
        left = set(site.objects())
        assert left == (marker.objects if marker else set())
        assert site.archive.service._journal.begun() == []
        archived = site.store_job("j1")
        assert archived.again == (marker is not None)
        finished(site, before)
    assert {(False, 2), (True, 0)} <= seen
    assert len(seen) > 3


def test_killed_while_archiving_again(tmp_path: Path, repository: Path) -> None:
    """The earlier archive is there until the next one is whole."""
    files = FILES | {"j1/three.gff3": b"GFF three"}
    for site in killed("again", tmp_path, repository, 3):
        there = site.originals()
        marker = find_marker(site.log, "j1")
        assert marker is not None
        kept = {file.path for file in marker.files}
        assert kept | there.keys() >= files.keys()
        assert marker.objects <= set(site.objects())
        before = [event for event in site.events("j1") if event.type != "job.archived"]
        site.settle()
        assert set(site.objects()) == marker.objects
        site.store_job("j1")
        finished(site, before, files)


def test_killed_while_restoring(tmp_path: Path, repository: Path) -> None:
    """A file is there whole or not at all, and the archive stays; the next attempt ends it."""
    seen = set()
    for site in killed("restore", tmp_path, repository):
        site.settle()
        there = {path: data for path, data in site.originals().items() if not path.startswith("j0")}
        seen.add(len(there))
        left = {path for path in there if ".chronicled-restoring-" in path}
        assert all(FILES[path] == there[path] for path in there.keys() - left)
        site.archive.restorer.restore("j1", None, None, lambda *_: None)
        there = site.originals()
        assert {path: there[path] for path in FILES} == FILES
        assert not [path for path in there if ".chronicled-restoring-" in path]
        marker = find_marker(site.log, "j1")
        assert marker is not None
        assert set(site.objects()) == marker.objects
    assert {0, 2} <= seen


def test_killed_while_purging(tmp_path: Path, repository: Path) -> None:
    """What a purge names in the archive is deleted in the end, and the rows only then."""
    for site in killed("purge", tmp_path, repository):
        purged = "job.purged" in site.types("job/j1")
        if not purged:
            site.purge("j1")
        if site.objects():
            assert site.archive.archiver._removals.pending()
        site.settle()
        assert site.objects() == []
        site.truncate()
        assert site.types("job/j1") == ["job.purged"]


def finished(site: Site, before: list[object], files: dict[str, bytes] = FILES) -> None:
    """Check that a job is in the archive, whole, and nowhere else."""
    marker = find_marker(site.log, "j1")
    assert marker is not None
    assert set(site.objects()) == marker.objects
    assert {file.path for file in marker.files} == files.keys()
    for file in marker.files:
        assert b"".join(site.archive.shelf.read(file.object)) == files[file.path]
    assert site.originals().keys() & files.keys() == set()
    site.truncate()
    assert site.types("job/j1") == ["job.archived"]
    assert [event for event in site.events("j1") if event.type != "job.archived"] == before
    assert site.log.verify() == []
