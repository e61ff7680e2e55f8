"""Bad input: every fault has its code, its place and its index; a batch names all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from domain.catalog import event_types
from domain.cloudevents import from_batch, from_binary, from_json, from_ndjson, from_structured
from domain.envelope import read_event
from domain.errors import (
    ChronicledError,
    Fault,
    Invalid,
    ReservedType,
    TooLarge,
    Undecodable,
    UnknownField,
    UnknownType,
)
from domain.faults import FAULTS_MAX
from domain.limits import Limits

LIMITS = Limits()


def event(**attributes: Any) -> dict[str, Any]:
    """Return a valid structured event with other attributes; an ellipsis takes one away."""
    whole = {
        "specversion": "1.0",
        "id": "1",
        "source": "/tests",
        "type": "job.queued",
        "subject": "annotation-17",
        "time": "2026-02-04T06:12:46Z",
        "data": {"queue": "default"},
        **attributes,
    }
    return {name: value for name, value in whole.items() if value is not ...}


def refusal(call: Callable[[], object]) -> ChronicledError:
    """Return the error that the call ends in."""
    with pytest.raises(ChronicledError) as caught:
        call()
    return caught.value


BAD_EVENTS = [
    # attribute, value, error, code of the fault, pointer
    *((name, ..., Invalid, "invalid", f"/{name}") for name in ("id", "source", "type", "subject")),
    *((name, "", Invalid, "invalid", f"/{name}") for name in ("id", "source", "type", "subject")),
    *((name, None, Invalid, "invalid", f"/{name}") for name in ("id", "source", "subject")),
    *((name, 17, Invalid, "invalid", f"/{name}") for name in ("id", "source", "type", "subject")),
    *((name, "a\x00b", Invalid, "invalid", f"/{name}") for name in ("id", "type", "subject")),
    *(
        ("subject", f"a{character}", Invalid, "invalid", "/subject")
        for character in "\n\x1f\x7f\x80\x9f\ufdd0\uffff\U0010ffff\ud800"
    ),
    ("specversion", ..., Invalid, "invalid", "/specversion"),
    ("specversion", "0.3", Invalid, "invalid", "/specversion"),
    ("specversion", 1.0, Invalid, "invalid", "/specversion"),
    ("source", "/with space", Invalid, "invalid", "/source"),
    ("source", "/with\u00a0space", Invalid, "invalid", "/source"),
    ("source", "/with\nbreak", Invalid, "invalid", "/source"),
    ("subject", "x" * 4097, Invalid, "too_long", "/subject"),
    ("subject", "é" * 2049, Invalid, "too_long", "/subject"),
    ("subject", "😀" * 1025, Invalid, "too_long", "/subject"),
    ("type", "job.sumbitted", UnknownType, "unknown_type", "/type"),
    ("type", "job", UnknownType, "unknown_type", "/type"),
    ("type", "x" * 200_000, UnknownType, "unknown_type", "/type"),
    ("type", "job.archived", ReservedType, "reserved_type", "/type"),
    ("type", "log.restored", ReservedType, "reserved_type", "/type"),
    *(
        ("time", value, Invalid, "invalid", "/time")
        for value in ("yesterday", "", "2026-02-04", "2026-02-30T00:00:00Z", 1770185566, [], True)
    ),
    ("data", [], Invalid, "invalid", "/data"),
    ("data", "text", Invalid, "invalid", "/data"),
    ("data", 0, Invalid, "invalid", "/data"),
    ("data", False, Invalid, "invalid", "/data"),
    ("data", {"queu": "a"}, UnknownField, "unknown_field", "/data/queu"),
    ("data", {"priority": True}, Invalid, "invalid", "/data/priority"),
    ("data", {"reason": "x" * 262_144}, TooLarge, "too_large", ""),
    ("id", "x" * 262_144, TooLarge, "too_large", ""),
    ("id", "é" * 131_072, TooLarge, "too_large", ""),
    ("actor", "x" * 262_144, TooLarge, "too_large", ""),
    ("data_base64", "e30=", Invalid, "invalid", "/data_base64"),
    ("datacontenttype", "text/plain", Invalid, "invalid", "/datacontenttype"),
    ("datacontenttype", "application/json+xml", Invalid, "invalid", "/datacontenttype"),
    ("datacontenttype", 5, Invalid, "invalid", "/datacontenttype"),
    *(
        ("expectedversion", value, Invalid, "invalid", "/expectedversion")
        for value in (-1, 2**63, "-1", "", "1.0", "9" * 30, True, 1.0, [], "٣")
    ),
    ("correlationId", "a", Invalid, "invalid", "/correlationId"),
    ("trace-id", "a", Invalid, "invalid", "/trace-id"),
    ("a/b~", "a", Invalid, "invalid", "/a~1b~0"),
    ("", "a", Invalid, "invalid", "/"),
    *(
        ("region", value, Invalid, "invalid", "/region")
        for value in (1.5, [], {}, 2**63, "line\nbreak")
    ),
    *(
        (name, 5, Invalid, "invalid", f"/{name}")
        for name in ("correlationid", "causationid", "traceparent", "actor")
    ),
]


@pytest.mark.parametrize(("name", "value", "kind", "code", "pointer"), BAD_EVENTS)
def test_a_bad_attribute_has_its_code_and_its_place(
    name: str, value: object, kind: type[ChronicledError], code: str, pointer: str
) -> None:
    """One fault gives one error of its kind, by itself without an index, in a batch with one."""
    bad = event(**{name: value})
    error = refusal(lambda: from_structured(bad, LIMITS))
    assert type(error) is kind
    assert [(fault.code, fault.pointer, fault.index) for fault in error.errors] == [
        (code, pointer, None)
    ]
    assert len(error.detail) < 1000
    if "\ud800" in str(value):
        return
    batch = refusal(lambda: from_batch(orjson.dumps([event(), bad]), LIMITS))
    assert type(batch) is kind
    assert [(fault.pointer, fault.index) for fault in batch.errors] == [(pointer, 1)]


@pytest.mark.parametrize("obj", [None, [], "event", 5, True])
def test_an_event_is_an_object(obj: object) -> None:
    """Any other JSON is no event."""
    error = refusal(lambda: from_json(orjson.dumps(obj), LIMITS))
    assert (type(error), error.errors[0].pointer) == (Invalid, "")


@pytest.mark.parametrize("encoded", ["not base64!", "bm8=", "W10=", "é", 5, ["e30="]])
def test_bad_base64_is_invalid(encoded: object) -> None:
    """What is no base64, no JSON, or no object in the end is refused where it stands."""
    bad = event(data=..., data_base64=encoded)
    error = refusal(lambda: from_structured(bad, LIMITS))
    assert error.errors[0].pointer in ("/data_base64", "/data")


def test_every_type_of_the_daemon_is_reserved() -> None:
    """Clients may send none of the daemon's own types."""
    for entry in event_types():
        if not entry.client:
            bad = event(type=entry.name, data={})
            assert type(refusal(lambda bad=bad: from_structured(bad, LIMITS))) is ReservedType


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"{", b"{} {}", b"nul", b"{'a':1}", b'{"a":NaN}', b'{"a":1e999}'),
        *(b"\xff\xfe", b"\xef\xbb\xbf{}", b'{"a":"\\ud800"}', b'{"a":"\xed\xa0\x80"}'),
        *(b'{"a":"\x00"}', b"[" * 100_000, b'{"a":' * 100_000),
    ],
)
def test_what_is_not_json_is_undecodable(body: bytes) -> None:
    """Broken text, NaN, infinities, lone surrogates, wrong encodings and abysses: 400."""
    for read in (from_json, from_batch):
        assert type(refusal(lambda read=read: read(body, LIMITS))) is Undecodable


def test_lines_that_are_not_json_are_named() -> None:
    """NDJSON names the index of each undecodable line; empty lines do not count."""
    line = orjson.dumps(event())
    error = refusal(lambda: from_ndjson(line + b"\n\n{\n" + line + b"\nnul\n", LIMITS))
    assert type(error) is Undecodable
    assert [(fault.index, fault.code) for fault in error.errors] == [
        (1, "undecodable"),
        (3, "undecodable"),
    ]
    flood = refusal(lambda: from_ndjson(b"{\n" * 9999, LIMITS))
    assert len(flood.errors) == FAULTS_MAX


def test_nesting_that_cannot_be_written_is_invalid() -> None:
    """Data that can be read but not stored is refused with its place."""
    deep = b'{"a":' * 600 + b"1" + b"}" * 600
    body = orjson.dumps(event(data=...))[:-1] + b',"data":{"extra":' + deep + b"}}"
    error = refusal(lambda: from_json(body, LIMITS))
    assert (type(error), error.errors[0].pointer) == (Invalid, "/data")


def test_a_batch_is_an_array() -> None:
    """An object where a batch was announced is invalid."""
    assert type(refusal(lambda: from_batch(b"{}", LIMITS))) is Invalid


def test_a_batch_names_every_bad_event() -> None:
    """All faults of all bad events are told at once, each with its index."""
    batch = [
        event(),
        event(id=..., time="soon"),
        event(type="job.sumbitted"),
        event(data={"naem": 1, "priority": "x"}),
    ]
    for read, body in (
        (from_batch, orjson.dumps(batch)),
        (from_ndjson, b"\n".join(map(orjson.dumps, batch))),
    ):
        error = refusal(lambda read=read, body=body: read(body, LIMITS))
        assert type(error) is Invalid
        assert sorted((fault.index, fault.pointer, fault.code) for fault in error.errors) == [
            (1, "/id", "invalid"),
            (1, "/time", "invalid"),
            (2, "/type", "unknown_type"),
            (3, "/data/naem", "unknown_field"),
            (3, "/data/priority", "invalid"),
        ]
        assert error.detail == "event 1: id is missing (and 4 more)"


def test_a_batch_of_one_kind_of_fault_is_an_error_of_that_kind() -> None:
    """The code of the whole is the code that all faults share."""
    batch = orjson.dumps([event(data={"naem": 1}), event(), event(data={"queeu": 1})])
    error = refusal(lambda: from_batch(batch, LIMITS))
    assert type(error) is UnknownField
    assert [fault.index for fault in error.errors] == [0, 2]
    mixed = orjson.dumps([event(data={"naem": 1}), event(id=...)])
    assert type(refusal(lambda: from_batch(mixed, LIMITS))) is Invalid


def test_the_faults_of_a_batch_are_bounded() -> None:
    """Ten thousand bad events are answered with a hundred faults."""
    bad = event(id=..., subject=..., time="soon")
    error = refusal(lambda: from_batch(orjson.dumps([bad] * 10_000), LIMITS))
    assert len(error.errors) == FAULTS_MAX
    assert error.errors[-1].index == FAULTS_MAX // 3


def test_a_batch_over_its_limits_is_too_large() -> None:
    """10,001 events and bodies over the byte limit are refused in every mode."""
    line = orjson.dumps(event())
    many = [line] * 10_001
    small = Limits(batch_bytes=len(line) - 1)
    for call in (
        lambda: from_batch(b"[" + b",".join(many) + b"]", LIMITS),
        lambda: from_ndjson(b"\n".join(many), LIMITS),
        lambda: from_json(line, small),
        lambda: from_batch(line, small),
        lambda: from_ndjson(line, small),
        lambda: from_binary({}, line, small),
    ):
        assert type(refusal(call)) is TooLarge


def test_the_size_of_an_event_is_counted_exactly() -> None:
    """An event of exactly the limit is taken, one byte more is not, in bytes of UTF-8."""
    whole = event(id="é", subject="é", actor="é", data={"reason": "é"})
    size = len(orjson.dumps(whole["data"])) + len("éé/testsactoré".encode())
    from_structured(whole, Limits(event_bytes=size))
    error = refusal(lambda: from_structured(whole, Limits(event_bytes=size - 1)))
    assert type(error) is TooLarge
    assert f"{size} bytes" in error.detail


def test_the_limits_are_those_that_are_configured() -> None:
    """Subject, event and batch limits of another size count."""
    assert type(refusal(lambda: from_structured(event(), Limits(subject_bytes=12)))) is Invalid
    assert from_structured(event(), Limits(subject_bytes=13)).subject == "annotation-17"
    two = orjson.dumps([event(), event()])
    assert type(refusal(lambda: from_batch(two, Limits(batch_events=1)))) is TooLarge


@pytest.mark.parametrize(
    ("headers", "body", "kind", "pointer"),
    [
        ({"ce-subject": "%ff"}, b"", Undecodable, "/subject"),
        ({"ce-id": ""}, b"", Invalid, "/id"),
        ({"ce-subject": "a%00"}, b"", Invalid, "/subject"),
        ({"ce-specversion": "0.3"}, b"", Invalid, "/specversion"),
        ({"ce-correlation-id": "a"}, b"", Invalid, "/correlation-id"),
        ({"ce-": "a"}, b"", Invalid, "/"),
        ({"content-type": "text/plain"}, b"{}", Invalid, "/datacontenttype"),
        ({"content-type": "application/json"}, b"[]", Invalid, "/data"),
        ({}, b'{"queu":1}', UnknownField, "/data/queu"),
    ],
)
def test_bad_binary_messages(
    headers: dict[str, str], body: bytes, kind: type[ChronicledError], pointer: str
) -> None:
    """The faults of binary mode are those of structured mode, at the same places."""
    good = {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "/tests",
        "ce-type": "job.queued",
        "ce-subject": "annotation-17",
    }
    assert from_binary(good, b"{}", LIMITS).data == b"{}"
    error = refusal(lambda: from_binary(good | headers, body, LIMITS))
    assert (type(error), [fault.pointer for fault in error.errors]) == (kind, [pointer])
    broken = refusal(lambda: from_binary(good, b"{", LIMITS))
    assert type(broken) is Undecodable


def test_no_more_is_looked_at_than_an_error_names() -> None:
    """Of an event with very many wrong attributes only so many become faults."""
    faults: list[Fault] = []
    wrong = {f"A{number}": 1 for number in range(50 * FAULTS_MAX)}
    assert read_event(event(**wrong), LIMITS, faults) is None
    assert len(faults) == FAULTS_MAX
