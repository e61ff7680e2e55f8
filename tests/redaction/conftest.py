"""A log with an event in which there is something to hide."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redacting_logs import secret_jobs

from daemon.eventlog.log import EventLog


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    """Return a log whose event 2 has the secret in its parameters."""
    with closing(EventLog.open(tmp_path / "log.db")) as log:
        log.start()
        log.append(secret_jobs())
        yield log
