"""What each event of an entity changed, and what differs between two of its states.

A field is named by its JSON pointer in the entity as the HTTP interface shows it: ``/status``,
``/params/translationTable``. Objects are looked into, lists are values; a field that is not there
and one that is null are the same. What every event moves (``updated``, ``last_position``,
``events``) is left out, and so is the name of the entity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, NamedTuple

import orjson

from domain import alert, file, job
from domain.clock import effective_time
from domain.events import RecordedEvent

DEPTH_MAX: Final = 16
"""An object that lies deeper is one value."""

LEFT_OUT: Final = frozenset({"id", "path", "updated", "last_position", "events"})
"""The fields in which no change is shown."""

Fields = Mapping[str, Any]
"""The values of an entity by their pointers."""


@dataclass(frozen=True, slots=True)
class Category:
    """How the entities of a category are folded and shown, and when they change their status.

    ``blank`` holds the fields that say nothing although they are not null.
    """

    advance: Callable[[Any, RecordedEvent], Any]
    view: Callable[[Any], dict[str, Any]]
    status_of: Mapping[str, Any]
    ranks: Mapping[Any, int]
    since: Callable[[Any], tuple[Any, int | None]]
    """The status of a state, and the time of the event that gave it."""
    blank: Fields

    def is_late(self, before: Any, event: RecordedEvent) -> bool | None:
        """Return whether an event comes too late to move the status; None: it says no status."""
        status = self.status_of.get(event.type)
        if status is None:
            return None
        then, since = self.since(before)
        return since is not None and (effective_time(event), self.ranks[status]) < (
            since,
            self.ranks[then],
        )


CATEGORIES: Final[Mapping[str, Category]] = {
    "job": Category(
        job.job_after,
        job.job_view,
        job.STATUS_OF,
        job.RANKS,
        attrgetter("status", "status_time"),
        {"/attempt": 1, "/attempts": 1, "/pinned": False, "/archived": False, "/links": []},
    ),
    "alert": Category(
        alert.alert_after,
        alert.alert_view,
        alert.STATUS_OF,
        alert.RANKS,
        attrgetter("state", "state_time"),
        {"/labels": {}, "/count": 0, "/notifications": 0},
    ),
    "file": Category(
        file.file_after,
        file.file_view,
        file.STATUS_OF,
        file.RANKS,
        attrgetter("state", "state_time"),
        {"/observations": 0},
    ),
}
"""The categories whose entities have a state."""


class Change(NamedTuple):
    """One field that changed."""

    field: str
    before: Any
    after: Any


class Step(NamedTuple):
    """One event: what it changed, and the entity as it is shown after it.

    ``late``: it told of a status that something later had moved on from already; or, where it
    tells of none, it changed nothing because something later was known.
    """

    event: RecordedEvent
    changes: tuple[Change, ...]
    state: dict[str, Any]
    late: bool


class Difference(NamedTuple):
    """A field that differs between two states, and the event that changed it last."""

    change: Change
    event: RecordedEvent


class Comparison(NamedTuple):
    """Two states of an entity (None = it was not there yet), and how they differ.

    ``events`` is how many events lie between.
    """

    before: dict[str, Any] | None
    after: dict[str, Any] | None
    differences: list[Difference]
    events: int


def fields_of(view: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an entity as it is shown, without those that are left out."""
    found: dict[str, Any] = {}
    for name, value in view.items():
        if name not in LEFT_OUT:
            _flatten(found, f"/{name}", value, 1)
    return found


def _flatten(found: dict[str, Any], pointer: str, value: Any, depth: int) -> None:
    if not isinstance(value, Mapping) or not value or depth == DEPTH_MAX:
        found[pointer] = value
        return
    for name, part in value.items():
        escaped = name.replace("~", "~0").replace("/", "~1")
        _flatten(found, f"{pointer}/{escaped}", part, depth + 1)


def changes_between(before: Fields, after: Fields) -> Iterator[Change]:
    """Yield the fields that differ, in the order of the later ones; then those that are gone."""
    for field, value in after.items():
        then = before.get(field)
        if not _same(then, value):
            yield Change(field, then, value)
    for field, then in before.items():
        if field not in after and then is not None:
            yield Change(field, then, None)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: 1, 1.0 and true are not."""
    if one is other:
        return True
    return one == other and _json(one) == _json(other)


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


class Walk:
    """Goes through the events of one entity, in log order."""

    def __init__(self, category: Category) -> None:
        self._category = category
        self._state: Any = None
        self._view: dict[str, Any] | None = None
        self._fields: Fields = category.blank

    def pass_over(self, event: RecordedEvent) -> None:
        """Take the next event, without looking at what it changes."""
        self._state = self._category.advance(self._state, event)

    def look(self) -> dict[str, Any] | None:
        """Return the entity as it is shown now, None where there is none (yet, or any more)."""
        self._view, self._fields = None, self._category.blank
        if self._state is not None:
            self._view = self._category.view(self._state)
            self._fields = fields_of(self._view)
        return self._view

    @property
    def fields(self) -> Fields:
        """The fields when last looked at."""
        return self._fields

    def step(self, event: RecordedEvent) -> Step:
        """Take the next event, and return what it changed since the entity was last looked at."""
        known, before = self._state, self._fields
        late = known is not None and self._category.is_late(known, event)
        earlier = known is not None and effective_time(event) < known.updated
        self.pass_over(event)
        view = self.look() or {}
        changes = tuple(changes_between(before, self._fields))
        return Step(event, changes, view, earlier and not changes if late is None else late)


def steps(category: Category, events: Iterable[RecordedEvent], after: int = 0) -> Iterator[Step]:
    """Yield a step for each event after a version; ``events`` are all of the entity's."""
    walk = Walk(category)
    looked = False
    for event in events:
        if event.version <= after:
            walk.pass_over(event)
            continue
        if not looked:
            walk.look()
            looked = True
        yield walk.step(event)


def compare(category: Category, events: Iterable[RecordedEvent], start: int) -> Comparison:
    """Return how an entity is after all of ``events``, against how it was at a position."""
    walk = Walk(category)
    before: dict[str, Any] | None = None
    then: Fields | None = None
    after: dict[str, Any] | None = None
    changed: dict[str, RecordedEvent] = {}
    between = 0
    for event in events:
        if event.position <= start:
            walk.pass_over(event)
            continue
        if then is None:
            before, then = walk.look(), walk.fields
        step = walk.step(event)
        after = step.state or None
        between += 1
        for field, _, value in step.changes:
            if _same(then.get(field), value):
                changed.pop(field, None)
            else:
                changed[field] = event
    if then is None:
        before = after = walk.look()
        return Comparison(before, after, [], 0)
    found = [
        Difference(change, changed[change.field]) for change in changes_between(then, walk.fields)
    ]
    return Comparison(before, after, found, between)
