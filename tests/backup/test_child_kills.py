"""The process that makes the backup is killed in the middle of its work on the place."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from daemon_process import DaemonProcess
from gcs_fake import GcsFake
from gcs_faults import Kind, Operation
from running import (
    Daemons,
    Target,
    append,
    backup_child,
    chain,
    children,
    configured,
    operate,
    place_at,
    restored_chain,
    succeeds,
    wait_shipped,
    wait_state,
)
from sites import Site
from waiting import wait_until

from daemon.backup.identity import FOLDER, identify
from daemon.backup.manifest import require
from daemon.backup.names import SEGMENTS
from daemon.backup.tidying import MERGED_MIN


class Killed:
    """A daemon whose backup's process is killed, and the place that it works on."""

    def __init__(self, daemon: DaemonProcess, fake: GcsFake, target: Target, folder: Path) -> None:
        self.daemon = daemon
        self.target = target
        self._fake = fake
        self._folder = folder
        self._restored = 0

    @contextmanager
    def at(self, operation: Operation, name: str) -> Iterator[None]:
        """Kill the process when it asks that of such an object, which the block brings about.

        Before another process takes over everything that was shipped can be restored.
        """
        fault = self._fake.arm(Kind.STALL, operation=operation, name=name)
        yield
        fault.wait(seconds=60)
        child = backup_child(self.daemon)
        self.daemon.signal(signal.SIGSTOP)
        try:
            os.kill(child, signal.SIGKILL)
            self._fake.disarm()
            self.require_whole()
        finally:
            self.daemon.signal(signal.SIGCONT)
        wait_until(
            lambda: children(self.daemon, "daemon.backup.child") not in ([], [child]),
            "another process has taken over",
        )

    def require_whole(self) -> None:
        """Fail unless a restore gives everything that was shipped."""
        self._restored += 1
        shipped = require(place_at(self.target).register)[0].shipped
        found = restored_chain(self.target, self._folder / f"restored-{self._restored}")
        there = chain(self.daemon.data)
        assert found == {at: told for at, told in there.items() if at <= shipped}

    def segments(self) -> int:
        """Return how many segments the place has."""
        return len(list(place_at(self.target).objects.list(SEGMENTS)))


@pytest.fixture
def killed(daemons: Daemons, gcs_fake: GcsFake, tmp_path: Path) -> Killed:
    """Return a daemon, not yet started, on a log that was shipped in many small segments."""
    target = Target("gs://kept/a place", {"STORAGE_EMULATOR_HOST": gcs_fake.url})
    arguments = configured(tmp_path, target, keep="1 hourly", timeout_seconds=120)
    daemon = daemons(arguments=arguments, environment=target.environment)
    site = Site(daemon.data, place_at(target))
    site.name = identify(daemon.data / FOLDER).id
    for _ in range(MERGED_MIN + 1):
        site.append(3).ship()
    return Killed(daemon, gcs_fake, target, tmp_path)


def ready(client: httpx.Client) -> None:
    """Wait until the backup takes orders."""
    wait_state(client, "shipping")


@pytest.mark.timeout(180)
def test_killed_while_it_merges_proves_and_prunes(killed: Killed) -> None:
    """Whatever it was at, all that was shipped can be restored; the next one completes it."""
    daemon = killed.daemon
    with killed.at(Operation.DELETE, "*/segments/*"):
        daemon.start()
    wait_until(lambda: killed.segments() < MERGED_MIN, "small segments are merged", seconds=60)
    daemon.wait_caught_up()
    with daemon.client(unix=True) as client:
        ready(client)
        succeeds(client, "backup")
        wait_shipped(client, append(client, 30)[-1].position)
        for name in ("*/snapshots/*", "*/segments/*"):
            with killed.at(Operation.MEDIA, name):
                operate(client, "prove")
            ready(client)
        succeeds(client, "prove")
        succeeds(client, "backup")
        succeeds(client, "prove")
        with killed.at(Operation.DELETE, "*/snapshots/*"):
            operate(client, "prune")
        ready(client)
        succeeds(client, "prune")
    assert daemon.stop() == 0
    manifest = require(place_at(killed.target).register)[0]
    assert [each.proof for each in manifest.snapshots] == ["proved"]
    assert manifest.replaced == ()
    killed.require_whole()
