"""A bad way to a daemon: answers get lost, or something in between refuses."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

LINGER_RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"


class BadWay:
    """Passes TCP connections on to a daemon.

    ``loses(n)`` says whether answer n gets lost: it is read from the daemon and thrown away, and
    the client's connection is reset. ``refuses(n)`` gives the status of a refusal that is answered
    in place of the daemon, which then does not see the request; 0 lets it pass.
    """

    def __init__(
        self,
        port: int,
        *,
        loses: Callable[[int], bool] = lambda _: False,
        refuses: Callable[[int], int] = lambda _: 0,
    ) -> None:
        self._port = port
        self._loses = loses
        self._refuses = refuses
        self._answers = 0
        self.lost = self.refused = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        # One connection at a time: the command under test sends one request after the other.
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client, socket.create_connection(("127.0.0.1", self._port)) as daemon:
                    self._serve(client, daemon)

    def _serve(self, client: socket.socket, daemon: socket.socket) -> None:
        with suppress(ConnectionError):
            while request := _message(client):
                self._answers += 1
                if status := self._refuses(self._answers):
                    self.refused += 1
                    client.sendall(b"HTTP/1.1 %d no\r\ncontent-length: 0\r\n\r\n" % status)
                    continue
                daemon.sendall(request)
                answer = _message(daemon)
                if self._loses(self._answers):
                    self.lost += 1
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
                    return
                client.sendall(answer)


def _message(peer: socket.socket) -> bytes:
    """Return one HTTP message with a Content-Length (or no body); empty at the end."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = peer.recv(65536)
        if not piece:
            return b""
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = 0
    for header in head.split(b"\r\n")[1:]:
        name, _, value = header.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        piece = peer.recv(65536)
        if not piece:
            return b""
        body += piece
    return head + b"\r\n\r\n" + body
