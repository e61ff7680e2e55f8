"""CloudEvents 1.0 to our events and back: structured, batch, NDJSON and HTTP binary mode.

The mapping is total: whatever bytes come in, the outcome is events or one `ChronicledError` that
names every fault (at most `FAULTS_MAX` of them) with its index in the batch and a JSON pointer.
`domain.envelope` says what makes an attribute valid. The same event has the same outcome in
every mode, except that HTTP headers carry text alone: there an extension's value is text.

JSON is read as I-JSON (RFC 7493): of a repeated name the last counts, and an integer beyond 64
bits becomes a floating-point number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote, unquote

import orjson

from domain.catalog import category_of, example_of
from domain.envelope import SPECVERSION, is_json_type, not_json_type, read_event
from domain.errors import Fault, TooLarge, Undecodable
from domain.events import NewEvent, RecordedEvent
from domain.faults import FAULTS_MAX, raise_faults
from domain.limits import Limits
from domain.timestamps import format_timestamp

_HEADER_SAFE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


def from_structured(obj: object, limits: Limits) -> NewEvent:
    """Return the event of one decoded structured CloudEvent."""
    faults: list[Fault] = []
    event = read_event(obj, limits, faults)
    raise_faults(faults[:FAULTS_MAX])
    assert event is not None, "an event without a fault was read"  # noqa: S101
    return event


def from_json(body: bytes, limits: Limits) -> NewEvent:
    """Return the event of one structured CloudEvent as JSON text."""
    return from_structured(_decode(body, limits), limits)


def from_batch(body: bytes, limits: Limits) -> list[NewEvent]:
    """Return the events of a JSON batch: an array of structured CloudEvents."""
    decoded = _decode(body, limits)
    if not isinstance(decoded, list):
        raise_faults([Fault("a batch has to be a JSON array")])
    return from_objects(decoded, limits)


def from_json_or_batch(body: bytes, limits: Limits) -> list[NewEvent]:
    """Return the events of JSON that says nothing more of itself: one event, or an array."""
    if body.lstrip()[:1] == b"[":
        return from_batch(body, limits)
    return [from_json(body, limits)]


def from_ndjson(body: bytes, limits: Limits) -> list[NewEvent]:
    """Return the events of NDJSON: one structured CloudEvent a line; empty lines are skipped."""
    _check_body(body, limits)
    lines = [line for line in body.split(b"\n") if line and not line.isspace()]
    _check_count(len(lines), limits)
    decoded: list[object] = []
    faults: list[Fault] = []
    for index, line in enumerate(lines):
        try:
            decoded.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            faults.append(Fault(f"not JSON: {error}", index=index, code=Undecodable.code))
            if len(faults) == FAULTS_MAX:
                break
    if faults:
        raise Undecodable(f"event {faults[0].index}: {faults[0].detail}", errors=faults)
    return from_objects(decoded, limits)


def from_objects(objects: list[Any], limits: Limits) -> list[NewEvent]:
    """Return the events of decoded structured CloudEvents; a fault names the index of its event."""
    _check_count(len(objects), limits)
    events: list[NewEvent] = []
    faults: list[Fault] = []
    for index, obj in enumerate(objects):
        found: list[Fault] = []
        event = read_event(obj, limits, found)
        if event is not None:
            events.append(event)
            continue
        faults += [replace(fault, index=index) for fault in found]
        if len(faults) >= FAULTS_MAX:
            break
    raise_faults(faults[:FAULTS_MAX])
    return events


def from_binary(headers: Mapping[str, str], body: bytes, limits: Limits) -> NewEvent:
    """Return the event of an HTTP message in binary mode: attributes as ``ce-`` headers."""
    return from_structured(read_binary(headers, body, limits), limits)


def read_binary(headers: Mapping[str, str], body: bytes, limits: Limits) -> dict[str, Any]:
    """Return what an HTTP message in binary mode says, as an object in structured mode does."""
    _check_body(body, limits)
    event: dict[str, Any] = {}
    media_type = None
    for name, value in headers.items():
        lowered = name.lower()
        if lowered == "content-type":
            media_type = value
        elif lowered.startswith("ce-"):
            event[lowered[3:]] = _header_text(lowered[3:], value)
    if body and not is_json_type(media_type):
        raise_faults([not_json_type(media_type)])
    event.pop("data_base64", None)
    event["data"] = _decode(body, limits) if body else None
    event["datacontenttype"] = media_type if body else None
    return event


def _header_text(name: str, value: str) -> str:
    """Undo the quoting and percent-encoding of a header value (HTTP binding, 3.1.3.2)."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        detail = "not UTF-8 after percent-decoding"
        fault = Fault(detail, pointer=f"/{name}"[:80], code=Undecodable.code)
        raise Undecodable(f"{fault.pointer}: {detail}", errors=[fault]) from None


def _decode(body: bytes, limits: Limits) -> Any:
    _check_body(body, limits)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Undecodable(f"not JSON: {error}") from None


def _check_body(body: bytes, limits: Limits) -> None:
    if len(body) > limits.batch_bytes:
        raise TooLarge(f"the body has {len(body)} bytes; at most {limits.batch_bytes} are taken")


def _check_count(count: int, limits: Limits) -> None:
    if count > limits.batch_events:
        raise TooLarge(f"the batch has {count} events; at most {limits.batch_events} are taken")


def to_structured(event: RecordedEvent) -> dict[str, Any]:
    """Return a recorded event as a structured CloudEvent with its place in the log."""
    return {**_attributes(event), "data": event.payload}


def to_json(event: RecordedEvent) -> bytes:
    """Return a recorded event as structured JSON; ``data`` is embedded as it is stored."""
    return orjson.dumps({**_stored_attributes(event), "data": orjson.Fragment(event.data)})


def to_line(event: RecordedEvent, digest: bytes, beside: Mapping[str, str] | None = None) -> bytes:
    """Return a recorded event as `to_json` does, with the chain's digest after it.

    ``beside`` are more attributes of its row, as `domain.historic` reads them.
    """
    attributes = {**_stored_attributes(event), "logdigest": digest.hex(), **(beside or {})}
    return orjson.dumps({**attributes, "data": orjson.Fragment(event.data)})


def to_binary(event: RecordedEvent) -> tuple[dict[str, str], bytes]:
    """Return a recorded event as the headers and the body of an HTTP message in binary mode."""
    attributes = _stored_attributes(event)
    headers = {"content-type": attributes.pop("datacontenttype")}
    for name, value in attributes.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        headers[f"ce-{name}"] = quote(text, safe=_HEADER_SAFE)
    return headers, event.data


def _stored_attributes(event: RecordedEvent) -> dict[str, Any]:
    """Return the attributes of an event whose data is given as it is stored."""
    attributes = _attributes(event)
    if event.class_version != 1:
        attributes["classversion"] = event.class_version
    return attributes


def _attributes(event: RecordedEvent) -> dict[str, Any]:
    return {
        "specversion": SPECVERSION,
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "time": format_timestamp(event.time),
        "datacontenttype": "application/json",
        **event.extensions,
        "position": event.position,
        "version": event.version,
        "recordedtime": format_timestamp(event.recordedtime),
    }


def example_event(type_: str) -> dict[str, Any]:
    """Return a typical structured CloudEvent of the type, as a producer sends it."""
    return {
        "specversion": SPECVERSION,
        "id": "01JK7Z3W6R-1",
        "source": "/annotation/server-1",
        "type": type_,
        "subject": f"{category_of(type_)}-17",
        "time": "2026-02-04T06:12:46.25Z",
        "datacontenttype": "application/json",
        "data": example_of(type_),
    }
