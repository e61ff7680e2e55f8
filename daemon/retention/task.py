"""Retention as a task of the housekeeping: plans, and applies the plan, until nothing is due."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from daemon.maintenance.task import Outcome
from daemon.retention.applying import Applied
from daemon.retention.retention import Retention
from daemon.retention.summarising import Summarising
from domain.errors import NotReady
from domain.retention import Action

ACTOR: Final = "schedule"
NOT_APPLIED: Final = "[retention] apply is false: `chronicled retention apply` does what is due"
PLANS_MAX: Final = 50
"""How many plans one run makes at the most; each is bounded by itself."""


class RetentionTask:
    """Applies the policies."""

    name = "retention"
    summary = "Archive and purge what is due by the policies, and forget old purges."

    def __init__(self, retention: Retention, summarising: Summarising) -> None:
        self._retention = retention
        self._summarising = summarising

    def run(self, now: int) -> Outcome:
        """Apply what is due at a moment, and forget the purges whose time is over."""
        outcome = self._apply(now)
        if not outcome.complete:
            return outcome
        forgotten = self._summarising.run(now)
        return replace(outcome, counts={**outcome.counts, **forgotten})

    def _apply(self, now: int) -> Outcome:
        """Apply what is due; where a plan had no room for all, another one follows."""
        counts = dict.fromkeys(("archived", "purged", "trimmed", "left", "events", "bytes"), 0)
        message = None
        if not self._retention.applies:
            return Outcome(message=NOT_APPLIED if self._retention.policies else None)
        # The views may lag behind what was just done.
        seen: set[str] = set()
        for _ in range(PLANS_MAX):
            try:
                plan = self._retention.plan(now, seen)
                applied = self._retention.apply(plan, now, actor=ACTOR, progress=self._watch)
            except NotReady:
                if not self._retention.stopping():
                    raise
                return Outcome(counts, message, complete=False)
            _count(counts, applied)
            message = applied.message or message
            if not plan.more:
                break
            seen.update(item.stream for item in plan.items)
        if plan.unarchivable:
            message = f"{plan.unarchivable} jobs are not archived: [retention] archive is not set"
        return Outcome(counts, message)

    def _watch(self, _done: int, _total: int) -> None:
        if self._retention.stopping():
            raise NotReady("The daemon is stopping.")


def _count(counts: dict[str, int], applied: Applied) -> None:
    done = applied.done
    counts["archived"] += done.count(Action.ARCHIVE)
    counts["purged"] += done.count(Action.PURGE)
    counts["trimmed"] += done.count(Action.TRIM)
    counts["left"] += len(applied.left)
    counts["events"] += done.events
    counts["bytes"] += done.bytes
