"""Push envelopes of Pub/Sub: what they hold, how they are known, and what cannot be read."""

from __future__ import annotations

import re
from base64 import b64decode
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from intake_lines import DONE, LIMITS, decode_body, keys, task
from standard_messages import ATTRIBUTES, FIRING, OBJECT, envelope

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Work
from daemon.intake.formats import FORMATS, LINE_FACTOR, decode_lines, find_format, push_format
from daemon.intake.pubsub_push import KEPT_DAYS, forgettable, key_of, wrap
from daemon.intake.recording import line_request, read_lines
from domain.errors import Invalid, TooLarge
from domain.events import NewEvent
from domain.timestamps import MICROSECONDS, format_timestamp, parse_timestamp


def pushed(inner: str, message: dict[str, Any]) -> list[NewEvent]:
    """Return the events of an envelope that holds a message of this format."""
    chosen = push_format(find_format(inner))
    return decode_body(chosen, orjson.dumps(message), "application/json", LIMITS)


def test_the_message_inside_is_what_counts() -> None:
    """The events are those of the inner message, whatever the envelope says."""
    assert pushed("flowlord-task", envelope(DONE)) == task(**DONE)
    again = envelope(DONE, {"origin": "x"}, "other")
    assert keys(pushed("flowlord-task", again)) == keys(task(**DONE))
    assert [event.type for event in pushed("alertmanager", envelope(FIRING))] == ["alert.raised"]


@pytest.mark.parametrize("inner", ["gcs-notification", "flowlord-file"])
def test_object_notifications_are_known_by_their_attributes(inner: str) -> None:
    """No inner format is needed; with one that reads objects the attributes count too."""
    message = envelope(OBJECT, {**ATTRIBUTES, "eventType": "OBJECT_DELETE"})
    (line,) = decode_lines("pubsub-push", orjson.dumps(message), LIMITS, "x")
    assert [event.type for event in line.events] == ["file.removed"]
    assert pushed(inner, message) == list(line.events)


@pytest.mark.parametrize(
    ("message", "error", "pointer"),
    [
        ({}, Invalid, "/message"),
        ({"message": 5}, Invalid, "/message"),
        (envelope(b""), Invalid, "/message/data"),
        (
            envelope(data=DONE, attributes=None) | {"message": {"data": "%%"}},
            Invalid,
            "/message/data",
        ),
        ({"message": {"data": 5}}, Invalid, "/message/data"),
        ({"message": {"data": "e30=", "attributes": {"a": 1}}}, Invalid, "/message/attributes"),
        ({"message": {"data": "e30=", "messageId": 1}}, Invalid, "/message/messageId"),
        (envelope(b"{"), Invalid, ""),
        (envelope([1]), Invalid, ""),
        (envelope({}), Invalid, "/type"),
        (envelope(b" " * (LINE_FACTOR * LIMITS.event_bytes + 1)), TooLarge, ""),
    ],
)
def test_wrong_envelopes_are_refused(
    message: dict[str, Any], error: type[Exception], pointer: str
) -> None:
    """What is wrong with the envelope or with what it holds is named."""
    with pytest.raises(error) as caught:
        pushed("flowlord-task", message)
    faults = getattr(caught.value, "errors", ())
    assert [fault.pointer for fault in faults[:1]] == ([pointer] if faults else [])


def test_without_an_inner_format_the_attributes_have_to_say_it() -> None:
    """An envelope of nobody knows what is a dead letter that says so."""
    (line,) = decode_lines("pubsub-push", orjson.dumps(envelope(DONE)), LIMITS, "x")
    assert line.dead_letter is not None
    assert "inner=" in line.dead_letter.detail


def test_the_format_inside_decides_what_is_kept() -> None:
    """Of an envelope around a message with secrets only the digest and the reason are kept."""
    secret = FORMATS["flowlord-task"].__class__("s", "", lambda *_: [], secret=True)
    (line,) = decode_lines(push_format(secret), b'{"message": "hunter2"}', LIMITS, "x")
    assert line.dead_letter is not None
    assert (line.dead_letter.kept, line.dead_letter.detail) == (b"", "")


def test_a_dead_letter_is_the_message_inside() -> None:
    """It can be read and retried by itself; where the envelope is broken that is kept."""
    chosen = push_format(find_format("flowlord-task"))
    for message, kept in (
        (envelope({"type": 5}), ("flowlord-task", b'{"type":5}')),
        ({"message": 5}, ("pubsub-push", b'{"message":5}')),
    ):
        (line,) = decode_lines(chosen, orjson.dumps(message), LIMITS, "x")
        assert line.dead_letter is not None
        assert (line.dead_letter.format, line.dead_letter.raw) == kept


@pytest.mark.parametrize("inner", [None, "flowlord-task"])
@pytest.mark.parametrize("torn", [False, True])
def test_no_secret_is_hidden_in_base64(inner: str | None, torn: bool) -> None:
    """What a dead letter keeps is masked inside of the envelope too, also where it is torn."""
    secret = "postgres://etl:hunter2@db/x"
    chosen = push_format(None if inner is None else find_format(inner))
    for shift in range(3):
        sent = orjson.dumps(envelope({"type": 5, "x": " " * shift + secret}))
        sent = sent[: sent.index(b'"attributes"')] if torn else sent
        (line,) = decode_lines(chosen, sent, LIMITS, "x")
        assert line.dead_letter is not None
        kept = line.dead_letter.kept
        assert kept is not None
        found = re.search(rb'"data":"([^"]*)"', kept)
        text = b64decode(found[1]) if found else kept
        assert b"hunter2" not in kept + text
        assert b"postgres://etl:***@db" in text


def test_what_a_message_is_known_by() -> None:
    """Its id within the subscription; the day comes first, so that old ones can be forgotten."""
    key = key_of(envelope(DONE))
    assert key.startswith("pubsub/2026-02-04/")
    assert key == key_of(envelope(FIRING, {"x": "y"}))
    assert key != key_of(envelope(DONE, id="2"))
    assert key != key_of(envelope(DONE) | {"subscription": "other"})
    assert key_of(envelope(DONE, id=None)) == key_of({}) == ""
    assert key_of(envelope(DONE, publishTime="x")).startswith("pubsub/~/")
    day = 86_400 * MICROSECONDS
    published = parse_timestamp("2026-02-04T00:00:00Z")
    first, end, since = forgettable(published + KEPT_DAYS * day)
    assert since == published
    assert first < "pubsub/2026-02-03/x" < end <= "pubsub/2026-02-04" < key < "pubsub/~/"
    assert key < forgettable(published + (KEPT_DAYS + 1) * day)[1]


def test_a_message_without_its_envelope_is_put_into_one() -> None:
    """Unwrapped, what the envelope says comes as headers; it is the same message."""
    headers = {
        "x-goog-pubsub-message-id": "9041230984123",
        "x-goog-pubsub-publish-time": "2026-02-04T06:12:46.123Z",
        "x-goog-pubsub-subscription-name": "projects/demo/subscriptions/objects",
        **{name.lower(): value for name, value in ATTRIBUTES.items()},
        "host": "example.org",
    }
    wrapped = orjson.loads(wrap(headers, orjson.dumps(OBJECT)))
    assert key_of(wrapped) == key_of(envelope(OBJECT, ATTRIBUTES))
    told = pushed("gcs-notification", envelope(OBJECT, ATTRIBUTES))
    assert keys(pushed("gcs-notification", wrapped)) == keys(told)


def test_what_is_known_of_old_messages_is_forgotten(tmp_path: Path) -> None:
    """Once no message can be delivered any more, its key is gone; not before."""
    day = 86_400 * MICROSECONDS
    now = parse_timestamp("2026-02-04T06:13:00Z")
    clock = [now]
    chosen = push_format(find_format("flowlord-task"))
    old = key_of(envelope(DONE))
    with closing(EventLog.open(tmp_path / "log.db", clock=lambda: clock[0])) as log:
        log.start()
        for days, known in ((0, 1), (KEPT_DAYS - 1, 1), (KEPT_DAYS + 2, 0)):
            clock[0] = now + days * day
            message = envelope(DONE) if not days else envelope(DONE, id=str(days))
            message["message"]["publishTime"] = format_timestamp(clock[0])
            lines = read_lines(chosen, orjson.dumps(message), LIMITS, "x")
            work = line_request(chosen, lines, "x", None, 0)
            assert isinstance(work, Work)
            log.work(work)
            assert log.follow_offset(old) == known
