"""Reading archived jobs: what is kept decoded is bounded, and newer than the views is nothing."""

from __future__ import annotations

import tracemalloc

import pytest
from archive_site import Site

from daemon.archive import reading
from daemon.archive.checking import Checked, check_some
from daemon.archive.facts import read_job
from daemon.archive.marker import find_marker
from daemon.eventlog.removal import mark
from daemon.eventlog.requests import Work
from domain.errors import NotReady
from domain.events import NewEvent


def test_what_is_kept_is_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that was read lately is not fetched again; of many jobs only some are kept."""
    monkeypatch.setattr(reading, "CACHE_JOBS", 2)
    jobs = ["j1", "j2", "j3"]
    for job in jobs:
        site.job(job)
        site.store_job(job)
    fetched: list[str] = []
    get = site.store.get

    def counted(name: str) -> object:
        fetched.append(name)
        return get(name)

    monkeypatch.setattr(site.store, "get", counted)
    markers = {job: find_marker(site.log, job) for job in jobs}

    def read(job: str) -> int:
        marker = markers[job]
        assert marker is not None
        assert len(site.archive.reader.events(marker)) == 4
        return len(fetched)

    assert [read(job) for job in ("j1", "j1", "j2", "j1", "j3", "j1", "j2")] == [
        1, 1, 2, 2, 3, 3, 4,
    ]  # fmt: skip
    monkeypatch.setattr(reading, "CACHE_BYTES", 10)
    assert [read("j3"), read("j3")] == [5, 6]


def test_results_that_the_views_do_not_know_yet(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job is archived when the views know its newest results, and not before."""
    site.job("j1")
    site.result("j1", "late.gff3", b"late")
    archiver = site.archive.archiver
    with monkeypatch.context() as patched:
        patched.setattr(archiver, "_wait", lambda position: False)
        with pytest.raises(NotReady):
            site.store_job("j1")
    assert site.store_job("j1").files == 1


def test_checking_a_few_at_a_time(site: Site) -> None:
    """A scrub looks at some jobs, and goes on where it ended."""
    for number in range(5):
        site.job(f"j{number}", one=b"GFF")
        site.store_job(f"j{number}")
    checked, seen = Checked(), []
    while True:
        check_some(site.archive.reader, checked, limit=2)
        seen.append(checked.jobs)
        if checked.next is None:
            break
    assert seen == [2, 4, 5]
    assert (checked.objects, checked.damaged) == (10, 0)


def test_a_job_of_earlier_lives(site: Site) -> None:
    """What was purged does not come back with a later life of the same id."""
    site.job("j1", one=b"GFF")
    site.store_job("j1")
    site.purge("j1")
    site.settle()
    site.truncate()
    site.job("j1", two=b"GFF two")
    before = [event.type for event in site.log.read_stream("job/j1")][1:]
    site.store_job("j1")
    site.truncate()
    assert [event.type for event in site.events("j1")] == ["job.purged", *before, "job.archived"]
    marker = find_marker(site.log, "j1")
    assert marker is not None
    assert marker.replaces > 6
    assert [file.path for file in marker.files] == ["j1/two.gff3"]


def test_a_purge_that_waits_is_ended_whatever_comes_after_it(site: Site) -> None:
    """A new life of the job, purged or archived before the objects of the first are gone."""
    for job in ("j1", "j2"):
        site.job(job, one=b"GFF")
        site.store_job(job)
        site.purge(job)
        site.now += 40 * 86_400_000_000
        site.job(job, two=b"GFF two")
    version = site.log.read_stream("job/j1")[-1].version
    again = NewEvent("job.purged", "j1", "/t", "q", b'{"replaces":%d}' % version,
                     expected_version=version)  # fmt: skip
    site.log.work(Work(lambda transaction: mark(transaction, again)))
    kept = site.store_job("j2")
    site.settle()
    assert all(name.startswith(f"{kept.location}/") for name in site.objects())
    assert len(site.objects()) == 2
    site.truncate()
    assert site.types("job/j1") == ["job.purged", "job.purged"]
    assert site.types("job/j2") == ["job.purged", "job.archived"]


def test_a_purge_that_waits_leaves_the_objects_of_the_next_life(site: Site) -> None:
    """Both are at one place where the job came back within a month."""
    site.job("j1", one=b"GFF")
    first = site.store_job("j1")
    site.purge("j1")
    site.job("j1", one=b"GFF")
    again = site.store_job("j1")
    assert again.location == first.location
    site.settle()
    marker = find_marker(site.log, "j1")
    assert marker is not None
    assert frozenset(site.objects()) == marker.objects


def test_a_purge_that_waits_leaves_the_files_of_the_next_life(site: Site) -> None:
    """A job that comes back makes the same file again, which nothing else holds then."""
    site.job("j1", one=b"GFF")
    site.store_job("j1")
    site.purge("j1")
    site.job("j1", one=b"GFF")
    site.settle()
    assert site.originals() == {"j1/one.gff3": b"GFF"}
    assert site.objects() == []


def test_a_job_of_many_events_takes_little_more_than_its_lines(site: Site) -> None:
    """What is held of it while it is archived does not grow with what events are in memory."""
    events = [
        NewEvent("job.progressed", "j1", "/t", f"p{n}", b'{"message":"%s"}' % (b"m" * 300))
        for n in range(2_000)
    ]
    site.log.append(events)
    tracemalloc.start()
    try:
        facts = read_job(site.log, "j1")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert facts is not None
    assert held < 1.5 * sum(len(line) for line in facts.lines)
