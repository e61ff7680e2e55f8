"""The backup's process as its daemon sees it: killed, asked, closed, at every moment."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from running import Target, chain, place_at, restored_chain
from sites import settings_of
from waiting import wait_until

from daemon.backup import process, starting
from daemon.backup.manifest import Manifest, require
from daemon.backup.process import BackupProcess
from daemon.backup.segment import unsealed
from daemon.backup.settings import Settings
from daemon.backup.status import Kind, State
from daemon.backup.store import MANIFEST, Place
from daemon.eventlog.log import EventLog
from daemon.lock import LOG_FILE
from domain.errors import ChronicledError, NotReady, StorageFailed
from domain.events import NewEvent

KILLS = 12


@pytest.fixture(autouse=True)
def _no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a process that ended be started again at once."""
    monkeypatch.setattr(process, "REST_SECONDS", 0.01)
    monkeypatch.setattr(process, "REST_SECONDS_MAX", 0.01)


@pytest.fixture
def target(tmp_path: Path) -> Target:
    """Return a place in a directory."""
    return Target((tmp_path / "kept").as_uri(), {})


@pytest.fixture
def settings(tmp_path: Path, target: Target) -> Settings:
    """Return the settings of a backup of ``tmp_path/data``."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    return replace(settings_of(data, place_at(target)), segment_events=20, style="json")


class Running:
    """A log with its backup, as a daemon has them."""

    def __init__(self, settings: Settings, log: EventLog, backup: BackupProcess) -> None:
        self.settings = settings
        self.log = log
        self.backup = backup
        self.appended = 0

    def append(self, count: int = 10) -> int:
        """Append jobs; return the position of the last."""
        numbers = range(self.appended, self.appended + count)
        self.appended += count
        appended = self.log.append(
            [
                NewEvent("job.submitted", f"job-{n}", "/tests", f"{n}", b'{"kind":"k"}')
                for n in numbers
            ]
        )
        return appended.receipts[-1].position

    def kill(self) -> None:
        """Kill the process, as soon as there is one."""
        os.kill(wait_until(lambda: self.backup.pid, "there is a process"), signal.SIGKILL)

    def wait_ended(self, times: int) -> None:
        """Wait until it was seen so often that the process has ended."""
        failures = self.backup.status
        wait_until(lambda: failures().failures.get("process", 0) >= times, "it has ended")

    def wait_shipped(self, position: int) -> None:
        """Wait until a position is in the place."""
        wait_until(
            lambda: self.backup.status().shipped >= position, f"{position} is shipped", seconds=60
        )

    def perform(self, kind: Kind, **arguments: Any) -> dict[str, Any]:
        """Have something done, again where the process ended meanwhile."""

        def done() -> dict[str, Any] | None:
            try:
                return self.backup.perform(kind, arguments)
            except NotReady:
                return None

        found = wait_until(done, f"{kind} is done", seconds=60)
        assert found is not None
        return found


def _copy(log: EventLog, path: Path) -> None:
    log.copy_to(path)


@contextmanager
def running(settings: Settings) -> Iterator[Running]:
    """Run a backup of a log."""
    backup = BackupProcess(settings)
    try:
        backup.recover(allow_empty=False, progress=lambda *_: None)
        with closing(EventLog.open(Path(settings.data) / LOG_FILE)) as log:
            log.start()
            backup.run(lambda path: _copy(log, path), partial(starting.record, log))
            yield Running(settings, log, backup)
        backup.close(30)
    finally:
        backup.close()


def require_whole(place: Place) -> Manifest:
    """Fail where an object is half, or one that is named is missing."""
    manifest, _ = require(place.register)
    stored = {each.name: each for each in place.objects.list("") if each.name != MANIFEST}
    for name, each in stored.items():
        content = b"".join(place.objects.get(name))
        assert len(content) == each.size
        assert sha256(content).hexdigest() == each.metadata["sha256"], name
        if not name.startswith("snapshots/"):
            unsealed(content, name)
    assert {each.name for each in manifest.snapshots} <= stored.keys()
    return manifest


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_process_that_is_killed_again_and_again(
    seed: int, settings: Settings, target: Target, tmp_path: Path
) -> None:
    """Nothing that was acknowledged is missing in the end, nothing is left half."""
    chance, pause = random.Random(seed), threading.Event()
    settings = replace(settings, keep="1 hourly", snapshot="* * * * *")
    with running(settings) as here:
        asked = Asking(here)
        for kill in range(KILLS):
            here.append(chance.choice((1, 15, 120)))
            pause.wait(chance.uniform(0.0, 1.5))
            here.kill()
            here.wait_ended(kill + 1)
        asked.close()
        here.append()
        here.perform(Kind.CREATE)
        here.perform(Kind.PRUNE, dry_run=False)
        here.wait_shipped(here.append(1))
    manifest = require_whole(place_at(target))
    assert manifest.snapshots
    held = chain(Path(settings.data))
    assert restored_chain(target, tmp_path / "restored") == held
    assert manifest.shipped == max(held)
    ids = [id_ for id_, _ in held.values()]
    assert len(set(ids)) == len(ids)


class Asking:
    """Somebody who asks for everything there is, all the time."""

    def __init__(self, here: Running) -> None:
        self._here = here
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._ended.wait(0.02):
            kind = (Kind.CREATE, Kind.PRUNE, Kind.LIST)[number % 3]
            number += 1
            try:
                self._here.backup.perform(kind, {"dry_run": False})
            except ChronicledError:
                continue

    def close(self) -> None:
        """End it."""
        self._ended.set()
        self._thread.join()


def test_who_asks_a_process_that_is_killed_is_told(settings: Settings) -> None:
    """Nobody waits for an answer that cannot come."""
    with running(settings) as here:
        here.wait_shipped(here.append())
        os.kill(wait_until(lambda: here.backup.pid, "there is a process"), signal.SIGSTOP)
        failed: list[ChronicledError] = []
        asking = threading.Thread(target=_collect, args=(here, failed))
        asking.start()
        here.kill()
        asking.join(30)
        assert [type(error) for error in failed] == [NotReady]


def test_who_asks_is_told_when_the_daemon_stops(settings: Settings) -> None:
    """Also while the process does not answer at all."""
    with running(settings) as here:
        here.wait_shipped(here.append())
        pid = wait_until(lambda: here.backup.pid, "there is a process")
        os.kill(pid, signal.SIGSTOP)
        failed: list[ChronicledError] = []
        asking = threading.Thread(target=_collect, args=(here, failed))
        asking.start()
        here.backup.drain()
        asking.join(30)
        os.kill(pid, signal.SIGCONT)
        assert [type(error) for error in failed] == [NotReady]


def _collect(here: Running, failed: list[ChronicledError]) -> None:
    try:
        here.backup.perform(Kind.CREATE, {})
    except ChronicledError as error:
        failed.append(error)


def test_the_last_events_are_shipped_after_a_process_has_ended(
    settings: Settings, target: Target
) -> None:
    """A close waits for the process that is there then, not for one before it."""
    settings = replace(settings, segment_seconds=3600, snapshot_on_stop=True)
    with running(settings) as here:
        here.wait_shipped(here.append())
        here.kill()
        here.wait_ended(1)
        wait_until(lambda: here.backup.status().state is State.SHIPPING, "it ships again")
        position = here.append()
    manifest, _ = require(place_at(target).register)
    assert manifest.shipped == position
    assert manifest.snapshots[-1].position == position


@pytest.mark.parametrize("seed", range(3))
def test_a_close_while_a_process_is_started_again(seed: int, settings: Settings) -> None:
    """Whatever it meets, it comes to an end, and leaves no process."""
    chance, pause = random.Random(seed), threading.Event()
    backup = BackupProcess(settings)
    backup.recover(allow_empty=False, progress=lambda *_: None)
    for _ in range(3):
        os.kill(wait_until(lambda: backup.pid, "there is a process"), signal.SIGKILL)
        pause.wait(chance.uniform(0.0, 0.05))
    closing_ = threading.Thread(target=backup.close)
    closing_.start()
    closing_.join(30)
    assert not closing_.is_alive()
    wait_until(lambda: backup.pid is None, "no process is left")


def test_a_process_that_cannot_work_is_no_end_of_the_daemon(settings: Settings) -> None:
    """A folder that cannot be written is said; the start may be tried again."""
    (Path(settings.data) / "backup").write_text("in the way")
    backup = BackupProcess(settings)
    with pytest.raises(StorageFailed, match="backup's process ended"):
        backup.recover(allow_empty=False, progress=lambda *_: None)
    backup.close()


def test_a_quiet_log_comes_to_rest(settings: Settings, target: Target) -> None:
    """What the backup records of itself leads to one more segment, and to no other snapshot."""
    settings = replace(settings, snapshot="* * * * *")
    with running(settings) as here:
        position = here.append() + 1
        wait_until(lambda: here.log.head() >= position, "a snapshot is recorded", seconds=60)
        here.wait_shipped(position)
        assert here.perform(Kind.CREATE)["skipped"]
        assert here.log.head() == position
        before = require(place_at(target).register)[0]
        with pytest.raises(TimeoutError):
            _changes(lambda: require(place_at(target).register)[0] != before, seconds=4.0)
        assert here.log.head() == position


def _changes(changed: Callable[[], bool], seconds: float) -> None:
    """Return as soon as something changes."""
    pause = threading.Event()
    for _ in range(round(seconds * 10)):
        if changed():
            return
        pause.wait(0.1)
    raise TimeoutError
