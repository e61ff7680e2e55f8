"""A TCP address that leads to a daemon's Unix socket, on which streams of events end."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

SILENCE_SECONDS: Final = 0.03
"""How long a stream may be silent before it is ended."""
_PIECE: Final = 65536
_STREAM: Final = b"content-type: text/event-stream"
_LAST_CHUNK: Final = b"0\r\n\r\n"


class Relay:
    """Passes the connections to a TCP port of its own on to the Unix socket at ``path``.

    A stream of Server-Sent Events, which a daemon never ends, ends here when nothing more comes.
    So a client that knows nothing of streams reads what is there, however busy the machine is.
    """

    def __init__(self, path: Path) -> None:
        """Prepare; entering it opens the port."""
        self._path = path
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay")
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    def __enter__(self) -> Self:
        """Open the port."""
        self._thread.start()
        opening = asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(opening, self._loop).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        """Close the port and every connection."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._pass_on(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError):
                far_reader, far_writer = await asyncio.open_unix_connection(self._path)
                there = self._loop.create_task(_copy(reader, far_writer))
                try:
                    await _answer(far_reader, writer)
                finally:
                    there.cancel()
                    await asyncio.gather(there, return_exceptions=True)
                    far_writer.close()
        finally:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end of what is read; then say so to the other side."""
    with suppress(ConnectionError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy answers; end the connection after one that is a stream, where it has become silent."""
    streaming = False
    while True:
        try:
            async with asyncio.timeout(SILENCE_SECONDS if streaming else None):
                piece = await reader.read(_PIECE)
        except TimeoutError:
            writer.write(_LAST_CHUNK)
            await writer.drain()
            return
        if not piece:
            return
        if _STREAM in piece:
            streaming = True
            piece = piece.replace(_STREAM, b"connection: close\r\n" + _STREAM, 1)
        writer.write(piece)
        await writer.drain()
