"""Logs for the tests of the event log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from log_driving import Clock

from daemon.eventlog.log import EventLog


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still until it is set."""
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the log of the test is."""
    return tmp_path / "log.db"


@pytest.fixture
def opened(path: Path, clock: Clock) -> Iterator[Callable[..., EventLog]]:
    """Return an opener of the test's log; the writer stands still. All are closed after."""
    with ExitStack() as stack:

        def open_log(place: Path | str = path, **options: Any) -> EventLog:
            log = EventLog.open(place, **{"clock": clock, **options})
            stack.callback(log.close)
            return log

        yield open_log


@pytest.fixture
def log(opened: Callable[..., EventLog]) -> EventLog:
    """Return an empty log whose writer is driven by hand."""
    return opened()


@pytest.fixture
def running(log: EventLog) -> EventLog:
    """Return an empty log with its writer running."""
    log.start()
    return log
