"""What holds for the folds of jobs, alerts and files alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import alert_events, file_events, in_log_order, job_events

from domain.alert import AlertState, fold_alert
from domain.events import RecordedEvent
from domain.file import FileState, fold_file
from domain.job import JobState, fold_job

Fold = Callable[[Any, list[RecordedEvent]], Any]
EventStrategy = Callable[..., st.SearchStrategy[list[RecordedEvent]]]

FOLDS = pytest.mark.parametrize(
    ("fold", "strategy"),
    [
        pytest.param(fold_job, job_events, id="job"),
        pytest.param(fold_alert, alert_events, id="alert"),
        pytest.param(fold_file, file_events, id="file"),
    ],
)
STATES = {fold_job: JobState, fold_alert: AlertState, fold_file: FileState}


def told(state: Any) -> dict[str, Any]:
    """Return what a state tells: all of it but where in the log it began."""
    return asdict(state) | {"first_position": None}


@FOLDS
@given(source=st.data())
def test_order_of_arrival_does_not_matter(
    fold: Fold, strategy: EventStrategy, source: st.DataObject
) -> None:
    """Events of distinct (time, rank) give one state, in whatever order the log got them."""
    events = source.draw(strategy(ties=False))
    shuffled = in_log_order(source.draw(st.permutations(events)))
    assert told(fold(None, shuffled)) == told(fold(None, events))


@FOLDS
@given(source=st.data())
def test_any_split_into_batches_gives_the_same_state(
    fold: Fold, strategy: EventStrategy, source: st.DataObject
) -> None:
    """A fold that resumes from its state, kept as JSON in between, ends where one fold ends."""
    events = source.draw(strategy(ties=True))
    whole = fold(None, events)
    state = None
    rest = events
    while rest:
        size = source.draw(st.integers(1, len(rest)))
        state = fold(state, rest[:size])
        rest = rest[size:]
        state = STATES[fold](**orjson.loads(orjson.dumps(asdict(state))))
    assert state is not None
    assert asdict(state) == asdict(whole)


@FOLDS
@given(source=st.data())
def test_a_repeat_changes_nothing(
    fold: Fold, strategy: EventStrategy, source: st.DataObject
) -> None:
    """Events that were folded already are skipped, and the state given is left as it was."""
    events = source.draw(strategy(ties=True))
    state = fold(None, events)
    before = orjson.dumps(asdict(state))
    again = fold(state, events[source.draw(st.integers(0, len(events))) :])
    assert asdict(again) == asdict(state)
    assert orjson.dumps(asdict(state)) == before


@FOLDS
@given(source=st.data())
def test_a_fold_leaves_the_state_it_resumes_from(
    fold: Fold, strategy: EventStrategy, source: st.DataObject
) -> None:
    """Folding on is pure: the earlier state is the same after it."""
    events = source.draw(strategy(ties=True))
    cut = source.draw(st.integers(1, len(events)))
    earlier = fold(None, events[:cut])
    before = orjson.dumps(asdict(earlier))
    fold(earlier, events[cut:])
    assert orjson.dumps(asdict(earlier)) == before


@FOLDS
@given(source=st.data())
def test_fields_of_the_future_do_no_harm(
    fold: Fold, strategy: EventStrategy, source: st.DataObject
) -> None:
    """A payload field and an event type that this version does not know change no other field."""
    events = source.draw(strategy(ties=True))
    category = events[0].type.partition(".")[0]
    newer = [
        event._replace(payload={**event.payload, "later_field": [1], "extra": {"a": 1}})
        for event in events
    ]
    assert asdict(fold(None, newer)) == asdict(fold(None, events))
    last = events[-1]
    unknown = last._replace(position=last.position + 1, type=f"{category}.reviewed", payload={})
    state = fold(fold(None, events), [unknown])
    assert state.events == len(events) + 1
    assert state.last_position == unknown.position


@pytest.mark.parametrize("fold", [fold_job, fold_alert, fold_file])
def test_an_entity_has_at_least_one_event(fold: Fold) -> None:
    """There is no state of nothing."""
    with pytest.raises(ValueError, match="at least one event"):
        fold(None, [])
