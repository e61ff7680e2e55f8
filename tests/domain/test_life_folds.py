"""A marker stands for the events before it: a fold does not tell whether they were there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import alert_events, file_events, in_log_order, job_events, recorded

from domain.alert import fold_alert
from domain.changes import CATEGORIES, compare, steps
from domain.events import RecordedEvent
from domain.file import fold_file
from domain.history import history_of
from domain.job import JobStatus, advance_job, fold_job, job_after, row_of
from domain.lives import is_marker, is_tombstone, last_life, replaced_versions

FOLDS: dict[str, Callable[[Any, list[RecordedEvent]], Any]] = {
    "job": fold_job,
    "alert": fold_alert,
    "file": fold_file,
}
STRATEGIES = {"job": job_events, "alert": alert_events, "file": file_events}


def marker(type_: str, events: list[RecordedEvent], at: int = 20) -> RecordedEvent:
    """Return the event that stands for all these."""
    payload: dict[str, Any] = {"replaces": len(events)}
    if type_ == "job.archived":
        payload["row"] = row_of(fold_job(None, events))
    payload = orjson.loads(orjson.dumps(payload))
    return recorded(type_, payload, at=at, position=len(events) + 1)


@st.composite
def lives(draw: st.DrawFn, category: str) -> list[RecordedEvent]:
    """Draw the events of a stream with markers among them."""
    events: list[RecordedEvent] = []
    for _ in range(draw(st.integers(1, 3))):
        events += draw(STRATEGIES[category](ties=True))
        events = in_log_order(events)
        types = [f"{category}.purged"] + ["job.archived"] * (category == "job")
        if draw(st.booleans()):
            events.append(marker(draw(st.sampled_from(types)), events, draw(st.integers(0, 20))))
    return events


def left_of(events: list[RecordedEvent]) -> list[RecordedEvent]:
    """Return what is left once the replaced events are removed."""
    replaced = max(replaced_versions(event.type, event.payload) for event in events)
    return [event for event in events if event.version > replaced or is_tombstone(event)]


def folded(category: str, events: list[RecordedEvent]) -> dict[str, Any] | None:
    """Return the state after events, None where there is none."""
    if not last_life(events):
        with pytest.raises(ValueError, match="at least one event"):
            FOLDS[category](None, events)
        return None
    return asdict(FOLDS[category](None, events))


@pytest.mark.parametrize("category", sorted(FOLDS))
@given(source=st.data())
def test_a_fold_does_not_miss_what_was_removed(category: str, source: st.DataObject) -> None:
    """State, history and what is shown are the same with the replaced events and without."""
    events = source.draw(lives(category))
    left = left_of(events)
    assert folded(category, left) == folded(category, events) == folded(category, last_life(left))
    view = compare(CATEGORIES[category], events, 0).after
    assert compare(CATEGORIES[category], left, 0).after == view
    assert (view is None) == (not last_life(events))
    if category == "job":
        assert history_of(left) == history_of(events)


@given(job_events(ties=True))
def test_a_row_holds_all_that_goes_on(events: list[RecordedEvent]) -> None:
    """But what can be large; and a later event finds the job as it found it before."""
    state = fold_job(None, events)
    archived = advance_job(None, marker("job.archived", events))
    gone = {"params": None, "input": None, "result": None, "clock": None}
    moved = {"first_position", "last_position", "events", "updated", "archived_time"}
    for name, value in (asdict(state) | gone).items():
        if name not in moved:
            assert (asdict(archived) | gone)[name] == value, name
    assert archived.events == state.events + 1
    assert archived.archived_time is not None
    assert archived.first_position == archived.last_position == len(events) + 1


def test_a_marker_wins_over_what_is_known() -> None:
    """The row counts, whatever the fold before it knew; what the row lacks is as in a new job."""
    known = fold_job(None, [recorded("job.submitted", {"kind": "a", "owner": "o"})])
    row = {"status": "failed", "kind": "b", "later": 1, "error": {"class": "E"}, "attempt": None}
    event = recorded("job.archived", {"replaces": 1, "row": row}, at=9, position=2)
    job = advance_job(known, event)
    assert (job.kind, job.owner, job.status, job.attempt) == ("b", None, JobStatus.FAILED, 1)
    assert (job.submitted, job.updated, job.archived_time) == (event.time,) * 3
    assert job.error == {"class": "E"}
    assert job == advance_job(None, event)
    bare = advance_job(None, recorded("job.archived", {"replaces": 1}, position=2))
    assert (bare.id, bare.status, bare.events) == ("annotation-17", "submitted", 1)


def test_the_history_goes_on_from_a_marker() -> None:
    """Its first entry is the marker, with the status and the attempt that the job has."""
    events = [recorded("job.failed", {"error": {}}), recorded("job.started", {"attempt": 3}, at=1)]
    events = in_log_order(events)
    events.append(marker("job.archived", events))
    events.append(recorded("job.restored", at=30, position=4))
    first, second = history_of(events)
    assert (first.type, first.from_status, first.to_status) == ("job.archived", None, "running")
    assert (second.from_status, second.attempt) == ("running", 3)


def test_a_restored_job_is_not_archived_any_more() -> None:
    """Of what archives and restores it the latest counts, in whatever order it arrives."""
    submitted = recorded("job.submitted")
    archived, restored = recorded("job.archived", at=5), recorded("job.restored", at=7)
    again = recorded("job.archived", at=9)
    for events in ([archived, restored], [restored, archived]):
        assert fold_job(None, in_log_order([submitted, *events])).archived_time is None
        state = fold_job(None, in_log_order([submitted, *events, again]))
        assert state.archived_time == again.time


def test_only_an_event_that_replaces_others_is_a_marker() -> None:
    """An event of these types that stands for nothing is a note like others."""
    for type_ in ("job.archived", "job.purged", "alert.purged", "file.purged"):
        assert not is_marker(recorded(type_))
        assert not is_marker(recorded(type_, {"replaces": 0}))
        assert is_marker(recorded(type_, {"replaces": 2}))
    note = recorded("job.purged", position=2)
    assert job_after(fold_job(None, [recorded("job.submitted")]), note) is not None
    assert not is_tombstone(recorded("job.archived", {"replaces": 2}))


def test_a_purge_is_a_step_to_nothing() -> None:
    """What was known is gone with it, and the next event begins anew."""
    events = [recorded("job.submitted", {"kind": "a"})]
    events.append(marker("job.purged", events))
    events.append(recorded("job.submitted", {"name": "n"}, at=30, position=3))
    _, purged, begun = steps(CATEGORIES["job"], events)
    assert purged.state == {}
    assert ("/kind", "a", None) in purged.changes
    assert (begun.state["kind"], begun.state["name"], begun.state["events"]) == (None, "n", 1)
    gone = compare(CATEGORIES["job"], events[:2], 1)
    assert gone.before is not None
    assert gone.after is None
