"""What a projection is, and what it needs: the seam between the log, the runner and the folds.

A `Projection` names itself, its version, its tables and the event types it wants, and makes a
`Fold` for one set of its tables. The runner gives the fold one `Batch` after another, in log
order, inside a transaction that also holds the new position. Rows must be a function of the events
alone: never of where a batch ends, nor of any clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import apsw

from domain.events import RecordedEvent


class Feed(Protocol):
    """The log as projections read it."""

    @property
    def log_id(self) -> str:
        """Which log this is."""
        ...

    @property
    def epoch(self) -> int:
        """The epoch of the log; a new one may have lost a tail of the old."""
        ...

    def head(self) -> int:
        """Return the newest position, 0 for an empty log."""
        ...

    def read(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        """Return up to ``limit`` events after a position, oldest first; none = no more."""
        ...

    def digest_at(self, position: int) -> bytes | None:
        """Return the log's digest as of a position."""
        ...


@dataclass(frozen=True)
class Batch:
    """Events of the types a projection wants, in log order.

    ``entities`` gives each stream's number: the position of its first event. It is the key by
    which projections keep an entity, short and rising where ids are long and random.
    """

    events: Sequence[RecordedEvent]
    entities: Mapping[str, int]
    parts: dict[frozenset[str], Batch] = field(default_factory=dict, repr=False)

    def of(self, types: frozenset[str]) -> Batch:
        """Return the events of some types; made once for all who ask for the same.

        Who is done with the batch clears ``parts``: they know each other, in a circle.
        """
        part = self.parts.get(types)
        if part is None:
            events = [event for event in self.events if event.type in types]
            self.parts[types] = part = Batch(events, self.entities, self.parts)
        return part

    @cached_property
    def size(self) -> int:
        """How many bytes the payloads of the events have."""
        return sum(len(event.data) for event in self.events)

    @cached_property
    def by_entity(self) -> dict[int, list[RecordedEvent]]:
        """The events of each entity, in log order; entities by rising number."""
        found: dict[int, list[RecordedEvent]] = {}
        entities = self.entities
        for event in self.events:
            entity = entities[event.stream]
            if entity in found:
                found[entity].append(event)
            else:
                found[entity] = [event]
        return dict(sorted(found.items()))


class Fold(Protocol):
    """Writes the rows of one set of tables of a projection."""

    def apply(self, batch: Batch) -> None:
        """Change the rows by the events of a batch, within the caller's transaction."""
        ...

    def forget(self) -> None:
        """Drop what is remembered of the rows: a transaction was rolled back."""
        ...


class Projection(Protocol):
    """One set of tables that answers one kind of question.

    ``version`` changes with anything that changes rows: the tables, or how events become rows. The
    runner then rebuilds the projection from the log.
    """

    @property
    def name(self) -> str:
        """What status, metrics and commands call it."""
        ...

    @property
    def version(self) -> int:
        """The version of its tables and of its fold."""
        ...

    @property
    def types(self) -> frozenset[str]:
        """The event types it wants."""
        ...

    def schema(self, prefix: str) -> str:
        """Return the DDL of its tables, all names beginning with ``prefix``."""
        ...

    def fold(self, db: apsw.Connection, prefix: str) -> Fold:
        """Return the fold over the tables with this prefix."""
        ...


@dataclass(frozen=True, slots=True)
class ProjectionStatus:
    """How a projection stands.

    ``state`` is ``building`` (first build, nothing to ask yet), ``live``, ``rebuilding`` (the old
    tables still answer) or ``failed`` (they answer as of ``position``, and stand still).
    ``recordedtime`` is that of the last event processed, ``built`` the position of a build beside
    the live tables, ``head`` the newest position of the log when the runner last looked.
    """

    name: str
    version: int
    position: int
    state: str
    error: str | None = None
    failed_position: int | None = None
    recordedtime: int | None = None
    built: int | None = None
    head: int = 0
