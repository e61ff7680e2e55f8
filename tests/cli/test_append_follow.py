"""``chronicled append --follow``: each line once, beside everything that goes away."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from commands import chronicled, start
from daemon_process import DaemonProcess
from waiting import wait_until


def line(number: int) -> str:
    """Return the line of one event."""
    return (
        f'{{"specversion":"1.0","id":"e{number}","source":"/t","type":"job.submitted",'
        f'"subject":"j{number}","data":{{"kind":"k"}}}}\n'
    )


def write(path: Path, *numbers: int) -> None:
    """Append the lines of these events."""
    with path.open("a") as file:
        file.writelines(map(line, numbers))


def has(daemon: DaemonProcess, count: int) -> None:
    """Wait until so many events are recorded, and check that each is there once."""
    with daemon.client() as client:

        def ids() -> list[str]:
            return [e["id"] for e in client.get("/api/events?limit=1000").json()["items"]]

        found = wait_until(lambda: (f := ids()) and len(f) >= count and f, f"{count} events")
        assert Counter(found) == Counter(f"e{number}" for number in range(1, count + 1))


def end(follower: Any, number: signal.Signals = signal.SIGINT) -> str:
    """End a run, and return what it said of its lines."""
    follower.send_signal(number)
    output: str = follower.communicate(timeout=30)[0]
    return output


def test_a_file_is_followed_through_everything(
    tmp_path: Path, daemons: Callable[..., DaemonProcess]
) -> None:
    """Growth, a killed command, a restarted daemon, rotation and truncation: each line once."""
    daemon = daemons().start()
    path = tmp_path / "out.ndjson"
    command = ("append", "--follow", path, "--data", daemon.data)
    write(path, 1, 2)
    follower = start(*command)
    has(daemon, 2)
    end(follower, signal.SIGKILL)
    write(path, 3)
    follower = start(*command)
    has(daemon, 3)
    daemon.kill()
    write(path, 4)
    path.rename(tmp_path / "out.ndjson.1")
    write(path, 5)
    daemon.start()
    has(daemon, 5)
    os.truncate(path, 0)
    write(path, 6, 7)
    has(daemon, 7)
    said = end(follower)
    assert "appended 5, duplicates 0, dead letters 0" in said
    assert follower.returncode == 0
    follower = start(*command)
    write(path, 8)
    has(daemon, 8)
    assert "appended 1, duplicates 0" in end(follower)


def test_it_goes_with_no_other_file(tmp_path: Path) -> None:
    """A file beside the followed one is refused."""
    done = chronicled("append", "--follow", tmp_path / "a", tmp_path / "b", code=2)
    assert "no other file" in done.stderr
