"""Tasks that other parts of the daemon do by themselves; here they are listed, and asked for."""

from __future__ import annotations

from typing import Final

from daemon.backup.status import Backup, Kind
from daemon.lifecycle import Service
from daemon.maintenance.task import Outcome, Stopping
from domain.errors import NotReady


class SnapshotsTask:
    """The task ``snapshots``: the backup takes them by its own schedule, and when it is asked."""

    name = "snapshots"
    summary = "Copy the whole log to the backup's place."

    def __init__(self, backup: Backup, stopping: Stopping) -> None:
        self._backup = backup
        self._stopping = stopping

    def run(self, now: int) -> Outcome:  # noqa: ARG002
        """Have the backup take a snapshot, where anything is new."""
        done = self._backup.perform(Kind.CREATE, {}, self._watch)
        if done["skipped"]:
            return Outcome({"snapshots": 0})
        return Outcome({"snapshots": 1, "bytes": int(done["snapshot"].get("bytes") or 0)})

    def _watch(self, done: int, total: int) -> None:  # noqa: ARG002
        if self._stopping():
            raise NotReady("The daemon is stopping.")


WOKEN: Final = {
    "truncation": "Remove archived and purged events from the log, and give their room back.",
    "overdue": "Raise an alert for each attempt that takes longer than it may.",
}
"""Services that work all the time, and what they do; asked for, they look at once."""


class WokenTask:
    """The task of such a service."""

    def __init__(self, service: Service, summary: str) -> None:
        self.name = service.name
        self.summary = summary
        self._woken = service.woken

    def run(self, now: int) -> Outcome:  # noqa: ARG002
        """Wake the service."""
        self._woken.set()
        return Outcome({}, "it was woken, and looks for work now")
