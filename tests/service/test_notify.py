"""What is said to the service manager, and what it hands over."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.notify import Notifier, inherited_sockets


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    """Return the manager's end, on an abstract address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(f"\0chronicled-test-{os.getpid()}")
        end.settimeout(10)
        yield end


def notifier(manager: socket.socket, **environment: str) -> Notifier:
    """Return a notifier that speaks to ``manager``."""
    address = "@" + manager.getsockname()[1:].decode()
    return Notifier({"NOTIFY_SOCKET": address, **environment})


def test_each_message_is_one_datagram(manager: socket.socket) -> None:
    """Readiness, status, more time, life sign and stop, in the protocol's words."""
    told = notifier(manager)
    told.ready("listening")
    told.status("caught up\nto 5")
    told.extend_timeout(1.5)
    told.alive()
    told.stopping()
    assert [manager.recv(4096).decode() for _ in range(5)] == [
        "READY=1\nSTATUS=listening",
        "STATUS=caught up to 5",
        "EXTEND_TIMEOUT_USEC=1500000",
        "WATCHDOG=1",
        "STOPPING=1\nSTATUS=stopping",
    ]


def test_without_a_manager_nothing_is_said() -> None:
    """Outside a service manager the messages go nowhere, without an error."""
    Notifier({}).ready("listening")


def test_a_manager_that_is_gone_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A message that cannot be sent is a warning, never a failure of the daemon."""
    with caplog.at_level(logging.WARNING):
        Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).alive()
    assert "cannot be told" in caplog.text


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "2500000"}, 2.5),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "x"}, None),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}, 2.0),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_the_watchdog_is_ours_only_if_it_names_us(
    environment: dict[str, str], seconds: float | None
) -> None:
    """The watchdog's time counts when it is a number and meant for this process."""
    assert Notifier(environment).watchdog_seconds == seconds


def test_no_sockets_are_taken_that_are_not_for_this_process() -> None:
    """LISTEN_FDS of another process, or none at all, hands over nothing."""
    assert inherited_sockets({}) == []
    assert inherited_sockets({"LISTEN_FDS": "1", "LISTEN_PID": "1"}) == []
    assert inherited_sockets({"LISTEN_FDS": "x", "LISTEN_PID": str(os.getpid())}) == []


@pytest.mark.needs("systemd-socket-activate")
def test_sockets_of_the_manager_are_taken_over(tmp_path: Path) -> None:
    """A TCP and a Unix socket arrive with their families, and no child would inherit them."""
    program = (
        "from daemon.notify import inherited_sockets\n"
        "for s in inherited_sockets(): print(s.family.name, s.get_inheritable(), flush=True)"
    )
    path = tmp_path / "s"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", "-l", str(path)]
    with subprocess.Popen(
        [*command, sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as activator:
        assert activator.stderr is not None
        for line in activator.stderr:
            if f"Listening on {path}" in line:
                break
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            assert activator.stdout is not None
            assert activator.stdout.read().split("\n") == ["AF_INET False", "AF_UNIX False", ""]
