"""What the answers of a Bakta server say beside the log: whether a job runs again, or still.

A server may schedule jobs anew: RUNNING after ERROR is legal. As ``updated`` of RUNNING moves with
each call, a poll that is told again cannot be told by itself from a job that runs again. So the id
of a start has the newest end before its poll in it: the same poll always finds the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from daemon.eventlog.requests import Append, Follow
from daemon.eventlog.within import LogWithin
from daemon.intake.bakta_answers import expiry
from daemon.intake.message import identity
from domain.events import NewEvent
from domain.job import RANKS, STATUS_OF, TERMINAL, JobStatus
from domain.timestamps import MICROSECONDS, SKEW_LIMIT

if TYPE_CHECKING:
    from daemon.eventlog.transaction import Transaction

LAG: Final = 15 * MICROSECONDS
"""So long after the end of a job a poll may still say that it runs: the server looks at its jobs
every 15 seconds."""

_RUNNING: Final = RANKS[JobStatus.RUNNING]
_ENDED: Final = RANKS[JobStatus.SUCCEEDED]


class _Turn(NamedTuple):
    """A transition of a job that the log has."""

    time: int
    rank: int
    id: str
    status: JobStatus


def settle_bakta(transaction: Transaction, events: Sequence[NewEvent]) -> list[NewEvent]:
    """Return what is to be recorded of answers and calls beside what the log has."""
    log = LogWithin(transaction)
    courses: dict[str, _Course] = {}
    offsets: dict[str, int] = {}
    settled: list[NewEvent] = []
    for event in events:
        if event.type == "result.offered":
            settled.append(_offered(event, transaction.now))
        elif event.type in STATUS_OF:
            name = f"bakta:{event.source}:{event.subject}"
            newest = max(offsets.get(name, 0), transaction.follow_offset(name))
            if event.stream not in courses:
                courses[event.stream] = _Course(log, event.stream, transaction.now)
            if event.type == "job.started" and event.time is not None:
                offsets[name] = newest = max(newest, event.time)
            settled += courses[event.stream].take(event, newest)
        else:
            settled.append(event)
    for name, newest in offsets.items():
        transaction.append(Append((), follow=Follow(name, 0, newest)))
    return settled


def _offered(event: NewEvent, now: int) -> NewEvent:
    """Return an offer that expires; where it does not say when it was made, it is made now."""
    if event.time is not None:
        return event
    said = {**orjson.loads(event.data), "expires": expiry(now)}
    return event._replace(data=orjson.dumps(said))


class _Course:
    """The transitions of one job."""

    def __init__(self, log: LogWithin, stream: str, now: int) -> None:
        self._now = now
        self._ids: set[str] = set()
        self._turns: list[_Turn] = []
        for event in log.stream(stream):
            self._note(event.type, event.id, event.time)

    def take(self, event: NewEvent, newest: int) -> list[NewEvent]:
        """Return what an event becomes; ``newest`` is when the job was last seen to run."""
        rank = RANKS[STATUS_OF[event.type]]
        if event.type in ("job.lost", "job.cancelled"):
            taken = [self._stopped(event)]
        elif rank == _ENDED:
            taken = self._ended(event, newest)
        elif event.time is None:
            taken = [self._called(event, rank)]
        else:
            taken = [self._seen(event, rank)]
        for one in taken:
            self._note(one.type, one.id, self._now if one.time is None else one.time)
        return taken

    def _note(self, type_: str, id_: str, time: int) -> None:
        status = STATUS_OF.get(type_)
        if status is not None and id_ not in self._ids:
            self._ids.add(id_)
            self._turns.append(_Turn(time, RANKS[status], id_, status))

    def _end_before(self, time: int) -> _Turn | None:
        """Return the newest end that a poll of this time is not a late word about."""
        ends = (turn for turn in self._turns if turn.rank == _ENDED and turn.time + LAG < time)
        return max(ends, default=None)

    def _called(self, event: NewEvent, rank: int) -> NewEvent:
        """Return a call that came without a time: before all that has to come after it."""
        later = [turn.time for turn in self._turns if turn.rank > rank]
        return event._replace(time=min([self._now, *later])) if later else event

    def _seen(self, event: NewEvent, rank: int) -> NewEvent:
        """Return a state of a job that has not ended, anew where the job had ended before."""
        time = event.time or 0
        if event.type == "job.submitted":
            return event
        end = self._end_before(time)
        if end is not None:
            return event._replace(id=identity(event.id, end.id))
        near = [turn.time for turn in self._turns if turn.rank == _ENDED and turn.time < time]
        if near:
            # It tells of the time before the end.
            return event._replace(time=min(near))
        return event._replace(time=_after(time, SKEW_LIMIT, self._of_rank(range(rank))))

    def _ended(self, event: NewEvent, newest: int) -> list[NewEvent]:
        """Return an end, and the start after it that was seen before it was told."""
        if event.time is None:
            return [event]
        lost = (turn.time for turn in self._turns if turn.status == JobStatus.LOST)
        time = _after(event.time, LAG, self._of_rank([_RUNNING]))
        time = max([_after(time, SKEW_LIMIT, self._of_rank(range(_RUNNING))), *lost])
        end = event._replace(time=time)
        self._note(end.type, end.id, time)
        last = self._end_before(newest)
        if last is None or last.id != end.id:
            return [end]
        return [end, *self._again(end, newest)]

    def _again(self, end: NewEvent, newest: int) -> list[NewEvent]:
        payload = orjson.loads(end.data)
        extra = {k: v for k, v in payload.get("extra", {}).items() if k != "updated"}
        known = ("bakta", end.subject, "RUNNING", extra.get("name", ""), extra.get("started", ""))
        said = {"extra": extra, "native_status": "RUNNING"}
        return [
            end._replace(
                type="job.started",
                id=identity(identity(*known), end.id),
                time=newest,
                data=orjson.dumps(said),
            )
        ]

    def _stopped(self, event: NewEvent) -> NewEvent:
        """Return that a job is gone: of one whose end is known it is a note, no other end."""
        newest = max(self._turns, default=None)
        if newest is None or newest.status not in TERMINAL - {JobStatus.LOST}:
            return event
        said = orjson.loads(event.data)
        return event._replace(type="job.progressed", data=orjson.dumps({"extra": said}))

    def _of_rank(self, ranks: Iterable[int]) -> list[int]:
        wanted = set(ranks)
        return [turn.time for turn in self._turns if turn.rank in wanted]


def _after(time: int, reach: int, times: Sequence[int]) -> int:
    """Return a time that is not before others that are near: clocks differ, states lag."""
    return max([time, *(one for one in times if time < one <= time + reach)])
