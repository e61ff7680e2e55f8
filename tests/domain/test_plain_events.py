"""The short way of reading an event takes nothing that the long way refuses or reads otherwise."""

from __future__ import annotations

import copy

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.catalog import event_types
from domain.cloudevents import example_event
from domain.envelope import _read_closely, _read_plain
from domain.limits import Limits

TYPES = [entry.name for entry in event_types()]
TIGHT = Limits(subject_bytes=40, event_bytes=400)

texts = st.sampled_from(
    ["", " ", "a b", "/a", "\x7f", "é", "\ud800", "￾", "1", "job.started", "daemon.started",
     "2026-02-04T06:12:46Z", "2026-02-04T06:12:60.5Z", "0001-01-01T00:00:00Z",
     "0000-01-01T00:00:00Z", "2026-02-30T06:12:46Z", "9999-12-31T23:59:59.9999999-01:00",
     "application/json", "text/plain", "x" * 41, "x" * 101, "e30="],
)  # fmt: skip
values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63) - 1, 2**64)
    | st.floats()
    | texts
    | st.text(max_size=8)
    | st.lists(texts, max_size=2)
    | st.dictionaries(texts, texts, max_size=2)
)
names = st.sampled_from(
    ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data",
     "data_base64", "expectedversion", "correlationid", "actor", "note", "Note", "position",
     "version", "kind", "fraction", "error", "attempt", "extra", "severity", "size", "", "x"],
)  # fmt: skip
changes = st.lists(st.tuples(st.booleans(), names | texts, st.none() | st.just(...), values))


@settings(max_examples=1000, deadline=None)
@given(type_=st.sampled_from(TYPES), changes=changes, limits=st.sampled_from([Limits(), TIGHT]))
@example("job.started", [], TIGHT)
def test_what_is_read_the_short_way_reads_the_same_the_long_way(type_, changes, limits) -> None:
    """Examples of every type with names and values put in, taken out or exchanged."""
    event = copy.deepcopy(example_event(type_))
    for in_data, name, gone, value in changes:
        part = event.get("data") if in_data else event
        if not isinstance(part, dict):
            continue
        if gone is None:
            part[name] = value
        else:
            part.pop(name, None)
    plain = _read_plain(event, limits)
    if plain is not None:
        faults: list[object] = []
        assert plain == _read_closely(event, limits, faults)
        assert faults == []


@pytest.mark.parametrize("type_", [entry.name for entry in event_types() if entry.client])
def test_typical_events_are_read_the_short_way(type_) -> None:
    """What producers send, with the extensions that have a meaning, needs no second look."""
    event = example_event(type_) | {"correlationid": "run-1", "actor": "mara"}
    assert _read_plain(event, Limits()) is not None


@pytest.mark.parametrize("value", [None, 7, "text", [], [{}]])
def test_what_is_no_object_is_read_closely(value) -> None:
    """Only a JSON object can be an event."""
    assert _read_plain(value, Limits()) is None
