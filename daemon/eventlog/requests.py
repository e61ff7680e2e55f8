"""What is asked of the log, and what it answers: plain values, no behaviour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from domain.events import NewEvent, Receipt, RecordedEvent
from domain.prepared import Prepared

if TYPE_CHECKING:
    from daemon.eventlog.transaction import Transaction

KEPT_BYTES_MAX: Final = 256 * 1024
"""How much of a dead letter is kept (bytes); its whole length and sha256 are kept beside it."""


@dataclass(frozen=True, slots=True)
class WriterBounds:
    """How much waits for the writer, and how much one commit holds."""

    group_events: int = 5_000
    group_bytes: int = 8 * 1024 * 1024
    queue_events: int = 50_000
    queue_bytes: int = 64 * 1024 * 1024
    wal_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Input that could not become events.

    ``raw`` are the bytes as they came, ``kept`` the same with secrets masked (``raw`` when None);
    ``reason`` is an error code, ``origin`` names the file, pipe or socket.
    """

    format: str
    raw: bytes
    reason: str
    detail: str
    origin: str
    kept: bytes | None = None


@dataclass(frozen=True, slots=True)
class Follow:
    """The stretch of a followed file or pipe that a request carries: offsets [start, end).

    ``replaces`` is another name that is done with: what was remembered under it is forgotten.
    """

    name: str
    start: int
    end: int
    replaces: str | None = None


class Followed(NamedTuple):
    """How far a file or pipe was read, by name, and when that was noted (microseconds)."""

    name: str
    offset: int
    updated: int


@dataclass(frozen=True, slots=True)
class Append:
    """Append these events, all or none, with the dead letters and offset read beside them.

    ``size`` is how many bytes the events came in, where that is known.
    """

    events: Sequence[NewEvent] | Sequence[Prepared]
    dead_letters: Sequence[DeadLetter] = ()
    follow: Follow | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """Run a function inside the writer's transaction, in a savepoint of its own.

    The function may run twice: once more when another request spoilt the group. ``events`` and
    ``size`` (bytes) are what it counts for in the queue.
    """

    run: Callable[[Transaction], Any]
    events: int = 1
    size: int = 0


Request = Append | Work


class Appended(NamedTuple):
    """The answer to an `Append`, given after the commit; ``head`` is the newest position."""

    receipts: list[Receipt]
    head: int
    dead_letters: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """The answer to a `Work`: what its function returned, after the commit."""

    value: Any


Outcome = Appended | Done | BaseException


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events to list. Positions are exclusive bounds, times compare with `time`."""

    stream: str | None = None
    types: tuple[str, ...] = ()
    source: str | None = None
    correlation: str | None = None
    after: int | None = None
    before: int | None = None
    since: int | None = None
    until: int | None = None
    descending: bool = False


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events of one page.

    ``next_after`` is the position to go on from (``before`` when descending), None at the end.
    A page may hold fewer events than asked for, or none, and still have a next one: a page reads
    a bounded stretch of the log.
    """

    events: list[RecordedEvent]
    next_after: int | None
    as_of: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that verification found wrong, and where."""

    kind: str
    detail: str
    position: int | None = None


@dataclass(slots=True)
class LogHealth:
    """Whether the log can be written; ``since`` is when that last changed (microseconds)."""

    ok: bool = True
    code: str = ""
    error: str = ""
    since: int = field(default=0)
