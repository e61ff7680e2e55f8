"""What goes wrong in a simulation: when, how often, and how often it did.

Disk, store and clock ask here before each of their calls. A fault is armed for some calls and
meets those it fits; a kill is armed for one call of any kind, and is met by that one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from random import Random
from typing import Final

SLOW: Final = ("slow disk", "slow store")
"""Kinds that a call gets over; it only takes long."""


@dataclass(slots=True)
class Fault:
    """A fault that is armed: it meets calls of ``word`` on names like ``name``, so many times."""

    kind: str
    word: str
    name: str
    skip: int
    times: int


class Faults:
    """The faults of one simulation; ``fired`` counts them by kind."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.fired: Counter[str] = Counter()
        self.dead = False
        """Whether the daemon's process has ended: no call of it reaches anything any more."""
        self.on_kill: Callable[[], None] = lambda: None
        self.on_slow: Callable[[], None] = lambda: None
        self.on_sync_lost: Callable[[str], None] = lambda _: None
        self._armed: list[Fault] = []
        self._kill_at: int | None = None
        self._kill_at_sync = False
        self.calls = 0

    def arm(self, kind: str, word: str, name: str = "*", *, skip: int = 0, times: int = 1) -> None:
        """Let a kind of fault meet ``times`` calls, after ``skip`` that pass."""
        self._armed.append(Fault(kind, word, name, skip, times))

    def arm_kill(self, after: int) -> None:
        """End the process at a call, so many calls from now."""
        self._kill_at = self.calls + after

    def arm_kill_at_sync(self) -> None:
        """End the process when it is about to sync the log: written, and not durable yet.

        Or when that has failed, and it could do nothing about it any more.
        """
        self._kill_at_sync = True

    def heal(self) -> None:
        """Disarm everything."""
        self._armed.clear()
        self._kill_at, self._kill_at_sync = None, False

    @property
    def armed(self) -> bool:
        """Whether anything may yet go wrong."""
        return bool(self._armed)

    def meet(self, word: str, name: str) -> str | None:
        """Return the kind of fault that a call meets, None where it goes well.

        The process ends here where that was armed; then every call is met by ``dead``.
        """
        if self.dead:
            return "dead"
        self.calls += 1
        at_sync = self._kill_at_sync and word == "sync" and name.endswith("log.db-wal")
        if at_sync or (self._kill_at is not None and self.calls >= self._kill_at):
            self._kill_at, self._kill_at_sync = None, False
            if at_sync and self.random.random() < 0.5:
                self.on_sync_lost(name)
            self.on_kill()
            return "dead"
        for fault in list(self._armed):
            if fault.word == word and fnmatchcase(name, fault.name):
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                if fault.times <= 0:
                    self._armed.remove(fault)
                self.fired[fault.kind] += 1
                if fault.kind in SLOW:
                    self.on_slow()
                    continue
                return fault.kind
        return None
