"""What a projection is, and what it needs: the seam between the log, the runner and the folds.

A `Projection` names itself, its version, its tables and the event types it wants, and makes a
`Fold` for one set of its tables. The runner gives the fold one `Batch` after another, in log
order, inside a transaction that also holds the new position. Rows must be a function of the events
alone: never of where a batch ends, nor of any clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import apsw

from domain.events import RecordedEvent
from projections.job_states import JOB_TYPES, FoldedJob, JobStates

Rows: TypeAlias = dict[str, list[tuple[Any, ...]]]
"""Rows by the name of the statement that writes them."""


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

    def read_stream(
        self, stream: str, *, after_version: int = 0, upto: int | None = None, limit: int = 1000
    ) -> Sequence[RecordedEvent]:
        """Return events of one stream after a version, up to a position; none = no more."""
        ...

    def digest_at(self, position: int) -> bytes | None:
        """Return the log's digest as of a position."""
        ...


class StreamFeed(Protocol):
    """The log as whole streams, for feeds that can; streams are numbered as they first came."""

    def last_stream(self) -> int:
        """Return the greatest number of a stream, 0 when there is none."""
        ...

    def read_streams(self, after: int, last: int, upto: int) -> Iterator[Sequence[RecordedEvent]]:
        """Yield the events of the streams after one up to another, stream by stream, in pages.

        Of each stream all events up to a position, oldest first; a page is bounded in number and
        bytes, and never empty.
        """
        ...


def streams_of(feed: Feed) -> StreamFeed | None:
    """Return a feed's way to whole streams: what it has as ``streams``, if it has that."""
    streams: StreamFeed | None = getattr(feed, "streams", None)
    return streams


class Batch:
    """Events of the types a projection wants, in log order.

    ``entities`` gives each stream's number: the position of its first event. It is the key by
    which projections keep an entity, short and rising where ids are long and random.
    """

    def __init__(
        self,
        events: Sequence[RecordedEvent],
        entities: Mapping[str, int],
        states: JobStates,
        parts: dict[frozenset[str], Batch] | None = None,
    ) -> None:
        self.events = events
        self.entities = entities
        self._states = states
        self._parts = {} if parts is None else parts
        self._failure: Exception | None = None

    def of(self, types: frozenset[str]) -> Batch:
        """Return the events of some types; made once for all who ask for the same."""
        part = self._parts.get(types)
        if part is None:
            events = [event for event in self.events if event.type in types]
            self._parts[types] = part = Batch(events, self.entities, self._states, self._parts)
        return part

    @property
    def jobs_are_known(self) -> bool:
        """Whether the states of the jobs are those after the batch."""
        part = self.of(JOB_TYPES)
        return "jobs" in part.__dict__ or not part.events

    def close(self) -> None:
        """Let go of the parts, which know each other in a circle: nobody needs them any more."""
        self._parts.clear()

    @cached_property
    def size(self) -> int:
        """How many bytes the payloads of the events have."""
        return sum([len(event.data) for event in self.events])

    @cached_property
    def by_entity(self) -> dict[int, list[RecordedEvent]]:
        """The events of each entity, in log order; entities by rising number."""
        found: dict[str, list[RecordedEvent]] = {}
        for event in self.events:
            stream = event.stream
            if stream in found:
                found[stream].append(event)
            else:
                found[stream] = [event]
        entities = self.entities
        return dict(sorted([(entities[stream], events) for stream, events in found.items()]))

    @cached_property
    def jobs(self) -> list[FoldedJob]:
        """The jobs that the batch tells of, by rising number: folded once for all who ask."""
        part = self.of(JOB_TYPES)
        if part is not self:
            return part.jobs
        if self._failure is not None:
            # Rows of `jobs` may be beyond the batch by now: nobody can fold it once more.
            raise self._failure
        try:
            return self._states.fold(self.by_entity, self.size)
        except Exception as error:
            self._failure = error
            raise


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
