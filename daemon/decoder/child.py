"""The decoder: bodies come in, prepared events or the error of a body go out, in order.

It knows nothing of the log, of HTTP or of the time. What it cannot decode for any reason but the
body's own it gives back, and the daemon decodes it itself.
"""

from __future__ import annotations

import pickle
import signal
import socket
import sys
from collections.abc import Callable

from daemon.decoder.frames import DECODERS, HEAD
from daemon.lifecycle import settle_collector
from domain.errors import ChronicledError
from domain.events import NewEvent
from domain.limits import Limits
from domain.prepared import Prepared, prepare


def main() -> int:
    """Decode for the daemon at the other end of the socket named as argument, until it has gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # A signal to the whole group is for the daemon, which then ends the connection.
        signal.signal(number, signal.SIG_IGN)
    settle_collector()
    descriptor, *bounds = map(int, sys.argv[1:])
    with socket.socket(fileno=descriptor) as connection:
        serve(connection, Limits(*bounds))
    return 0


def serve(connection: socket.socket, limits: Limits) -> None:
    """Answer frame after frame until the other side has gone."""
    try:
        connection.sendall(HEAD.pack(0, 0))
        with connection.makefile("rb") as reader:
            while len(head := reader.read(HEAD.size)) == HEAD.size:
                size, kind = HEAD.unpack(head)
                body = reader.read(size)
                if len(body) < size:
                    return
                answer = pickle.dumps(_decoded(DECODERS[kind], body, limits), 5)
                connection.sendall(HEAD.pack(len(answer), kind))
                connection.sendall(answer)
    except ConnectionError:
        return


def _decoded(
    decode: Callable[[bytes, Limits], list[NewEvent]], body: bytes, limits: Limits
) -> list[Prepared] | ChronicledError | None:
    """Return the events of a body, what is wrong with it, or None where that cannot be told."""
    try:
        return [prepare(event) for event in decode(body, limits)]
    except ChronicledError as error:
        return error
    except Exception:  # noqa: BLE001  the daemon finds it again, and tells it
        return None
