"""A restart storm: stopped while it starts, started while it stops, killed in between."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable

import pytest
from clients import post, recorded, verify
from daemon_process import DaemonProcess
from kill_loop import rest
from waiting import wait_until

from daemon.lock import find_daemon

Daemons = Callable[..., DaemonProcess]
LONG = os.environ.get("CHRONICLED_FAULTS") == "long"
ROUNDS = 20 if LONG else 4
SEED = int(os.environ.get("CHRONICLED_SEED") or random.SystemRandom().randrange(1 << 32))
START_SECONDS_MAX = 1.5
"""A start takes about so long."""


@pytest.mark.timeout(300)
def test_stopped_while_it_starts(daemons: Daemons) -> None:
    """Stopped at any moment of its start it ends in order, and the next start finds all as it was.

    Before the program has taken over the signals, the signal itself ends it: nothing is open then.
    """
    chance = random.Random(SEED)
    daemon = daemons()
    keys = []
    for number in range(ROUNDS):
        daemon.launch()
        rest(chance.uniform(0, START_SECONDS_MAX))
        assert daemon.process is not None
        os.kill(daemon.process.pid, signal.SIGTERM)
        assert daemon.wait() in (0, -signal.SIGTERM), f"seed {SEED}: {daemon.stderr()}"
        daemon.forget_notified()
        if number % 2 == 0:
            daemon.start()
            with daemon.client() as client:
                keys.append(f"e{number}")
                assert post(client, keys[-1]).status_code == 201
            daemon.kill()
            daemon.forget_notified()
    assert daemon.start().wait_caught_up().stop() == 0
    assert list(recorded(daemon.data)) == keys, f"seed {SEED}"
    assert '"level": "error"' not in daemon.stderr()
    verify(daemon)


def is_ready_or_refused(daemon: DaemonProcess) -> bool:
    """Return whether a daemon that was launched takes requests, or has ended."""
    assert daemon.process is not None
    running = find_daemon(daemon.data)
    ready = running is not None and running.pid == daemon.process.pid and running.url is not None
    return ready or daemon.process.poll() is not None


def test_started_while_the_one_before_stops(daemons: Daemons) -> None:
    """The new one is refused as long as the old one is there, and takes over when it has gone."""
    first, second = daemons(), daemons()
    first.start()
    with first.client() as client:
        assert post(client, "before").status_code == 201
        first.signal(signal.SIGSTOP)
        first.signal(signal.SIGTERM)
        # It hangs in the midst of its stop; what was acknowledged is safe.
        assert second.launch().wait() == 3
        # This one comes while it ends: before or after the directory is given back.
        second.launch()
        first.signal(signal.SIGCONT)
        assert first.wait() == 0
    wait_until(lambda: is_ready_or_refused(second), "the second one is ready or refused")
    if second.process is not None and second.process.poll() is not None:
        assert second.wait() == 3
        second.start()
    with second.client() as client:
        assert post(client, "after").status_code == 201
    assert second.wait_caught_up().stop() == 0
    assert list(recorded(second.data)) == ["before", "after"]
    verify(second)
