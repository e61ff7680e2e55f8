"""A real NATS server with JetStream, on a directory and a port of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from waiting import wait_until

CONFIG = """
host: 127.0.0.1
port: {port}
jetstream {{ store_dir: "{store}" }}
authorization {{ user: chronicled, password: "s3cret-of-nats" }}
"""
LOGIN = "chronicled:s3cret-of-nats"
STREAM, SUBJECT = "TASKS", "tasks.done"


class NatsServer:
    """One server; it keeps port and store over restarts."""

    def __init__(self, directory: Path) -> None:
        """Choose a port."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._config = directory / "nats.conf"
        self._config.write_text(CONFIG.format(port=self.port, store=directory / "store"))
        self._log = directory / "nats.log"
        self.url = f"nats://127.0.0.1:{self.port}"
        self.credentials = directory / "nats.login"
        self.credentials.write_text(LOGIN + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Run it until it can be reached."""
        with self._log.open("ab") as log:
            command = ["nats-server", "-c", str(self._config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._reachable, "the NATS server listens")
        return self

    def _reachable(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def make_stream(self) -> None:
        """Make the stream."""
        asyncio.run(self._talk(lambda js: js.add_stream(name=STREAM, subjects=["tasks.>"])))

    def publish(self, bodies: Iterable[bytes]) -> None:
        """Publish messages, each acknowledged by the server."""

        async def send(js: Any) -> None:
            for body in bodies:
                await js.publish(SUBJECT, body)

        asyncio.run(self._talk(send))

    def unacknowledged(self, durable: str) -> int:
        """Return how many messages a consumer has not got, or not acknowledged."""
        found: list[int] = []

        async def ask(js: Any) -> None:
            info = await js.consumer_info(STREAM, durable)
            found.append(info.num_pending + info.num_ack_pending)

        asyncio.run(self._talk(ask))
        return found[0]

    async def _talk(self, call: Any) -> None:
        import nats

        user, _, password = LOGIN.partition(":")
        client = await nats.connect(self.url, user=user, password=password)
        try:
            await call(client.jetstream())
        finally:
            await client.close()
