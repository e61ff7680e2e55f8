"""The store fails in every way it can, and the daemon takes events all the while."""

from __future__ import annotations

import base64
import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from daemon_process import DaemonProcess
from gcs_fake import GcsFake
from gcs_faults import Kind, Operation
from running import (
    HEADERS,
    Daemons,
    Target,
    append,
    chain,
    configured,
    restored_chain,
    run,
    standing,
    wait_shipped,
    wait_state,
)
from waiting import wait_until

LATENCY_SECONDS = 1.0
"""Half of the events are acknowledged within this; on a busy machine some take longer."""


class Intake:
    """A producer that sends one event after another, and what it waited for each."""

    def __init__(self, daemon: DaemonProcess, word: str) -> None:
        self.positions: list[int] = []
        self.seconds: list[float] = []
        self.failed: list[str] = []
        self._word = word
        self._client = daemon.client()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.01):
            number = len(self.seconds)
            event = {
                "specversion": "1.0", "id": f"{self._word}-{number}", "source": "/steady",
                "type": "job.submitted", "subject": f"{self._word}-{number}", "data": {"kind": "k"},
            }  # fmt: skip
            began = time.monotonic()
            answer = self._client.post("/api/events", content=json.dumps([event]), headers=HEADERS)
            self.seconds.append(time.monotonic() - began)
            if answer.status_code == 201:
                self.positions.append(answer.json()["events"][0]["position"])
            else:
                self.failed.append(answer.text)

    def close(self) -> None:
        """End it."""
        self._ended.set()
        self._thread.join()
        self._client.close()

    def require_steady(self) -> None:
        """Fail where an event was not taken, or most had to wait."""
        assert not self.failed
        assert self.positions
        assert median(self.seconds) < LATENCY_SECONDS


@contextmanager
def intake(daemon: DaemonProcess, word: str) -> Iterator[Intake]:
    """Run a producer, and end it whatever happens; it was never held up."""
    running = Intake(daemon, word)
    try:
        yield running
    finally:
        running.close()
    running.require_steady()


@pytest.fixture(scope="module")
def fake() -> Iterator[GcsFake]:
    """Return a bucket for all the faults of this module."""
    with GcsFake("kept") as fake:
        yield fake


@pytest.fixture(scope="module")
def target(fake: GcsFake) -> Target:
    """Return the place in that bucket."""
    return Target("gs://kept/a place", {"STORAGE_EMULATOR_HOST": fake.url})


@pytest.fixture(scope="module")
def running(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """Return a daemon that goes through all the faults of this module."""
    folder = tmp_path_factory.mktemp("faults")
    arguments = configured(folder, target)
    daemon = DaemonProcess(
        folder / "data", arguments=arguments, environment=target.environment
    ).start()
    yield daemon
    daemon.close()


@pytest.fixture
def daemon(running: DaemonProcess, fake: GcsFake) -> Iterator[DaemonProcess]:
    """Return that daemon, which ships; nothing is wrong before and after a test."""
    with running.client() as client:
        wait_state(client, "shipping")
    yield running
    fake.disarm()


def whole(daemon: DaemonProcess, target: Target, folder: Path, position: int) -> None:
    """Fail unless the place gives back what the log holds, up to where it was shipped."""
    shipped = restored_chain(target, folder)
    held = chain(daemon.data)
    assert max(shipped) >= position
    assert shipped == {at: held[at] for at in held if at <= max(shipped)}


@pytest.mark.parametrize("status", [503, 429, 401, 403])
def test_a_store_that_refuses_for_a_while(
    status: int, daemon: DaemonProcess, fake: GcsFake, target: Target, tmp_path: Path
) -> None:
    """It is said, with a hint; nobody waits for it; what came meanwhile is shipped after."""
    state = "refused" if status in (401, 403) else "unavailable"
    with intake(daemon, f"refused-{status}") as steady, daemon.client() as client:
        fault = fake.arm(Kind.STATUS, times=None, status=status)
        told = wait_state(client, state)
        # Without credentials the client does not get as far as to say 401.
        assert ("InvalidOperation" if status == 401 else str(status)) in told["detail"]
        assert told["hint"]
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert wait_until(lambda: standing(client)["lag_events"], "it is behind") > 0
        fault.wait(3)
        fake.disarm()
        wait_state(client, "shipping")
        wait_shipped(client, steady.positions[-1])
        assert client.get("/readyz").json()["status"] == "ready"
    assert fault.fired >= 3
    whole(daemon, target, tmp_path / "restored", steady.positions[0])


@pytest.mark.parametrize("name", ["*/segments/*", "*/manifest.json"])
@pytest.mark.parametrize("kind", [Kind.STALL, Kind.LOSE_ANSWER])
def test_an_answer_that_does_not_come(
    kind: Kind, name: str, daemon: DaemonProcess, fake: GcsFake, target: Target, tmp_path: Path
) -> None:
    """Whether or not it was done, it is done once: the log in the store is whole."""
    with intake(daemon, f"{kind}-{name}") as steady, daemon.client() as client:
        fault = fake.arm(kind, operation=Operation.INSERT, name=name, times=2)
        fault.wait(2)
        fake.disarm()
        position = steady.positions[-1]
        wait_shipped(client, position)
    assert fault.fired == 2
    whole(daemon, target, tmp_path / "restored", position)


def test_a_connection_that_breaks_in_mid_upload(
    daemon: DaemonProcess, fake: GcsFake, target: Target, tmp_path: Path
) -> None:
    """An upload of many parts goes on where it broke."""
    fault = fake.arm(Kind.RESET_UPLOAD, after=300_000, times=2)
    chance = random.Random(7)
    with intake(daemon, "reset") as steady, daemon.client() as client:
        batch = [
            {
                "specversion": "1.0", "id": f"large-{number}", "source": "/large",
                "type": "job.submitted", "subject": f"large-{number}",
                "data": {"input": base64.b64encode(chance.randbytes(180_000)).decode()},
            }
            for number in range(60)
        ]  # fmt: skip
        answer = client.post("/api/events", content=json.dumps(batch), headers=HEADERS)
        answer.raise_for_status()
        fault.wait(1)
        wait_shipped(client, answer.json()["events"][-1]["position"])
    assert fault.fired >= 1
    whole(daemon, target, tmp_path / "restored", steady.positions[0])


def test_a_bucket_that_is_gone(
    daemon: DaemonProcess,
    fake: GcsFake,
    target: Target,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is said by name; an empty one is another, into which all is shipped when that is asked."""
    with intake(daemon, "gone") as steady, daemon.client() as client:
        fake.objects.remove_bucket("kept")
        told = wait_state(client, "refused")
        assert "there is no bucket kept" in told["detail"]
        fake.objects.create_bucket("kept")
        wait_until(lambda: "no manifest now" in (standing(client)["detail"] or ""), "it is empty")
        position = steady.positions[-1]
    assert daemon.stop() == 0
    for name, value in target.environment.items():
        monkeypatch.setenv(name, value)
    run(daemon, "backup", "takeover", "--yes", *configured(tmp_path, target))
    daemon.start()
    with daemon.client() as client:
        wait_shipped(client, position)
    whole(daemon, target, tmp_path / "restored", position)


def test_a_store_that_is_down_at_the_start(
    daemons: Daemons, gcs_fake: GcsFake, tmp_path: Path
) -> None:
    """With a log the daemon starts, degraded; without one it does not, unless it may be empty."""
    target = Target("gs://kept/down", {"STORAGE_EMULATOR_HOST": gcs_fake.url})
    options: dict[str, Any] = {"environment": target.environment}
    arguments = configured(tmp_path, target)
    daemon = daemons(arguments=arguments, **options).start()
    with daemon.client() as client:
        wait_shipped(client, append(client, 100)[-1].position)
    assert daemon.stop() == 0

    fault = gcs_fake.arm(Kind.STATUS, times=None, status=503)
    daemon.start().wait_caught_up()
    with daemon.client() as client:
        wait_state(client, "unavailable")
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert ready.json()["backup"]["state"] == "unavailable"
        position = append(client, 100, "more")[-1].position
        assert fault.fired
        gcs_fake.disarm()
        wait_shipped(client, position)
        assert standing(client)["epoch"] == 1
    assert daemon.stop() == 0

    gcs_fake.arm(Kind.STATUS, times=None, status=503)
    new = daemons(tmp_path / "new", arguments=arguments, **options).launch()
    assert new.wait() == 4
    assert "--allow-empty" in new.stderr()
    assert not (new.data / "log.db").exists()
    apart = daemons(tmp_path / "apart", arguments=(*arguments, "--allow-empty"), **options).start()
    gcs_fake.disarm()
    with apart.client() as client:
        # A log of its own, in which what the daemon says of its backup may come first.
        assert append(client, 3)[0].position < 100
        assert "another log" in wait_state(client, "refused")["detail"]
    assert apart.stop() == 0
