"""Logs and clocks for the tests of sizes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sizes import Clock

from daemon.eventlog.log import EventLog


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still until it is set."""
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> Iterator[EventLog]:
    """Return an empty log with its writer running."""
    log = EventLog.open(tmp_path / "log.db", clock=clock)
    log.start()
    yield log
    log.close()
