"""A daemon is killed at random moments and may lose its disk; nothing that was shipped is lost."""

from __future__ import annotations

import json
import random
import shutil
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from daemon_process import DaemonProcess
from running import (
    HEADERS,
    Daemons,
    Receipt,
    Target,
    append,
    chain,
    configured,
    kill_all,
    place_at,
    restored_chain,
    run,
    wait_shipped,
)

from daemon.backup.manifest import Manifest, require
from daemon.lock import LOG_FILE

SEEDS = range(10)
SECONDS_MAX = 1.2
"""How long a daemon lives at the most after it was ready: a segment or two."""
EARLY_SECONDS_MAX = 1.0
"""How long one lives that is killed while it starts, in every third round."""


class Producer:
    """It sends small batches until nobody answers; what nobody answered is sent again later."""

    def __init__(self) -> None:
        self.acknowledged: list[Receipt] = []
        self.newest: list[Receipt] = []
        """What the last answer said."""
        self._batch: list[dict[str, Any]] = []
        self._number = 0

    def run(self, client: httpx.Client, chance: random.Random) -> None:
        """Send until the daemon is gone."""
        while True:
            if not self._batch:
                self._batch = self._made(chance.randint(1, 20))
            try:
                self.newest = self._sent(client)
            except httpx.TransportError:
                return
            self.acknowledged += self.newest
            self._batch = []

    def _made(self, count: int) -> list[dict[str, Any]]:
        self._number += count
        return [
            {
                "specversion": "1.0", "id": f"{number}", "source": "/killed",
                "type": "job.submitted", "subject": f"{number}", "data": {"kind": "k"},
            }
            for number in range(self._number - count, self._number)
        ]  # fmt: skip

    def _sent(self, client: httpx.Client) -> list[Receipt]:
        content = json.dumps(self._batch)
        answer = client.post("/api/events", content=content, headers=HEADERS).raise_for_status()
        told = zip(self._batch, answer.json()["events"], strict=True)
        return [Receipt(item["position"], event["id"]) for event, item in told]


class Run:
    """All starts of a daemon on one directory and one place, and what has to be there."""

    def __init__(self, daemons: Daemons, folder: Path) -> None:
        self.target = Target((folder / "kept").as_uri(), {})
        self.data = folder / "data"
        self.expected: dict[int, str] = {}
        """Every event that was acknowledged and is not of a lost tail."""
        self.given: dict[int, str] = {}
        """Every position that was ever used, and for which event."""
        self.deletions = 0
        self._daemons = daemons
        self._folder = folder
        self._arguments = configured(folder, self.target)
        self._producer = Producer()
        self._counted = 0

    @property
    def manifest(self) -> Manifest:
        """What the place says."""
        return require(place_at(self.target).register)[0]

    def begin(self) -> None:
        """Start for the first time, and lose nothing yet."""
        daemon = self._started()
        with daemon.client() as client:
            self._count(append(client, 10, "first"))
            wait_shipped(client, 10)
        kill_all(daemon)

    def live(self, chance: random.Random) -> None:
        """Start, take events, and be killed."""
        epochs, lost = len(self.manifest.epochs), not (self.data / LOG_FILE).exists()
        daemon = self._started()
        # An epoch begins where the directory was lost, and nowhere else.
        assert len(self.manifest.epochs) == epochs + lost
        producer = self._producer
        with daemon.client() as client, daemon.client(unix=True) as operator:
            if chance.random() < 0.5:
                operator.post("/api/operations", json={"kind": "backup"})
            sending = threading.Thread(target=producer.run, args=(client, chance))
            sending.start()
            pause(chance.uniform(0, SECONDS_MAX))
            kill_all(daemon)
            sending.join()
        self._count(producer.acknowledged)
        producer.acknowledged = []

    def start_and_die(self, chance: random.Random) -> None:
        """Start, and be killed before or after it is ready."""
        epochs, lost = len(self.manifest.epochs), not (self.data / LOG_FILE).exists()
        daemon = self._daemon().launch()
        pause(chance.uniform(0, EARLY_SECONDS_MAX))
        kill_all(daemon)
        begun = lost and (self.data / LOG_FILE).exists()
        assert epochs + begun <= len(self.manifest.epochs) <= epochs + lost

    def lose(self) -> None:
        """Lose the directory, and with it what was not shipped."""
        shutil.rmtree(self.data)
        shipped = self.manifest.shipped
        self.expected = {at: id_ for at, id_ in self.expected.items() if at <= shipped}
        self.deletions += 1

    def look(self) -> None:
        """Count what a log at rest holds as given: somebody may have read it."""
        if (self.data / LOG_FILE).exists():
            copy = self._folder / "copy"
            copy.mkdir()
            for file in self.data.glob(f"{LOG_FILE}*"):
                shutil.copy(file, copy)
            found = {position: id_ for position, (id_, _) in chain(copy).items()}
            shutil.rmtree(copy)
            self._give(found)
            assert found.items() >= self.expected.items()

    def end(self) -> None:
        """Start for the last time; everything is there, once, and in the place as well."""
        daemon = self._started()
        with daemon.client() as client:
            self._count(append(client, 10, "last"))
            wait_shipped(client, max(self.expected))
            daemon.wait_caught_up()
            run(daemon, "verify")
        assert daemon.stop() == 0
        found = chain(self.data)
        ids = {position: id_ for position, (id_, _) in found.items()}
        self._give(ids)
        assert ids.items() >= self.expected.items()
        assert len(set(ids.values())) == len(ids)
        assert restored_chain(self.target, self._folder / "restored") == found
        assert self.manifest.epoch == len(self.manifest.epochs) + 1

    def _daemon(self) -> DaemonProcess:
        return self._daemons(self.data, arguments=self._arguments)

    def _started(self) -> DaemonProcess:
        return self._daemon().start()

    def _count(self, receipts: list[Receipt]) -> None:
        """Expect what was acknowledged; an event that was sent again has its old position."""
        told = dict(receipts)
        self._give(told)
        self.expected |= told

    def _give(self, positions: dict[int, str]) -> None:
        """Fail where a position was another event's before."""
        for position, id_ in positions.items():
            assert self.given.setdefault(position, id_) == id_, position


def pause(seconds: float) -> None:
    """Let the daemon work until its time has come."""
    threading.Event().wait(seconds)


@pytest.mark.timeout(120)
def test_a_daemon_that_is_killed_again_and_again(daemons: Daemons, tmp_path: Path) -> None:
    """What was acknowledged is there once, where it was, unless it was lost with the disk.

    No position is ever given twice, and an epoch begins with every loss of the disk.
    """
    life = Run(daemons, tmp_path)
    life.begin()
    for seed in SEEDS:
        chance = random.Random(seed)
        life.look()
        if seed % 2:
            life.lose()
        if seed % 3 == 2:
            life.start_and_die(chance)
        else:
            life.live(chance)
    life.look()
    life.end()
    assert life.deletions <= len(life.manifest.epochs)
