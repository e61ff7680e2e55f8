"""The sockets that requests arrive on: bound before the log is open, so that a start fails early.

Where the service manager hands over a socket (socket activation), it stands in for ours of the
same kind.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import os
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from daemon.settings import Address
from domain.errors import ConfigurationError, Unavailable

UNIX_PATH_BYTES_MAX: Final = 107
"""The longest path of a Unix socket (the kernel's limit, without the closing zero)."""
SOCKET_MODE: Final = 0o660
"""Who may connect to the Unix socket: its owner and its group."""

_BACKLOG: Final = 1024
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listeners:
    """The bound sockets and how they are called."""

    sockets: tuple[socket.socket, ...]
    url: str
    path: Path
    own_path: bool
    """Whether the Unix socket's file is ours to remove."""

    def close(self) -> None:
        """Close all of them, and remove the Unix socket's file if it is ours."""
        for bound in self.sockets:
            bound.close()
        if self.own_path:
            self.path.unlink(missing_ok=True)


def bind(address: Address, path: Path, inherited: Sequence[socket.socket] = ()) -> Listeners:
    """Listen on a TCP address and on a Unix socket, or take over what was handed in.

    Raises:
        Unavailable: something else listens there, or the system refuses it.
        ConfigurationError: the Unix socket's path cannot be one.

    """
    sockets = list(inherited)
    with contextlib.ExitStack() as undo:
        for given in inherited:
            undo.callback(given.close)
        tcp = _of(inherited, socket.AF_INET, socket.AF_INET6)
        if tcp is None:
            tcp = _bind_tcp(address)
            undo.callback(tcp.close)
            sockets.append(tcp)
        unix = _of(inherited, socket.AF_UNIX)
        own_path = unix is None
        if unix is None:
            unix = _bind_unix(path)
            sockets.append(unix)
        undo.pop_all()
    return Listeners(tuple(sockets), _url(tcp), Path(os.fsdecode(unix.getsockname())), own_path)


def _of(sockets: Sequence[socket.socket], *families: socket.AddressFamily) -> socket.socket | None:
    return next((given for given in sockets if given.family in families), None)


def _bind_tcp(address: Address) -> socket.socket:
    try:
        family, _, _, _, name = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        bound = socket.create_server(name[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise _refused(f"{address.host}:{address.port}", error) from error
    if not ipaddress.ip_address(name[0]).is_loopback:
        _logger.warning("listening beyond this machine, without users", extra={"address": name[0]})
    return bound


def _url(tcp: socket.socket) -> str:
    host, port = tcp.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _bind_unix(path: Path) -> socket.socket:
    if len(os.fsencode(path)) > UNIX_PATH_BYTES_MAX:
        raise ConfigurationError(
            f"the path of the Unix socket is longer than {UNIX_PATH_BYTES_MAX} bytes: {path}",
            hint="Give a shorter one by --socket, or as `socket` in the [server] section.",
        )
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        _remove_stale(path)
        bound.bind(str(path))
        path.chmod(SOCKET_MODE)
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise _refused(str(path), error) from error
    return bound


def _remove_stale(path: Path) -> None:
    """Remove the socket file of a daemon that is gone: nobody answers on it any more.

    Our lock keeps others out of the data directory, not out of this path, so it is tried.
    """
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise FileExistsError(errno.EEXIST, "it is there and is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _refused(where: str, error: OSError) -> Unavailable:
    return Unavailable(
        f"cannot listen on {where}: {error.strerror or error}",
        hint="Stop what uses it, or choose another with --listen or --socket.",
    )
