"""What a projection is, and what it needs: the seam between the log, the runner and the folds.

A `Projection` names itself, its version, its tables and the event types it wants, and makes a
`Fold` for one set of its tables. The runner gives the fold one `Batch` after another, in log
order, inside a transaction that also holds the new position. Rows must be a function of the events
alone: never of where a batch ends, nor of any clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import apsw

from domain.epochs import LostStretch
from domain.events import RecordedEvent
from projections.entities import Ended
from projections.job_states import JOB_TYPES, Before, FoldedJob, JobStates

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

    def lost_stretches(self) -> Sequence[LostStretch]:
        """Return the stretches of positions that epochs left empty, the oldest first."""
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
    """Events of the types a projection wants, in log order; of each stream one life at the most.

    ``entities`` gives each stream's number: the position of the first event of its life. It is the
    key by which projections keep an entity, short and rising where ids are long and random.

    ``ended`` are the markers among the events, with the entities that they end: a fold takes back
    what it knew of those before it takes the events.
    """

    def __init__(
        self,
        events: Sequence[RecordedEvent],
        entities: Mapping[str, int],
        states: JobStates,
        ended: Sequence[Ended] = (),
        parts: dict[frozenset[str], Batch] | None = None,
    ) -> None:
        self.events = events
        self.entities = entities
        self.ended = ended
        self._states = states
        self._parts = {} if parts is None else parts
        self._failure: Exception | None = None

    def of(self, types: frozenset[str]) -> Batch:
        """Return the events of some types; made once for all who ask for the same."""
        part = self._parts.get(types)
        if part is None:
            events = [event for event in self.events if event.type in types]
            ended = [each for each in self.ended if each.marker.type in types]
            part = Batch(events, self.entities, self._states, ended, self._parts)
            self._parts[types] = part
        return part

    def halves(self, states: Callable[[], JobStates]) -> Iterator[Batch]:
        """Yield the two halves of the batch, to be folded with states of their own."""
        middle = len(self.events) // 2
        for events in (self.events[:middle], self.events[middle:]):
            first, last = events[0].position, events[-1].position
            ended = [each for each in self.ended if first <= each.marker.position <= last]
            yield Batch(events, self.entities, states(), ended)

    @cached_property
    def gone(self) -> list[int]:
        """The numbers of the entities that end, as far as they are known."""
        return [each.entity for each in self.ended if each.entity is not None]

    @cached_property
    def tombstones(self) -> frozenset[int]:
        """The positions of the events that leave nothing, and begin nothing."""
        return frozenset(each.marker.position for each in self.ended if each.is_purge)

    def life(self, ended: Ended) -> Iterator[RecordedEvent]:
        """Yield the events of an entity that ended, as far as the log still has them."""
        for event in self._states.log(ended.marker.stream, ended.marker.position):
            if ended.entity is not None and event.position >= ended.entity:
                yield event

    @property
    def jobs_are_known(self) -> bool:
        """Whether the states of the jobs are those after the batch."""
        part = self.of(JOB_TYPES)
        return "folded" in part.__dict__ or not part.events

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
        tombstones = self.tombstones
        for event in self.events:
            stream = event.stream
            if tombstones and event.position in tombstones:
                continue
            if stream in found:
                found[stream].append(event)
            else:
                found[stream] = [event]
        entities = self.entities
        return dict(sorted([(entities[stream], events) for stream, events in found.items()]))

    @property
    def jobs(self) -> list[FoldedJob]:
        """The jobs that the batch tells of, by rising number: folded once for all who ask."""
        return self.of(JOB_TYPES).folded[0]

    @property
    def ended_jobs(self) -> Mapping[int, Before]:
        """How the jobs stood that end, by number, as far as anything tells of them."""
        return self.of(JOB_TYPES).folded[1]

    @cached_property
    def folded(self) -> tuple[list[FoldedJob], Mapping[int, Before]]:
        """The jobs of a batch that holds events of jobs only, and those that end."""
        if self._failure is not None:
            # Rows of `jobs` may be beyond the batch by now: nobody can fold it once more.
            raise self._failure
        try:
            ended = self._states.end(self.ended)
            return self._states.fold(self.by_entity, self.size), ended
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
