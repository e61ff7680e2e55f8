"""CloudEvents in every mode: the same event in is the same event recorded, and comes out again."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from domain.catalog import event_types, validate_payload
from domain.cloudevents import (
    example_event,
    from_batch,
    from_binary,
    from_json,
    from_ndjson,
    from_structured,
    to_binary,
    to_json,
    to_structured,
)
from domain.errors import ChronicledError
from domain.events import NewEvent, RecordedEvent
from domain.limits import Limits

LIMITS = Limits()
CLIENT_TYPES = [entry.name for entry in event_types() if entry.client]

ATTRIBUTE = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cn", "Cs")), min_size=1, max_size=40
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.floats(0, 1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
EXTENSIONS = st.dictionaries(
    st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True).filter(lambda name: name not in TAKEN_NAMES),
    ATTRIBUTE | st.just(""),
    max_size=3,
)
TAKEN_NAMES = {
    *("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"),
    *("expectedversion", "position", "version", "recordedtime"),
}


@st.composite
def new_events(draw: st.DrawFn) -> NewEvent:
    """Draw a valid event whose extensions are text, as HTTP headers carry nothing else."""
    payload = draw(
        st.fixed_dictionaries(
            {}, optional={"name": st.text(), "input": JSON, "extra": st.just({"a": None})}
        )
    )
    return NewEvent(
        type="job.submitted",
        subject=draw(ATTRIBUTE),
        source=draw(st.sampled_from(["/tests", "https://a.example/b?c=%20", "urn:x:1"])),
        id=draw(ATTRIBUTE),
        data=validate_payload("job.submitted", payload),
        time=draw(st.integers(0, 253_402_300_799_999_999)),
        extensions=draw(EXTENSIONS) or None,
    )


def record(event: NewEvent, position: int = 7) -> RecordedEvent:
    """Return the event as a log would have recorded it."""
    return RecordedEvent(
        position=position,
        stream=event.stream,
        version=3,
        type=event.type,
        time=event.time or 0,
        recordedtime=1_770_206_400_000_000,
        source=event.source,
        id=event.id,
        data=event.data,
        payload=orjson.loads(event.data),
        extensions=event.extensions or {},
    )


@given(event=new_events())
def test_what_goes_out_comes_in_again_in_every_mode(event: NewEvent) -> None:
    """Structured, batch, NDJSON and binary mode of one recorded event are the same event."""
    recorded = record(event)
    body = to_json(recorded)
    headers, content = to_binary(recorded)
    assert from_structured(to_structured(recorded), LIMITS) == event
    assert from_json(body, LIMITS) == event
    assert from_batch(b"[" + body + b"," + body + b"]", LIMITS) == [event, event]
    assert from_ndjson(body + b"\r\n\n  \n" + body, LIMITS) == [event, event]
    assert from_binary(headers, content, LIMITS) == event


@given(event=new_events())
def test_structured_output_is_the_json_output(event: NewEvent) -> None:
    """The embedded raw data gives the same JSON as the decoded payload."""
    recorded = record(event)
    assert orjson.loads(to_json(recorded)) == orjson.loads(orjson.dumps(to_structured(recorded)))


@pytest.mark.parametrize("type_", CLIENT_TYPES)
def test_the_example_event_of_every_type_is_taken(type_: str) -> None:
    """The documented examples are valid events."""
    event = from_structured(example_event(type_), LIMITS)
    assert event.type == type_
    assert event.stream.startswith(type_.partition(".")[0] + "/")


def test_headers_are_plain_ascii() -> None:
    """Whatever an attribute holds, its header is printable ASCII without quotes or spaces."""
    event = NewEvent("job.queued", 'a "b" %20 ☃/😀 c', "/tests", "é", b"{}", 0, {"flag": True})
    headers, body = to_binary(record(event))
    assert all(value.isascii() and value.isprintable() for value in headers.values())
    assert headers["ce-subject"] == "a%20%22b%22%20%2520%20%E2%98%83/%F0%9F%98%80%20c"
    assert headers["ce-flag"] == "true"
    assert headers["content-type"] == "application/json"
    assert from_binary(headers, body, LIMITS).subject == event.subject


def event(**attributes: Any) -> dict[str, Any]:
    """Return a small structured event with other attributes."""
    return {
        "specversion": "1.0",
        "id": "1",
        "source": "/tests",
        "type": "job.queued",
        "subject": "annotation-17",
        "data": {"queue": "default"},
        **attributes,
    }


def test_places_in_the_log_are_ignored_on_the_way_in() -> None:
    """An event that was read from a log can be sent on; whatever stands there does not matter."""
    there = event(position="x", version=-1, recordedtime=[])
    assert from_structured(there, LIMITS) == from_structured(event(), LIMITS)


def test_null_attributes_are_absent() -> None:
    """The JSON format has null stand for an attribute that is not there."""
    nulls = dict.fromkeys(["time", "datacontenttype", "expectedversion", "actor", "data_base64"])
    assert from_structured(event(**nulls), LIMITS) == from_structured(event(), LIMITS)
    assert from_structured(event(data=None), LIMITS).data == b"{}"


def test_extensions_are_kept_as_given() -> None:
    """Text, integers and booleans keep their kind and their order."""
    kept = {"zone": "b", "actor": "mara", "tries": 3, "dry": True, "dataschema": "https://s.x/1"}
    read = from_structured(event(**kept), LIMITS)
    assert list((read.extensions or {}).items()) == list(kept.items())
    assert from_structured(event(), LIMITS).extensions is None


@pytest.mark.parametrize(("given_", "expected"), [(0, 0), (7, 7), ("0", 0), ("12", 12)])
def test_the_expected_version_may_be_text(given_: object, expected: int) -> None:
    """HTTP headers carry text; it is no extension, and is not recorded."""
    read = from_structured(event(expectedversion=given_), LIMITS)
    assert read.expected_version == expected
    assert read.extensions is None


def test_a_missing_time_stays_missing() -> None:
    """No time and a time in year 1 are None: the log puts in when it recorded the event."""
    assert from_structured(event(), LIMITS).time is None
    assert from_structured(event(time="0001-01-01T00:00:00Z"), LIMITS).time is None
    assert from_structured(event(time="1970-01-01T00:00:00Z"), LIMITS).time == 0


def test_data_may_come_in_base64() -> None:
    """JSON in data_base64 is the same data."""
    coded = event(data_base64=b64encode(b'{ "queue": "default" }').decode())
    del coded["data"]
    assert from_structured(coded, LIMITS) == from_structured(event(), LIMITS)


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "text/json", "application/json; charset=utf-8", "APPLICATION/X+JSON"],
)
def test_any_json_content_type_is_taken(media_type: str) -> None:
    """What says that it is JSON is read as JSON."""
    assert from_structured(event(datacontenttype=media_type), LIMITS).data


def test_binary_headers_are_read_as_the_binding_says() -> None:
    """Names in any case, quoted values, percent-encoding; no body is empty data."""
    headers = {
        "CE-SpecVersion": "1.0",
        "Ce-Id": '"a \\"b\\""',
        "ce-source": "/tests",
        "ce-type": "job.queued",
        "ce-subject": "Euro%20%E2%82%AC",
        "ce-expectedversion": "4",
        "Content-Length": "0",
    }
    read = from_binary(headers, b"", LIMITS)
    assert (read.id, read.subject, read.data) == ('a "b"', "Euro €", b"{}")
    assert read.expected_version == 4
    assert read.extensions is None


def test_the_official_library_and_we_understand_each_other() -> None:
    """What the CloudEvents library writes in either mode is one event, and it reads ours."""
    sent = CloudEvent(
        attributes={
            "specversion": "1.0",
            "id": "7",
            "source": "/library",
            "type": "job.submitted",
            "subject": 'pOSAK1 €/1 "q"%20',
            "time": datetime(2026, 2, 4, 6, 12, 46, tzinfo=UTC),
            "datacontenttype": "application/json",
            "correlationid": "run 1",
        },
        data={"name": "é"},
    )
    structured, binary = http.to_structured(sent, JSONFormat()), http.to_binary(sent, JSONFormat())
    read = from_json(structured.body, LIMITS)
    assert read == from_binary(binary.headers, binary.body, LIMITS)
    assert read.subject == sent.get_subject()
    back = http.from_binary(http.HTTPMessage(*to_binary(record(read))), JSONFormat())
    ours = {"position": "7", "version": "3", "recordedtime": "2026-02-04T12:00:00Z"}
    assert back.get_attributes() == sent.get_attributes() | ours
    assert back.get_data() == sent.get_data()


def test_subjects_are_taken_literally() -> None:
    """Slashes, spaces, dots and non-ASCII text are not interpreted, trimmed or normalised."""
    for subject in ("a/../b", " x ", "//", "e\u0301", "gs://raw/a b.gz", "😀" * 1024):
        read = from_structured(event(subject=subject), LIMITS)
        assert read.subject == subject
        assert read.stream == f"job/{subject}"


def test_control_characters_inside_data_do_no_harm() -> None:
    """Data is free text: NUL and friends are stored escaped, and come back."""
    text = "".join(map(chr, range(0xA0))) + "\ufffe\u2028"
    read = from_json(orjson.dumps(event(data={"reason": text})), LIMITS)
    assert b"\x00" not in read.data
    assert orjson.loads(read.data) == {"reason": text}


def test_an_empty_batch_has_no_events() -> None:
    """Nothing in, nothing out."""
    assert from_batch(b"[]", LIMITS) == []
    assert from_ndjson(b"\n \n", LIMITS) == []


def test_a_full_batch_is_taken() -> None:
    """Exactly as many events as the limit says are fine."""
    line = orjson.dumps(event())
    assert len(from_ndjson(b"\n".join([line] * 10_000), LIMITS)) == 10_000


def refusal(read: Callable[[], object]) -> ChronicledError | None:
    """Return the error of ours that a reading ends in, if it does; any other error passes."""
    try:
        read()
    except ChronicledError as error:
        return error
    return None


JSON_OR_EVENT = JSON | st.fixed_dictionaries(
    {},
    optional={
        name: JSON | st.just(value) | st.text(max_size=5)
        for name, value in (event(time="2026-02-04T06:12:46Z", actor="mara", more=1)).items()
    },
)


@given(obj=JSON_OR_EVENT)
def test_arbitrary_json_is_events_or_an_error_of_ours(obj: Any) -> None:
    """Whatever JSON is sent, by whatever mode: nothing but a ChronicledError comes out."""
    body = orjson.dumps(obj)
    for read in (from_json, from_batch, from_ndjson):
        refused = refusal(lambda read=read: read(body, LIMITS))
        assert refused is None or refused.status in (400, 413, 422)
        assert refused is None or len(refused.detail) < 1000


@given(body=st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_arbitrary_bytes_are_events_or_an_error_of_ours(body: bytes) -> None:
    """Whatever bytes are sent: nothing but a ChronicledError comes out."""
    headers = {"ce-id": "1", "ce-type": "job.queued", "content-type": "application/json"}
    for read in (from_json, from_batch, from_ndjson):
        with pytest.raises(ChronicledError):
            read(b"[1," + body, LIMITS)
    with pytest.raises(ChronicledError):
        from_binary(headers, body, LIMITS)


@given(
    headers=st.dictionaries(
        st.sampled_from(
            [
                "ce-id",
                "CE-Source",
                "ce-type",
                "ce-subject",
                "ce-time",
                "ce-",
                "ce-x",
                "ce-data",
                "ce-specversion",
                "ce-data_base64",
                "ce-datacontenttype",
                "content-type",
                "host",
            ]
        ),
        st.text(max_size=12) | st.sampled_from(["1.0", "job.queued", "%ff", '"', '"\\', "%zz"]),
    ),
    body=st.sampled_from([b"", b"{}", b"[]", b"x", b"\xff"]),
)
def test_arbitrary_headers_are_an_event_or_an_error_of_ours(
    headers: dict[str, str], body: bytes
) -> None:
    """Whatever headers are sent: an event or a ChronicledError comes out."""
    refused = refusal(lambda: from_binary(headers, body, LIMITS))
    assert refused is None or refused.status in (400, 413, 422)
