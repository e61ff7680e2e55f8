"""Bodies and lines: content types, what is refused with its place, and that no line is lost."""

from __future__ import annotations

import json
import logging
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from intake_lines import DONE, LIMITS, TO_DO, keys, lines

from daemon.eventlog.requests import KEPT_BYTES_MAX
from daemon.intake.formats import (
    FORMATS,
    LINE_FACTOR,
    Format,
    decode_body,
    decode_lines,
    find_format,
    make_dead_letter,
)
from domain.cloudevents import from_structured
from domain.errors import (
    ChronicledError,
    Invalid,
    NotFound,
    TooLarge,
    Undecodable,
    UnknownField,
    UnsupportedMediaType,
    VersionConflict,
)
from domain.limits import Limits

EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "1",
    "source": "/annotation",
    "type": "job.started",
    "subject": "annotation-17",
    "data": {"worker": "n1"},
}
LINE = orjson.dumps(TO_DO)


def body(*messages: Any) -> bytes:
    """Return messages as NDJSON."""
    return b"\n".join(orjson.dumps(message) for message in messages)


def test_the_formats_are_these() -> None:
    """The names that producers and commands use are fixed."""
    assert list(FORMATS) == [
        *("cloudevents", "flowlord-task", "flowlord-file", "gcs-notification"),
        *("openlineage", "alertmanager", "pubsub-push"),
        *("queue-state", "bakta-job-init", "bakta-job-start", "bakta-job-list"),
        *("bakta-job-result", "bakta-job-delete", "bakta-version"),
    ]
    with pytest.raises(NotFound, match="did you mean 'flowlord-task'"):
        find_format("flowlord-tasks")
    with pytest.raises(NotFound):
        decode_lines("", b"{}", LIMITS, "x")


@pytest.mark.parametrize(
    ("content_type", "sent"),
    [
        ("application/json", orjson.dumps(TO_DO, option=orjson.OPT_INDENT_2)),
        ("application/json", b"[" + LINE + b"," + LINE + b"]"),
        ("application/json; charset=UTF-8", b"\xef\xbb\xbf" + LINE),
        ('Application/JSON ; charset="utf-8"; x=y', b" \n" + LINE),
        ("application/x-ndjson", LINE),
        ("application/x-ndjson", b"\r\n" + LINE + b"\r\n \n" + LINE + b"\r\n"),
        ("application/x-ndjson;charset=utf8", b"\xef\xbb\xbf" + LINE + b"\n"),
    ],
)
def test_one_message_in_every_shape_of_body(content_type: str, sent: bytes) -> None:
    """Object, array and NDJSON, with or without byte order mark, say the same."""
    events = decode_body("flowlord-task", sent, content_type, LIMITS)
    expected = keys(decode_body("flowlord-task", LINE, "application/json", LIMITS))
    assert set(keys(events)) == set(expected)
    assert len(events) == sent.count(b'"created"')


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("flowlord-task", None),
        ("flowlord-task", ""),
        ("flowlord-task", "text/plain"),
        ("flowlord-task", "application/cloudevents+json"),
        ("flowlord-task", "application/json; charset=latin-1"),
        ("cloudevents", "application/json;charset=utf-16"),
        ("cloudevents", "application/cloudevents+xml"),
    ],
)
def test_other_content_types_are_refused(name: str, content_type: str | None) -> None:
    """A body is read only by a content type that its format has, and in UTF-8."""
    with pytest.raises(UnsupportedMediaType):
        decode_body(name, LINE, content_type, LIMITS)


@pytest.mark.parametrize(
    ("content_type", "sent", "why"),
    [
        ("application/json", b"", "empty"),
        ("application/json", b" \n", "empty"),
        ("application/json", b"{", "not JSON"),
        ("application/json", b'{"type":"a"} {"type":"b"}', "not JSON"),
        ("application/json", b'{"type":"\xff"}', "not UTF-8, from byte 9"),
        ("application/json", LINE.decode().encode("utf-16"), "NUL"),
        ("application/json", b'{"type":"\x00"}', "NUL bytes, the first at byte 9"),
        ("application/json", b'{"type":"\\ud800"}', "not JSON"),
        ("application/json", b"[" * 2000 + b"]" * 2000, "not JSON"),
        ("application/x-ndjson", LINE + b"\n\n{\n", "message 1: not JSON"),
    ],
)
def test_what_is_not_json_is_undecodable(content_type: str, sent: bytes, why: str) -> None:
    """The error says what kind of broken it is, and where."""
    with pytest.raises(Undecodable, match=why):
        decode_body("flowlord-task", sent, content_type, LIMITS)


def test_structured_and_batch_types_say_what_they_hold() -> None:
    """One object is no batch, an array no structured event; either is plain JSON."""
    one, many = orjson.dumps(EVENT), orjson.dumps([EVENT])
    structured, batch = "application/cloudevents+json", "application/cloudevents-batch+json"
    expected = [from_structured(EVENT, LIMITS)]
    assert decode_body("cloudevents", one, structured, LIMITS) == expected
    assert decode_body("cloudevents", many, batch, LIMITS) == expected
    assert decode_body("cloudevents", many, "application/json", LIMITS) == expected
    with pytest.raises(Undecodable):
        decode_body("cloudevents", many, structured, LIMITS)
    with pytest.raises(Undecodable):
        decode_body("cloudevents", one, batch, LIMITS)


def test_a_cloudevent_keeps_its_source() -> None:
    """What carries its own source is not given another."""
    (event,) = decode_body("cloudevents", orjson.dumps(EVENT), "application/json", LIMITS, "/x")
    assert event.source == "/annotation"
    assert decode_lines("cloudevents", orjson.dumps(EVENT), LIMITS, "f", "/x")[0].events == (event,)


def test_a_source_that_is_no_reference_is_refused() -> None:
    """A wrong override is the caller's fault, never that of the lines."""
    for source in ("two words", "", "a\n"):
        with pytest.raises(Invalid, match="source"):
            decode_body("flowlord-task", LINE, "application/json", LIMITS, source)
        with pytest.raises(Invalid, match="source"):
            decode_lines("flowlord-task", LINE, LIMITS, "f", source)


@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson"])
def test_every_bad_message_of_a_body_is_named(content_type: str) -> None:
    """Each fault has the index of its message and a pointer into it."""
    messages = [TO_DO, TO_DO | {"type": 5}, TO_DO, TO_DO | {"id": [], "msg": 1}, 7]
    sent = body(*messages) if "nd" in content_type else orjson.dumps(messages)
    with pytest.raises(Invalid) as caught:
        decode_body("flowlord-task", sent, content_type, LIMITS)
    places = [(fault.index, fault.pointer) for fault in caught.value.errors]
    assert places == [(1, "/type"), (3, "/id"), (3, "/msg"), (4, "")]


def test_no_more_than_a_hundred_faults_are_named() -> None:
    """A body of nothing but faults gets a bounded answer."""
    with pytest.raises(Invalid) as caught:
        decode_body("flowlord-task", body(*[{}] * 500), "application/x-ndjson", LIMITS)
    assert len(caught.value.errors) == 100


def test_the_error_is_of_the_kind_that_its_faults_share() -> None:
    """Unknown fields alone are that error, with the index in the body."""
    wrong = EVENT | {"data": {"workers": 1}}
    with pytest.raises(UnknownField) as caught:
        decode_body("cloudevents", orjson.dumps([EVENT, wrong]), "application/json", LIMITS)
    (fault,) = caught.value.errors
    assert (fault.index, fault.pointer) == (1, "/data/workers")


def test_an_empty_batch_has_no_events() -> None:
    """An empty array is a batch; so are lines that are all blank."""
    assert decode_body("flowlord-task", b"[]", "application/json", LIMITS) == []
    assert decode_body("flowlord-task", b"\n\n", "application/x-ndjson", LIMITS) == []


def test_a_body_is_bounded_in_events_and_bytes() -> None:
    """The bound counts the events that the messages imply, not the messages."""
    limits = Limits(batch_events=5, batch_bytes=10_000)
    assert len(decode_body("flowlord-task", body(*[TO_DO] * 5), "application/jsonl", limits)) == 5
    with pytest.raises(TooLarge, match="5 events"):
        decode_body("flowlord-task", body(DONE, DONE), "application/x-ndjson", limits)
    with pytest.raises(TooLarge, match="10000 bytes"):
        decode_body("flowlord-task", b" " * 10_001, "application/json", limits)


def test_lines_are_units_of_their_own() -> None:
    """Good lines become events, bad ones dead letters, blank ones nothing; all in order."""
    sent = b"\xef\xbb\xbf" + LINE + b"\r\n\r\n{bad\n \t\n" + LINE + b"\n\n[" + LINE + b"]"
    decoded = decode_lines("flowlord-task", sent, LIMITS, "tasks.ndjson")
    assert [(one.line, bool(one.events)) for one in decoded] == [
        (0, True), (2, False), (4, True), (6, False),
    ]  # fmt: skip
    assert keys(list(decoded[0].events)) == keys(list(decoded[2].events))
    letter = decoded[1].dead_letter
    assert letter is not None
    assert (letter.format, letter.raw, letter.origin) == ("flowlord-task", b"{bad", "tasks.ndjson")
    assert (letter.reason, letter.detail[:8]) == ("undecodable", "not JSON")
    assert decoded[0].dead_letter is None
    assert decoded[0].raw.endswith(b"}")


@pytest.mark.parametrize(
    ("raw", "reason", "detail"),
    [
        (b"{", "undecodable", "not JSON"),
        (b'"text"', "invalid", "JSON object"),
        (b"[{}]", "invalid", "JSON object"),
        (b"null", "invalid", "JSON object"),
        (b"\0\0\0\0", "undecodable", "NUL"),
        (b"\0\0" + LINE, "undecodable", "NUL"),
        (b'{"type":"a\xc3"}', "undecodable", "not UTF-8"),
        (LINE[:50], "undecodable", "not JSON"),
        (LINE + LINE, "undecodable", "not JSON"),
        (b'{"type":"a","x":' + b"[" * 300 + b"]" * 300 + b"}", "invalid", "nested"),
        (b'{"type":"' + b"x" * 300_000 + b'"}', "invalid", "subject"),
        (b" " * LINE_FACTOR * LIMITS.event_bytes + LINE, "too_large", "bytes"),
    ],
)
def test_a_line_that_cannot_be_events_is_a_dead_letter(
    raw: bytes, reason: str, detail: str
) -> None:
    """Whatever is wrong with a line, it is kept with a reason, and the next line is read."""
    broken, good = lines("flowlord-task", raw, TO_DO)
    assert broken.events == ()
    assert broken.dead_letter.raw == raw
    assert broken.dead_letter.reason == reason
    assert detail in broken.dead_letter.detail
    assert good.events


def test_escaped_control_characters_in_texts_are_kept() -> None:
    """What JSON can say in a text is no reason to refuse a line."""
    (one,) = lines("flowlord-task", DONE | {"msg": "a\0b\x1b[31m\u2028\U0001f4a5"})
    assert orjson.loads(one.events[2].data)["message"] == "a\0b\x1b[31m\u2028\U0001f4a5"


def test_of_repeated_keys_the_last_counts() -> None:
    """A line that has a key twice is read as its producer's own library reads it."""
    repeated = b'{"type":"first",' + LINE[1:]
    one, other = lines("flowlord-task", repeated, LINE)
    assert one.events == other.events


def test_the_detail_of_a_dead_letter_is_bounded() -> None:
    """A fault that quotes the line does not repeat all of it."""
    letter = make_dead_letter(
        find_format("cloudevents"), b"x", VersionConflict("y" * 100_000), "pipe"
    )
    assert (letter.reason, len(letter.detail)) == ("version_conflict", 1000)


def test_of_a_long_line_what_is_kept_is_masked() -> None:
    """Also a secret that crosses the end of what is kept is masked."""
    raw = b"x" * (KEPT_BYTES_MAX - 10) + b" token=" + b"a" * 5_000_000
    letter = make_dead_letter(find_format("cloudevents"), raw, TooLarge("too large"), "pipe")
    assert letter.kept is not None
    assert b"aaa" not in letter.kept[:KEPT_BYTES_MAX]
    assert len(letter.kept) < KEPT_BYTES_MAX + 10_000
    assert letter.raw is raw


def test_a_fault_of_a_decoder_costs_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """A line on which the decoder itself fails is a dead letter, logged, and the next is read."""

    def decode(fields: Any, options: Any) -> list[Any]:
        return [] if fields["a"] else [1 / 0]

    with caplog.at_level(logging.ERROR):
        one, other = decode_lines(Format("x", "", decode), b'{"a":0}\n{"a":1}', LIMITS, "f")
    assert one.dead_letter is not None
    assert one.dead_letter.reason == ChronicledError.code
    assert other.dead_letter is None
    assert "ZeroDivisionError" in caplog.text


MESSAGES = [
    LINE,
    orjson.dumps(DONE),
    orjson.dumps(EVENT),
    b'{"path":"a"}',
    b'{"id":"a","name":"b"}',
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
json_lines = st.dictionaries(
    st.sampled_from(
        [
            *(*TO_DO, *DONE, *EVENT, "path", "size", "bucket", "name", "isDir", "x"),
            *("history", "queue", "current_task", "should_stop", "saved_at"),
        ]
    ),
    json_values,
).map(lambda fields: json.dumps(fields).encode())
torn_lines = st.tuples(st.sampled_from(MESSAGES), st.binary(max_size=9), st.integers(0, 300)).map(
    lambda parts: parts[0][: parts[2]] + parts[1] + parts[0][parts[2] :]
)


@given(
    name=st.sampled_from(list(FORMATS)),
    parts=st.lists(st.binary(max_size=40) | torn_lines | json_lines, max_size=6),
)
def test_any_bytes_give_one_unit_a_line(name: str, parts: list[bytes]) -> None:
    """Nothing is raised, and each line that is not blank is events or one dead letter."""
    sent = b"\n".join(parts)
    decoded = decode_lines(name, sent, LIMITS, "fuzz")
    units = [sent] if FORMATS[name].whole else sent.split(b"\n")
    full = [n for n, line in enumerate(units) if line.strip() not in (b"", b"\xef\xbb\xbf")]
    assert [one.line for one in decoded] == full
    for one in decoded:
        assert bool(one.events) != (one.dead_letter is not None)
        assert one.dead_letter is None or one.dead_letter.reason != ChronicledError.code
    assert decode_lines(name, sent, LIMITS, "fuzz") == decoded


@given(name=st.sampled_from(list(FORMATS)), sent=st.binary(max_size=80) | torn_lines | json_lines)
def test_a_body_and_a_line_agree(name: str, sent: bytes) -> None:
    """What the strict way takes the lenient way takes too, with the same events."""
    decoded = decode_lines(name, sent, LIMITS, "fuzz")
    try:
        events = decode_body(name, sent, "application/x-ndjson", LIMITS)
    except (Undecodable, Invalid, TooLarge):
        assert any(one.dead_letter for one in decoded)
    else:
        assert events == [event for one in decoded for event in one.events]
