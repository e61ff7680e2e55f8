"""Reading policies as a configuration has them, and the presets.

Whatever could be read as "delete everything" is refused: an age of zero, one without a unit, none
at all. What is not known is refused with the nearest name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from domain.job import JobStatus
from domain.retention import ARCHIVED, ENTITIES, HOUSEKEEPING, STATUSES, Age, Policy
from domain.suggest import did_you_mean, shorten
from domain.timestamps import MICROSECONDS

FOREVER: Final = "forever"
POLICIES_MAX: Final = 200
"""How many policies there may be."""

_KEYS: Final = ("name", "category", "kind", "status", "age", "archive_after", "purge_after")
_LENGTHS: Final = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_SECONDS_MAX: Final = 1_000 * 366 * 86_400
_AGE: Final = re.compile(r"(?:[0-9]{1,9}[wdhms])+")
_TEXT_MAX: Final = 256
_PRODUCERS_WORDS: Final[Mapping[str, str]] = {
    "completed": "succeeded",
    "complete": "succeeded",
    "successful": "succeeded",
    "successfull": "succeeded",
    "processed": "succeeded",
    "warn": "succeeded",
    "error": "failed",
    "processing_error": "failed",
    "pending": "submitted",
    "init": "submitted",
    "created": "submitted",
    "processing": "running",
    "started": "running",
    "canceled": "cancelled",
    "expired": "lost",
    "unknown": "lost",
}
"""What producers call the statuses of jobs."""


class PolicyError(ValueError):
    """A policy is none; the text says what is wrong with it, all of it."""


def read_policies(given: object) -> tuple[Policy, ...]:
    """Read policies as they stand in a configuration.

    Raises:
        PolicyError: one of them is none, or two have one name.

    """
    if not isinstance(given, list | tuple):
        raise PolicyError("policies is an array of tables: [[retention.policies]]")
    if len(given) > POLICIES_MAX:
        raise PolicyError(f"there are more than {POLICIES_MAX} policies")
    policies: dict[str, Policy] = {}
    faults: list[str] = []
    for number, each in enumerate(given, 1):
        where = f"policy {number}"
        if isinstance(each, Policy):
            policy = each
        else:
            found = _Reading(each)
            if found.faults:
                faults += [f"{where}: {fault}" for fault in found.faults]
                continue
            policy = found.policy()
        if policy.name in policies:
            faults.append(f"{where}: there are two of the name {shorten(policy.name)}: name them")
        policies[policy.name] = policy
    if faults:
        raise PolicyError("; ".join(faults))
    return tuple(policies.values())


class _Reading:
    """One table of a configuration, and what is wrong with it."""

    def __init__(self, given: object) -> None:
        self.faults: list[str] = []
        if not isinstance(given, Mapping):
            self.faults.append("a policy is a table")
            given = {}
        self._given = {str(key): value for key, value in given.items()}
        for key in self._given:
            if key not in _KEYS:
                self.faults.append(f"unknown key {shorten(key)}; {did_you_mean(key, _KEYS)}")
        self._category = self._word("category", (*ENTITIES, *HOUSEKEEPING), required=True)
        self._kind, self._name = self._text("kind"), self._text("name")
        self._status = self._read_status()
        self._age = self._read_age()
        self._archive_after = self._after("archive_after")
        self._purge_after = self._after("purge_after")
        if not self.faults:
            self._check()

    def policy(self) -> Policy:
        """Return the policy, where nothing is wrong."""
        category, age = self._category or "", self._age or Age.LAST_EVENT
        told = (category, self._status, self._kind)
        name = self._name or ".".join(part for part in told if part)
        return Policy(
            name, category, age, self._archive_after, self._purge_after, self._kind, self._status
        )

    def _word(self, key: str, known: Sequence[str], *, required: bool = False) -> str | None:
        text = self._text(key)
        if text is None:
            if required and not any(fault.startswith(f"{key}:") for fault in self.faults):
                self.faults.append(f"{key} is missing; known are: {', '.join(known)}")
            return None
        if text not in known:
            self.faults.append(f"{key}: {shorten(text)} is none; {did_you_mean(text, known)}")
            return None
        return text

    def _text(self, key: str) -> str | None:
        value = self._given.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip():
            self.faults.append(f"{key}: has to be a text, and not empty")
        elif len(value) > _TEXT_MAX or not value.isprintable():
            self.faults.append(f"{key}: has to be printable, and of {_TEXT_MAX} characters at most")
        else:
            return value
        return None

    def _read_status(self) -> str | None:
        known = STATUSES.get(self._category or "")
        if self._given.get("status") is None:
            return None
        if known is None:
            if self._category:
                self.faults.append(f"status: the category {self._category} has none")
            return None
        text = self._given["status"]
        if self._category == "job" and isinstance(text, str) and text not in known:
            ours = _PRODUCERS_WORDS.get(text.lower(), text.lower())
            if ours in known:
                self.faults.append(f"status: {shorten(text)} is none; here it is {ours!r}")
                return None
        return self._word("status", known)

    def _read_age(self) -> Age | None:
        housekeeping = self._category in HOUSEKEEPING
        known = [str(Age.LAST_EVENT)] if housekeeping else [str(age) for age in Age]
        text = self._word("age", known, required=not housekeeping)
        return None if text is None else Age(text)

    def _after(self, key: str) -> int | None:
        if self._given.get(key) is None:
            return None
        try:
            return parse_age(self._given[key])
        except ValueError as error:
            self.faults.append(f"{key}: {error}")
            return None

    def _check(self) -> None:
        """Find what does not fit together."""
        archive, purge = self._archive_after, self._purge_after
        if self._given.get("archive_after") is None and self._given.get("purge_after") is None:
            self.faults.append(
                f"neither archive_after nor purge_after is given; {FOREVER!r} keeps for ever"
            )
        if self._category != "job":
            if self._given.get("archive_after") is not None:
                self.faults.append("archive_after: only jobs are archived")
            if self._age is Age.ARCHIVED:
                self.faults.append("age: only jobs are archived")
        if self._kind is not None and self._category not in ("job", "alert"):
            self.faults.append(f"kind: the category {self._category} has none")
        if archive is not None and (self._age is Age.ARCHIVED or self._status == ARCHIVED):
            self.faults.append("archive_after: these jobs are in the archive")
        if archive is not None and purge is not None and archive >= purge:
            self.faults.append("archive_after has to be less than purge_after")


def parse_age(value: object) -> int | None:
    """Return an age in microseconds, None for ``forever``.

    Raises:
        ValueError: it is none, or zero.

    """
    if not isinstance(value, str):
        raise ValueError('has to be a text with a unit, such as "30d"')  # noqa: TRY004
    text = value.strip()
    if text == FOREVER:
        return None
    if re.fullmatch(r"[0-9]{10,}[wdhms]", text) is not None:
        raise ValueError(f"{shorten(value)} is too long; {FOREVER!r} keeps for ever")
    if _AGE.fullmatch(text) is None:
        raise ValueError(f"{shorten(value)} is no age; {_age_hint(text)}")
    parts = re.findall(r"([0-9]+)([wdhms])", text)
    seconds = sum(int(count) * _LENGTHS[unit] for count, unit in parts)
    if seconds == 0:
        raise ValueError(f"{shorten(value)} would be at once; {FOREVER!r} keeps for ever")
    if seconds > _SECONDS_MAX:
        raise ValueError(f"{shorten(value)} is over 1,000 years; {FOREVER!r} keeps for ever")
    return seconds * MICROSECONDS


def _age_hint(text: str) -> str:
    """Return what may have been meant."""
    spelt = re.fullmatch(r"([0-9]+)\s*([a-z]+)", text.lower())
    if spelt is not None and spelt[2][:1] in _LENGTHS and not spelt[2].startswith("mo"):
        return f"did you mean '{spelt[1]}{spelt[2][0]}'?"
    if text.lower().replace(" ", "") in (FOREVER, "never", "keep", "ever", "infinite", "none"):
        return f"did you mean {FOREVER!r}?"
    return f'write "30d", "12h" or {FOREVER!r}'


def _days(count: int) -> int:
    return count * 86_400 * MICROSECONDS


def _preset(
    preset: str,
    category: str,
    age: Age,
    purge: int,
    status: str | None = None,
    archive: int | None = None,
) -> Policy:
    name = ".".join(part for part in (preset, category, status) if part)
    archive_after = None if archive is None else _days(archive)
    return Policy(name, category, age, archive_after, _days(purge), None, status, preset)


_ENDED: Final = tuple(
    str(status)
    for status in (
        JobStatus.SUCCEEDED,
        JobStatus.FAILED,
        JobStatus.CANCELLED,
        JobStatus.INTERRUPTED,
        JobStatus.LOST,
    )
)

PRESETS: Final[Mapping[str, tuple[Policy, ...]]] = {
    # What flowlord documents: 90 days. What runs is not in it: flowlord deleted that too.
    "flowlord": (
        *(_preset("flowlord", "job", Age.ENDED, 90, status) for status in _ENDED),
        _preset("flowlord", "job", Age.ARCHIVED, 90, ARCHIVED),
        _preset("flowlord", "alert", Age.LAST_EVENT, 90),
        _preset("flowlord", "file", Age.LAST_EVENT, 90),
        *(_preset("flowlord", category, Age.LAST_EVENT, 90) for category in HOUSEKEEPING),
    ),
    # Completed 30, Error 14, Archived 90, Submitted 2, Running 7; what it had no rule for is as
    # the nearest: queued as Submitted, what ended otherwise as Error.
    "amr": (
        _preset("amr", "job", Age.ENDED, 30, "succeeded", archive=7),
        *(_preset("amr", "job", Age.ENDED, 14, status, archive=7) for status in _ENDED[1:]),
        _preset("amr", "job", Age.LAST_EVENT, 2, "submitted"),
        _preset("amr", "job", Age.LAST_EVENT, 2, "queued"),
        _preset("amr", "job", Age.LAST_EVENT, 7, "running"),
        _preset("amr", "job", Age.ARCHIVED, 90, ARCHIVED),
        *(_preset("amr", category, Age.LAST_EVENT, 90) for category in HOUSEKEEPING),
    ),
}
"""Policies that are known by a name."""


def preset(name: str) -> tuple[Policy, ...]:
    """Return the policies of a preset; none for no name.

    Raises:
        PolicyError: there is none of this name.

    """
    if not name:
        return ()
    found = PRESETS.get(name)
    if found is None:
        raise PolicyError(f"{shorten(name)} is no preset; {did_you_mean(name, PRESETS)}")
    return found
