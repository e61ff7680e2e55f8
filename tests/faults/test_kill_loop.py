"""kill -9 under load: nothing acknowledged is lost, nothing is there twice, and it is back soon.

The short form runs everywhere. ``make kill-loop KILLS=200 EVENTS=1000000`` is the long one: on a
log with so many events, and every restart has to be ready in 2 seconds.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from clients import verify
from daemon_process import DaemonProcess
from kill_loop import kill_loop
from ledger import check

from benchmarks.cache import build

KILLS = int(os.environ.get("KILL_LOOP_KILLS") or 6)
EVENTS = int(os.environ.get("KILL_LOOP_EVENTS") or 0)
SEED = int(os.environ.get("KILL_LOOP_SEED") or random.SystemRandom().randrange(1 << 32))
READY_SECONDS_MAX = 2.0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.mark.timeout(120 + 20 * KILLS + EVENTS // 1000)
def test_kill_loop_loses_and_doubles_nothing(
    daemons: Callable[..., DaemonProcess],
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    """Every ledger and the log agree; the proof is clean, the views are those of a replay."""
    say = pytestconfig.pluginmanager.getplugin("terminalreporter")
    tell = say.write_line if say is not None else print
    tell(f"kill loop: {KILLS} kills, {EVENTS:,} events before, KILL_LOOP_SEED={SEED}")
    data, ledgers = tmp_path / "data", tmp_path / "ledgers"
    if EVENTS:
        build(data, EVENTS, SEED)
    port = free_port()
    daemon = daemons(data, listen=f"127.0.0.1:{port}")
    times = kill_loop(
        daemon,
        port,
        ledgers,
        KILLS,
        random.Random(SEED),
        alive_seconds_max=1.5 if EVENTS else 0.5,
        told=tell,
    )
    assert daemon.stop() == 0
    verify(daemon)
    tally = check(ledgers, data / "log.db")
    assert tally.acknowledged > KILLS
    tell(f"kill loop: {tally}")
    if EVENTS:
        assert max(times.ready) < READY_SECONDS_MAX, times
