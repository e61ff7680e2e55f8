"""Workflows as they stand at a place in the log: their phases, and which follows which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from domain.events import RecordedEvent

LOADED: Final = "workflow.loaded"
REMOVED: Final = "workflow.removed"


class Phase(NamedTuple):
    """What following a workflow asks of one of its phases."""

    name: str
    depends_on: str
    files: str
    require: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Workflow:
    """One version of a workflow file; ``position`` is that of the event that loaded it."""

    path: str
    sha256: str | None
    position: int
    phases: tuple[Phase, ...]

    @classmethod
    def of(cls, event: RecordedEvent) -> Workflow:
        """Return the version that an event loads; what is no phase is passed over."""
        given = event.payload.get("phases") or ()
        phases = tuple(_phase(each) for each in given if _name(each))
        return cls(event.subject, event.payload.get("sha256"), event.position, phases)

    def after(self, kind: str | None, phase: str | None) -> list[Phase]:
        """Return the phases that follow a job of a kind and phase."""
        parents = {each for each in (kind, phase) if each}
        return [each for each in self.phases if each.depends_on in parents]

    def before(self, phase: str | None) -> frozenset[str]:
        """Return what a phase depends on: kinds, and names of phases."""
        return frozenset(
            each.depends_on for each in self.phases if each.name == phase and each.depends_on
        )

    def patterns(self, phase: str | None) -> list[str]:
        """Return the file patterns of a phase."""
        return [each.files for each in self.phases if each.name == phase and each.files]


class Workflows:
    """Every workflow in force, by path, taken on event by event."""

    def __init__(self) -> None:
        self.in_force: dict[str, Workflow] = {}
        self.met: set[str] = set()
        """The paths of which there was any version yet."""

    def apply(self, event: RecordedEvent) -> bool:
        """Take over what an event says; return whether it is the first version of its path."""
        first = event.subject not in self.met
        if event.type == LOADED:
            self.in_force[event.subject] = Workflow.of(event)
        else:
            self.in_force.pop(event.subject, None)
        self.met.add(event.subject)
        return first and event.type == LOADED

    def find(self, path: str | None) -> Workflow | None:
        """Return the workflow in force at a path."""
        return None if path is None else self.in_force.get(path)


def _name(given: object) -> str:
    return _text(given, "phase") if isinstance(given, Mapping) else ""


def _phase(given: Mapping[str, Any]) -> Phase:
    require = given.get("require")
    keys = tuple(str(key) for key in require) if isinstance(require, list) else ()
    return Phase(_name(given), _text(given, "depends_on"), _text(given, "files"), keys)


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    return value if isinstance(value, str) else ""
