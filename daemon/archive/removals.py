"""What the archive asks of the log: markers, and what has to go outside before rows may go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from daemon.eventlog.removal import PendingRemoval, mark, settle
from daemon.eventlog.requests import Append, Work
from domain.events import NewEvent, Receipt

if TYPE_CHECKING:
    from daemon.eventlog.log import EventLog
    from daemon.eventlog.transaction import Transaction


class Removals(Protocol):
    """Markers of streams, and the removals that wait for something outside of the log."""

    def mark(self, marker: NewEvent, beside: Sequence[NewEvent], *, outside: bool) -> Receipt:
        """Record a marker and the events beside it, all or none.

        Raises:
            VersionConflict: the stream of the marker has moved on.

        """
        ...

    def pending(self) -> Sequence[PendingRemoval]:
        """Return the removals that wait."""
        ...

    def settle(self, stream: str, version: int) -> None:
        """Say that what was outside of the log for the events up to a version is gone."""
        ...


class LogRemovals:
    """The removals of an event log."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def mark(self, marker: NewEvent, beside: Sequence[NewEvent], *, outside: bool) -> Receipt:
        """Record a marker and the events beside it; see `Removals`."""

        def run(transaction: Transaction) -> Receipt:
            if beside:
                transaction.append(Append(beside))
            return mark(transaction, marker, outside=outside)

        size = len(marker.data) + sum(len(event.data) for event in beside)
        receipt: Receipt = self._log.work(Work(run, events=1 + len(beside), size=size))
        return receipt

    def pending(self) -> Sequence[PendingRemoval]:
        """Return the removals that wait; see `Removals`."""
        return self._log.pending_removals(outside=True)

    def settle(self, stream: str, version: int) -> None:
        """Say that what was outside of the log is gone; see `Removals`."""
        self._log.work(Work(lambda transaction: settle(transaction, stream, version)))
