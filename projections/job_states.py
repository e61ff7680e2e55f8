"""The jobs of a batch, folded once for all projections that show them.

`JobStates` holds the jobs as of one position of the log, as far as they are remembered. What is
not remembered is loaded from the rows of `jobs` where those are at the same position, and else
folded from the log again, which is always right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from heapq import nlargest
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias

import apsw

from domain.events import RecordedEvent
from domain.job import (
    TERMINAL,
    Course,
    JobState,
    JobStatus,
    advance_job,
    course_of,
    job_after,
    words_of,
)
from projections.entities import Ended

REMEMBERED_MAX: Final = 10_000
"""How many jobs are remembered, at the most."""
REMEMBERED_BYTES: Final = 64 * 1024 * 1024
"""No more is remembered once the events behind the states have this many bytes."""

COURSE_TYPES: Final = frozenset(
    f"job.{verb}"
    for verb in (
        "submitted", "queued", "started", "progressed", "succeeded", "failed", "cancelled",
        "interrupted", "lost",
    )
)  # fmt: skip
"""The event types that tell the course of a job."""

NOTE_TYPES: Final = frozenset(
    f"job.{verb}"
    for verb in (
        "retried", "linked", "continued", "pinned", "unpinned", "archived", "restored", "purged",
    )
)  # fmt: skip
"""The event types that note something about a job, where they are no markers."""

JOB_TYPES: Final = COURSE_TYPES | NOTE_TYPES
"""Every event type of a job."""

Rows = Callable[[list[int]], list[JobState]]
"""Loads jobs from rows that are at the position of the states."""
Log = Callable[[str, int], Iterable[RecordedEvent]]
"""Reads the events of a stream before a position, oldest first."""
Documents: TypeAlias = tuple[Any, Any, Any, Any]
"""params, input, result and error, as far as a batch sets them."""


class Before(NamedTuple):
    """What of a job before a batch tells the projections what has changed."""

    submitted: int
    kind: str | None
    name: str | None
    owner: str | None
    queue: str | None
    workflow: str | None
    parent: str | None
    correlation: str | None
    status: JobStatus
    status_time: int | None
    started: int | None
    message: str | None
    error: Mapping[str, Any] | None
    priority: int | None


_before = attrgetter(*Before._fields)
_new: Final = tuple.__new__


FoldedJob: TypeAlias = tuple[
    int, Before | None, JobState, Documents | None, list[RecordedEvent], list[Course | None]
]
"""A job of a batch: its number, how it stood before and how it stands after the batch (the state;
before is None for a new job), its documents, its events, and an entry an event: the course of the
job before it.

Of the state's large fields only the words of the error are kept; what the batch sets of them is in
the documents.
"""


class JobStates:
    """The jobs as of one position of the log."""

    def __init__(self, log: Log, rows: Rows | None = None) -> None:
        self.log = log
        self.rows = rows
        self._known: dict[int, JobState] = {}
        self._bytes = 0

    def fold(self, by_job: Mapping[int, list[RecordedEvent]], size: int) -> list[FoldedJob]:
        """Take the jobs on by the next events of the log, which have so many bytes of payload.

        What the rules of the domain raise here fails each projection that asks for the jobs.
        """
        try:
            return self._fold(by_job, size)
        except BaseException:
            self._known.clear()
            raise

    def end(self, ended: Sequence[Ended]) -> dict[int, Before]:
        """Return how the jobs stood that markers end, by number, and forget them.

        One that neither the rows nor the log tells of any more is left out.
        """
        found: dict[int, Before] = {}
        missing: dict[int, RecordedEvent] = {}
        for marker, job in ended:
            if job is None:
                continue
            state = self._known.pop(job, None)
            if state is None:
                missing[job] = marker
            else:
                found[job] = _new(Before, _before(state))
        if missing:
            for state in self._loaded(list(missing.values()), list(missing)):
                if state.first_position in missing:
                    found[state.first_position] = _new(Before, _before(state))
        return found

    def _fold(self, by_job: Mapping[int, list[RecordedEvent]], size: int) -> list[FoldedJob]:
        known = self._known
        self._load(by_job)
        folded: list[FoldedJob] = []
        for job, events in by_job.items():
            before = None
            courses: list[Course | None] = []
            state = known.get(job)
            if state is None:
                courses.append(None)
                known[job] = state = advance_job(None, events[0])
            else:
                before = _new(Before, _before(state))
                courses.append(course_of(state))
                advance_job(state, events[0])
            for event in events[1:]:
                courses.append(course_of(state))
                advance_job(state, event)
            documents = _taken_documents(state, None if before is None else before.error)
            folded.append((job, before, state, documents, events, courses))
        self._bytes += size
        if len(known) > REMEMBERED_MAX or self._bytes > REMEMBERED_BYTES:
            self._known = self._worth_remembering()
        return folded

    def _worth_remembering(self) -> dict[int, JobState]:
        """Return the jobs that go on; where they are too many, those that are dear to fold again.

        With the longest remembered, no other has more than a small part of the log's events.
        """
        if self._bytes > REMEMBERED_BYTES:
            self._bytes = 0
            return {}
        going = {job: each for job, each in self._known.items() if each.status not in TERMINAL}
        if len(going) <= REMEMBERED_MAX // 2:
            return going
        if self.rows is not None:
            return {}
        longest = nlargest(REMEMBERED_MAX // 2, going.items(), key=lambda item: item[1].events)
        return dict(longest)

    def _load(self, by_job: Mapping[int, list[RecordedEvent]]) -> None:
        """Load those that are not remembered."""
        known = self._known
        # A job is numbered by its first event: it is new where the batch holds that.
        missing = [
            job for job, events in by_job.items()
            if job not in known and events[0].position != job
        ]  # fmt: skip
        if not missing:
            return
        for state in self._loaded([by_job[job][0] for job in missing], missing):
            _taken_documents(state, None)
            known[state.first_position] = state

    def _loaded(self, events: list[RecordedEvent], jobs: list[int]) -> list[JobState]:
        """Return the jobs before these events of theirs; some may be new, too."""
        if self.rows is not None:
            # Rows that cannot be read are the fault of another projection.
            with suppress(apsw.SQLError):
                return self.rows(jobs)
        states = [self._folded_again(event) for event in events]
        return [state for state in states if state is not None]

    def _folded_again(self, event: RecordedEvent) -> JobState | None:
        """Return the job before an event, from the log."""
        state = None
        for earlier in self.log(event.stream, event.position):
            if earlier.type in JOB_TYPES:
                state = job_after(state, earlier)
        return state


_NO_DOCUMENTS: Final = (None, None, None, None)


def _taken_documents(state: JobState, known_error: Mapping[str, Any] | None) -> Documents | None:
    """Take the large fields out of a state, and leave the words of its error."""
    error = None if state.error is known_error else state.error
    documents = (state.params, state.input, state.result, error)
    if documents == _NO_DOCUMENTS:
        return None
    state.params = state.input = state.result = None
    if error is not None:
        state.error = words_of(error)
    return documents
