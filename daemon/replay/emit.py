"""Sending history again: in the order of the log, and in its own time or a multiple of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import orjson

from daemon.eventlog.log_file import LogFile
from daemon.replay.export import is_own, log_rows, row_line
from domain.catalog import find_type
from domain.cloudevents import to_structured
from domain.errors import HistoryConflict
from domain.timestamps import MICROSECONDS

BATCH_EVENTS: Final = 1_000
BATCH_BYTES: Final = 1024 * 1024
"""No more goes in one request."""
READ_EVENTS: Final = 1_000
WAIT_SECONDS_MAX: Final = 60.0
"""How long one wait is; a longer one is made of several."""

_SPEED: Final = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)x?", re.ASCII)


class Outgoing(NamedTuple):
    """An event on its way out; without a line it is one that the receiver would not take."""

    position: int
    recordedtime: int
    line: bytes | None


@dataclass(slots=True)
class Emitted:
    """What went out: up to which position, how much, and what was left out or there before."""

    position: int
    events: int = 0
    duplicates: int = 0
    skipped: int = 0
    stopped: bool = False


Send = Callable[[bytes], int]
"""Sends lines until they are acknowledged; returns how many of them were there already."""
Wait = Callable[[float], bool]
"""Waits so many seconds, or until the emission is to stop; returns whether it is."""


def parse_speed(text: str) -> float | None:
    """Return how many times faster than it was (``10x``, ``0.5x``), None for ``max``.

    Raises:
        ValueError: it is neither.

    """
    if text == "max":
        return None
    found = _SPEED.fullmatch(text)
    speed = float(found[1]) if found else 0.0
    if speed == 0:
        raise ValueError(f"{text[:40]!r} is no speed: write 1x, 10x, 0.5x or max")
    return speed


def outgoing(log: LogFile, positions: range) -> Iterator[Outgoing]:
    """Yield the events at some positions as a producer would send them.

    The daemon's own events have no line: only a daemon records them.
    """
    after = positions.start - 1
    while events := log.read(after, min(READ_EVENTS, max(positions.stop - 1 - after, 1))):
        for event in events:
            if event.position not in positions:
                return
            entry = find_type(event.type)
            line = orjson.dumps(to_structured(event)) if entry and entry.client else None
            yield Outgoing(event.position, event.recordedtime, line)
        after = events[-1].position


def outgoing_preserved(log: LogFile, positions: range) -> Iterator[Outgoing]:
    """Yield the events at some positions as lines of an export.

    Raises:
        HistoryConflict: some of them were removed, so that places cannot be kept.

    """
    last = positions.stop - 1
    for first, gone, _ in log.removed_runs(positions.start, last):
        raise HistoryConflict(
            f"The events at positions {first} to {gone} were removed: the history has a gap.",
            hint="Keep all of it by `chronicled events export` and `import`; or leave out "
            "--preserve, and give what is there new places.",
        )
    for row in log_rows(log, positions.start - 1, positions.stop - 1):
        if is_own(row):
            yield Outgoing(row[0], row[7], row_line(row, {}))


def emit(
    events: Iterable[Outgoing],
    send: Send,
    emitted: Emitted,
    *,
    speed: float | None,
    clock: Callable[[], float],
    wait: Wait,
    on_progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Send events, each when it is due, those that are due together.

    ``emitted`` is kept up to date, for whoever is told of an error. ``clock`` counts seconds.
    """
    batch = _Batch(send, emitted)
    origin: tuple[float, int] | None = None
    for event in events:
        if origin is None:
            origin = (clock(), event.recordedtime)
        if speed is not None:
            due = origin[0] + (event.recordedtime - origin[1]) / MICROSECONDS / speed
            if due > clock():
                batch.flush()
                on_progress(emitted.position)
                emitted.stopped = _waited(due, clock, wait)
        if batch.is_full(event):
            batch.flush()
            on_progress(emitted.position)
            emitted.stopped = emitted.stopped or wait(0)
        if emitted.stopped:
            return
        batch.add(event)
    batch.flush()
    on_progress(emitted.position)


def _waited(due: float, clock: Callable[[], float], wait: Wait) -> bool:
    """Wait until then; return whether the emission is to stop."""
    while (left := due - clock()) > 0:
        if wait(min(left, WAIT_SECONDS_MAX)):
            return True
    return False


class _Batch:
    """Events that go together."""

    def __init__(self, send: Send, emitted: Emitted) -> None:
        self._send = send
        self._emitted = emitted
        self._events: list[Outgoing] = []
        self._size = 0

    def is_full(self, event: Outgoing) -> bool:
        """Return whether another event has to go in the next one."""
        over = self._size + len(event.line or b"") > BATCH_BYTES
        return bool(self._events) and (over or len(self._events) >= BATCH_EVENTS)

    def add(self, event: Outgoing) -> None:
        """Add an event."""
        self._events.append(event)
        self._size += len(event.line or b"")

    def flush(self) -> None:
        """Send the events, and count them when they are acknowledged."""
        if not self._events:
            return
        lines: Sequence[bytes] = [event.line for event in self._events if event.line is not None]
        if lines:
            self._emitted.duplicates += self._send(b"\n".join(lines) + b"\n")
        self._emitted.events += len(lines)
        self._emitted.skipped += len(self._events) - len(lines)
        self._emitted.position = self._events[-1].position
        self._events.clear()
        self._size = 0
