"""The history of a job: one entry an event, with what it said and whether it was late."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from recorded import NOON, in_log_order, job_events, recorded

from domain.events import RecordedEvent
from domain.history import HistoryEntry, history_entry, history_of, history_view
from domain.job import advance_job, fold_job
from domain.timestamps import SKEW_LIMIT


def history(*events: RecordedEvent) -> list[HistoryEntry]:
    """Return the history of events that the log got in this order."""
    return history_of(in_log_order(list(events)))


def test_from_and_to_follow_the_log() -> None:
    """From is the status before the event in log order, to is what the event says."""
    entries = history(
        recorded("job.submitted"),
        recorded("job.started", {"attempt": 2}, at=2),
        recorded("job.progressed", {"fraction": 0.29, "stage": "genes"}, at=3),
        recorded("job.pinned", {"reason": "paper"}, at=3),
        recorded("job.failed", {"error": {"message": "no disk"}}, at=4),
    )
    assert [(entry.from_status, entry.to_status) for entry in entries] == [
        (None, "submitted"),
        ("submitted", "running"),
        ("running", "running"),
        ("running", "running"),
        ("running", "failed"),
    ]
    assert [entry.attempt for entry in entries] == [1, 2, 2, 2, 2]
    assert [entry.message for entry in entries] == [None, None, None, "paper", "no disk"]
    assert (entries[2].stage, entries[2].percent) == ("genes", 29)


def test_a_late_event_is_one_that_did_not_move_the_status() -> None:
    """A start that arrives after the end is late; a second start of the same status is not."""
    late = history(recorded("job.succeeded", at=9), recorded("job.started", at=1))[1]
    assert (late.from_status, late.to_status, late.late) == ("succeeded", "running", True)
    again = history(recorded("job.started", at=1), recorded("job.started", at=2))[1]
    assert (again.from_status, again.to_status, again.late) == ("running", "running", False)


@given(events=job_events(ties=True))
def test_late_is_told_by_the_fold(events: list[RecordedEvent]) -> None:
    """Folding a late event leaves status and its time, any other transition gives its own."""
    state = None
    for event in events:
        entry = history_entry(state, event)
        assert entry is not None
        before = None if state is None else (state.status, state.status_time)
        state = advance_job(state, event)
        if entry.late:
            assert (state.status, state.status_time) == before
        else:
            assert state.status == entry.to_status


def test_progress_has_one_entry_for_each_attempt_stage_and_percent() -> None:
    """Repeats within a percent are left out, also when progress goes back and forth."""
    entries = history(
        *(
            recorded("job.progressed", payload, at=at)
            for at, payload in enumerate(
                [
                    {"fraction": 0.101, "stage": "genes"},
                    {"fraction": 0.109},
                    {"fraction": 0.2},
                    {"fraction": 0.105},
                    {"fraction": 0.1, "stage": "export"},
                    {"message": "still there"},
                    {"message": "and still"},
                ]
            )
        ),
        recorded("job.started", {"attempt": 2}, at=10),
        recorded("job.progressed", {"fraction": 0.1}, at=11),
    )
    assert [entry.progress_key for entry in entries] == [
        (1, "genes", 10),
        (1, "genes", 20),
        (1, "export", 10),
        (1, "export", -1),
        None,
        (2, "export", 10),
    ]


def test_the_whole_percent_is_exact() -> None:
    """Every hundredth counts as itself, although binary fractions are a little less or more."""
    for percent in range(101):
        (entry,) = history(recorded("job.progressed", {"fraction": percent / 100}))
        assert entry.percent == percent
    (almost,) = history(recorded("job.progressed", {"fraction": 0.9999}))
    assert almost.percent == 99


def test_a_skewed_event_shows_the_time_it_counts_as() -> None:
    """The entry has the effective time and says that it was cut."""
    (entry,) = history(recorded("job.queued", at=86_400, recorded_at=0))
    assert (entry.time, entry.skewed) == (NOON + SKEW_LIMIT, True)


def test_what_is_no_news_of_a_job_has_no_entry() -> None:
    """Events of other categories and events that were folded already have none."""
    assert history_entry(None, recorded("alert.raised")) is None
    event = recorded("job.started")
    assert history_entry(fold_job(None, [event]), event) is None


def test_the_view_has_the_fixed_names() -> None:
    """The JSON shape of an entry, alone and within a chain of attempts."""
    event = recorded("job.cancelled", {"reason": "not needed"}, at=1, actor="mara")
    (entry,) = history(event)
    view: dict[str, Any] = {
        "position": 1,
        "version": 1,
        "type": "job.cancelled",
        "time": "2026-02-04T12:00:01Z",
        "recordedtime": "2026-02-04T12:00:01Z",
        "from": None,
        "to": "cancelled",
        "attempt": 1,
        "stage": None,
        "percent": None,
        "source": "/tests",
        "actor": "mara",
        "message": "not needed",
        "late": False,
        "skewed": False,
    }
    assert orjson.loads(orjson.dumps(history_view(entry))) == view
    assert history_view(entry, job="annotation-17") == {"job": "annotation-17", **view}
