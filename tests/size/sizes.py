"""A clock, events and settings for the tests of sizes."""

from __future__ import annotations

from typing import Any

from daemon.settings import SizeSettings
from domain.events import NewEvent
from domain.timestamps import MICROSECONDS

START = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z in microseconds."""
DAY = 24 * 3600 * MICROSECONDS
MIB = 1 << 20


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        """Return the time."""
        return self.now


def size_settings(**given: Any) -> SizeSettings:
    """Return settings with these values."""
    return SizeSettings.model_validate(given)


def event(number: int, type_: str = "job.submitted", size: int = 20) -> NewEvent:
    """Return an event of a stream of its own, with a payload of a size."""
    data = b'{"kind":"%s"}' % (b"k" * size)
    return NewEvent(type_, f"s{number}", "/test", f"e{number}", data, None)
