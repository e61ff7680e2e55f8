"""What the state of a queue says by what is no longer in it, found beside the log.

A task that the log has as open and that is in no list any more is gone; one that ran and waits
again is queued again; the flags count where they changed. Only the newest state that was seen tells
differences: of an older one what ended counts, which is a fact at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from daemon.eventlog.requests import Append, Follow
from daemon.eventlog.transaction import Transaction
from daemon.eventlog.within import LogWithin
from daemon.intake.message import EventMaker, identity
from daemon.intake.queue_state import full_time, job_prefix
from domain.events import NewEvent
from domain.job import TERMINAL, JobState, JobStatus, job_after
from domain.limits import Limits
from domain.queue import QUEUE_TYPES, WAITING, QueueState, advance_queue
from domain.timestamps import MICROSECONDS, SKEW_LIMIT

SLACK: Final = 24 * 3600 * MICROSECONDS
"""How far back a task may be dated when its queue's clock was set back (microseconds)."""
GONE_MAX: Final = 10_000
"""How many streams one state is compared with, at the most."""


def settle_state(transaction: Transaction, events: Sequence[NewEvent]) -> list[NewEvent]:
    """Return what is to be recorded of states: each ends with the event of its queue's flags."""
    recorded: list[NewEvent] = []
    state: list[NewEvent] = []
    for event in events:
        if event.type not in QUEUE_TYPES:
            state.append(event)
            continue
        if recorded:
            # A state is compared with what the one before it left.
            transaction.append(Append(recorded))
        recorded += _settle_one(transaction, state, event)
        state = []
    return recorded


def _settle_one(
    transaction: Transaction, events: Sequence[NewEvent], flags: NewEvent
) -> list[NewEvent]:
    log = LogWithin(transaction)
    name = f"queue-state:{flags.source}"
    # A clock that was wrong once must not make everything after it old.
    saved = min(flags.time or 0, transaction.now + SKEW_LIMIT)
    if saved < transaction.follow_offset(name):
        return _ended(events)
    since = transaction.follow_offset(f"{name}:open")
    difference = _Difference(log, flags, saved, events)
    found = [*events, *difference.again(), *difference.gone(since)]
    found += difference.turn()
    oldest = max(difference.oldest_open() - SLACK, 0)
    for offset, end in ((name, saved), (f"{name}:open", oldest)):
        if end:
            transaction.append(Append((), follow=Follow(offset, 0, end)))
    return found


def _ended(events: Sequence[NewEvent]) -> list[NewEvent]:
    """Return the events of the tasks that have ended."""
    ended = {event.subject for event in events if event.type in _END_TYPES}
    return [event for event in events if event.subject in ended or event.type == "alert.raised"]


_END_TYPES: Final = frozenset({"job.succeeded", "job.failed", "job.interrupted", "job.lost"})


class _Difference:
    """One state beside the log."""

    def __init__(
        self, log: LogWithin, flags: NewEvent, saved: int, events: Sequence[NewEvent]
    ) -> None:
        self._log = log
        self._flags = flags
        self._saved = saved
        self._make = EventMaker(flags.source, Limits())
        self._of: dict[str, list[NewEvent]] = {}
        for event in events:
            if event.type != "alert.raised":
                self._of.setdefault(event.subject, []).append(event)

    def oldest_open(self) -> int:
        """Return when the oldest task that has not ended was made, else when it was saved."""
        times = [each[0].time or 0 for each in self._open().values()]
        return min(times, default=self._saved)

    def again(self) -> Iterator[NewEvent]:
        """Yield the event of each open task that the log has in another status since before."""
        for job, events in self._open().items():
            known = self._known(job)
            if known is None or (known.status_time or 0) >= self._saved:
                continue
            waits = len(events) == 1
            if waits and known.status not in WAITING:
                said = {"queue": self._flags.subject, "reason": "waits again"}
                yield self._event("job.queued", job, said)
            elif not waits and known.status != JobStatus.RUNNING and self._all_known(job, events):
                yield self._event("job.started", job, {})

    def gone(self, since: int) -> Iterator[NewEvent]:
        """Yield the end of each open job that is in no list any more."""
        prefix = f"job/{job_prefix(self._flags.subject)}"
        first, last = f"{prefix}{full_time(since)}", f"{prefix}{full_time(self._saved)}"
        cleared = 0
        for stream in self._log.streams_between(first, last, GONE_MAX):
            job = stream.removeprefix("job/")
            known = None if job in self._of else self._known(job)
            if known is None or known.status in TERMINAL or known.queue != self._flags.subject:
                continue
            if (known.status_time or 0) >= self._saved:
                continue
            waited = known.status in WAITING
            cleared += waited
            kind = "job.cancelled" if waited else "job.lost"
            yield self._event(kind, job, {"reason": "no longer in the queue"})
        if cleared:
            told = identity("cleared", self._flags.subject, self._saved)
            said = {"reason": "no longer in the queue", "count": cleared}
            yield self._make.event("queue.cleared", self._flags.subject, told, self._saved, said)

    def turn(self) -> list[NewEvent]:
        """Return the event of the flags, where they are others than the log has."""
        state: QueueState | None = None
        for event in self._log.stream(f"queue/{self._flags.subject}"):
            state = advance_queue(state, event)
        paused = state is not None and state.paused
        changed = state.changed if state is not None and state.changed is not None else -1
        is_news = paused != (self._flags.type == "queue.paused") and changed < self._saved
        return [self._flags] if is_news else []

    def _open(self) -> dict[str, list[NewEvent]]:
        return {
            job: events
            for job, events in self._of.items()
            if not any(event.type in _END_TYPES for event in events)
        }

    def _known(self, job: str) -> JobState | None:
        state: JobState | None = None
        for event in self._log.stream(f"job/{job}"):
            state = job_after(state, event)
        return state

    def _all_known(self, job: str, events: Sequence[NewEvent]) -> bool:
        """Whether the log has every start that the state tells of: it says nothing new itself."""
        starts = {event.id for event in events if event.type == "job.started"}
        return starts <= {event.id for event in self._log.stream(f"job/{job}")}

    def _event(self, kind: str, job: str, said: dict[str, str]) -> NewEvent:
        told = identity("difference", kind, job, self._saved)
        return self._make.event(kind, job, told, self._saved, said)
