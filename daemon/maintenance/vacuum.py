"""Gives the free pages of log.db back to the disk, in steps that intake hardly notices."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Final

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Work
from daemon.eventlog.truncation import PAGE_BYTES, PAGES_AT_ONCE, free_pages
from daemon.maintenance.task import Outcome

STEPS_MAX: Final = 8_192
"""How many such steps one run takes at most."""


class VacuumTask:
    """The task ``vacuum``; views.db is swept by the projector itself."""

    name = "vacuum"
    summary = "Give free pages of log.db back to the disk."

    def __init__(
        self, log: EventLog, stopping: threading.Event, step_pages: int = PAGES_AT_ONCE
    ) -> None:
        self._log = log
        self._stopping = stopping
        self._step_pages = step_pages

    def run(self, now: int) -> Outcome:  # noqa: ARG002
        """Give pages back until none is free, or this run has done its part."""
        pages = 0
        complete = True
        for _ in range(STEPS_MAX):
            if self._stopping.is_set():
                complete = False
                break
            began = time.monotonic()
            freed = self._log.work(Work(partial(free_pages, most=self._step_pages)))
            pages += freed
            if freed < self._step_pages:
                break
            # So that the writer has as long for others.
            self._stopping.wait(time.monotonic() - began)
        return Outcome({"pages": pages, "bytes": pages * PAGE_BYTES}, complete=complete)
