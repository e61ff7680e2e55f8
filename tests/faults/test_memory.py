"""The kernel kills the daemon for want of memory, in the midst of taking large batches."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import httpx
import pytest
from clients import event, recorded, verify
from daemon_process import DaemonProcess
from memory_group import MemoryGroup, memory_group
from waiting import wait_until

Daemons = Callable[..., DaemonProcess]
SPARE_BYTES = 24 << 20
"""So much more than the daemon has at its start: a few batches do not fit."""
BATCH = 200
EVENT_BYTES = 20_000
SENDERS = 8


class Sender(threading.Thread):
    """Sends large batches until nobody answers; knows which were acknowledged."""

    def __init__(self, daemon: DaemonProcess, name: str) -> None:
        """Begin."""
        super().__init__(name=name, daemon=True)
        self.acknowledged: list[list[str]] = []
        self.sent: list[list[str]] = []
        self._client = daemon.client()
        self.start()

    def run(self) -> None:
        """Send until the daemon is gone."""
        headers = {"content-type": "application/cloudevents-batch+json"}
        with self._client as client, suppress(httpx.TransportError):
            for number in count():
                keys = [f"{self.name}-{number}-{at}" for at in range(BATCH)]
                body = json.dumps([event(key, EVENT_BYTES) for key in keys])
                self.sent.append(keys)
                answer = client.post("/api/events", content=body, headers=headers)
                if answer.status_code == 201:
                    self.acknowledged.append(keys)
                else:
                    # A process of the daemon's own may be killed before the daemon is.
                    assert answer.status_code == 503, answer.text


@contextmanager
def confined(daemon: DaemonProcess) -> Iterator[MemoryGroup]:
    """Give a daemon and its processes little more memory than they have."""
    with memory_group(f"chronicled-{daemon.pid}") as group:
        group.add(daemon.pid)
        # Of all that are in it, the daemon itself is the one to be killed.
        Path(f"/proc/{daemon.pid}/oom_score_adj").write_text("1000")
        # What it has already does not count, only what it takes from now on.
        group.limit(group.used() + SPARE_BYTES)
        yield group


@pytest.mark.needs("memory-cgroup")
def test_killed_for_want_of_memory(daemons: Daemons) -> None:
    """Each acknowledged batch is there whole, the others are there whole or not at all."""
    daemon = daemons().start().wait_caught_up()
    with confined(daemon) as group:
        senders = [Sender(daemon, f"s{number}") for number in range(SENDERS)]
        process = daemon.process
        assert process is not None
        wait_until(lambda: process.poll() is not None, "it is killed", seconds=60)
        assert daemon.wait() == -signal.SIGKILL
        assert group.kills() > 0
        for sender in senders:
            sender.join()
    daemon.forget_notified()
    daemon.start().wait_caught_up()
    assert daemon.stop() == 0
    found = recorded(daemon.data)
    for sender in senders:
        for keys in sender.sent:
            there = sum(key in found for key in keys)
            assert there == BATCH if keys in sender.acknowledged else there in (0, BATCH)
    assert set(found) <= {key for sender in senders for keys in sender.sent for key in keys}
    verify(daemon)
