"""What of a task's runs is written into the log.

A run that found nothing to do is not recorded where the last recorded one did not either, unless
somebody asked for it: so its start is held back until there is something to tell. The last run
that was left out so is recorded when the daemon stops.

The alert of a task is raised with the first run that fails, and resolved with the next one that
succeeds, each in the transaction of that run.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from daemon.eventlog.log import EventLog
from daemon.eventlog.removal import trim
from daemon.eventlog.requests import Append, Work
from daemon.eventlog.transaction import Transaction
from daemon.intake.message import identity
from daemon.maintenance.runs import (
    SOURCE,
    Reason,
    Result,
    Run,
    newest_events,
    recorded_runs,
    stream_of,
)
from domain.catalog import validate_payload
from domain.events import NewEvent

KIND: Final = "maintenance"
"""The kind of the alerts."""
KEPT_EVENTS: Final = 400
"""How many events of a task's stream are kept at least: two for each run."""
TRIM_EVENTS: Final = 100
"""So many events are removed at once."""
_LOOKED: Final = 50
"""How many runs are looked at for the last one that succeeded."""
_OPEN: Final = frozenset({"alert.raised", "alert.acknowledged", "alert.notified"})


class Ledger:
    """The runs of one task in the log; used by one thread, but for `runs`."""

    def __init__(self, log: EventLog, task: str) -> None:
        self._log = log
        self._task = task
        self._version = 0
        self._last: Run | None = None
        """The last run that is recorded."""
        self._held: Run | None = None
        """A run whose start is not recorded."""
        self._left_out: Run | None = None
        """The last run, where it was left out."""
        self.succeeded: int | None = None
        """When a run ended well last."""

    @property
    def holds_back(self) -> bool:
        """Whether the run that goes on has no start in the log."""
        return self._held is not None

    def runs(self, limit: int) -> list[Run]:
        """Return the newest runs that are recorded, the newest first."""
        return recorded_runs(self._log, self._task, limit)[1]

    def open(self, now: int) -> Run | None:
        """Read the log; return the last run. One that was cut off is recorded as interrupted."""
        self._version, runs = recorded_runs(self._log, self._task, _LOOKED)
        ends = [run.ended for run in runs if run.result is Result.SUCCEEDED]
        self.succeeded = ends[0] if ends else None
        self._last = runs[0] if runs else None
        if self._last is not None and self._last.result is None:
            message = "the daemon ended before the run did"
            self._finish(self._last.end(now, Result.INTERRUPTED, {}, message))
        return self._last

    def begin(self, run: Run) -> None:
        """Record the start of a run, or hold it back."""
        quiet = self._last is not None and (self._last.idle or self._last.result is Result.SKIPPED)
        if quiet and run.reason is not Reason.ASKED:
            self._held = run
        else:
            self._begin(run)

    def begin_after_all(self) -> None:
        """Record the start that was held back."""
        if self._held is not None:
            self._begin(self._held)
            self._held = None

    def end(self, run: Run) -> bool:
        """Record how a run ended; return whether it is in the log."""
        if self._held is None or self._tells(run):
            self.begin_after_all()
            self._finish(run)
        else:
            self._held, self._left_out = None, run
        if run.result is Result.SUCCEEDED:
            self.succeeded = run.ended
        return self._left_out is None

    def close(self) -> None:
        """Record the last run where it was left out: the next start goes by it."""
        if self._left_out is not None:
            self._begin(run := self._left_out)
            self._finish(run)

    def _tells(self, run: Run) -> bool:
        """Return whether a run says more than the last one that is recorded."""
        if self._last is None or not (run.idle or run.result is Result.SKIPPED):
            return True
        return run.result is not self._last.result or run.message != self._last.message

    def _begin(self, run: Run) -> None:
        self._record([run.begun(self._task, self._version + 1)])
        self._last = run

    def _finish(self, run: Run) -> None:
        version = self._version + 1
        self._record([run.finished(self._task, version), *self._alert(run, version)])
        self._last, self._left_out = run, None

    def _record(self, events: list[NewEvent]) -> None:
        self._log.work(Work(partial(_append, stream_of(self._task), events), events=len(events)))
        self._version += 1

    # -- the alert ----------------------------------------------------------------------------

    def _alert(self, run: Run, version: int) -> list[NewEvent]:
        subject = f"{KIND}:{self._task}"
        payload: dict[str, Any]
        if run.result is Result.FAILED:
            type_ = "alert.raised"
            payload = {
                "severity": "error",
                "kind": KIND,
                "title": f"The maintenance task {self._task} fails",
                "message": run.message or "",
                "fingerprint": subject,
                "labels": {"task": self._task},
            }
        elif run.result is Result.SUCCEEDED:
            type_ = "alert.resolved"
            payload = {"by": "chronicled", "reason": "a run succeeded"}
        else:
            return []
        newest = newest_events(self._log, f"alert/{subject}", 1)
        is_open = bool(newest) and newest[0].type in _OPEN
        if is_open is (type_ == "alert.raised"):
            return []
        id_ = identity(type_, self._task, version)
        data = validate_payload(type_, payload)
        return [NewEvent(type_, subject, SOURCE, id_, data, run.ended)]


def _append(stream: str, events: list[NewEvent], transaction: Transaction) -> None:
    """Append the events; now and then have the oldest ones of the stream removed."""
    transaction.append(Append(events))
    version = transaction.version_of(stream)
    if version > KEPT_EVENTS and version % TRIM_EVENTS == 0:
        trim(transaction, stream, version - KEPT_EVENTS)
