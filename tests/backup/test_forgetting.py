"""A place forgets what the log forgot: in time, whole at every step, and nothing comes back."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import orjson
import pytest
import zstandard
from sites import Site, manifest_of

import daemon.backup.tidying
from daemon.backup.applying import Applier
from daemon.backup.container import Header
from daemon.backup.directory_store import DirectoryRegister, DirectoryStore
from daemon.backup.errors import ObjectDamaged
from daemon.backup.forgetting import Forgetter
from daemon.backup.restore import Listing, Restoring
from daemon.backup.status import unwatched
from daemon.backup.store import Place
from daemon.backup.workshop import Workshop
from daemon.eventlog.log import EventLog
from daemon.eventlog.proof import prove_log
from daemon.eventlog.removal import mark, removable_streams, remove_some
from daemon.eventlog.requests import Work
from daemon.eventlog.transaction import Transaction
from daemon.lifecycle import system_clock
from daemon.lock import LOG_FILE
from daemon.redaction.redacting import Redaction
from domain.events import NewEvent

SECRET = "s3cr3t-v4lu3"
DAY = 86_400_000_000
COUNT = 40


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return an empty place in a directory."""
    root = tmp_path / "kept"
    return Place(DirectoryStore(root), DirectoryRegister(root))


@pytest.fixture
def site(tmp_path: Path, place: Place) -> Site:
    """Return a directory whose log, with secrets, is shipped and copied."""
    site = Site(tmp_path / "data", place)
    for first in range(0, COUNT, 10):
        with closing(EventLog.open(site.data / LOG_FILE)) as log:
            log.start()
            log.append([secret_job(number) for number in range(first, first + 10)])
        site.ship()
    taken(site)
    return site


def secret_job(number: int) -> NewEvent:
    """Return a job with a secret."""
    data = orjson.dumps({"kind": "k", "params": {"token": f"{SECRET}-{number}-"}})
    return NewEvent("job.submitted", f"j{number}", "/tests", f"e{number}", data)


def decide(site: Site, *, purged: range = range(0), redacted: range = range(0)) -> None:
    """Purge some jobs, and redact others, as the daemon does it."""
    with closing(EventLog.open(site.data / LOG_FILE)) as log:
        log.start()
        for number in purged:
            data = orjson.dumps({"replaces": 1})
            event = NewEvent("job.purged", f"j{number}", "/c", f"p{number}", data, None, None, 1)
            log.work(Work(lambda transaction, event=event: mark(transaction, event)))

        def remove(transaction: Transaction) -> None:
            streams = removable_streams(transaction.connection, 2**62)
            remove_some(transaction, log.log_id, before=2**62, rows_max=100, streams=streams)

        log.work(Work(remove))
        for number in redacted:
            log.work(Work(Redaction(number + 1, "/data/params/token", "a test").run))


def with_workshop(site: Site, do: Callable[[Workshop], Any]) -> Any:
    """Do something as the process of the backup does."""
    with closing(site.workshop()) as workshop:
        workshop.shipper.ship_all(system_clock)
        return do(workshop)


def taken(site: Site) -> None:
    """Take a snapshot."""
    with_workshop(site, lambda workshop: workshop.create(unwatched))


def forget(site: Site, *, days: float = 30.0, after_days: float = 0.0) -> int:
    """Forget what is due so many days from now."""

    def run(workshop: Workshop) -> int:
        told = (site.place.objects, workshop.ledger, workshop.log, workshop.tidying)
        forgetter = Forgetter(*told, round(days * DAY))
        return forgetter.forget(system_clock() + round(after_days * DAY))

    gone: int = with_workshop(site, run)
    return gone


def numbers_in(site: Site) -> set[int]:
    """Return of which jobs the place holds the secret."""
    found = set[int]()
    for name in ("snapshots/", "segments/"):
        for stored in site.place.objects.list(name):
            content = b"".join(site.place.objects.get(stored.name))
            stream = zstandard.ZstdDecompressor().stream_reader(
                io.BytesIO(content), read_across_frames=True
            )
            content = stream.read()
            for number in range(COUNT):
                if f"{SECRET}-{number}-".encode() in content:
                    found.add(number)
    return found


def restored(site: Site, target: Path, *, snapshots: bool = True) -> dict[int, str]:
    """Restore the newest, and return the digest at every position."""
    target.mkdir()
    manifest = manifest_of(site.place)
    if not snapshots:
        manifest = manifest.model_copy(update={"snapshots": ()})
    Restoring(site.place.objects, manifest, target).run()
    assert prove_log(target / LOG_FILE, at_rest=True).findings == []
    return Site(target, site.place, "other").chain()


def test_what_is_due_goes_and_all_the_rest_stays(site: Site, tmp_path: Path) -> None:
    """Not before its time, and not before a snapshot without it is there."""
    decide(site, purged=range(5, 12), redacted=range(20, 23))
    gone = {*range(5, 12), *range(20, 23)}
    assert forget(site) == 0
    told = manifest_of(site.place).forgetting
    assert told is not None
    # The snapshot, and the three of four segments that have some of it.
    assert told.objects == 4
    assert told.due - told.since == 30 * DAY
    assert restored(site, tmp_path / "before") == site.chain()
    # Segments can go; the only snapshot is what there is to be restored from fast.
    assert forget(site, after_days=31) == 3
    assert numbers_in(site) == set(range(COUNT))
    taken(site)
    assert forget(site, after_days=31) == 1
    assert manifest_of(site.place).forgetting is None
    assert numbers_in(site) == set(range(COUNT)) - gone
    assert restored(site, tmp_path / "with a snapshot") == site.chain()
    assert restored(site, tmp_path / "without", snapshots=False) == site.chain()
    assert forget(site, after_days=99) == 0
    with_workshop(site, lambda workshop: workshop.tidying.merge())
    assert restored(site, tmp_path / "merged", snapshots=False) == site.chain()
    assert numbers_in(site) == set(range(COUNT)) - gone


def test_at_once_and_again(site: Site, tmp_path: Path) -> None:
    """Whenever something more is decided, only what holds it is written again."""
    for number in (3, 4, 30, 31, 33):
        decide(site, purged=range(number, number + 1))
        taken(site)
        segments = {each.name for each in site.place.objects.list("segments/")}
        assert forget(site, days=0) >= 2
        left = {each.name for each in site.place.objects.list("segments/")}
        assert number >= 30 or segments - left
        assert number not in numbers_in(site)
    assert restored(site, tmp_path / "restored", snapshots=False) == site.chain()


@pytest.mark.parametrize("told", ["by the store", "by itself", "by nothing"])
def test_what_was_merged_meanwhile_is_as_old_as_its_oldest_part(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    """A merged segment reached beyond the redaction of what it holds, and was taken for newer.

    So was one of which the store does not tell when it was made: the place was copied.
    """
    monkeypatch.setattr(daemon.backup.tidying, "MERGED_MIN", 2)
    decide(site, redacted=range(20, 23))
    taken(site)
    assert with_workshop(site, lambda workshop: workshop.tidying.merge()) >= 4
    if told != "by the store":
        shutil.rmtree(tmp_path / "kept" / ".metadata")
    if told == "by nothing":
        monkeypatch.setattr(Listing, "header", refuse)
    assert forget(site) == 0
    found = manifest_of(site.place).forgetting
    assert found is not None
    assert found.objects == 2
    assert forget(site, after_days=31) == 2
    assert numbers_in(site) == set(range(COUNT)) - {*range(20, 23)}
    monkeypatch.undo()
    assert forget(site, after_days=31) == 0
    assert manifest_of(site.place).forgetting is None
    assert restored(site, tmp_path / "restored", snapshots=False) == site.chain()


def refuse(*_: object) -> Header:
    """Say that an object does not tell what it is."""
    raise ObjectDamaged("it does not say when it was made")


def test_whoever_takes_the_place_over_forgets_the_same(site: Site, tmp_path: Path) -> None:
    """What is due follows from the log, which comes back with the place."""
    decide(site, purged=range(5, 12), redacted=range(20, 23))
    site.ship()
    other = Site(tmp_path / "other", site.place, "other")
    assert other.recovery().take_over("the machine is gone").action == "restored"
    other.require_right()
    taken(other)
    assert forget(other, days=0) == 4
    assert numbers_in(other) == set(range(COUNT)) - {*range(5, 12), *range(20, 23)}
    assert restored(other, tmp_path / "restored") == other.chain()


def test_a_disk_that_was_set_back_forgets_again(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log gets what it lacks from the place, and does again what was decided meanwhile.

    So it does when it is killed as soon as it has all events, and begins anew.
    """
    before = site.copied(tmp_path / "before", name=site.name)
    decide(site, purged=range(5, 12), redacted=range(20, 23))
    site.append(3).ship()
    taken(site)
    assert forget(site, days=0) == 4

    class Killed(BaseException):
        """The process ends here."""

    with monkeypatch.context() as patched:
        patched.setattr(Applier, "settle", Mock(side_effect=Killed))
        with pytest.raises(Killed):
            before.start()
    outcome = before.start()
    assert outcome.action == "fetched"
    before.require_right()
    content = (before.data / LOG_FILE).read_bytes()
    assert f"{SECRET}-5-".encode() not in content
    assert f"{SECRET}-20-".encode() not in content
    assert f"{SECRET}-30-".encode() in content
    after = before.chain()
    assert {at: each for at, each in after.items() if at in site.chain()} == site.chain()


def test_killed_between_any_two_steps_the_place_is_whole(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was begun is ended the next time."""
    decide(site, purged=range(5, 12), redacted=range(20, 23))
    taken(site)

    class Killed(BaseException):
        """The process ends here."""

    steps = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            nonlocal steps
            steps -= 1
            if steps < 0:
                raise Killed
            return real(*arguments)

        return step

    for owner, name in (
        (DirectoryStore, "put_if_absent"),
        (DirectoryStore, "delete"),
        (DirectoryRegister, "swap"),
    ):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    for allowed in range(60):
        steps = allowed
        try:
            forget(site, days=0)
        except Killed:
            steps = 10**9
            chain = restored(site, tmp_path / f"killed-{allowed}", snapshots=False)
            assert chain == site.chain()
        else:
            break
    else:
        pytest.fail("it never ends")
    steps = 10**9
    forget(site, days=0)
    assert numbers_in(site) == set(range(COUNT)) - {*range(5, 12), *range(20, 23)}
    assert manifest_of(site.place).forgetting is None
