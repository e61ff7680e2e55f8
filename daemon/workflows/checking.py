"""What is wrong with the phases of a file: each by itself, and all together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from daemon.workflows.cron import Cron
from daemon.workflows.dependencies import check_dependencies
from daemon.workflows.durations import parse_duration
from daemon.workflows.issues import Issues
from daemon.workflows.parsing import Phase
from daemon.workflows.pattern import Pattern
from daemon.workflows.templates import check_template
from domain.suggest import nearest, shorten

_KEYS: Final = (
    "cron", "offset", "job", "files", "count", "require", "retry_delay", "no_alert", "for", "by",
    "meta", "meta-file",
)  # fmt: skip
_UNITS: Final = ("hour", "hourly", "day", "daily", "week", "weekly", "month", "monthly")
_REQUIRED: Final = re.compile(r"\{meta:\w+\}")
_LOOKS_LIKE_CRON: Final = re.compile(r"@\w+( \S+)?|\S*[*0-9]\S*( \S+){4,5}")
_NOT_SPECIAL: Final = re.compile(r"\*\*|\{[^{}]*\}")


def check_phases(phases: Sequence[Phase], issues: Issues) -> None:
    """Find everything that is wrong with the phases of one file."""
    for phase in phases:
        _check_task(phase, issues)
        _check_keys(phase, issues)
        _check_trigger(phase, issues)
        _check_values(phase, issues)
        _check_files(phase, issues)
        _check_require(phase, issues)
        _check_meta(phase, issues)
        _check_effect(phase, issues)
        check_template(phase, issues)
    check_dependencies(phases, issues)


def _check_task(phase: Phase, issues: Issues) -> None:
    _, *jobs = phase.task.split(":")
    if len(jobs) > 1:
        issues.error("bad_task", f"task {shorten(phase.task)} has more than one colon", phase.index)
    named = phase.rule.first("job")
    if jobs and named and named != phase.job:
        message = f"job={named} of the rule is not used: the task says {phase.job!r}"
        issues.warning("job_ignored", message, phase.index)


def _check_keys(phase: Phase, issues: Issues) -> None:
    """Find what is not read of a rule: pairs that are none, and keys that nobody knows."""
    for fault in phase.rule.faults:
        issues.error("bad_rule", f"the rule cannot be read: {fault}", phase.index)
    for key, values in phase.rule.values.items():
        if key in _KEYS:
            _check_given(phase, key, values, issues)
        elif _is_bare_cron(key, values):
            message = (
                f"{key!r} is a schedule without 'cron=' in front, so the phase never runs by it"
            )
            issues.error("bare_cron", message, phase.index)
        elif (right := _misspelt(key)) is not None:
            message = f"{shorten(key)} is not read; write {right}="
            issues.error("unknown_rule_key", message, phase.index)
        elif not (phase.rule.first("files") and f"{{meta:{key}}}" in phase.template):
            # What a rule of files says more is known to its tasks, so the template may use it.
            near = nearest(key, _KEYS)
            hint = f"; did you mean {near!r}?" if near else ""
            message = f"unknown key {shorten(key)} in the rule{hint}"
            issues.warning("unknown_rule_key", message, phase.index)


def _check_given(phase: Phase, key: str, values: list[str], issues: Issues) -> None:
    if not any(values):
        issues.warning("empty_value", f"{key} has no value, which says nothing", phase.index)
    elif len(values) > 1 and key != "require":
        issues.warning("repeated_key", f"of several {key} only the first counts", phase.index)
    if key == "no_alert" and values[0].lower() in ("false", "no", "off", "0"):
        message = f"no_alert={values[0]} switches alerts off: any value does"
        issues.warning("no_alert_value", message, phase.index)


def _is_bare_cron(key: str, values: list[str]) -> bool:
    return not any(values) and bool(_LOOKS_LIKE_CRON.fullmatch(" ".join(key.split())))


def _misspelt(key: str) -> str | None:
    """Return the key that was meant, where only its case, a dash or a sign differs."""
    said = re.split(r"[:=]", key.strip().lstrip("?").lower().replace("-", "_"))[0]
    return next((known for known in _KEYS if known.replace("-", "_") == said), None)


def _check_trigger(phase: Phase, issues: Issues) -> None:
    rule = phase.rule
    if rule.first("cron") and rule.first("files"):
        message = "cron and files start it independently of each other"
        issues.warning("two_triggers", message, phase.index)
    explained = rule.faults or any(_is_bare_cron(*pair) for pair in rule.values.items())
    if phase.topic and not phase.has_trigger and not explained:
        message = "no cron, files or dependsOn: it runs only by hand or as a backload"
        issues.warning("no_trigger", message, phase.index)


def _check_values(phase: Phase, issues: Issues) -> None:
    rule = phase.rule
    if cron := rule.first("cron"):
        try:
            Cron(cron)
        except ValueError as error:
            issues.error("bad_cron", f"cron={cron[:80]}: {error}", phase.index)
    for key in ("offset", "for", "retry_delay"):
        if not (text := rule.first(key)):
            continue
        try:
            negative = parse_duration(text) < 0
        except ValueError as error:
            issues.error("bad_duration", f"{key}: {error}", phase.index)
        else:
            if negative and key == "retry_delay":
                issues.error("bad_duration", f"{key}: {text!r} is negative", phase.index)
    by = rule.first("by")
    if by and by.lower() not in _UNITS:
        message = f"by={by[:80]} counts as day; known are: {', '.join(_UNITS)}"
        issues.error("bad_by", message, phase.index)


def _check_files(phase: Phase, issues: Issues) -> None:
    pattern = phase.rule.first("files")
    try:
        Pattern(pattern)
    except ValueError as error:
        message = f"files={pattern[:200]} matches nothing: {error}"
        issues.error("bad_pattern", message, phase.index)
    if found := _NOT_SPECIAL.search(pattern):
        meaning = "the same as *" if found[0] == "**" else "no choice and no token, but plain text"
        issues.warning("plain_pattern", f"files: {found[0][:80]} is {meaning}", phase.index)


def _check_require(phase: Phase, issues: Issues) -> None:
    said = ",".join(phase.rule.values.get("require", []))
    if not said:
        return
    if not phase.rule.require:
        message = f"require={said[:80]} requires nothing; write require={{meta:KEY}}"
        issues.error("bad_require", message, phase.index)
    elif ignored := _REQUIRED.sub("", said).replace(",", " ").strip():
        issues.warning("bad_require", f"require: {shorten(ignored)} is not read", phase.index)


def _check_meta(phase: Phase, issues: Issues) -> None:
    rule = phase.rule
    text = rule.first("meta")
    if text and rule.first("meta-file"):
        issues.error("meta_and_file", "meta and meta-file cannot be used together", phase.index)
    bad = [part for part in text.split("|") if text and not re.match(r"[^:]+:", part)]
    if bad:
        message = f"meta: {shorten(bad[0])} is no list such as key:a,b"
        issues.error("bad_meta", message, phase.index)
    lengths = {key: len(values) for key, values in rule.meta.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{key} has {length}" for key, length in lengths.items())
        issues.error("unequal_meta", f"the lists of meta differ in length: {said}", phase.index)


def _check_effect(phase: Phase, issues: Issues) -> None:
    """Find keys of the rule that have no effect on a phase of this kind."""
    for key, why in _without_effect(phase):
        if phase.rule.first(key):
            issues.warning("unused_rule_key", f"{key} has no effect: {why}", phase.index)


def _without_effect(phase: Phase) -> Iterable[tuple[str, str]]:
    rule = phase.rule
    yield "count", "files are not gathered to groups"
    if not phase.retry:
        yield "retry_delay", "retry is 0"
    if not phase.has_trigger:
        return
    if not rule.first("cron"):
        yield "offset", "it shifts the time of a cron phase"
        yield "for", "it is the span of a cron phase"
    if not phase.depends_on:
        yield "require", "it is for a phase with dependsOn"
    if not rule.first("cron") and not phase.depends_on:
        yield "meta", "a file starts one task"
        yield "meta-file", "a file starts one task"
