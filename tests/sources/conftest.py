"""A running log for the tests of the sources."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.eventlog.log import EventLog


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    """Return an empty log whose writer runs."""
    opened = EventLog.open(tmp_path / "log.db")
    opened.start()
    yield opened
    opened.close()
