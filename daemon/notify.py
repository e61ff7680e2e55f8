"""What the service manager and the daemon say to each other: readiness, watchdog, sockets.

The protocols are small and stable (sd_notify(3), sd_listen_fds(3)), so they are spoken here
directly. Without a service manager every message goes nowhere.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from typing import Final

_FIRST_DESCRIPTOR: Final = 3
_SEND_SECONDS: Final = 2.0
_logger = logging.getLogger(__name__)


class Notifier:
    """The daemon's end of the notification socket."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_seconds = _watchdog_seconds(environment)
        """Within which time the manager wants to hear from us; None when it does not watch."""

    def ready(self, status: str) -> None:
        """Say that the daemon takes requests."""
        self._send("READY=1", f"STATUS={status}")

    def status(self, text: str) -> None:
        """Say in a few words what the daemon is doing."""
        self._send(f"STATUS={text}")

    def extend_timeout(self, seconds: float) -> None:
        """Ask for that much more time to start or stop, counted from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def alive(self) -> None:
        """Tell the watchdog that the writer answers."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the daemon stops."""
        self._send("STOPPING=1", "STATUS=stopping")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        message = "\n".join(line.replace("\n", " ") for line in lines)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(_SEND_SECONDS)
                sender.sendto(message.encode(), self._address)
        except OSError as error:
            _logger.warning("the service manager cannot be told", extra={"error": str(error)})


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """Return the watchdog's time if it is meant for this process."""
    period, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not period.isdecimal() or pid not in ("", str(os.getpid())):
        return None
    return int(period) / 1_000_000 or None


def inherited_sockets(environment: Mapping[str, str] | None = None) -> list[socket.socket]:
    """Return the listening sockets that the service manager opened for this process."""
    environment = os.environ if environment is None else environment
    count = environment.get("LISTEN_FDS", "")
    if not count.isdecimal() or environment.get("LISTEN_PID") != str(os.getpid()):
        return []
    sockets = []
    for descriptor in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count)):
        os.set_inheritable(descriptor, False)
        sockets.append(socket.socket(fileno=descriptor))
    return sockets
