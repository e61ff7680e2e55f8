"""`eventsourcing` on its own SQLite recorder: saved aggregates, and the recorder by itself."""

from __future__ import annotations

from hashlib import md5
from typing import Any
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import ApplicationRecorder, StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

from benchmarks.peers.timing import (
    Event,
    arguments,
    events_of,
    figures_of,
    in_threads,
    in_turn,
    report,
)

THREADS = 64


class Kept(Aggregate):
    """An aggregate that is born with the text of an event."""

    def __init__(self, text: str) -> None:
        self.text = text


def stored(event: Event) -> StoredEvent:
    """Return an event as the recorder takes it."""
    stream = UUID(bytes=md5(event.stream.encode(), usedforsecurity=False).digest())
    return StoredEvent(stream, event.version, event.type, event.data.encode())


def main() -> None:
    """Save on one thread and on 64; insert one by one and by the hundred."""
    options = arguments(__doc__)
    events = list(events_of(options.events))
    environment = {
        "PERSISTENCE_MODULE": "eventsourcing.sqlite",
        "SQLITE_DBNAME": str(options.scratch / "saved.db"),
    }
    application: Application[Any] = Application(env=environment)
    aggregates = iter([Kept(event.data) for event in events])
    turn = [next(aggregates) for _ in range(len(events) // 4)]
    took = in_turn(application.save, turn, options.seconds)
    figures = figures_of("eventsourcing save(), 1 thread", sum(took), took)
    elapsed, took = in_threads(application.save, list(aggregates), options.seconds, THREADS)
    figures |= figures_of("eventsourcing save(), 64 threads", elapsed, took)
    application.close()

    datastore = SQLiteDatastore(str(options.scratch / "inserted.db"))
    recorder: ApplicationRecorder = SQLiteApplicationRecorder(datastore)
    recorder.create_table()  # type: ignore[attr-defined]
    rows = [stored(event) for event in events]
    tenth = len(rows) // 10
    parts = [[row] for row in rows[: 5 * tenth]]
    elapsed, took = in_threads(recorder.insert_events, parts, options.seconds, THREADS)
    figures |= figures_of("eventsourcing recorder, 64 threads", elapsed, took)
    many = [rows[at : at + 100] for at in range(5 * tenth, len(rows), 100)]
    took = in_turn(recorder.insert_events, many, options.seconds)
    figures |= figures_of("eventsourcing recorder, batches of 100", sum(took), took, 100)
    datastore.close()
    report(figures)


if __name__ == "__main__":
    main()
