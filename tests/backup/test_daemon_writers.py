"""Two daemons and one place: one of them ships, the other is told so, and loses nothing."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from daemon_process import DaemonProcess
from running import (
    Daemons,
    Target,
    append,
    chain,
    children,
    configured,
    place_at,
    restored,
    restored_chain,
    run,
    standing,
    wait_shipped,
    wait_state,
)
from waiting import wait_until

from daemon.backup.manifest import require


@pytest.fixture
def target(tmp_path: Path) -> Target:
    """Return a place in a directory."""
    return Target((tmp_path / "kept").as_uri(), {})


@pytest.fixture
def first(daemons: Daemons, target: Target, tmp_path: Path) -> DaemonProcess:
    """Return a daemon that has shipped 300 events."""
    daemon = daemons(arguments=configured(tmp_path, target)).start()
    with daemon.client() as client:
        wait_shipped(client, append(client, 300)[-1].position)
    return daemon


@contextmanager
def held(daemon: DaemonProcess) -> Iterator[None]:
    """Stop the processes of a daemon for a while, as a snapshot of its machine does."""
    pids = [daemon.pid, *children(daemon)]
    with ExitStack() as stack:
        for pid in pids:
            stack.callback(os.kill, pid, signal.SIGCONT)
            os.kill(pid, signal.SIGSTOP)
        yield


def copied(daemon: DaemonProcess, daemons: Daemons, target: Target, folder: Path) -> DaemonProcess:
    """Return a daemon, not yet started, on a copy of the directory of one that runs."""
    with held(daemon):
        shutil.copytree(daemon.data, folder)
    return daemons(folder, arguments=configured(folder.parent, target))


def test_a_copy_of_a_running_directory_is_refused(
    first: DaemonProcess, daemons: Daemons, target: Target, tmp_path: Path
) -> None:
    """It takes events, and ships none; what it says leads on; the first one goes on."""
    second = copied(first, daemons, target, tmp_path / "copy").start()
    with second.client() as client, first.client() as other:
        told = wait_state(client, "refused")
        assert "belongs to another daemon" in told["detail"]
        assert "chronicled backup takeover" in told["hint"]
        second.wait_caught_up()
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert ready.json()["backup"]["state"] == "refused"
        wait_until(lambda: standing(client)["behind_since"] is not None, "the lag is told")
        mine = append(client, 10, "copy")
        wait_shipped(other, append(other, 10, "first")[-1].position)
        assert standing(other)["state"] == "shipping"
        assert standing(client)["shipped"] < mine[0].position
    assert second.stop() == 0
    # The first one went on where the copy has events of its own.
    assert second.launch().wait() == 4
    assert "different events" in second.stderr() or "another daemon" in second.stderr()


def test_a_takeover_ends_the_shipping_of_a_daemon_that_runs(
    first: DaemonProcess, daemons: Daemons, target: Target, tmp_path: Path
) -> None:
    """It says whose the place is; its events stay; started again it is refused, with both ways."""
    second = copied(first, daemons, target, tmp_path / "copy")
    arguments = configured(tmp_path, target)
    told = run(second, "backup", "takeover", "--yes", "--reason", "a test", *arguments)
    assert "taken" in told
    with first.client() as client:
        own = append(client, 20, "own")
        told_by_status = wait_state(client, "refused")
        assert "epoch 2" in told_by_status["detail"]
        assert {receipt.id for receipt in own} <= {id_ for id_, _ in chain(first.data).values()}
        assert restored_chain(target, tmp_path / "restored").keys() == set(range(1, 301))
    second.start()
    with second.client() as client:
        event = restored(client)["data"]
        assert (event["epoch"], event["complete_to"], event["reason"]) == (2, 300, "a test")
        wait_shipped(client, append(client, 10, "second")[-1].position)
    assert first.stop() == 0
    first_chain = chain(first.data)
    assert first.launch().wait() == 4
    assert chain(first.data) == first_chain
    # One of the ways out: put it aside, and go on with the backup.
    assert f"mv {first.data} {first.data}.diverged" in first.stderr()
    assert second.stop() == 0
    first.data.rename(f"{first.data}.diverged")
    first.start()
    with first.client() as client:
        assert restored(client)["data"]["epoch"] == 3


def test_a_takeover_that_the_refusal_names(
    first: DaemonProcess, daemons: Daemons, target: Target, tmp_path: Path
) -> None:
    """A copy that is behind is refused at its start; the command that is named mends it."""
    second = copied(first, daemons, target, tmp_path / "copy")
    with first.client() as client:
        shipped = wait_shipped(client, append(client, 30, "more")[-1].position)["shipped"]
    first.kill()
    assert second.launch().wait() == 4
    file = configured(tmp_path, target)[-1]
    told = f"chronicled backup takeover --config {file} --data {second.data}"
    assert told in second.stderr()
    run(second, "backup", "takeover", "--yes", *configured(tmp_path, target))
    second.start()
    with second.client() as client:
        assert restored(client)["data"]["complete_to"] == shipped
        assert wait_state(client, "shipping")["epoch"] == 2
        wait_shipped(client, append(client, 5, "second")[-1].position)
        second.wait_caught_up()
    # The first one, that has nothing of its own, is behind now: refused, and not overwritten.
    assert first.launch().wait() == 4
    assert require(place_at(target).register)[0].epoch == 2
    run(second, "verify")
