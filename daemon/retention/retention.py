"""Retention as the daemon has it: its policies, its plans, and applying one of them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Container, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol

from daemon.retention.applying import Applied, Applying, Archiver, Progress, WritableLog
from daemon.retention.errors import PlanChanged
from daemon.retention.plan import Plan
from daemon.retention.planning import AgedViews, make_plan
from daemon.retention.streams import ReadableLog
from domain.errors import NotReady
from domain.retention import Policies
from domain.suggest import shorten

PLANS_KEPT: Final = 4
"""How many plans are remembered, to be paged through and applied."""

WAIT_SECONDS: Final = 5.0
"""How long it is waited for another plan that is being made."""


class RetentionLog(ReadableLog, WritableLog, Protocol):
    """The log as retention needs it."""


class Retention:
    """The policies of one daemon; from any thread, one plan is made and one applied at a time."""

    def __init__(
        self,
        log: RetentionLog,
        views: AgedViews,
        policies: Policies,
        *,
        batch: int = 20,
        run_max: int = 20_000,
        applies: bool = True,
        archiver: Archiver | None = None,
        stopping: Callable[[], bool] = lambda: False,
        pause: Callable[[float], object] = lambda _seconds: None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.policies = policies
        self.applies = applies
        """Whether the daemon applies the policies by itself."""
        self.archiver = archiver
        """What moves jobs to the archive; None where there is none."""
        self.stopping = stopping
        self._pause = pause
        self._wake = wake
        self._log, self._views = log, views
        self._batch, self._run_max = batch, run_max
        self._planning, self._applying = threading.Lock(), threading.Lock()
        self._plans: OrderedDict[str, Plan] = OrderedDict()

    def plan(self, now: int, skip: Container[str] = ()) -> Plan:
        """Return what is due now, and remember it; ``skip`` are streams that are left out.

        Raises:
            NotReady: the views are not built, or the daemon stops.

        """
        plan = self.preview(self.policies, now, skip)
        self._plans[plan.id] = plan
        self._plans.move_to_end(plan.id)
        while len(self._plans) > PLANS_KEPT:
            self._plans.popitem(last=False)
        return plan

    def preview(
        self,
        policies: Policies,
        now: int,
        skip: Container[str] = (),
        *,
        archiving: bool | None = None,
    ) -> Plan:
        """Return what would be due by other policies; it cannot be applied.

        ``archiving`` says whether there would be an archive; None is for as it is.

        Raises:
            NotReady: as for `plan`, or another plan is being made.

        """
        with _one_at_a_time(self._planning, "made", WAIT_SECONDS):
            return make_plan(
                self._log,
                self._views,
                policies,
                now,
                items_max=self._run_max,
                archiving=self.archiver is not None if archiving is None else archiving,
                stopping=self.stopping,
                skip=skip,
            )

    def kept(self, plan_id: str) -> Plan | None:
        """Return a plan that is remembered."""
        return self._plans.get(plan_id)

    def find(self, plan_id: str, now: int) -> Plan:
        """Return the plan that somebody was shown.

        Raises:
            PlanChanged: it is not remembered, and what is due now is something else.

        """
        plan = self.kept(plan_id) or self.plan(now)
        if plan.id != plan_id:
            raise PlanChanged(f"The plan {shorten(plan_id)} is not what is due now.")
        return plan

    def apply(
        self,
        plan: Plan,
        now: int,
        *,
        actor: str | None = None,
        limit: int | None = None,
        progress: Progress = lambda _done, _total: None,
    ) -> Applied:
        """Do what a plan says, where its entities are as they were planned.

        Raises:
            NotReady: another plan is being applied, or the daemon stops.
            StorageFailed, DiskFull: the disk refused; what was done stays done.

        """
        with self.alone():
            applying = Applying(
                self._log,
                self.policies,
                plan,
                now,
                actor=actor,
                archiver=self.archiver,
                batch=self._batch,
                limit=limit,
                pause=self._pause,
            )
            try:
                return applying.run(progress)
            finally:
                self._wake()

    def alone(self) -> AbstractContextManager[None]:
        """Have nobody apply a plan meanwhile; one that is being applied is not waited for.

        Raises:
            NotReady: another plan is being applied.

        """
        return _one_at_a_time(self._applying, "applied", 0)


@contextmanager
def _one_at_a_time(lock: threading.Lock, done: str, seconds: float) -> Iterator[None]:
    if not lock.acquire(timeout=seconds):
        raise NotReady(f"Another plan is being {done}.")
    try:
        yield
    finally:
        lock.release()
