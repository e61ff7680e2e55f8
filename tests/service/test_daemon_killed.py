"""Nothing acknowledged is lost: the daemon is killed again and again while clients write."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from daemon_process import DaemonProcess
from waiting import wait_until

PRODUCERS = 4
ROUNDS = 3
EVENTS_A_ROUND = 300


class Producer:
    """A client that sends the events of its jobs in order, each batch until it is acknowledged."""

    def __init__(self, daemon: DaemonProcess, number: int) -> None:
        self.acknowledged: list[tuple[int, str]] = []
        """Position and id of every event, in the order in which it was sent."""
        self._number = number
        self._ended = threading.Event()
        self._client = daemon.client()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        """Stop sending."""
        self._ended.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        serial = 0
        while not self._ended.is_set():
            # One event, then a few, then more: commits of every size are cut.
            batch = [self._event(serial + part) for part in range((1, 3, 20)[serial % 3])]
            if self._send(batch):
                serial += len(batch)

    def _send(self, batch: list[dict[str, Any]]) -> bool:
        """Send a batch until it is acknowledged; False when the test is over."""
        headers = {"content-type": "application/cloudevents-batch+json"}
        body = json.dumps(batch)
        while not self._ended.is_set():
            try:
                answer = self._client.post("/api/events", content=body, headers=headers)
            except httpx.TransportError:
                self._ended.wait(0.01)
                continue
            if answer.status_code in (200, 201):
                receipts = answer.json()["events"]
                self.acknowledged += [(item["position"], item["id"]) for item in receipts]
                return True
            assert answer.status_code == 503, answer.text
        return False

    def _event(self, serial: int) -> dict[str, Any]:
        kinds = ("job.submitted", "job.started", "job.progressed", "job.succeeded")
        return {
            "specversion": "1.0",
            "id": f"{self._number}-{serial}",
            "source": "/killed",
            "type": kinds[serial % 4],
            "subject": f"job-{self._number}-{serial // 4}",
            "data": {"message": "half"} if serial % 4 == 2 else {},
        }


@contextmanager
def producers(daemon: DaemonProcess) -> Iterator[list[Producer]]:
    """Run the producers, and end them whatever happens."""
    running = [Producer(daemon, number) for number in range(PRODUCERS)]
    try:
        yield running
    finally:
        for producer in running:
            producer.end()


def recorded(daemon: DaemonProcess) -> list[tuple[int, str]]:
    """Return position and id of every event in the log, by rising position."""
    found: list[tuple[int, str]] = []
    address: str | None = "/api/events?limit=1000"
    with daemon.client() as client:
        while address is not None:
            answer = client.get(address).raise_for_status()
            found += [(item["position"], item["id"]) for item in answer.json()["items"]]
            address = answer.links.get("next", {}).get("url")
    return found


def run(daemon: DaemonProcess, *arguments: str) -> str:
    """Run a command on the daemon's data and return what it printed; it must succeed."""
    command = [sys.executable, "-m", "daemon", *arguments, "--data", str(daemon.data)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.timeout(180)
def test_kill_under_load_loses_and_doubles_nothing(
    daemons: Callable[..., DaemonProcess],
) -> None:
    """Each acknowledged event is there once, in order; the proof is clean, the views catch up."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    daemon = daemons(listen=f"127.0.0.1:{port}").start()
    with producers(daemon) as running:

        def sent() -> int:
            return sum(len(producer.acknowledged) for producer in running)

        for _ in range(ROUNDS):
            goal = sent() + EVENTS_A_ROUND
            wait_until(lambda goal=goal: sent() >= goal, "events are acknowledged", seconds=60)
            daemon.kill()
            daemon.start()
        goal = sent() + EVENTS_A_ROUND
        wait_until(lambda: sent() >= goal, "events are acknowledged at the end", seconds=60)
    there = recorded(daemon)
    by_position = dict(there)
    assert len({key for _, key in there}) == len(there), "an event is there twice"
    for producer in running:
        assert producer.acknowledged == sorted(producer.acknowledged)
        assert {p: by_position.get(p) for p, _ in producer.acknowledged} == dict(
            producer.acknowledged
        )
    daemon.wait_caught_up(seconds=60)
    # While it runs the daemon proves it; after the stop the command does, on the files.
    run(daemon, "verify")
    assert daemon.stop() == 0
    run(daemon, "verify")
