"""What the phases of a workflow file lead to: which starts which, and when those by clock are due.

Made of phases as ``workflow.loaded`` has them, so of any version of a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from daemon.workflows.cron import next_runs
from daemon.workflows.durations import parse_duration

RUNS_SHOWN: Final = 3
"""How many of the next runs of a phase are shown."""

Phase = Mapping[str, Any]


def graph_of(phases: Sequence[Phase]) -> dict[str, Any]:
    """Return the phases as nodes, by their place in the file, and what starts what as edges.

    A parent that is no phase of the file is a node of its own, ``missing``, without a place.
    """
    nodes: list[dict[str, Any]] = [
        {"phase": _name(phase), "index": index, "trigger": _trigger(phase), "missing": False}
        for index, phase in enumerate(phases)
    ]
    edges: list[dict[str, Any]] = []
    missing: set[str] = set()
    for index, phase in enumerate(phases):
        waited_for = str(phase.get("depends_on") or "")
        if not waited_for:
            continue
        parents = [place for place, each in enumerate(phases) if _is_parent(each, waited_for)]
        edges += [{"from": place, "to": index, "parent": waited_for} for place in parents]
        if not parents:
            missing.add(waited_for)
            edges.append({"from": None, "to": index, "parent": waited_for})
    nodes += [
        {"phase": name, "index": None, "trigger": None, "missing": True} for name in sorted(missing)
    ]
    return {"nodes": nodes, "edges": edges}


def _name(phase: Phase) -> str:
    topic, job = str(phase.get("topic") or ""), str(phase.get("job") or "")
    return str(phase.get("phase") or (f"{topic}:{job}" if job else topic))


def _is_parent(phase: Phase, waited_for: str) -> bool:
    """Return whether a phase is meant: a topic alone means each of its jobs."""
    name = _name(phase)
    return waited_for in (name, name.partition(":")[0])


def _trigger(phase: Phase) -> str | None:
    kinds = (("cron", "cron"), ("files", "files"), ("depends_on", "parent"))
    return next((kind for field, kind in kinds if phase.get(field)), None)


def next_of(phases: Sequence[Phase], after: datetime) -> list[dict[str, Any]]:
    """Return when each phase with a schedule is due next, and for which hour.

    The hour is what the producer writes into ``cron`` of ``meta``: that of the run, moved by the
    phase's offset. What cannot be read is an issue of the file, and is left out here.
    """
    return [found for index, phase in enumerate(phases) for found in _next(index, phase, after)]


def _next(index: int, phase: Phase, after: datetime) -> Iterator[dict[str, Any]]:
    cron, offset = phase.get("cron"), phase.get("offset")
    if not cron:
        return
    try:
        moved = timedelta(microseconds=parse_duration(str(offset)) if offset else 0)
        runs = [(run, run + moved) for run in next_runs(str(cron), after, RUNS_SHOWN)]
    except (ValueError, OverflowError):
        return
    yield {
        "phase": _name(phase),
        "index": index,
        "cron": cron,
        "offset": offset,
        "runs": [
            {"time": f"{run.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", "hour": f"{hour:%Y-%m-%dT%H}"}
            for run, hour in runs
        ],
    }
