"""A plan: what is due at a moment, why, and how much it is. Nothing but a plan is applied."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any, Final, NamedTuple

import orjson

from domain.retention import Action
from domain.timestamps import MICROSECONDS, format_timestamp

DAY: Final = 86_400 * MICROSECONDS
AHEAD: Final = (7, 30)
"""How far ahead it is counted what becomes due (days)."""

_ID_LENGTH: Final = 32


class Part(NamedTuple):
    """A stream that goes with an entity: a result of a job, up to a version.

    ``others`` are further jobs that it names: it goes with the last of them.
    """

    stream: str
    version: int
    others: tuple[str, ...] = ()


class Item(NamedTuple):
    """One entity that is due, or the old events of one stream of the housekeeping.

    ``version`` is that of its stream when it was planned: one that has moved on since is left.
    ``events`` and ``bytes`` count its parts too.
    """

    action: Action
    category: str
    id: str
    rule: str
    reason: str
    due: int
    events: int
    bytes: int
    version: int
    parts: tuple[Part, ...] = ()

    @property
    def stream(self) -> str:
        """The stream of the entity."""
        return f"{self.category}/{self.id}"

    def document(self) -> dict[str, Any]:
        """Return the item as JSON."""
        return {
            "action": str(self.action),
            "category": self.category,
            "id": self.id,
            "rule": self.rule,
            "reason": self.reason,
            "due": format_timestamp(self.due),
            "events": self.events,
            "bytes": self.bytes,
            "version": self.version,
            "results": [part.stream.partition("/")[2] for part in self.parts],
        }


@dataclass(slots=True)
class Total:
    """How much one rule does."""

    entities: int = 0
    events: int = 0
    bytes: int = 0

    def add(self, item: Item) -> None:
        """Count an item."""
        self.entities += 1
        self.events += item.events
        self.bytes += item.bytes


class Totals:
    """How much is done, by rule and action."""

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self.by_rule: dict[tuple[str, str, Action], Total] = {}
        for item in items:
            self.add(item)

    def add(self, item: Item) -> None:
        """Count an item."""
        key = (item.rule, item.category, item.action)
        self.by_rule.setdefault(key, Total()).add(item)

    def count(self, action: Action) -> int:
        """Return of how many entities something is done."""
        found = self.by_rule.items()
        return sum(total.entities for (_, _, done), total in found if done is action)

    @property
    def events(self) -> int:
        """How many events that are."""
        return sum(total.events for total in self.by_rule.values())

    @property
    def bytes(self) -> int:
        """How many bytes those have."""
        return sum(total.bytes for total in self.by_rule.values())

    def documents(self) -> list[dict[str, Any]]:
        """Return the totals as JSON, by rule."""
        return [
            {
                "rule": rule,
                "category": category,
                "action": str(action),
                "entities": total.entities,
                "events": total.events,
                "bytes": total.bytes,
            }
            for (rule, category, action), total in sorted(self.by_rule.items())
        ]


@dataclass
class Upcoming:
    """How many entities become due within so many days, by rule and action."""

    counts: dict[tuple[int, str, Action], int] = field(default_factory=dict)

    def add(self, rule: str, action: Action, at: int, now: int) -> None:
        """Count an entity that becomes due at a moment."""
        for days in AHEAD:
            if now < at <= now + days * DAY:
                key = (days, rule, action)
                self.counts[key] = self.counts.get(key, 0) + 1

    def documents(self) -> list[dict[str, Any]]:
        """Return the counts as JSON."""
        return [
            {"days": days, "rule": rule, "action": str(action), "entities": count}
            for (days, rule, action), count in sorted(self.counts.items())
        ]


@dataclass(frozen=True)
class Plan:
    """What is due at ``now`` as the views have it at ``as_of``, the oldest first.

    ``more`` is how many entities are due beyond the greatest size of a plan, ``unarchivable`` how
    many would be archived if there were an archive: neither is among the items.
    """

    now: int
    as_of: int
    items: Sequence[Item]
    more: int = 0
    unarchivable: int = 0
    upcoming: Upcoming = field(default_factory=Upcoming)

    @cached_property
    def id(self) -> str:
        """The digest over its items: two plans of one id do the same."""
        told = sha256()
        for item in self.items:
            what = [str(item.action), item.stream, item.version, item.rule, *map(list, item.parts)]
            told.update(orjson.dumps(what))
        return told.hexdigest()[:_ID_LENGTH]

    @cached_property
    def totals(self) -> Totals:
        """How much it is."""
        return Totals(self.items)

    def head(self) -> dict[str, Any]:
        """Return all but the items as JSON."""
        return {
            "plan": self.id,
            "now": format_timestamp(self.now),
            "entities": len(self.items),
            "events": self.totals.events,
            "bytes": self.totals.bytes,
            "totals": self.totals.documents(),
            "more": self.more,
            "unarchivable": self.unarchivable,
            "upcoming": self.upcoming.documents(),
        }
