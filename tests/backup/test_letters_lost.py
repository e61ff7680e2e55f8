"""Dead letters that no object has any more: a restore stops, and says how to go on without."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from backup_driving import directory_place
from grown_logs import Growing, Step, rows_of
from running import Target, configured
from sites import Site, manifest_of

from daemon.backup.errors import RestoreRefused
from daemon.backup.names import LETTERS, read_range
from daemon.backup.restore import Restoring
from daemon.backup.status import unwatched
from daemon.eventlog.log import EventLog
from daemon.eventlog.removal import mark, removable_streams, remove_some
from daemon.eventlog.requests import DeadLetter, Work
from daemon.lock import LOG_FILE
from domain.events import NewEvent


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a directory that has shipped events and, in three objects, dead letters."""
    site = Site(tmp_path / "origin", directory_place(tmp_path / "kept"))
    for number in range(3):
        site.append(10)
        letters(site, b"%d" % number, b"%d+" % number)
        site.ship()
    return site


def letters(site: Site, *content: bytes) -> None:
    """Record dead letters."""
    growing = Growing(site.data / LOG_FILE)
    growing.do(Step("letters", list(content)))
    growing.close()


def harm(site: Site, word: str, number: int = 1) -> str:
    """Damage an object with dead letters, or remove it; return its name."""
    name = [stored.name for stored in site.place.objects.list(LETTERS)][number]
    path = Path(site.place.objects.url.removeprefix("file://")) / name
    if word == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    return name


def refused(site: Site, number: int = 1) -> RestoreRefused:
    """Return the refusal of a start."""
    lost = rf"has all events.*dead letters {number * 2 + 1} to {number * 2 + 2}"
    with pytest.raises(RestoreRefused, match=lost) as told:
        site.start()
    assert told.value.exit_code == 4
    return told.value


def command(*arguments: str) -> str:
    """Run a command; return what it printed."""
    result = subprocess.run(
        [sys.executable, "-m", "daemon", *arguments], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("word", ["damaged", "missing"])
def test_the_way_that_is_named_leads_on(site: Site, word: str, tmp_path: Path) -> None:
    """Nothing is restored before it is asked for; then all the rest is, and is whole again."""
    name = harm(site, word)
    new = Site(tmp_path / "new", site.place, "new")
    told = refused(new)
    assert (name in told.detail) == (word == "damaged")
    assert not (new.data / LOG_FILE).exists()
    place = site.place.objects.url
    assert f"takeover --data {new.data} --skip-letters" in (told.operator_hint or "")
    drill = tmp_path / "drill"
    options = ("--skip-letters", "--into", str(drill))
    done = json.loads(command("backup", "restore", "--from", place, *options, "--json"))
    assert done["skipped_letters"] == [[3, 4]]
    before, here = rows_of(site.data / LOG_FILE), rows_of(drill / LOG_FILE)
    assert here["events"] == before["events"]
    assert here["dead_letters"] == before["dead_letters"][:2] + before["dead_letters"][4:]
    configuration = configured(tmp_path, Target(place, {}))
    options = ("--skip-letters", "--yes", "--data", str(new.data))
    command("backup", "takeover", *options, *configuration)
    assert rows_of(new.data / LOG_FILE)["dead_letters"] == here["dead_letters"]
    assert new.start().action == "kept"
    assert len(new.restored_events()) == 1
    # The place has a newer snapshot then, and the log comes back from there.
    new.name = manifest_of(new.place).writer.id
    new.append(3).ship()
    workshop = new.workshop()
    workshop.shipper.ship_all(lambda: 1)
    workshop.create(unwatched)
    workshop.close()
    target = tmp_path / "target"
    target.mkdir()
    Restoring(new.place.objects, manifest_of(new.place), target).run()
    assert rows_of(target / LOG_FILE) == rows_of(new.data / LOG_FILE)


@pytest.mark.parametrize("number", [1, 2], ids=["in between", "the newest"])
def test_a_log_that_is_behind_is_refused_until_it_is_told(
    site: Site, number: int, tmp_path: Path
) -> None:
    """However often it is started: events without their dead letters are not taken for all."""
    behind = Site(tmp_path / "behind", site.place)
    Restoring(site.place.objects, manifest_of(site.place), behind.data).run(upto=10)
    harm(site, "damaged", number)
    for _ in range(2):
        refused(behind, number)
    behind.recovery().take_over("a test", skip_letters=True)
    assert behind.start().action == "kept"
    assert behind.chain().items() >= site.chain().items()
    letters(behind, b"later")
    behind.ship()
    kept = [row[6] for row in rows_of(behind.data / LOG_FILE)["dead_letters"]]
    assert kept[-1] == b"later"
    assert len(kept) == 5
    # A letter after the lost ones is in the place, whatever number it has.
    newest = manifest_of(site.place).letters
    assert newest == rows_of(behind.data / LOG_FILE)["dead_letters"][-1][0]
    ranges = [read_range(stored.name) for stored in site.place.objects.list(LETTERS)]
    epoch = manifest_of(site.place).epoch
    assert (newest, epoch) in [each[1:] for each in ranges if each is not None]
    behind.require_right()


def test_dead_letters_are_there_as_of_an_event_that_was_removed(tmp_path: Path) -> None:
    """All of them were taken for later than it: the log does not say when it was recorded."""
    site = Site(tmp_path / "origin", directory_place(tmp_path / "kept"))
    now = 1_770_000_000_000_000
    with closing(EventLog.open(site.data / LOG_FILE, clock=lambda: now)) as log:
        log.start()
        letter = DeadLetter("text", b"early", "bad", "it is bad", "a test")
        log.append([event("a", "job.submitted", {"kind": "k"})], dead_letters=[letter])
        log.append([event("b", "job.submitted", {"kind": "k"})])
        purge = event("b", "job.purged", {"replaces": 1})._replace(expected_version=1)
        log.work(Work(lambda transaction: mark(transaction, purge)))
        log.work(Work(lambda transaction: remove_some(
            transaction, log.log_id, before=9, rows_max=9,
            streams=removable_streams(transaction.connection, 9),
        )))  # fmt: skip
        now += 1_000_000
        letter = DeadLetter("text", b"late", "bad", "it is bad", "a test")
        log.append([event("c", "job.submitted", {"kind": "k"})], dead_letters=[letter])
    site.ship()
    for upto, kept in ((2, [b"early"]), (5, [b"early", b"late"])):
        target = tmp_path / f"as-of-{upto}"
        target.mkdir()
        Restoring(site.place.objects, manifest_of(site.place), target).run(upto)
        rows = rows_of(target / LOG_FILE)
        assert [row[6] for row in rows["dead_letters"]] == kept


def event(subject: str, type_: str, data: dict[str, object]) -> NewEvent:
    """Return an event that has the name of its job for an id."""
    return NewEvent(type_, subject, "/tests", f"{type_} {subject}", json.dumps(data).encode())
