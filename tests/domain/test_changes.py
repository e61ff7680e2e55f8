"""What events changed: step by step, and between two states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import alert_events, file_events, in_log_order, job_events, recorded

from domain.alert import alert_view, fold_alert
from domain.changes import CATEGORIES, Change, compare, fields_of, steps
from domain.events import RecordedEvent
from domain.file import file_view, fold_file
from domain.history import history_of
from domain.job import fold_job, job_view

Entity = tuple[str, Callable[..., Any], Callable[[Any], dict[str, Any]], Any]

ENTITIES = pytest.mark.parametrize(
    "entity",
    [
        pytest.param(("job", fold_job, job_view, job_events), id="job"),
        pytest.param(("alert", fold_alert, alert_view, alert_events), id="alert"),
        pytest.param(("file", fold_file, file_view, file_events), id="file"),
    ],
)


def known(fields: Any) -> dict[str, Any]:
    """Return the fields that are not null."""
    return {field: value for field, value in fields.items() if value is not None}


def applied(fields: dict[str, Any], changes: Any) -> dict[str, Any]:
    """Return fields after some changes; each has to find the value it changes."""
    for field, before, after in changes:
        assert fields.get(field) == before
        fields = {**fields, field: after}
    return fields


@ENTITIES
@given(source=st.data())
def test_the_changes_of_all_events_lead_to_the_last_state(
    entity: Entity, source: st.DataObject
) -> None:
    """Applied in order to an entity of which nothing is known, they give what the fold gives."""
    name, fold, view, strategy = entity
    events = source.draw(strategy(ties=True))
    fields = dict(CATEGORIES[name].blank)
    for place, step in enumerate(steps(CATEGORIES[name], events), 1):
        assert step.event == events[place - 1]
        assert step.state == view(fold(None, events[:place]))
        fields = applied(fields, step.changes)
        assert known(fields) == known(fields_of(step.state))


@ENTITIES
@given(source=st.data())
def test_steps_after_a_version_are_the_rest_of_all_steps(
    entity: Entity, source: st.DataObject
) -> None:
    """Where one begins changes nothing of what comes."""
    name, _, _, strategy = entity
    events = source.draw(strategy(ties=True))
    after = source.draw(st.integers(0, len(events)))
    whole = list(steps(CATEGORIES[name], events))
    assert list(steps(CATEGORIES[name], events, after)) == whole[after:]


@ENTITIES
@given(source=st.data())
def test_a_difference_is_that_of_the_two_folds(entity: Entity, source: st.DataObject) -> None:
    """Between any two positions: the fields that differ, each with the last event to change it."""
    name, fold, view, strategy = entity
    events = source.draw(strategy(ties=True))
    start = source.draw(st.integers(0, len(events)))
    end = source.draw(st.integers(start, len(events)))
    found = compare(CATEGORIES[name], events[:end], start)
    before = view(fold(None, events[:start])) if start else None
    after = view(fold(None, events[:end])) if end else None
    assert (found.before, found.after, found.events) == (before, after, end - start)
    then = dict(CATEGORIES[name].blank) if before is None else fields_of(before)
    now = then if after is None else fields_of(after)
    changed = [difference.change for difference in found.differences]
    assert known(applied(then, changed)) == known(now)
    assert all(change.before != change.after for change in changed)
    last = {
        change.field: step.event.position
        for step in steps(CATEGORIES[name], events[:end], start)
        for change in step.changes
    }
    for difference in found.differences:
        assert difference.event.position == last[difference.change.field]


@given(job_events(ties=True))
def test_late_means_of_a_transition_what_the_history_says(events: list[RecordedEvent]) -> None:
    """A transition is late in a step where it is late in the history."""
    late = {entry.position: entry.late for entry in history_of(events)}
    for step in steps(CATEGORIES["job"], events):
        if step.event.type in CATEGORIES["job"].status_of:
            assert step.late == late[step.event.position]
        elif step.late:
            assert step.changes == ()


def of_job(*events: RecordedEvent) -> Any:
    """Return the steps of a job."""
    return list(steps(CATEGORIES["job"], in_log_order(list(events))))


def test_a_step_names_fields_by_pointers() -> None:
    """Objects are looked into; a name with a slash is escaped; lists are values."""
    submitted = recorded("job.submitted", {"params": {"a/b": {"c~d": 1}, "list": [1]}, "input": {}})
    [step] = of_job(submitted)
    changes = {change.field: change.after for change in step.changes}
    assert changes["/params/a~1b/c~0d"] == 1
    assert changes["/params/list"] == [1]
    assert changes["/input"] == {}
    assert changes["/status"] == "submitted"
    assert changes.keys().isdisjoint({"/id", "/updated", "/events", "/pinned", "/attempt"})


def test_a_late_event_may_change_a_description_or_nothing() -> None:
    """A start that comes after the end gives the worker; a late repeat of it gives nothing."""
    late = {"worker": "w", "native_status": "RUNNING"}
    [_, _, started, queued, progressed] = of_job(
        recorded("job.submitted", at=0),
        recorded("job.failed", {"error": {"message": "no"}, "native_status": "ERROR"}, at=50),
        recorded("job.started", late, at=10, recorded_at=60),
        recorded("job.queued", {"reason": "waits"}, at=5, recorded_at=60),
        recorded("job.progressed", at=20, recorded_at=60),
    )
    assert started.late
    assert Change("/worker", None, "w") in started.changes
    assert all(change.field not in ("/status", "/native_status") for change in started.changes)
    assert queued.late
    assert [change.field for change in queued.changes] == ["/message"]
    assert (progressed.late, progressed.changes) == (True, ())


def test_an_event_that_says_nothing_new_is_not_late() -> None:
    """The same progress again changes nothing, and is not late."""
    [_, _, again] = of_job(
        recorded("job.submitted", at=0),
        recorded("job.progressed", {"fraction": 0.5}, at=1),
        recorded("job.progressed", {"fraction": 0.5}, at=2),
    )
    assert (again.late, again.changes) == (False, ())


def test_numbers_and_booleans_are_told_apart() -> None:
    """1, 1.0 and true are equal in Python, and not the same in JSON."""
    shown = of_job(
        recorded("job.submitted", {"params": {"n": 1, "deep": [1]}}, at=0),
        recorded("job.submitted", {"params": {"n": True, "deep": [1.0]}}, at=1),
    )
    assert {change.field for change in shown[1].changes} >= {"/params/n", "/params/deep"}


def test_what_became_of_a_job_again_is_no_difference() -> None:
    """A field that was changed and changed back does not differ; the steps show both."""
    events = in_log_order(
        [
            recorded("job.submitted", at=0),
            recorded("job.pinned", at=1),
            recorded("job.unpinned", at=2),
        ]
    )
    assert compare(CATEGORIES["job"], events, 1).differences == []
