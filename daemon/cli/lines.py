"""Reading lines without end: cutting what a pipe or file gives into chunks of whole lines."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Final, Self

from daemon.cli.failures import CommandError

CHUNK_LINES: Final = 2_000
"""Most lines in one chunk. One line may become four events, and a request holds 10,000."""

CHUNK_BYTES: Final = 1024 * 1024
"""A chunk is sent once it holds so many bytes."""

LINE_BYTES_MAX: Final = 8 * 1024 * 1024
"""A longer line is cut here, so that memory stays bounded; cut, it is a dead letter."""

IDLE_SECONDS: Final = 0.05
"""A chunk is sent when nothing more came for so long."""

HELD_SECONDS: Final = 0.1
"""No complete line is held back for longer than this."""

_READ_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive lines; ``start`` is the number of lines before them."""

    start: int
    lines: tuple[bytes, ...]

    @property
    def end(self) -> int:
        """The number of lines up to and including these."""
        return self.start + len(self.lines)

    @property
    def body(self) -> bytes:
        """The lines as NDJSON."""
        return b"\n".join(self.lines) + b"\n"

    def smaller(self) -> tuple[Chunk, ...]:
        """Return the same in smaller pieces: two halves, or the first half of a single line."""
        middle = len(self.lines) // 2
        if not middle:
            line = self.lines[0]
            return (Chunk(self.start, (line[: len(line) // 2],)),)
        return (
            Chunk(self.start, self.lines[:middle]),
            Chunk(self.start + middle, self.lines[middle:]),
        )


class StopRequest:
    """SIGINT and SIGTERM as a request to finish; a second signal interrupts at once.

    Whoever waits, waits on ``descriptor`` beside its own: it is readable from the first signal.
    """

    def __init__(self) -> None:
        self.requested = False
        self.descriptor, self._signalled = os.pipe()
        self._previous = {
            number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
        }

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        os.write(self._signalled, b".")

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until the request; return whether it came."""
        select.select([self.descriptor], [], [], seconds)
        return self.requested

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        os.close(self.descriptor)
        os.close(self._signalled)


class LineChunks:
    """The lines of a file descriptor, chunk after chunk, until its end or a stop request.

    A chunk is handed over when it is full or when the descriptor has nothing more for a moment:
    a trickling pipe is passed on line by line, a fast one in big pieces. Nothing is read while a
    chunk is being dealt with, so memory stays bounded and a fast producer waits.
    """

    def __init__(self, descriptor: int, stop: StopRequest) -> None:
        self.cut_lines = 0
        """Lines that were longer than `LINE_BYTES_MAX`."""
        self.unfinished = b""
        """The start of a line whose end had not come when the stop was requested."""
        self._descriptor = descriptor
        self._stop = stop
        self._taken = 0
        self._lines: list[bytes] = []
        self._held_bytes = 0
        self._partial = bytearray()
        self._cut = False

    def __iter__(self) -> Iterator[Chunk]:
        held_since = 0.0
        ended = False
        while not (ended or self._stop.requested):
            if not self._lines:
                held_since = time.monotonic()
            piece = self._read()
            # A producer that is stopped with us ends in the middle of a line: that is no line.
            ended = piece == b"" and not self._stop.requested
            if piece:
                self._split(piece)
            idle = piece is None or time.monotonic() - held_since > HELD_SECONDS
            while self._lines and (idle or self._full):
                yield self._chunk()
        if ended and self._partial:
            self._split(b"\n")
        self.unfinished = bytes(self._partial)
        while self._lines:
            yield self._chunk()

    @property
    def _full(self) -> bool:
        return len(self._lines) >= CHUNK_LINES or self._held_bytes >= CHUNK_BYTES

    def _read(self) -> bytes | None:
        """Return what there is (nothing = the end), None when nothing comes for now."""
        watched = [self._descriptor, self._stop.descriptor]
        try:
            ready, _, _ = select.select(watched, [], [], IDLE_SECONDS if self._lines else None)
            if self._descriptor not in ready or self._stop.descriptor in ready:
                return None
            return os.read(self._descriptor, _READ_BYTES)
        except OSError as error:
            raise CommandError("The input cannot be read", str(error)) from error

    def _split(self, piece: bytes) -> None:
        first, *others = piece.split(b"\n")
        self._continue(first)
        for other in others:
            self._lines.append(bytes(self._partial))
            self._held_bytes += len(self._partial) + 1
            self.cut_lines += self._cut
            self._partial.clear()
            self._cut = False
            self._continue(other)

    def _continue(self, text: bytes) -> None:
        room = LINE_BYTES_MAX - len(self._partial)
        self._cut |= len(text) > room
        self._partial += text[:room]

    def _chunk(self) -> Chunk:
        count = min(len(self._lines), CHUNK_LINES)
        chunk = Chunk(self._taken, tuple(self._lines[:count]))
        del self._lines[:count]
        self._held_bytes = sum(len(line) + 1 for line in self._lines)
        self._taken += count
        return chunk
