"""From a source to the log: one request at a time, and the answer that comes after its commit."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Appended, DeadLetter, Done, Follow, Outcome, Request
from daemon.intake.formats import Decoded, Format, find_format, make_dead_letter
from daemon.intake.recording import line_request
from daemon.metrics import Metrics
from daemon.size.gate import Gate
from daemon.sources.board import SourceBoard
from domain.errors import ChronicledError, DiskFull, NotReady, QueueFull, StorageFailed, TooLarge
from domain.limits import Limits

PASSING: Final = (DiskFull, StorageFailed, QueueFull, NotReady)
"""Errors that no message is to blame for: what is refused now is taken later."""

_logger = logging.getLogger(__name__)


class Recording:
    """Has the log record what one source reads; driven by the source's thread."""

    def __init__(
        self,
        board: SourceBoard,
        log: EventLog,
        limits: Limits,
        metrics: Metrics,
        gate: Gate | None = None,
    ) -> None:
        self.board = board
        self.log = log
        self.limits = limits
        self.woken = threading.Event()
        self.format: Format = find_format(board.settings.format)
        self.source = board.settings.source or None
        self.prefix = f"source:{board.settings.name}@"
        self.origin = f"source:{board.settings.name}"
        self._metrics = metrics
        self._gate = gate or Gate()
        self._outcome: Outcome | None = None
        self._messages = 0
        self.at_work = False
        """Whether the log has not answered yet."""

    def submit(self, request: Request, messages: int) -> None:
        """Give a request to the writer; `answer` has what became of it.

        Raises:
            QueueFull, NotReady: the writer does not take it; nothing was recorded.
            DiskFull: there is too little room for messages.

        """
        if messages:
            self._gate.check()
        self._outcome, self._messages = None, messages
        self.log.submit(request, self._answered)
        self.at_work = True

    def lines(self, decoded: Sequence[Decoded], origin: str, stretch: Follow | None) -> Request:
        """Return the request that records these messages, each as its events or a dead letter."""
        size = sum(len(line.raw) for line in decoded)
        return line_request(self.format, self._bounded(decoded, origin), origin, stretch, size)

    def answer(self, now: int) -> Appended | None:
        """Return what was recorded, None while that is not known.

        Raises:
            Exception: nothing was recorded.

        """
        outcome = self._outcome
        if outcome is None:
            return None
        self._outcome, self.at_work = None, False
        if isinstance(outcome, BaseException):
            raise outcome
        value = outcome.value if isinstance(outcome, Done) else outcome
        appended = value if isinstance(value, Appended) else Appended([], self.log.head())
        if self._messages:
            self.board.taken(self._messages, appended, now)
        self._metrics.recorded(appended, self.format.name)
        return appended

    def failed(self, error: Exception, now: int) -> None:
        """Note an error of this source, and log it once for as long as it stays the same."""
        before = self.board.status.detail
        said = self.board.failed(error, now)
        if said != before:
            unforeseen = not isinstance(error, ChronicledError | OSError)
            _logger.warning(
                "a source fails",
                extra={"source": self.board.settings.name, "detail": said},
                exc_info=error if unforeseen else None,
            )

    def letter(self, raw: bytes, error: Exception, origin: str) -> DeadLetter:
        """Return the dead letter of a message that the log cannot take."""
        if not isinstance(error, ChronicledError):
            error = ChronicledError("The message could not be recorded; see the daemon's log.")
        return make_dead_letter(self.format, raw, error, origin)

    def _bounded(self, decoded: Sequence[Decoded], origin: str) -> list[Decoded]:
        """Put aside messages that are each more events than one batch may have."""
        return [
            line
            if len(line.events) <= self.limits.batch_events
            else Decoded(line.line, line.raw, (), self.letter(line.raw, _too_many(), origin))
            for line in decoded
        ]

    def _answered(self, outcome: Outcome) -> None:
        """On the writer's thread."""
        self._outcome = outcome
        self.woken.set()


def _too_many() -> TooLarge:
    return TooLarge("The message is more events than a batch may have.")


class Backoff:
    """How long to rest after each failure: longer from one to the next, up to a bound."""

    def __init__(self, seconds_min: float = 0.2, seconds_max: float = 10.0) -> None:
        self._bounds = (seconds_min, seconds_max)
        self._next = seconds_min

    def rest(self) -> float:
        """Return how long to rest now (seconds)."""
        rest, self._next = self._next, min(self._next * 2, self._bounds[1])
        return rest

    def end(self) -> None:
        """Begin anew: it went well."""
        self._next = self._bounds[0]


Step = Callable[[int], float | None]


def guarded(step: Step, recording: Recording, backoff: Backoff, now: int) -> float | None:
    """Take a step; an error of it is the source's own, and is told, rested after, and tried again.

    Nothing is skipped: what was not recorded is read again.
    """
    try:
        delay = step(now)
    except Exception as error:  # noqa: BLE001  whatever it is, the source has to go on
        recording.failed(error, now)
        return backoff.rest()
    return delay
