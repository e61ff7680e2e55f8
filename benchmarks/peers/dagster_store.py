"""Dagster's SQLite event storage, one event a call as its runs store them."""

from __future__ import annotations

import time

from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from benchmarks.peers.timing import Event, arguments, events_of, figures_of, in_turn, report

RUNS = 20
"""Its storage has a file for each run; making one takes long and is not counted."""


def entry(number: int, event: Event) -> EventLogEntry:
    """Return an event as Dagster stores it."""
    return EventLogEntry(
        error_info=None,
        level=20,
        user_message=event.data,
        run_id=f"run-{number % RUNS}",
        timestamp=time.time(),
        job_name=event.stream,
    )


def main() -> None:
    """Measure and report."""
    options = arguments(__doc__)
    entries = [entry(number, event) for number, event in enumerate(events_of(options.events))]
    storage = SqliteEventLogStorage(str(options.scratch))
    for each in entries[:RUNS]:
        storage.store_event(each)
    took = in_turn(storage.store_event, entries[RUNS:], options.seconds)
    report(figures_of("Dagster store_event, 1 thread", sum(took), took))
    storage.dispose()


if __name__ == "__main__":
    main()
