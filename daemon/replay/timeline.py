"""Everything that is tied to an entity, or has a correlation, as one story.

Which entities belong together the views know; what happened to each is read from the log. Of a
first page the entities are searched for, and its cursor names them: the pages after it show the
same entities at the same position.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol

from daemon.eventlog.reader import SCAN_POSITIONS
from domain.changes import CATEGORIES
from domain.clock import effective_time
from domain.events import RecordedEvent
from domain.timestamps import format_timestamp
from projections.relations import ENTITIES_MAX, Related, Relation, Relations
from projections.ties import named_jobs
from projections.views import Views

EVENTS_MAX: Final = 10_000
"""How many events one timeline holds, at the most."""
OWN_MAX: Final = 5_000
"""How many of them are of the entity that is asked for."""
OTHERS_MAX: Final = 1_000
"""How many are of any other."""
LEAST: Final = 2
"""So many each entity has in it: its first and its last event."""
READ_MAX: Final = 200_000
"""How many events are read to make a timeline: about a second's worth."""
_CAUSES_SHARE: Final = 0.25
"""The part of a question's time in which causes are looked for."""
_ROWS_MAX: Final = 1_000
NAMED_MAX: Final = 1_000
"""How many causes and jobs an entity may name here."""

ReadStream = Callable[[str, int], Iterable[RecordedEvent]]
"""Reads the events of a stream up to a position."""
Key = tuple[int, int]
"""The place of an event in a timeline: its effective time and its position."""


class Ids(Protocol):
    """A log, as far as ids of events are looked for in it."""

    def find_ids(
        self, ids: Iterable[str], after: int, before: int, limit: int
    ) -> list[tuple[int, str, str]]:
        """Return (position, stream, id) of the events with these ids, the newest first."""
        ...

    def position_upto(self, position: int) -> int:
        """Return the position of the newest event up to one, 0 where there is none."""
        ...


class Member(NamedTuple):
    """An entity as a cursor names it: the position of its first event, and how it was reached."""

    number: int
    relation: Relation
    origin: int
    """The place among all of the entity it was reached from, -1 for none."""


@dataclass
class Told:
    """What the log tells of one entity up to a position; times in microseconds.

    ``keys`` are of the events that the timeline holds: where there are too many, the first and the
    last half of as many as may be.
    """

    related: Related
    number: int = 0
    view: Mapping[str, Any] = field(default_factory=dict)
    events: int = 0
    first: int = 0
    last: int = 0
    truncated: bool = False
    keys: list[Key] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    causes: dict[str, int] = field(default_factory=dict)
    """The ids of what caused its events, with the position of the first that says so."""
    jobs: dict[str, None] = field(default_factory=dict)
    correlation: str | None = None

    def document(self, origin: str | None) -> dict[str, Any]:
        """Return the entity as the HTTP interface shows it, reached from another."""
        said = self.view.get
        return {
            "stream": self.related.stream,
            "relation": self.related.relation,
            "from": origin,
            "status": said("status") or said("state"),
            "kind": said("kind"),
            "name": said("name") or said("title"),
            "attempt": said("attempt"),
            "started": said("started"),
            "ended": said("ended"),
            "run_seconds": said("run_seconds"),
            "events": self.events,
            "first": format_timestamp(self.first),
            "last": format_timestamp(self.last),
            "truncated": self.truncated,
        }


class Timeline:
    """The entities of one story as of a position, and the order of their events.

    ``of_run``: it is that of a correlation, not of one entity.
    """

    def __init__(self, read: ReadStream, as_of: int, *, of_run: bool) -> None:
        self.as_of = as_of
        self.told: dict[str, Told] = {}
        self.truncated = False
        self._read = read
        self._left = EVENTS_MAX
        self._reads_left = READ_MAX
        self._expanded = {Relation.SELF, Relation.CHILD, Relation.ATTEMPT} | (
            {Relation.CORRELATION} if of_run else set()
        )

    def tell(self, related: Related) -> None:
        """Read what happened to an entity; it has no part where nothing had happened to it yet."""
        most = OWN_MAX if related.relation is Relation.SELF else OTHERS_MAX
        # There is always room for the least of each of those to come.
        most = max(LEAST, min(most, self._left - LEAST * ENTITIES_MAX))
        events = self._read(related.stream, self.as_of)
        told = _read_entity(related, events, most, max(LEAST, self._reads_left))
        if told.events:
            self._left -= len(told.keys)
            self._reads_left -= told.events
            self.truncated |= told.truncated
            self.told[related.stream] = told

    def after(self, key: Key | None) -> list[tuple[Key, Told]]:
        """Return the places of the events after one of them, in their order."""
        keys = [(each, told) for told in self.told.values() for each in told.keys]
        return sorted(
            (each for each in keys if key is None or each[0] > key), key=lambda each: each[0]
        )

    def documents(self) -> list[dict[str, Any]]:
        """Return the entities as the HTTP interface shows them."""
        return [told.document(self._origin(told)) for told in self.told.values()]

    def _origin(self, told: Told) -> str | None:
        origin = told.related.origin
        return origin if origin in self.told else None

    @property
    def expanded(self) -> list[Told]:
        """The entities of which everything that is tied to them belongs to the story, too."""
        return [told for told in self.told.values() if told.related.relation in self._expanded]

    @property
    def causes(self) -> dict[str, Told]:
        """The causes of what is told in full that are not among the events here."""
        known = set[str]().union(*(told.ids for told in self.told.values()))
        return {
            cause: told for told in self.expanded for cause in told.causes if cause not in known
        }

    def members(self) -> list[Member]:
        """Return the entities as a cursor names them."""
        places = {stream: place for place, stream in enumerate(self.told)}
        return [
            Member(told.number, told.related.relation, places.get(self._origin(told) or "", -1))
            for told in self.told.values()
        ]


def _read_entity(
    related: Related, events: Iterable[RecordedEvent], most: int, reads_max: int
) -> Told:
    """Fold an entity, and keep the first and the last half of the most events it may have."""
    told = Told(related)
    category = CATEGORIES.get(related.stream.partition("/")[0])
    state: Any = None
    first: list[tuple[Key, str]] = []
    newest: deque[tuple[Key, str]] = deque(maxlen=most - most // 2)
    for event in events:
        if told.events == reads_max:
            told.truncated = True
            break
        _note(told, event)
        if category is None:
            said = {name: event.payload.get(name) for name in ("kind", "name")}
            told.view = {**said, "status": event.type.partition(".")[2]}
        else:
            state = category.advance(state, event)
        kept = first if len(first) < most // 2 else newest
        kept.append(((effective_time(event), event.position), event.id))
    if category is not None and state is not None:
        told.view = category.view(state)
    told.keys = [key for key, _ in (*first, *newest)]
    told.ids = {event_id for _, event_id in (*first, *newest)}
    told.truncated |= len(told.keys) < told.events
    return told


def _note(told: Told, event: RecordedEvent) -> None:
    """Take over what an event says about its entity's place in the story."""
    time = effective_time(event)
    if not told.events:
        told.number, told.first, told.last = event.position, time, time
    told.events += 1
    told.first, told.last = min(told.first, time), max(told.last, time)
    cause = event.extensions.get("causationid")
    if cause is not None and len(told.causes) < NAMED_MAX:
        told.causes.setdefault(str(cause), event.position)
    run = event.extensions.get("correlationid")
    if run is not None:
        told.correlation = str(run)
    for job in named_jobs(event):
        if len(told.jobs) < NAMED_MAX:
            told.jobs[job] = None


def search(
    timeline: Timeline, relations: Relations, views: Views, log: Ids, deadline: float
) -> None:
    """Tell what is tied to one entity or to a run, beginning with its family.

    Causes are looked for backwards in the log, for a part of the time that is left.
    """

    def add(stream: str, relation: Relation, origin: str | None) -> None:
        related = relations.add(stream, relation, origin)
        if related is not None:
            timeline.tell(related)

    for related in list(relations.found.values()):
        timeline.tell(related)
    start = next(iter(timeline.told.values()), None)
    if start is None:
        return
    if start.related.relation is Relation.SELF and not start.related.is_job:
        for job in start.jobs:
            add(f"job/{job}", Relation.JOB, start.related.stream)
    missing = timeline.causes
    wanted = {cause: told.causes[cause] for cause, told in missing.items()}
    for cause, stream in find_causes(log, wanted, deadline).items():
        add(stream, Relation.CAUSE, missing[cause].related.stream)
    sources = {event_id: told.related.stream for told in timeline.expanded for event_id in told.ids}
    for event_id, stream in views.effects(sources):
        add(stream, Relation.EFFECT, sources[event_id])
    if start.related.relation is Relation.SELF and start.correlation is not None:
        for stream in views.correlated(start.correlation):
            add(stream, Relation.CORRELATION, start.related.stream)
    timeline.truncated |= relations.truncated


def find_causes(log: Ids, wanted: Mapping[str, int], deadline: float) -> dict[str, str]:
    """Return the streams of events by their ids, as far as they are found in time.

    ``wanted`` are the ids, each with the position of an event that names it; the cause is the
    newest before that. Causes are recent as a rule, so the log is gone through backwards.
    """
    missing = dict(wanted)
    found: dict[str, str] = {}
    now = monotonic()
    soft_deadline = now + (deadline - now) * _CAUSES_SHARE
    high = max(missing.values(), default=0)
    while missing and high > 1 and monotonic() < soft_deadline:
        low = max(0, high - 1 - SCAN_POSITIONS)
        rows = log.find_ids(missing, low, high, _ROWS_MAX)
        for position, stream, event_id in rows:
            if position < missing.get(event_id, 0):
                found[event_id] = stream
                del missing[event_id]
        # Positions that an epoch left empty are passed over at once.
        high = rows[-1][0] if len(rows) == _ROWS_MAX else log.position_upto(low) + 1
    return found
