"""A followed file under load, rotated and truncated, beside a daemon that is killed twice."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
from daemon_process import DaemonProcess
from source_driving import line
from waiting import wait_until

CONFIG = """
[[sources]]
name = "worker"
kind = "file"
path = "{path}"
"""


class Load(threading.Thread):
    """Appends lines to the file, one after another, until it is told to stop."""

    def __init__(self, path: Path) -> None:
        """Begin at the first number."""
        super().__init__(daemon=True)
        self.path = path
        self.written = 0
        self.halted = threading.Event()
        self.gate = threading.Lock()

    def run(self) -> None:
        """Append: every seventh line is no JSON, and a line comes in two halves."""
        while not self.halted.is_set():
            with self.gate, self.path.open("ab", buffering=0) as file:
                self.written += 1
                number = self.written
                text = line(number) if number % 7 else b"bad %d\n" % number
                file.write(text[:20])
                file.write(text[20:])
            self.halted.wait(0.002)


def test_each_line_is_recorded_once(tmp_path: Path, daemons: Callable[..., DaemonProcess]) -> None:
    """Through rotation, truncation and two kills no line is lost, and none is there twice."""
    path = tmp_path / "work.log"
    config = tmp_path / "chronicled.toml"
    config.write_text(CONFIG.format(path=path))
    daemon = daemons(arguments=["--config", str(config)]).start()
    load = Load(path)
    load.start()
    try:
        _reached(daemon, load.written + 100)
        with load.gate:
            path.rename(path.with_name("work.log.1"))
        _written(load, 100)
        daemon.kill()
        _written(load, 100)
        with load.gate:
            path.with_name("work.log.1").rename(path.with_name("work.log.2"))
            path.rename(path.with_name("work.log.1"))
        _written(load, 100)
        daemon.start()
        _reached(daemon, load.written)
        with load.gate:
            # What is truncated before it was read is lost by nature.
            _reached(daemon, load.written)
            os.truncate(path, 0)
        _written(load, 50)
        daemon.kill()
        _written(load, 50)
        daemon.start()
    finally:
        load.halted.set()
        load.join()
    _reached(daemon, load.written)
    _check(daemon, load.written)
    assert daemon.stop() == 0


def _written(load: Load, count: int) -> None:
    goal = load.written + count
    wait_until(lambda: load.written >= goal, "lines were written")


def _messages(client: httpx.Client) -> int:
    events = client.get("/api/events", params={"limit": 1, "order": "desc"}).json()
    letters = client.get("/api/deadletters", params={"limit": 1000}).json()["items"]
    return int(events["as_of"]) + len(letters)


def _reached(daemon: DaemonProcess, number: int) -> None:
    with daemon.client() as client:
        wait_until(lambda: _messages(client) >= number, "the lines are recorded", seconds=40)


def _check(daemon: DaemonProcess, written: int) -> None:
    with daemon.client() as client:
        letters = client.get("/api/deadletters", params={"limit": 1000}).json()["items"]
        events: list[str] = []
        after = 0
        while True:
            page = client.get("/api/events", params={"limit": 1000, "after": after}).json()["items"]
            if not page:
                break
            events += [event["id"] for event in page]
            after = page[-1]["position"]
        source = client.get("/api/sources").json()["items"][0]
    good = [f"e{number}" for number in range(1, written + 1) if number % 7]
    assert Counter(events) == Counter(good)
    bad = [f"bad {number}" for number in range(7, written + 1, 7)]
    assert Counter(letter["raw"] for letter in letters) == Counter(bad)
    assert {letter["count"] for letter in letters} == {1}
    assert (source["state"], source["lag"], source["duplicates"]) == ("running", 0, 0)
