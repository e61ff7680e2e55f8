"""How each task stands: what the daemon tells people and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from daemon.maintenance.runs import Result, Run
from domain.timestamps import format_optional

SECONDS: Final = (0.01, 0.1, 1, 10, 60, 300, 1_800, 7_200)
"""The buckets of how long runs take."""


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """How a task stands at one moment; times are microseconds UTC, None = never.

    ``schedule`` is a text for people: ``off`` is one that runs only when it is asked for.
    ``outcomes`` counts the runs since the start of the daemon. ``recorded`` is whether the last
    run is in the log too.
    """

    name: str
    summary: str
    schedule: str
    next_turn: int | None = None
    running_since: int | None = None
    asked: bool = False
    last: Run | None = None
    recorded: bool = True
    succeeded: int | None = None
    """When a run ended well last."""
    outcomes: Mapping[Result, int] = field(default_factory=dict)

    @property
    def failing(self) -> bool:
        """Whether the last run failed."""
        return self.last is not None and self.last.result is Result.FAILED

    @property
    def state(self) -> str:
        """Return ``running``, ``asked`` (it waits for others), ``failing``, ``waiting``, ``off``.

        A task is failing whose last run failed.
        """
        if self.running_since is not None:
            return "running"
        if self.asked:
            return "asked"
        if self.failing:
            return "failing"
        return "off" if self.schedule == "off" else "waiting"

    def document(self) -> dict[str, Any]:
        """Return the status as JSON."""
        last = None
        if self.last is not None:
            last = {**self.last.document(), "recorded": self.recorded}
        return {
            "name": self.name,
            "summary": self.summary,
            "schedule": self.schedule,
            "state": self.state,
            "next": format_optional(self.next_turn),
            "running_since": format_optional(self.running_since),
            "succeeded": format_optional(self.succeeded),
            "last": last,
        }
