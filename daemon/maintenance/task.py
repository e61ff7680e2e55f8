"""What a task of the daemon's housekeeping is: a bounded piece of work with a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

Stopping = Callable[[], bool]
"""Whether the daemon stops: a task that may take long asks it now and then, and ends early."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run of a task did.

    ``counts`` says how much was done, by what was done: where every count is 0, the run found
    nothing to do. ``message`` is for people; where nothing was done it says why, and a run that
    says the same as the one before is not recorded. ``complete`` is False where
    the run ended early because the daemon stops, ``ok`` where it found that something is wrong: it
    counts as failed then.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    message: str | None = None
    complete: bool = True
    ok: bool = True


class MaintenanceTask(Protocol):
    """A task; one run at a time, on the thread of the housekeeping.

    What a run raises makes it a failed one: a `ChronicledError` with its detail; `NotReady` says
    that it cannot be done now, and skips the run. A task that may take long is made with a
    `Stopping`.
    """

    @property
    def name(self) -> str:
        """What settings, commands, events and metrics call it: one word in small letters."""
        ...

    @property
    def summary(self) -> str:
        """What it does, in one sentence."""
        ...

    def run(self, now: int) -> Outcome:
        """Do what is to be done at a moment (microseconds UTC), a bounded piece of it at most."""
        ...
