"""How long what the log knows is kept: policies, and what they say about one entity.

A policy says of which entities it speaks, from when their age counts, and at which age they are
archived or purged. Of the policies that fit an entity one decides, the most specific; where none
fits, it is kept. Only jobs are archived, and a pinned job is never due.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from domain.alert import AlertState, AlertStatus
from domain.file import FileState, FileStatus
from domain.job import TERMINAL, JobState, JobStatus
from domain.timestamps import MICROSECONDS

ARCHIVED: Final = "archived"
"""What a policy names as the status of jobs that are in the archive."""
ENTITIES: Final = ("job", "alert", "file")
"""The categories whose streams are entities: each is purged as a whole."""
HOUSEKEEPING: Final = ("maintenance", "backup")
"""The categories in which the daemon tells of its own work: old events go one by one."""
STATUSES: Final[Mapping[str, tuple[str, ...]]] = {
    "job": (*map(str, JobStatus), ARCHIVED),
    "alert": tuple(map(str, AlertStatus)),
    "file": tuple(map(str, FileStatus)),
}
"""The statuses that a policy may name, by category."""

_FOUND_MAX: Final = 10_000
"""For how many sorts of entities it is remembered which policy decides."""
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
_WORDS: Final = {"d": "day", "h": "hour", "m": "minute", "s": "second"}


class Age(StrEnum):
    """From when an age counts."""

    SUBMITTED = "submitted"
    ENDED = "ended"
    ARCHIVED = "archived"
    LAST_EVENT = "last_event"


class Action(StrEnum):
    """What is done with an entity that is due."""

    ARCHIVE = "archive"
    PURGE = "purge"
    TRIM = "trim"


class Aged(NamedTuple):
    """What decides how long an entity is kept; times in microseconds.

    ``ended`` is None for what has not ended, ``archived`` for what is not in the archive.
    """

    category: str
    id: str
    kind: str | None
    status: str
    submitted: int
    ended: int | None
    updated: int
    archived: int | None = None
    pinned: bool = False

    @classmethod
    def of_job(cls, job: JobState) -> Aged:
        """Return a job's."""
        return cls(
            "job", job.id, job.kind, str(job.status), job.submitted, job.ended, job.updated,
            job.archived_time, job.pinned,
        )  # fmt: skip

    @classmethod
    def of_alert(cls, alert: AlertState) -> Aged:
        """Return an alert's; it ends when it is resolved."""
        first = alert.updated if alert.first_seen is None else alert.first_seen
        over = alert.state is AlertStatus.RESOLVED
        ended = alert.state_time if over else None
        return cls("alert", alert.id, alert.kind, str(alert.state), first, ended, alert.updated)

    @classmethod
    def of_file(cls, file: FileState) -> Aged:
        """Return a file's; it ends when it is processed or removed."""
        first = file.updated if file.first_observed is None else file.first_observed
        ended = None if file.state is FileStatus.OBSERVED else file.state_time
        return cls("file", file.path, None, str(file.state), first, ended, file.updated)

    def age_from(self, age: Age) -> int | None:
        """Return the moment from which it ages; None while it does not.

        What has not ended ages from its last event. Of contradicting times the later one counts,
        so that nothing goes too early; so does what came after a job was archived.
        """
        if age is Age.SUBMITTED:
            return self.submitted
        if age is Age.ARCHIVED:
            return None if self.archived is None else max(self.archived, self.updated)
        if age is Age.ENDED and self.ended is not None:
            return max(self.ended, self.submitted)
        return max(self.updated, self.submitted)


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy; None for an age means never. ``preset`` names the one it is from."""

    name: str
    category: str
    age: Age
    archive_after: int | None = None
    purge_after: int | None = None
    kind: str | None = None
    status: str | None = None
    preset: str | None = None

    def fits(self, entity: Aged) -> bool:
        """Return whether it speaks of an entity."""
        if self.category != entity.category or self.kind not in (None, entity.kind):
            return False
        if self.is_for_archived:
            return entity.archived is not None
        return self.status in (None, entity.status)

    @property
    def is_for_archived(self) -> bool:
        """Whether it speaks of nothing but jobs in the archive."""
        return self.status == ARCHIVED

    @property
    def rank(self) -> tuple[bool, bool, bool, bool]:
        """How specific it is; the greater goes first, and those of a preset come last."""
        return (
            self.preset is None,
            self.is_for_archived,
            self.kind is not None,
            self.status is not None,
        )

    def document(self) -> dict[str, Any]:
        """Return the policy as JSON."""
        return {
            "name": self.name,
            "category": self.category,
            "kind": self.kind,
            "status": self.status,
            "age": str(self.age),
            "archive_after": after_text(self.archive_after),
            "purge_after": after_text(self.purge_after),
            "preset": self.preset,
        }


class Due(NamedTuple):
    """What a policy does with an entity, and since when; ``base`` is from when its age counts."""

    action: Action
    policy: Policy
    at: int
    base: int
    reason: str


class Policies:
    """A set of policies, in the order in which they decide."""

    def __init__(self, policies: Iterable[Policy] = ()) -> None:
        given = list(policies)
        # Among equals the first that was written decides: sorting keeps their order.
        self.ordered: Sequence[Policy] = sorted(given, key=_precedence)
        self.by_name: Mapping[str, Policy] = {policy.name: policy for policy in given}
        self._found: dict[tuple[str, str | None, str, bool], Policy | None] = {}

    def __bool__(self) -> bool:
        return bool(self.ordered)

    def of(self, entity: Aged) -> Policy | None:
        """Return the policy that decides about an entity; None where it is kept for want of one."""
        key = (entity.category, entity.kind, entity.status, entity.archived is not None)
        if key not in self._found:
            if len(self._found) >= _FOUND_MAX:
                self._found.clear()
            self._found[key] = next((each for each in self.ordered if each.fits(entity)), None)
        return self._found[key]

    def next(self, entity: Aged) -> Due | None:
        """Return what is done next with an entity, and when; None where it is kept.

        Where both are due, a purge comes before an archive.
        """
        if entity.pinned or (policy := self.of(entity)) is None:
            return None
        base = entity.age_from(policy.age)
        if base is None:
            return None
        found = []
        if policy.archive_after is not None and entity.archived is None:
            found.append((Action.ARCHIVE, policy.archive_after))
        if policy.purge_after is not None:
            found.append((Action.PURGE, policy.purge_after))
        if not found:
            return None
        action, after = min(found, key=lambda each: each[1])
        return Due(action, policy, base + after, base, _reason(policy, entity, after))

    def due(self, entity: Aged, now: int) -> Due | None:
        """Return what is to be done with an entity now; None where nothing is.

        A policy of which both ages are over purges.
        """
        first = self.next(entity)
        if first is None or first.at > now:
            return None
        after = first.policy.purge_after
        if first.action is Action.ARCHIVE and after is not None and first.base + after <= now:
            at, reason = first.base + after, _reason(first.policy, entity, after)
            return Due(Action.PURGE, first.policy, at, first.base, reason)
        return first

    def shortest(self, category: str) -> int | None:
        """Return the least age at which anything of a category is due; None for never."""
        afters = [
            after
            for policy in self.ordered
            if policy.category == category
            for after in (policy.archive_after, policy.purge_after)
            if after is not None
        ]
        return min(afters, default=None)


def _precedence(policy: Policy) -> tuple[bool, ...]:
    return tuple(not part for part in policy.rank)


def _reason(policy: Policy, entity: Aged, after: int) -> str:
    if policy.age is Age.SUBMITTED:
        return f"{spoken(after)} after it was submitted"
    if policy.age is Age.ARCHIVED:
        return f"{spoken(after)} after it was archived"
    if policy.age is Age.ENDED and entity.ended is not None:
        return f"{spoken(after)} after it ended"
    open_ = policy.age is Age.ENDED or (entity.category == "job" and entity.status not in TERMINAL)
    return f"{spoken(after)} after its last event{', not having ended' if open_ else ''}"


def after_text(after: int | None) -> str:
    """Return an age as a policy has it: ``30d``, ``36h``, ``forever``."""
    if after is None:
        return "forever"
    count, unit = _in_units(after)
    return f"{count}{unit}"


def spoken(after: int) -> str:
    """Return an age for people: ``30 days``."""
    count, unit = _in_units(after)
    return f"{count} {_WORDS[unit]}{'' if count == 1 else 's'}"


def _in_units(after: int) -> tuple[int, str]:
    """Return an age in the largest unit of which it is a whole number."""
    seconds = after // MICROSECONDS
    for length, unit in _UNITS:
        if seconds % length == 0:
            return seconds // length, unit
    raise AssertionError
