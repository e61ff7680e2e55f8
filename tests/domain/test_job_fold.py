"""The state of a job: which event its status, its fields and its times are from."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from recorded import NOON, RANKS, in_log_order, job_events, recorded

from domain.clock import effective_time
from domain.events import RecordedEvent
from domain.history import history_entry
from domain.job import (
    RANKS as STATUS_RANKS,
)
from domain.job import (
    STATUS_OF,
    TERMINAL,
    JobState,
    JobStatus,
    advance_job,
    fold_job,
    job_view,
)
from domain.timestamps import MICROSECONDS, SKEW_LIMIT

SECOND = MICROSECONDS

TARGETS = {"fraction": "progress", "reason": "message"}
DESCRIBING = {"job.submitted", "job.retried", *(type_ for type_ in RANKS if type_[:3] == "job")}


def fold(*events: RecordedEvent) -> JobState:
    """Return the job after these events, which the log got in this order."""
    return fold_job(None, in_log_order(list(events)))


def naive(events: list[RecordedEvent]) -> dict[str, Any]:
    """Return the fields of a job by sorting all its events and letting each overwrite."""
    fields: dict[str, Any] = {}
    for event in sorted(events, key=lambda one: (one.time, RANKS.get(one.type, 0), one.position)):
        if event.type in DESCRIBING:
            fields |= {
                TARGETS.get(name, name): value
                for name, value in event.payload.items()
                if value is not None
            }
        if event.type in ("job.pinned", "job.unpinned"):
            fields["pinned"] = event.type == "job.pinned"
        if "correlationid" in event.extensions:
            fields["correlation"] = event.extensions["correlationid"]
        if event.type in STATUS_OF:
            fields["status"] = STATUS_OF[event.type]
            fields["status_time"] = effective_time(event)
    return fields


@given(events=job_events(ties=True))
def test_the_fold_agrees_with_sorting(events: list[RecordedEvent]) -> None:
    """Each field is that of the greatest (time, rank, position) that set it."""
    state = fold_job(None, events)
    expected = naive(events)
    expected.pop("delay_seconds", None)
    assert {name: getattr(state, name) for name in expected} == expected


@given(events=job_events(ties=True))
def test_times_come_from_their_own_transitions(events: list[RecordedEvent]) -> None:
    """Submitted is the least submission, started the greatest start, ended the final word."""
    state = fold_job(None, events)
    submissions = [event.time for event in events if event.type == "job.submitted"]
    starts = [event.time for event in events if event.type == "job.started"]
    assert state.submitted == min(submissions or [event.time for event in events])
    assert state.started == max(starts, default=None)
    assert state.updated == max(event.time for event in events)
    ends = [event.time for event in events if STATUS_OF.get(event.type) in TERMINAL]
    assert state.ended == (max(ends) if state.status in TERMINAL else None)


def test_a_job_runs_through_its_life() -> None:
    """The usual sequence ends in a view with every fixed name, and its durations."""
    state = fold(
        recorded(
            "job.submitted",
            {"kind": "annotation", "name": "pOSAK1", "params": {"table": 11}, "owner": "mara"},
            correlationid="run-1",
        ),
        recorded("job.queued", {"queue": "default", "reason": "2 before it"}, at=1),
        recorded("job.started", {"worker": "node-3"}, at=5),
        recorded("job.progressed", {"fraction": 0.5, "stage": "genes"}, at=9),
        recorded("job.linked", {"to": "prediction-9", "role": "annotation of"}, at=9),
        recorded("job.succeeded", {"result": {"features": 95}, "message": "done"}, at=25),
    )
    view = job_view(state)
    assert view == {
        "id": "annotation-17",
        "kind": "annotation",
        "name": "pOSAK1",
        "owner": "mara",
        "queue": "default",
        "priority": None,
        "workflow": None,
        "phase": None,
        "parent": None,
        "correlation": "run-1",
        "status": "succeeded",
        "native_status": None,
        "stage": "genes",
        "progress": 0.5,
        "attempt": 1,
        "attempts": 1,
        "worker": "node-3",
        "params": {"table": 11},
        "input": None,
        "result": {"features": 95},
        "message": "done",
        "warning": None,
        "error": None,
        "next": None,
        "links": [{"to": "prediction-9", "role": "annotation of"}],
        "submitted": "2026-02-04T12:00:00Z",
        "started": "2026-02-04T12:00:05Z",
        "ended": "2026-02-04T12:00:25Z",
        "updated": "2026-02-04T12:00:25Z",
        "queue_seconds": 5.0,
        "run_seconds": 20.0,
        "last_position": 6,
        "events": 6,
        "pinned": False,
        "pinned_time": None,
        "archived": False,
        "archived_time": None,
    }
    assert orjson.loads(orjson.dumps(view)) == view


def test_done_before_to_do_gives_the_same_job() -> None:
    """A submission that arrives after the end fills in what only it knows, and moves nothing."""
    state = fold(
        recorded("job.succeeded", {"message": "done"}, at=25),
        recorded("job.submitted", {"name": "pOSAK1", "native_status": "new"}, at=0),
    )
    assert state.status is JobStatus.SUCCEEDED
    assert state.name == "pOSAK1"
    assert state.native_status == "new"
    assert state.submitted == NOON


def test_of_one_moment_the_greater_rank_is_the_later() -> None:
    """Start and end within one second end the job, whichever arrived first."""
    state = fold(recorded("job.failed", at=3), recorded("job.started", at=3))
    assert state.status is JobStatus.FAILED
    assert state.started == NOON + 3 * SECOND


def test_of_equal_ends_the_later_in_the_log_counts() -> None:
    """Two ends of one time and rank: the position decides."""
    first, second = recorded("job.failed", at=3), recorded("job.succeeded", at=3)
    assert fold(first, second).status is JobStatus.SUCCEEDED
    assert fold(second, first).status is JobStatus.FAILED


def test_a_job_may_run_again_after_its_end() -> None:
    """No sequence is impossible: a start after a failure runs the job, which has no end then."""
    failed = recorded("job.failed", {"error": {"class": "Timeout"}}, at=10)
    again = recorded("job.started", {"attempt": 2}, at=20)
    state = fold(recorded("job.started", at=1), failed, again)
    assert state.status is JobStatus.RUNNING
    assert (state.ended, state.run_seconds, state.shown_error) == (None, None, None)
    assert (state.attempt, state.attempts) == (2, 2)
    ended = fold(recorded("job.started", at=1), failed, again, recorded("job.succeeded", at=30))
    assert job_view(ended)["error"] is None
    assert ended.error == {"class": "Timeout"}


@pytest.mark.parametrize("type_", ["job.failed", "job.lost", "job.interrupted", "job.cancelled"])
def test_the_error_shows_while_the_job_has_not_got_over_it(type_: str) -> None:
    """Every end but success shows the last error that was set."""
    error = {"class": "Timeout", "message": "gave up"}
    state = fold(recorded("job.failed", {"error": error}), recorded(type_, {}, at=5))
    assert job_view(state)["error"] == error


def test_a_job_without_a_transition_is_submitted() -> None:
    """Progress alone makes a job that is submitted since its first event."""
    state = fold(recorded("job.progressed", {"fraction": 0.1}, at=7), recorded("job.pinned", at=4))
    assert state.status is JobStatus.SUBMITTED
    assert state.submitted == NOON + 4 * SECOND
    assert fold(recorded("job.pinned", at=4), recorded("job.queued", at=2)).status == "queued"


def test_a_submission_overrules_earlier_other_events() -> None:
    """Submitted is from job.submitted as soon as there is one, although another is earlier."""
    state = fold(recorded("job.started", at=1), recorded("job.submitted", at=5))
    assert state.submitted == NOON + 5 * SECOND
    assert state.status is JobStatus.SUBMITTED
    assert state.queue_seconds is None


def test_the_earliest_submission_counts() -> None:
    """Of several submissions the least gives the time, whichever arrived first."""
    early, late = recorded("job.submitted", at=1), recorded("job.submitted", at=5)
    assert fold(early, late).submitted == fold(late, early).submitted == NOON + SECOND


def test_a_clock_far_ahead_is_cut() -> None:
    """A time more than five minutes ahead of its recording counts as five minutes ahead."""
    ahead = recorded("job.failed", at=86_400, recorded_at=0)
    state = fold(ahead, recorded("job.succeeded", at=301, recorded_at=301))
    assert state.status is JobStatus.SUCCEEDED
    entry = history_entry(None, ahead)
    assert entry is not None
    assert entry.skewed
    assert entry.time == NOON + SKEW_LIMIT
    behind = history_entry(None, recorded("job.failed", at=300, recorded_at=0))
    assert behind is not None
    assert not behind.skewed


def test_null_sets_nothing() -> None:
    """A field that is null says as little as one that is not there."""
    state = fold(
        recorded("job.submitted", {"name": "a", "priority": 0}),
        recorded("job.submitted", {"name": None}, at=1),
    )
    assert (state.name, state.priority) == ("a", 0)


def test_why_a_job_waits_or_stopped_is_its_message() -> None:
    """The reason of a transition becomes the message, the reason of a pin does not."""
    state = fold(
        recorded("job.lost", {"reason": "not known to the server"}, at=1),
        recorded("job.pinned", {"reason": "for the paper"}, at=2),
    )
    assert state.message == "not known to the server"
    assert (state.pinned, state.pinned_time) == (True, NOON + 2 * SECOND)


def test_the_latest_of_pin_and_unpin_counts() -> None:
    """A pin that arrives after a later unpin stays without effect."""
    pin, unpin = recorded("job.pinned", at=1), recorded("job.unpinned", at=2)
    for state in (fold(pin, unpin), fold(unpin, pin)):
        assert (state.pinned, state.pinned_time) == (False, None)


def test_archived_is_a_flag_with_a_time() -> None:
    """Archiving leaves the status; the latest archiving gives the time."""
    state = fold(
        recorded("job.succeeded", at=1),
        recorded("job.archived", at=9),
        recorded("job.archived", at=5),
    )
    view = job_view(state)
    assert (view["status"], view["archived"]) == ("succeeded", True)
    assert view["archived_time"] == "2026-02-04T12:00:09Z"


def test_links_without_a_role_and_with_an_empty_one_have_an_order() -> None:
    """Links that differ by that alone stand in one order, whichever came first."""
    bare, empty = {"to": "a"}, {"to": "a", "role": ""}
    for payloads in ((bare, empty), (empty, bare)):
        state = fold(*(recorded("job.linked", payload) for payload in payloads))
        assert state.links == [["a", None], ["a", ""]]


def test_a_fold_leaves_the_links_it_started_from() -> None:
    """More links make another state; the one before keeps its own."""
    first = recorded("job.linked", {"to": "a"})
    before = fold_job(None, [first])
    later = recorded("job.linked", {"to": "b"})._replace(position=first.position + 1)
    after = fold_job(before, [later])
    assert (before.links, after.links) == ([["a", None]], [["a", None], ["b", None]])


def test_links_are_a_sorted_set() -> None:
    """The same link twice is one link; the order of arrival does not show."""
    state = fold(
        recorded("job.linked", {"to": "b"}),
        recorded("job.linked", {"to": "a", "role": "input"}),
        recorded("job.linked", {"to": "b", "role": None}),
        recorded("job.linked", {"to": "a"}),
    )
    assert job_view(state)["links"] == [
        {"to": "a", "role": None},
        {"to": "a", "role": "input"},
        {"to": "b", "role": None},
    ]


def test_attempts_is_the_greatest_attempt_seen() -> None:
    """A late word of an earlier attempt does not take attempts back."""
    state = fold(
        recorded("job.started", {"attempt": 3}, at=9), recorded("job.started", {"attempt": 2}, at=1)
    )
    assert (state.attempt, state.attempts) == (3, 3)


def test_every_status_has_a_rank() -> None:
    """The canonical statuses and their ranks are those of the architecture."""
    assert {str(status): STATUS_RANKS[status] for status in JobStatus} == {
        "submitted": 0,
        "queued": 1,
        "running": 2,
        "succeeded": 3,
        "failed": 3,
        "cancelled": 3,
        "interrupted": 3,
        "lost": 3,
    }


def test_advance_changes_the_state_it_is_given() -> None:
    """The step for a caller that owns the state works in place and returns it."""
    state = advance_job(None, recorded("job.submitted", position=1))
    same = advance_job(state, recorded("job.started", at=1, position=2))
    assert same is state
    assert state.status is JobStatus.RUNNING
    assert advance_job(state, recorded("job.failed", at=2, position=2)).status == "running"


def test_a_subject_may_hold_slashes() -> None:
    """The id of the job is all that follows the category."""
    assert fold(recorded("job.queued", subject="a/b//c")).id == "a/b//c"
