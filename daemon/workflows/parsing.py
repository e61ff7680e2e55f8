"""The phases of a workflow file: what each says, as far as it can be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from daemon.workflows.issues import Issues
from daemon.workflows.rules import Rule
from domain.limits import INTEGER_MAX
from domain.suggest import did_you_mean, shorten

PHASES_MAX: Final = 1_000
"""More phases than this of one file are not looked at."""

_TEXTS: Final = ("task", "dependsOn", "rule", "template")
_KEYS: Final = (*_TEXTS, "retry")


@dataclass(frozen=True)
class Phase:
    """One phase; ``index`` is its place in the file."""

    index: int
    task: str = ""
    depends_on: str = ""
    rule: Rule = field(default_factory=Rule)
    retry: int = 0
    template: str = ""

    @property
    def topic(self) -> str:
        """What stands before the colon of the task."""
        return self.task.partition(":")[0]

    @property
    def job(self) -> str:
        """What stands behind it, else the job of the rule."""
        _, colon, job = self.task.partition(":")
        return job.partition(":")[0] if colon else self.rule.first("job")

    @property
    def name(self) -> str:
        """``topic:job``, or the topic alone."""
        return f"{self.topic}:{self.job}" if self.job else self.topic

    @property
    def has_trigger(self) -> bool:
        """Whether anything starts it by itself."""
        return bool(self.depends_on or self.rule.first("cron") or self.rule.first("files"))

    def document(self) -> dict[str, Any]:
        """Return it as it stands in an event: what is empty is left out."""
        first = self.rule.first
        said = {
            "phase": self.name,
            "topic": self.topic,
            "job": self.job,
            "depends_on": self.depends_on,
            "rule": self.rule.text,
            "retry": self.retry,
            "template": self.template,
            "cron": first("cron"),
            "offset": first("offset"),
            "files": first("files"),
            "require": self.rule.require,
            "retry_delay": first("retry_delay"),
            "no_alert": bool(first("no_alert")),
            "for": first("for"),
            "by": first("by"),
            "meta": self.rule.meta,
            "meta_file": first("meta-file"),
            "count": first("count"),
        }
        return {name: value for name, value in said.items() if value}


def read_phases(tables: Mapping[str, Any], issues: Issues) -> tuple[Phase, ...]:
    """Return the phases of a file's tables; whatever else is there is an issue."""
    entries: list[Any] = []
    for key, value in tables.items():
        if _plain(key) != "phase":
            issues.error("unknown_key", f"unknown key {shorten(key)}; a file holds [[phase]] alone")
        elif not isinstance(value, list):
            issues.error("wrong_type", f"{key} is no array of tables: write [[{key}]]")
        else:
            entries += value
    spelt = [key for key in tables if _plain(key) == "phase"]
    if len(spelt) > 1:
        message = f"{' and '.join(spelt)} are one key; the order of their phases is lost"
        issues.error("duplicate_key", message)
    if not entries:
        issues.warning("no_phases", "the file has no [[phase]]")
    if len(entries) > PHASES_MAX:
        issues.error("too_many_phases", f"of {len(entries)} phases only {PHASES_MAX} are read")
    return tuple(
        _read_phase(index, entry, issues) for index, entry in enumerate(entries[:PHASES_MAX])
    )


def _read_phase(index: int, entry: Any, issues: Issues) -> Phase:
    if not isinstance(entry, dict):
        issues.error("wrong_type", f"a phase is {_kind(entry)}, not a table", index)
        return Phase(index)
    known = {_plain(key): key for key in _KEYS}
    said: dict[str, Any] = {}
    for key, value in entry.items():
        name = known.get(_plain(key))
        if name is None:
            hint = did_you_mean(key, _KEYS)
            issues.error("unknown_key", f"unknown key {shorten(key)}; {hint}", index)
        elif name in said:
            issues.error(
                "duplicate_key", f"{key!r} is {name!r} once more; which counts is open", index
            )
        else:
            said[name] = value
    texts = {name: _text(index, name, said.get(name), issues) for name in _TEXTS}
    phase = Phase(
        index,
        texts["task"],
        texts["dependsOn"],
        Rule.read(texts["rule"]),
        _retry(index, said.get("retry"), issues),
        texts["template"],
    )
    if not phase.topic and not ("task" in said and not isinstance(said["task"], str)):
        issues.error("missing_task", "the phase has no task", index)
    return phase


def _text(index: int, name: str, value: Any, issues: Issues) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    issues.error("wrong_type", f"{name} is {_kind(value)}, not text", index)
    return ""


def _retry(index: int, value: Any, issues: Issues) -> int:
    if value is None:
        return 0
    if type(value) is not int or value > INTEGER_MAX:
        issues.error("wrong_type", f"retry is {_kind(value)}, not a whole number", index)
        return 0
    if value < 0:
        issues.error("negative_retry", f"retry is {value}: nothing is tried again", index)
        return 0
    return value


def _plain(key: str) -> str:
    """Return a key as it is compared: ``dependsOn``, ``DependsOn`` and ``depends_on`` are one."""
    return key.lower().replace("_", "")


def _kind(value: object) -> str:
    names = {
        bool: "a boolean", int: "a number", float: "a number", str: "text", list: "an array",
        dict: "a table",
    }  # fmt: skip
    return names.get(type(value), "a date or time")
