"""Events for the model: so few ids that they meet each other, and what can be wrong with one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

import hypothesis.strategies as st
from log_model import Sent

PAYLOADS: Final[dict[str, list[dict[str, Any]]]] = {
    "job.submitted": [{}, {"kind": "test", "name": "Zürich 東京"}],
    "job.progressed": [{"fraction": 0.25}, {"fraction": 0.25, "extra": {"n": [1, 2.5, None]}}],
    "alert.raised": [{"severity": "error"}, {"labels": {"host": "a"}}],
    "file.observed": [{"size": 2**63 - 1}, {"is_dir": False}],
}
SUBJECTS: Final = ("a", "b/c d", "ü%")
EXTENSIONS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"correlationid": "run"},
    {"actor": "ana", "tries": 3, "dry": True},
)
MODES: Final = ("structured", "json", "batch", "array", "lines", "binary")
SINGLE: Final = ("structured", "json", "binary")
_FAULTS: Final[tuple[tuple[dict[str, Any], str, str], ...]] = (
    ({"id": ""}, "/id", "invalid"),
    ({"subject": "x\u0085"}, "/subject", "invalid"),
    ({"source": "a b"}, "/source", "invalid"),
    ({"specversion": "0.3"}, "/specversion", "invalid"),
    ({"type": "job.progresed"}, "/type", "unknown_type"),
    ({"type": "log.restored"}, "/type", "reserved_type"),
    ({"time": "2026-02-04T10:00:00"}, "/time", "invalid"),
    ({"expectedversion": -1}, "/expectedversion", "invalid"),
    ({"Upper": "x"}, "/Upper", "invalid"),
    ({"data": {"no_such_field": 1}}, "/data/no_such_field", "unknown_field"),
    ({"data": [1]}, "/data", "invalid"),
    ({"subject": "s" * 4097}, "/subject", "too_long"),
)
"""What replaces attributes of a good event, where the fault is told, and its code."""


@st.composite
def good_events(draw: st.DrawFn, *, versions: bool = True) -> Sent:
    """Return an event that is valid; some expect a version."""
    type_ = draw(st.sampled_from(list(PAYLOADS)))
    event = {
        "specversion": "1.0",
        "id": draw(st.integers(0, 5).map(str)),
        "source": draw(st.sampled_from(["/a", "/b"])),
        "type": type_,
        "subject": draw(st.sampled_from(SUBJECTS)),
        "time": draw(st.sampled_from(["2026-02-04T10:00:00Z", "2026-02-04T09:59:59.123456Z"])),
        "data": draw(st.sampled_from(PAYLOADS[type_])),
        **draw(st.sampled_from(EXTENSIONS)),
    }
    if versions and draw(st.booleans()):
        event["expectedversion"] = draw(st.integers(0, 2))
    return Sent(event)


@st.composite
def bad_events(draw: st.DrawFn) -> Sent:
    """Return an event with one fault."""
    replaced, pointer, code = draw(st.sampled_from(_FAULTS))
    return Sent({**draw(good_events()).event, **replaced}, (pointer, code))


def good_batches(most: int = 6) -> st.SearchStrategy[list[Sent]]:
    """Return several events that are valid."""
    return st.lists(good_events(), min_size=1, max_size=most)


def bad_batches() -> st.SearchStrategy[list[Sent]]:
    """Return several events of which one at least is not."""
    mixed = st.lists(good_events() | bad_events(), max_size=3)
    return st.tuples(mixed, bad_events(), mixed).map(lambda parts: [*parts[0], parts[1], *parts[2]])


def lines_of(batch: Sequence[Sent | None], name: str) -> dict[str, Sent | None]:
    """Return each event as a line; one that is None is a line that is cut off, named so."""
    return {
        json.dumps(sent.event) if sent else f'{{"{name}": {number}, "id": ': sent
        for number, sent in enumerate(batch)
    }


def as_header_texts(sent: Sent) -> Sent:
    """Return an event as headers can say it: the values of extensions are text."""
    event = {
        name: json.dumps(value) if type(value) in (int, bool) else value
        for name, value in sent.event.items()
    }
    if "expectedversion" in sent.event:
        event["expectedversion"] = sent.event["expectedversion"]
    return Sent(event)


def request_of(mode: str, batch: Sequence[Sent]) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a request in one of the `MODES`."""
    events = [sent.event for sent in batch]
    if mode == "binary":
        return _binary(dict(events[0]))
    if mode == "lines":
        text = "".join(json.dumps(event) + "\n" for event in events)
        return text.encode(), {"content-type": "application/x-ndjson"}
    content_type = {
        "structured": "application/cloudevents+json",
        "batch": "application/cloudevents-batch+json",
    }.get(mode, "application/json")
    said: Any = events[0] if mode in SINGLE else events
    return json.dumps(said).encode(), {"content-type": content_type}


def _binary(event: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    body = json.dumps(event.pop("data")).encode()
    headers = {
        f"ce-{name}": quote(value if isinstance(value, str) else json.dumps(value), safe="")
        for name, value in event.items()
    }
    return body, {**headers, "content-type": "application/json"}
