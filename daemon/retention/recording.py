"""Policies in the log: each change of them is an event of ``policy/<name>``, with who made it.

What the log has and what the configuration says are compared at every start. The log then tells
which policies held when, and since when one has held.
"""

from __future__ import annotations

import logging
import os
import pwd
import threading
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

from daemon.eventlog.requests import Appended, EventPage, EventQuery
from daemon.intake.message import identity
from domain.catalog import validate_payload
from domain.events import NewEvent
from domain.policies import parse_age
from domain.retention import Age, Policies, Policy
from domain.timestamps import format_timestamp

SOURCE: Final = "/chronicled/retention"
CHANGED: Final = "policy.changed"
COMMIT_SECONDS: Final = 5.0
"""How long a step waits at most for its commit."""

_logger = logging.getLogger(__name__)


class PolicyLog(Protocol):
    """A log in which policies are recorded."""

    def streams_of(self, category: str) -> list[str]:
        """Return the streams of a category."""
        ...

    def select(self, query: EventQuery, limit: int) -> EventPage:
        """Return a page of events."""
        ...


class WritablePolicyLog(PolicyLog, Protocol):
    """One to which changes are appended."""

    def append(self, events: list[NewEvent], *, timeout_seconds: float) -> Appended:
        """Append events."""
        ...


class Recorded(NamedTuple):
    """A policy as it was last recorded; ``document`` is None where it is gone.

    ``time`` and ``actor`` say since when and by whom.
    """

    name: str
    document: Mapping[str, Any] | None
    time: int
    actor: str | None
    reason: str | None
    version: int


def recorded(log: PolicyLog) -> dict[str, Recorded]:
    """Return each policy as it was last recorded, by name."""
    found = {}
    for stream in log.streams_of("policy"):
        query = EventQuery(stream=stream, types=(CHANGED,), descending=True)
        for event in log.select(query, 1).events:
            actor = event.extensions.get("actor")
            found[event.subject] = Recorded(
                event.subject,
                event.payload.get("after"),
                event.time,
                None if actor is None else str(actor),
                event.payload.get("reason"),
                event.version,
            )
    return found


def recorded_policies(log: PolicyLog) -> Policies:
    """Return the policies that the log has last heard of, for who has no configuration."""
    documents = [each.document for each in recorded(log).values() if each.document is not None]
    return Policies(_policy(document) for document in sorted(documents, key=_order))


def listing(policies: Policies, known: Mapping[str, Recorded]) -> list[dict[str, Any]]:
    """Return policies as JSON in the order in which they decide, with since when and by whom."""
    return [
        {
            **policy.document(),
            "since": format_timestamp(known[policy.name].time) if policy.name in known else None,
            "by": known[policy.name].actor if policy.name in known else None,
            "reason": known[policy.name].reason if policy.name in known else None,
        }
        for policy in policies.ordered
    ]


def started_by() -> str:
    """Return the name of the user who runs this process."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


class PolicyRecorder:
    """Records once after a start what has changed: a service."""

    name = "policies"

    def __init__(self, log: WritablePolicyLog, policies: Policies, actor: str, reason: str) -> None:
        self.woken = threading.Event()
        self._log, self._policies = log, policies
        self._actor, self._reason = actor, reason

    def step(self, now: int) -> float | None:
        """Append an event for each policy that is new, different or gone."""
        known = recorded(self._log)
        places = {each.name: place for place, each in enumerate(self._policies.ordered)}
        wanted: dict[str, dict[str, Any] | None] = {
            policy.name: {**policy.document(), "place": places[policy.name]}
            for policy in self._policies.ordered
        }
        wanted |= {name: None for name in known if name not in wanted}
        events = []
        for name, after in wanted.items():
            before = known.get(name)
            if _without_place(None if before is None else before.document) != _without_place(after):
                events.append(self._event(name, before, after, now))
        if events:
            self._log.append(events, timeout_seconds=COMMIT_SECONDS)
            _logger.info("retention policies have changed", extra={"count": len(events)})
        return None

    def _event(
        self, name: str, before: Recorded | None, after: Mapping[str, Any] | None, now: int
    ) -> NewEvent:
        version = 0 if before is None else before.version
        said = {
            "before": None if before is None else before.document,
            "after": after,
            "reason": self._reason,
        }
        payload = validate_payload(CHANGED, {key: value for key, value in said.items() if value})
        # The version says which follows which, so that a repeat is one.
        id_ = identity(CHANGED, name, version)
        extensions = {"actor": self._actor}
        return NewEvent(CHANGED, name, SOURCE, id_, payload, now, extensions)


def _policy(document: Mapping[str, Any]) -> Policy:
    return Policy(
        document["name"],
        document["category"],
        Age(document["age"]),
        parse_age(document["archive_after"]),
        parse_age(document["purge_after"]),
        document["kind"],
        document["status"],
        document["preset"],
    )


def _without_place(document: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a document without where it stands among others: a new one moves all of them."""
    if document is None:
        return None
    return {key: value for key, value in document.items() if key != "place"}


def _order(document: Mapping[str, Any]) -> int:
    return int(document.get("place") or 0)
