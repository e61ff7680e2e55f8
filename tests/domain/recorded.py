"""Recorded events for the tests of the folds, and the strategies that make them up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from hypothesis import strategies as st

from domain.events import RecordedEvent
from domain.timestamps import MICROSECONDS

NOON = 1_770_206_400 * MICROSECONDS
"""2026-02-04T12:00:00Z."""


def recorded(
    type_: str,
    payload: Mapping[str, Any] | None = None,
    *,
    at: int = 0,
    position: int = 1,
    recorded_at: int | None = None,
    subject: str = "annotation-17",
    **extensions: str | int | bool,
) -> RecordedEvent:
    """Return an event ``at`` so many seconds past noon, recorded then too unless told."""
    moment = NOON + at * MICROSECONDS
    kept = dict(payload or {})
    return RecordedEvent(
        position=position,
        stream=f"{type_.partition('.')[0]}/{subject}",
        version=position,
        type=type_,
        time=moment,
        recordedtime=moment if recorded_at is None else NOON + recorded_at * MICROSECONDS,
        source="/tests",
        id=f"event-{position}",
        data=orjson.dumps(kept),
        payload=kept,
        extensions=extensions,
    )


def in_log_order(events: list[RecordedEvent]) -> list[RecordedEvent]:
    """Return the events as a log has them that gets them in this order."""
    return [event._replace(position=place, version=place) for place, event in enumerate(events, 1)]


_TEXT = st.sampled_from(["alpha", "beta", "gamma"])
_REASON = {"reason": _TEXT, "native_status": _TEXT}
_JOB_PAYLOADS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "job.submitted": {
        "kind": _TEXT,
        "name": _TEXT | st.none(),
        "params": st.dictionaries(_TEXT, st.integers(0, 9)),
        "input": _TEXT,
        "owner": _TEXT,
        "queue": _TEXT,
        "priority": st.integers(-9, 9),
        "parent": _TEXT,
        "workflow": _TEXT,
        "phase": _TEXT,
        "attempt": st.integers(1, 5),
        "native_status": _TEXT,
    },
    "job.queued": {"queue": _TEXT, "priority": st.integers(-9, 9), "reason": _TEXT},
    "job.started": {"worker": _TEXT, "attempt": st.integers(1, 5), "native_status": _TEXT},
    "job.progressed": {"fraction": st.floats(0, 1), "stage": _TEXT, "message": _TEXT | st.none()},
    "job.succeeded": {"result": _TEXT, "message": _TEXT, "warning": _TEXT},
    "job.failed": {"error": st.fixed_dictionaries({"class": _TEXT}), "native_status": _TEXT},
    "job.cancelled": _REASON,
    "job.interrupted": _REASON,
    "job.lost": _REASON,
    "job.retried": {"next": _TEXT},
    "job.pinned": {"reason": _TEXT},
    "job.unpinned": {"reason": _TEXT},
    "job.archived": {"location": _TEXT},
    "job.restored": {"location": _TEXT},
}
_ALERT_PAYLOADS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "alert.raised": {
        "severity": st.sampled_from(["info", "error"]),
        "kind": _TEXT,
        "title": _TEXT,
        "message": _TEXT | st.none(),
        "job": _TEXT,
        "labels": st.dictionaries(_TEXT, _TEXT),
    },
    "alert.acknowledged": {"by": _TEXT, "reason": _TEXT},
    "alert.resolved": {"by": _TEXT, "reason": _TEXT},
    "alert.notified": {"channel": _TEXT},
}
_FILE_PAYLOADS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "file.observed": {"size": st.integers(0, 9), "checksum": _TEXT, "created": st.just("")},
    "file.matched": {"workflow": _TEXT, "jobs": st.lists(_TEXT, max_size=2), "reason": _TEXT},
    "file.processed": {"outcome": _TEXT, "job": _TEXT},
    "file.removed": {"outcome": _TEXT, "message": _TEXT},
}
RANKS = {
    "job.queued": 1,
    "job.started": 2,
    "job.progressed": 2,
    "job.succeeded": 3,
    "job.failed": 3,
    "job.cancelled": 3,
    "job.interrupted": 3,
    "job.lost": 3,
    "alert.acknowledged": 1,
    "alert.resolved": 2,
    "file.processed": 1,
    "file.removed": 2,
}
"""The rank of each event type, as the architecture has it; 0 for the others."""


@st.composite
def _events(
    draw: st.DrawFn, payloads: dict[str, dict[str, st.SearchStrategy[Any]]], *, ties: bool
) -> list[RecordedEvent]:
    """Draw the events of one entity in the order in which a log gets them."""
    keys = st.tuples(st.integers(0, 6), st.sampled_from(sorted(payloads)))
    unique = None if ties else (lambda key: (key[0], RANKS.get(key[1], 0)))
    chosen = draw(st.lists(keys, min_size=1, max_size=14, unique_by=unique))
    events = []
    for at, type_ in chosen:
        payload = draw(st.fixed_dictionaries({}, optional=payloads[type_]))
        if type_ == "job.linked":
            payload["to"] = draw(_TEXT)
        run = draw(st.sampled_from([{}, {"correlationid": "run-1"}, {"correlationid": "run-2"}]))
        events.append(recorded(type_, payload, at=at, recorded_at=7, **run))
    return in_log_order(events)


def job_events(*, ties: bool) -> st.SearchStrategy[list[RecordedEvent]]:
    """Return a strategy for one job's events; without ties each (time, rank) is there once."""
    linked = {"job.linked": {"role": _TEXT}}
    return _events(_JOB_PAYLOADS | linked, ties=ties)


def alert_events(*, ties: bool) -> st.SearchStrategy[list[RecordedEvent]]:
    """Return a strategy for one alert's events."""
    return _events(_ALERT_PAYLOADS, ties=ties)


def file_events(*, ties: bool) -> st.SearchStrategy[list[RecordedEvent]]:
    """Return a strategy for one file's events."""
    return _events(_FILE_PAYLOADS, ties=ties)
