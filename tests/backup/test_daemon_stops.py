"""A daemon with a backup stops in time, and what it has is in its place then."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

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
    configured,
    operate,
    place_at,
    restored,
    restored_chain,
    succeeds,
    wait_shipped,
    wait_state,
)

from daemon.backup.manifest import require

STOP_SECONDS = 3
"""What the backup is given at a stop."""
IN_TIME_SECONDS = 20.0
"""In which a daemon has ended that gives it so much; without a bound it would be minutes."""


@pytest.fixture
def target(gcs_fake: GcsFake) -> Target:
    """Return a place in the fake bucket."""
    return Target("gs://kept/a place", {"STORAGE_EMULATOR_HOST": gcs_fake.url})


def made(daemons: Daemons, target: Target, folder: Path, **settings: Any) -> DaemonProcess:
    """Return a daemon, not yet started, whose requests to the store take long to fail."""
    told = {"timeout_seconds": 120, "stop_seconds": STOP_SECONDS, **settings}
    arguments = configured(folder, target, **told)
    return daemons(arguments=arguments, environment=target.environment)


def stop_in_time(daemon: DaemonProcess) -> None:
    """Stop a daemon that stops well, and soon."""
    began = time.monotonic()
    assert daemon.stop() == 0, daemon.stderr()
    assert time.monotonic() - began < IN_TIME_SECONDS


def test_a_clean_stop_leaves_everything_in_the_place(
    daemons: Daemons, target: Target, tmp_path: Path
) -> None:
    """What was not shipped is, and a snapshot has all of it; nothing new makes no other one."""
    settings = {"segment_seconds": 3600, "snapshot_on_stop": True, "stop_seconds": 30}
    daemon = made(daemons, target, tmp_path, **settings).start()
    with daemon.client() as client:
        wait_state(client, "shipping")
        position = append(client, 500)[-1].position
    assert daemon.stop() == 0
    manifest, _ = require(place_at(target).register)
    assert (manifest.shipped, manifest.head) == (position, position)
    assert [snapshot.position for snapshot in manifest.snapshots] == [position]
    assert restored_chain(target, tmp_path / "restored") == chain(daemon.data)
    assert daemon.start().stop() == 0
    assert require(place_at(target).register)[0].snapshots == manifest.snapshots


@pytest.mark.parametrize("kind", [Kind.STALL, Kind.STATUS])
def test_a_store_that_is_down_holds_up_no_stop(
    kind: Kind, daemons: Daemons, target: Target, gcs_fake: GcsFake, tmp_path: Path
) -> None:
    """The backup gets its seconds and no more; the events are shipped after the next start."""
    daemon = made(daemons, target, tmp_path, snapshot_on_stop=True).start()
    with daemon.client() as client:
        wait_state(client, "shipping")
        fault = gcs_fake.arm(kind, times=None)
        position = append(client, 100)[-1].position
        fault.wait()
    stop_in_time(daemon)
    assert fault.fired
    gcs_fake.disarm()
    daemon.start()
    with daemon.client() as client:
        assert wait_shipped(client, position)["epoch"] == 1


@pytest.mark.parametrize(
    ("kind", "operation"), [("backup", Operation.INSERT), ("prove", Operation.MEDIA)]
)
def test_a_stop_while_a_snapshot_is_made_or_proved(
    kind: str, operation: Operation, daemons: Daemons, target: Target, gcs_fake: GcsFake,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Who waits for it is told; the log is whole, and the next snapshot and proof are."""
    daemon = made(daemons, target, tmp_path).start()
    with daemon.client(unix=True) as client:
        wait_state(client, "shipping")
        append(client, 500)
        if kind == "prove":
            succeeds(client, "backup")
        fault = gcs_fake.arm(Kind.STALL, operation=operation, name="*/snapshots/*", times=None)
        operate(client, kind)
        fault.wait()
    stop_in_time(daemon)
    gcs_fake.disarm()
    daemon.start()
    with daemon.client(unix=True) as client:
        wait_state(client, "shipping")
        append(client, 10, "more")
        succeeds(client, "backup")
        succeeds(client, "prove")
    stop_in_time(daemon)


def test_a_stop_while_the_log_is_brought_back(
    daemons: Daemons, target: Target, gcs_fake: GcsFake, tmp_path: Path
) -> None:
    """It ends at once; nothing that it left is taken for a log, and the next start restores."""
    daemon = made(daemons, target, tmp_path).start()
    with daemon.client() as client:
        receipts = append(client, 500)
        wait_shipped(client, receipts[-1].position)
    daemon.kill()
    shutil.rmtree(daemon.data)
    fault = gcs_fake.arm(Kind.STALL, operation=Operation.MEDIA, name="*/segments/*", times=None)
    daemon.launch()
    fault.wait(seconds=60)
    stop_in_time(daemon)
    assert not (daemon.data / "log.db").exists()
    gcs_fake.disarm()
    daemon.start()
    with daemon.client() as client:
        assert restored(client)["data"]["complete_to"] == receipts[-1].position
    assert daemon.stop() == 0


def test_a_backup_process_that_is_killed_while_the_log_is_brought_back(
    daemons: Daemons, target: Target, gcs_fake: GcsFake, tmp_path: Path
) -> None:
    """The daemon begins the restore again, by itself."""
    daemon = made(daemons, target, tmp_path).start()
    with daemon.client() as client:
        receipts = append(client, 500)
        wait_shipped(client, receipts[-1].position)
    daemon.kill()
    shutil.rmtree(daemon.data)
    fault = gcs_fake.arm(Kind.STALL, operation=Operation.MEDIA, name="*/segments/*", times=None)
    daemon.launch()
    fault.wait(seconds=60)
    os.kill(backup_child(daemon), signal.SIGKILL)
    gcs_fake.disarm()
    daemon.wait_notified("READY=1")
    with daemon.client() as client:
        assert restored(client)["data"]["complete_to"] == receipts[-1].position
    assert daemon.stop() == 0
