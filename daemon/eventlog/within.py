"""The log as a transaction of the writer sees it: with all that was appended before in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from daemon.eventlog.connection import ReadPool
from daemon.eventlog.reader import Reader
from daemon.eventlog.statements import SQL
from daemon.eventlog.transaction import Transaction
from domain.events import RecordedEvent

_PAGE_EVENTS = 500


class _OwnConnection(ReadPool):
    """The writer's own connection; its errors are the writer's to translate."""

    def __init__(self, connection: apsw.Connection) -> None:
        super().__init__("")
        self._own = connection

    @contextmanager
    def connection(self) -> Iterator[apsw.Connection]:
        """Lend the connection."""
        yield self._own


class LogWithin:
    """Reads the log inside a transaction; what it gives holds until something is appended."""

    def __init__(self, transaction: Transaction) -> None:
        # What was collected so far has to be in the file to be read there.
        transaction.flush()
        self._connection = transaction.connection
        self._reader = Reader(_OwnConnection(transaction.connection))

    def after(self, position: int) -> Iterator[RecordedEvent]:
        """Yield the events after a position, oldest first."""
        while page := self._reader.read(position, _PAGE_EVENTS):
            yield from page
            position = page[-1].position

    def stream(self, name: str, upto: int | None = None) -> Iterator[RecordedEvent]:
        """Yield the events of a stream, up to a position."""
        version = 0
        while page := self._reader.read_stream(
            name, after_version=version, upto=upto, limit=_PAGE_EVENTS
        ):
            yield from page
            version = page[-1].version

    def streams_between(self, first: str, last: str, limit: int) -> list[str]:
        """Return the names of streams from one up to another (exclusive), in their order."""
        rows = self._connection.execute(SQL["streams_between"], (first, last, limit))
        return [row[0] for row in rows]
