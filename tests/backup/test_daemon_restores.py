"""A daemon loses its machine, and comes back from its place by itself."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from daemon_process import DaemonProcess
from gcs_fake import GcsFake
from running import (
    Daemons,
    Target,
    append,
    backup_child,
    chain,
    configured,
    kill_all,
    restored,
    wait_shipped,
    wait_viewed,
)

from daemon.eventlog.proof import prove_log
from daemon.lock import LOG_FILE

EVENTS = {"directory": 200_000, "fake": 5_000, "emulator": 5_000}


@pytest.fixture(params=["directory", "fake", "emulator"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    """Return a place of each kind."""
    if request.param == "directory":
        return Target((tmp_path / "kept").as_uri(), {})
    if request.param == "fake":
        fake: GcsFake = request.getfixturevalue("gcs_fake")
        return Target("gs://kept/a place", {"STORAGE_EMULATOR_HOST": fake.url})
    address = request.getfixturevalue("emulator")
    prefix = tmp_path.name
    return Target(f"gs://kept/{prefix}", {"STORAGE_EMULATOR_HOST": address})


@pytest.mark.timeout(300)
def test_the_log_comes_back_after_its_directory_is_gone(
    daemons: Daemons, target: Target, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """All that was shipped is back, digest by digest; the epoch says what is not; twice over."""
    count = EVENTS[request.node.callspec.params["target"]]
    arguments = configured(tmp_path, target)
    daemon = daemons(arguments=arguments, environment=target.environment).start()
    with daemon.client() as client:
        receipts = append(client, count)
        shipped = wait_shipped(client, receipts[-1].position)["shipped"]
        wait_viewed(client, shipped)
        views = seen(client)
        # What comes from here on is not shipped any more.
        os.kill(backup_child(daemon), signal.SIGSTOP)
        tail = append(client, 50, "tail")
        address = f"/api/events?limit=10&after={tail[5].position}"
        cursor = client.get(address).raise_for_status().links["next"]["url"]
    before = chain(daemon.data)
    for receipt in receipts + tail:
        assert before[receipt.position][0] == receipt.id
    lose(daemon)

    daemon.start()
    with daemon.client() as client:
        event, after = restored(client), chain(daemon.data)
        began = event["position"]
        assert event["data"]["complete_to"] == event["data"]["reported_head"] == shipped
        assert began > tail[-1].position
        del after[began]
        assert after == {at: told for at, told in before.items() if at <= shipped}
        for position in (shipped + 1, tail[-1].position, began - 1):
            require_lost(client, f"/api/events/stream?after={position}")
            require_lost(client, "/api/events/stream", {"last-event-id": str(position)})
            require_lost(client, f"/api/jobs?as_of={position}")
        require_lost(client, cursor)
        wait_viewed(client, began)
        assert seen(client) == views
        again = append(client, 60, "again")
        assert again[0].position == began + 1
        assert wait_shipped(client, again[-1].position)["epoch"] == 2
    before = chain(daemon.data)
    lose(daemon)

    daemon.start()
    with daemon.client() as client:
        event, after = restored(client), chain(daemon.data)
        assert (event["data"]["epoch"], event["data"]["complete_to"]) == (3, again[-1].position)
        del after[event["position"]]
        assert after == before
        wait_shipped(client, append(client, 10, "third")[-1].position)
    assert daemon.stop() == 0
    assert not prove_log(daemon.data / LOG_FILE, at_rest=True).findings


def seen(client: httpx.Client) -> tuple[Any, Any]:
    """Return what the views say: of everything in short, and of some jobs in full."""
    answers = [
        client.get(address).raise_for_status().json()
        for address in ("/api/summary", "/api/jobs?limit=1000")
    ]
    return answers[0]["jobs"], answers[1]["items"]


def lose(daemon: DaemonProcess) -> None:
    """Cut the power, and lose the disk."""
    kill_all(daemon)
    shutil.rmtree(daemon.data)


def require_lost(
    client: httpx.Client, address: str, headers: Mapping[str, str] | None = None
) -> None:
    """Fail unless who has seen what is lost is told so."""
    answer = client.get(address, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "beyond_head"), address
