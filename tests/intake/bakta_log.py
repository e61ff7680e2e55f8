"""A log that is told what a Bakta server answered, for the tests of its formats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from bakta_samples import JOB
from intake_lines import LIMITS

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Appended, Work
from daemon.intake.formats import decode_body, find_format
from daemon.intake.recording import body_request, line_request, read_lines
from domain.events import RecordedEvent
from domain.job import fold_job, job_view

LIST = "bakta-job-list"


class Told:
    """A log, and what it was told."""

    def __init__(self, log: EventLog) -> None:
        self.log = log

    def tell(self, message: Any, format: str = LIST) -> Appended:  # noqa: A002
        """Record a body, as a whole: one message or an array of messages."""
        chosen = find_format(format)
        body = orjson.dumps(message)
        work = body_request(chosen, decode_body(chosen, body, "application/json", LIMITS))
        assert isinstance(work, Work)
        return self.log.work(work)

    def tell_lines(self, *messages: Any, format: str = LIST) -> Appended:  # noqa: A002
        """Record messages as lines, each by itself."""
        chosen = find_format(format)
        body = b"\n".join(orjson.dumps(message) for message in messages)
        lines = read_lines(chosen, body, LIMITS, "test")
        work = line_request(chosen, lines, "test", None, len(body))
        assert isinstance(work, Work)
        return self.log.work(work)

    def events(self, stream: str = f"job/{JOB}") -> list[RecordedEvent]:
        """Return the events of a stream."""
        return self.log.read_stream(stream, limit=1_000)

    def types(self) -> list[str]:
        """Return the types of the job's events, in the order of the log."""
        return [event.type for event in self.events()]

    def job(self) -> dict[str, Any]:
        """Return the job as it is shown."""
        return job_view(fold_job(None, self.events()))


@contextmanager
def told_log(path: Path) -> Iterator[Told]:
    """Open a log of its own."""
    log = EventLog.open(path / "log.db")
    try:
        log.start()
        yield Told(log)
    finally:
        log.close()
