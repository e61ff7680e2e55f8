"""Which phases a file matches, which job was started for it, and why it is none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from typing import Final, NamedTuple

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import EventQuery
from daemon.workflows.conclusion import SOURCE, conclude, first_value, meta_of
from daemon.workflows.pattern import matches
from daemon.workflows.phases import Workflow, Workflows
from domain.clock import effective_time
from domain.events import NewEvent, RecordedEvent
from domain.suggest import shorten
from projections.runs import RunJob

_EARLIER_MAX: Final = 100
"""Of how many matches that were before a file's first message the message is told."""


class _Rule(NamedTuple):
    workflow: str
    phase: str
    pattern: str


def matched(event: RecordedEvent, workflows: Workflows) -> Iterator[NewEvent]:
    """Yield what is to be recorded of an observed file: a match a workflow, or why there is none.

    Where there never was a workflow, nothing is.
    """
    if not workflows.met:
        return
    rules = _rules(workflows.in_force.values())
    phases: dict[str, list[str]] = {}
    malformed: list[_Rule] = []
    for rule in rules:
        try:
            fits = matches(rule.pattern, event.subject)
        except ValueError:
            malformed.append(rule)
            continue
        if fits and rule.phase not in phases.setdefault(rule.workflow, []):
            phases[rule.workflow].append(rule.phase)
    for workflow, names in phases.items():
        if names:
            yield _match(event, workflow, names, None)
    if not any(phases.values()):
        yield _match(event, None, None, _reason(event.subject, rules, malformed))


def started_for(
    log: EventLog, event: RecordedEvent, job: RunJob, workflow: Workflow
) -> NewEvent | None:
    """Return what is to be recorded of a job that a file rule started, None for another job."""
    path = _started_by(log, event, workflow.patterns(job.phase))
    if path is None:
        return None
    query = EventQuery(
        stream=f"file/{path}", types=("file.observed",), before=event.position, descending=True
    )
    observed = log.select(query, 1).events
    return conclude(
        "file.matched",
        path,
        (job.id, path),
        job.submitted,
        {"workflow": workflow.path, "phases": [job.phase], "jobs": [job.id]},
        cause=observed[0].id if observed else None,
    )


def _started_by(log: EventLog, event: RecordedEvent, patterns: list[str]) -> str | None:
    """Return the path of the file that a job was started for, by its ``meta`` or its instruction.

    A worker that says what file it wrote overwrites the one it was started for. The rule and the
    file's name stay, and where the instruction begins with such a path it is the one.
    """
    meta = meta_of(event)
    path = first_value(meta, "file")
    if path and _any_fits(patterns, path):
        return path
    name = first_value(meta, "filename")
    if not name or first_value(meta, "files") not in patterns:
        return None
    query = EventQuery(stream=event.stream, types=("job.submitted",))
    for submitted in log.select(query, 1).events:
        params = submitted.payload.get("params")
        info = params.get("info") if isinstance(params, Mapping) else None
        path = re.split("[?#]", info, maxsplit=1)[0] if isinstance(info, str) else ""
        if path.rpartition("/")[2] == name and _any_fits(patterns, path):
            return path
    return None


def started_before(log: EventLog, event: RecordedEvent) -> Iterator[NewEvent]:
    """Yield the jobs that were started for a file before its first message came, for that one."""
    query = EventQuery(
        stream=event.stream, types=("file.matched", "file.observed"), before=event.position
    )
    earlier = log.select(query, _EARLIER_MAX).events
    if any(each.type == "file.observed" for each in earlier):
        # An earlier message has taken them.
        return
    for match in earlier:
        said = match.payload
        if match.source != SOURCE or not said.get("jobs"):
            continue
        parts = (*said["jobs"], event.subject, event.id, event.source)
        payload = {name: said[name] for name in ("workflow", "phases", "jobs")}
        yield conclude("file.matched", event.subject, parts, match.time, payload, cause=event.id)


def _match(
    event: RecordedEvent, workflow: str | None, phases: list[str] | None, reason: str | None
) -> NewEvent:
    return conclude(
        "file.matched",
        event.subject,
        (event.source, event.id, event.subject, workflow or ""),
        effective_time(event),
        {"workflow": workflow, "phases": phases, "reason": reason},
        cause=event.id,
    )


def _rules(workflows: Iterable[Workflow]) -> list[_Rule]:
    return [
        _Rule(workflow.path, phase.name, phase.files)
        for workflow in sorted(workflows, key=lambda each: each.path)
        for phase in workflow.phases
        if phase.files
    ]


def _any_fits(patterns: Iterable[str], path: str) -> bool:
    for pattern in patterns:
        try:
            if matches(pattern, path):
                return True
        except ValueError:
            continue
    return False


def _reason(path: str, rules: list[_Rule], malformed: list[_Rule]) -> str:
    """Say why no rule matches, and which pattern goes along with the path the farthest."""
    if not rules:
        return "no workflow has a file rule"
    sound = [rule for rule in rules if rule not in malformed]
    said = "no pattern matches"
    if sound:
        nearest = max(sound, key=lambda rule: _common(rule.pattern, path))
        said += f"; the nearest is {shorten(nearest.pattern)} of {nearest.phase}"
    if malformed:
        first = malformed[0]
        said += f"; {shorten(first.pattern)} of {first.phase} is malformed"
        said += f", as are {len(malformed) - 1} more" if len(malformed) > 1 else ""
    return said


def _common(pattern: str, path: str) -> int:
    """Return how many parts of the path fit the pattern's from the beginning."""
    pairs = zip(pattern.split("/"), path.split("/"), strict=False)
    return sum(1 for _ in takewhile(lambda pair: _any_fits([pair[0]], pair[1]), pairs))
