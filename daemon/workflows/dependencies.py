"""How the phases of one file hang together: parents, circles, repeats."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from daemon.workflows.issues import Issues
from daemon.workflows.parsing import Phase
from domain.suggest import did_you_mean, shorten

_Node: TypeAlias = int | str
"""A phase by its index, or a name that phases wait for: ``topic:job``, or a topic alone."""
_Edges: TypeAlias = Mapping[_Node, Sequence[_Node]]


def check_dependencies(phases: Sequence[Phase], issues: Issues) -> None:
    """Find parents that are not in the file, phases that start each other, and repeats."""
    known = {phase.name for phase in phases} | {phase.topic for phase in phases}
    known.discard("")
    for phase in phases:
        if phase.depends_on and _waited_for(phase) not in known:
            hint = did_you_mean(phase.depends_on, known) if known else ""
            message = f"dependsOn {shorten(phase.depends_on)} is no phase of this file; {hint}"
            issues.error("unknown_depends_on", message.rstrip("; "), phase.index)
    _check_repeats(phases, issues)
    edges = _edges(phases)
    for circle in _circles(edges):
        path = _shortest_way(edges, circle)
        names = " -> ".join(phases[index].name for index in path)
        issues.error("cycle", f"phases start each other without end: {names}", path[0])


def _waited_for(phase: Phase) -> str:
    topic, _, job = phase.depends_on.partition(":")
    job = job.partition(":")[0]
    return f"{topic}:{job}" if job else topic


def _check_repeats(phases: Sequence[Phase], issues: Issues) -> None:
    first: dict[str, Phase] = {}
    for phase in phases:
        earlier = first.setdefault(phase.name, phase)
        if not phase.name or earlier is phase:
            continue
        same = (phase.depends_on, phase.rule.text) == (earlier.depends_on, earlier.rule.text)
        if same and phase.has_trigger:
            message = f"{phase.name} is started twice: phase {earlier.index} is the same"
            issues.error("duplicate_phase", message, phase.index)
        else:
            message = f"{phase.name} is also phase {earlier.index}, whose retries hold for both"
            issues.warning("duplicate_phase", message, phase.index)


def _edges(phases: Sequence[Phase]) -> _Edges:
    """Return what starts what: a phase the names it goes by, a name the phases that wait for it."""
    edges: defaultdict[_Node, list[_Node]] = defaultdict(list)
    for phase in phases:
        if phase.topic:
            edges[phase.index] = list(dict.fromkeys((phase.topic, phase.name)))
        if phase.depends_on:
            edges[_waited_for(phase)].append(phase.index)
    return edges


def _circles(edges: _Edges) -> list[set[_Node]]:
    """Return the sets of nodes that all reach each other, each with more than one (Tarjan)."""
    order: dict[_Node, int] = {}
    low: dict[_Node, int] = {}
    path: list[_Node] = []
    on_path: set[_Node] = set()
    circles = []
    for root in list(edges):
        stack = [(root, iter(edges.get(root, ())))] if root not in order else []
        while stack:
            node, following = stack[-1]
            if node not in order:
                order[node] = low[node] = len(order)
                path.append(node)
                on_path.add(node)
            step = next(following, None)
            if step is None:
                stack.pop()
                if stack:
                    parent = stack[-1][0]
                    low[parent] = min(low[parent], low[node])
                if low[node] == order[node]:
                    members = set(path[path.index(node) :])
                    del path[path.index(node) :]
                    on_path -= members
                    if len(members) > 1:
                        circles.append(members)
            elif step not in order:
                stack.append((step, iter(edges.get(step, ()))))
            elif step in on_path:
                low[node] = min(low[node], order[step])
    return circles


def _shortest_way(edges: _Edges, circle: set[_Node]) -> list[int]:
    """Return the phases of a circle from its first phase back to it."""
    start = min(node for node in circle if isinstance(node, int))
    came: dict[_Node, _Node] = {}
    queue: deque[_Node] = deque([start])
    while start not in came:
        node = queue.popleft()
        for step in edges.get(node, ()):
            if step in circle and step not in came:
                came[step] = node
                queue.append(step)
    way: list[_Node] = [start, came[start]]
    while way[-1] != start:
        way.append(came[way[-1]])
    return [node for node in reversed(way) if isinstance(node, int)]
