"""Driving one source by hand beside a running log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, Protocol

from waiting import wait_until

from daemon.eventlog.log import EventLog
from daemon.metrics import Metrics
from daemon.size.gate import Gate
from daemon.sources.board import SourceBoard, SourceStatus
from daemon.sources.recording import Recording
from daemon.sources.settings import SourceSettings
from domain.limits import Limits

LATER = 10_000_000
"""How much later than it is the source is told that it is: whatever was written is long ago."""


class Driven(Protocol):
    """A source whose steps are taken by hand."""

    def step(self, now: int) -> float | None:
        """Take one step."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


def line(number: int, **data: Any) -> bytes:
    """Return the line of one event."""
    event = {
        "specversion": "1.0",
        "id": f"e{number}",
        "source": "/test",
        "type": "job.submitted",
        "subject": f"n{number}",
        "data": {"kind": "test", "name": f"number {number}", **data},
    }
    return json.dumps(event).encode() + b"\n"


class Run:
    """A source between its making and its end; another may go on from the log."""

    def __init__(
        self,
        log: EventLog,
        make: Callable[[Recording], Driven],
        limits: Limits | None = None,
        **settings: Any,
    ) -> None:
        """Make the source."""
        told = SourceSettings.model_validate({"name": "s", "kind": "file", **settings})
        self.log = log
        self.board = SourceBoard(told)
        self.metrics = Metrics(lambda: 0)
        self.gate = Gate()
        self.recording = Recording(self.board, log, limits or Limits(), self.metrics, self.gate)
        self.source = make(self.recording)
        self.later = LATER

    @property
    def status(self) -> SourceStatus:
        """How it stands."""
        return self.board.status

    def step(self) -> None:
        """Take one step; where the log was asked, wait until it has answered."""
        self.recording.woken.clear()
        self.source.step(time.time_ns() // 1000 + self.later)
        if self.recording.at_work:
            wait_until(self.recording.woken.is_set, "the log has answered")

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Take steps until something holds."""

        def check() -> bool:
            self.step()
            return bool(condition())

        wait_until(check, what)

    def until_numbers(self, numbers: list[int]) -> None:
        """Take steps until these events, in this order, are all that the log has."""
        self.until(lambda: self.numbers() == numbers or len(self.numbers()) > len(numbers), "read")
        self.settle()
        assert self.numbers() == numbers

    def settle(self) -> None:
        """Take the steps in which nothing more should come."""
        for _ in range(8):
            self.step()

    def numbers(self) -> list[int]:
        """Return the numbers of the events, in the order of the log."""
        return [int(event.id[1:]) for event in self.log.read(0, 10_000)]
