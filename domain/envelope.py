"""The attributes of a CloudEvent on its way in: one decoded object to a `NewEvent`.

What makes an attribute valid:

* ``id``, ``source``, ``type`` and ``subject`` are there, are text, and are not empty. ``id`` and
  ``subject`` may hold any character that a CloudEvents String may hold: no control characters
  (U+0000 to U+001F, U+007F to U+009F), no surrogates, no noncharacters. They are compared code
  point by code point: not trimmed, not normalised, and ``/`` has no meaning. A subject is bounded
  in UTF-8 bytes, an id by the size of the event alone.
* ``source`` is a URI-reference; all that is checked is that it is printable and has no space.
* ``time`` is RFC 3339 with an offset, or not there; year 1 says the same as not there.
* An extension's name is made of lower-case ASCII letters and digits, its value is text, an
  integer or a boolean; it is kept as given. The four that have a meaning here are text, and
  ``expectedversion`` is a count, as a number or as text.
* ``null`` says the same as an attribute that is not there.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Final

import orjson

from domain.catalog import EventType, find_type, unknown_type
from domain.errors import Fault, ReservedType, TooLarge
from domain.events import ExtensionValue, NewEvent
from domain.faults import FAULTS_MAX, escape, is_valid, payload_faults
from domain.limits import INTEGER_MAX, Limits
from domain.payloads.base import encode_payload
from domain.suggest import shorten
from domain.timestamps import is_missing, parse_timestamp

SPECVERSION: Final = "1.0"

_NOT_EXTENSIONS: Final = frozenset(
    {
        *("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"),
        *("data_base64", "expectedversion", "position", "version", "recordedtime"),
        *("classversion", "logdigest", "logpayloadhash", "logremoved"),
    }
)
_REQUIRED: Final = len(("specversion", "id", "source", "type", "subject", "data"))
_TEXT_EXTENSIONS: Final = frozenset(("correlationid", "causationid", "traceparent", "actor"))
_EXTENSION_NAME: Final = re.compile(r"[a-z0-9]+")
_DIGITS: Final = re.compile(r"[0-9]{1,19}")
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
JSON_TYPE_PATTERN: Final = rf"^{_WORD}/({_WORD}[+])?[jJ][sS][oO][nN][ \t]*(;[\s\S]*)?$"
"""A content type that is JSON."""
_JSON_TYPE: Final = re.compile(JSON_TYPE_PATTERN)

_PLANE_ENDS: Final = "".join(
    chr(plane << 16 | end) for plane in range(17) for end in (0xFFFE, 0xFFFF)
)
_FORBIDDEN: Final = re.compile(f"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_PLANE_ENDS}]")

TEXT_PATTERN: Final = r"^[^\u0000-\u001f\u007f-\u009f\ufdd0-\ufdef\ufffe\uffff]*$"
"""Text for a JSON Schema: it says nothing of surrogates, nor of the other planes' last two."""
_POINTER_MAX: Final = 400
_UTF8_MAX: Final = 4
"""Bytes that one character has in UTF-8, at most."""


def read_event(obj: object, limits: Limits, faults: list[Fault]) -> NewEvent | None:
    """Return the event of one decoded object, or None after adding every fault it has."""
    return _read_plain(obj, limits) or _read_closely(obj, limits, faults)


def _read_plain(obj: object, limits: Limits) -> NewEvent | None:
    """Return the event of an object that is plainly right, as nearly all are, in half the time.

    None says nothing but that it has to be read closely: this takes less than is valid.
    """
    if type(obj) is not dict:
        return None
    get = obj.get
    id_, source, subject, name = get("id"), get("source"), get("subject"), get("type")
    payload, time, media_type = get("data"), get("time"), get("datacontenttype")
    if not (type(id_) is type(source) is type(subject) is type(name) is str and id_ and source):
        return None
    entry = find_type(name)
    if entry is None or not entry.client or type(payload) is not dict or not subject:
        return None
    if get("specversion") != SPECVERSION or media_type not in (None, "application/json"):
        return None
    texts = id_ + source + subject
    extensions: dict[str, ExtensionValue] | None = None
    others = len(obj) - _REQUIRED - (time is not None) - (media_type is not None)
    if others:
        extensions = {}
        for key in _TEXT_EXTENSIONS:
            value = get(key)
            if type(value) is str:
                extensions[key] = value
                texts += key + value
        # Whatever else there is has to be read closely.
        if others != len(extensions):
            return None
    size = _UTF8_MAX * len(texts)
    if not texts.isprintable() or " " in source or size > limits.subject_bytes:
        return None
    try:
        data = encode_payload(payload)
        moment = None if time is None else parse_timestamp(time)
    except (TypeError, ValueError):
        return None
    if size + len(data) > limits.event_bytes or not is_valid(entry.model, payload):
        return None
    moment = None if is_missing(moment) else moment
    return NewEvent(name, subject, source, id_, data, moment, extensions, None, entry.class_version)


def _read_closely(obj: object, limits: Limits, faults: list[Fault]) -> NewEvent | None:
    if not isinstance(obj, dict):
        faults.append(Fault("an event has to be a JSON object"))
        return None
    if obj.get("specversion") != SPECVERSION:
        faults.append(Fault(f"specversion has to be {SPECVERSION!r}", pointer="/specversion"))
    id_ = _text(obj, "id", faults)
    source = _source(obj, faults)
    subject = _subject(obj, limits, faults)
    entry = _client_type(obj, faults)
    time = _time(obj, faults)
    expected_version = _expected_version(obj, faults)
    extensions = None if _NOT_EXTENSIONS.issuperset(obj) else _extensions(obj, faults)
    payload = _payload(obj, faults)
    data = _encode(payload, faults)
    texts = id_ + source + subject
    if data and entry is not None and _fits(data, texts, extensions, limits, faults):
        faults += payload_faults(entry.model, payload)
    if faults or entry is None:
        return None
    return NewEvent(
        entry.name,
        subject,
        source,
        id_,
        data,
        time,
        extensions,
        expected_version,
        entry.class_version,
    )


def is_json_type(media_type: object) -> bool:
    """Return whether a content type is JSON; one that is not given is."""
    return media_type in (None, "application/json") or (
        isinstance(media_type, str) and _JSON_TYPE.fullmatch(media_type) is not None
    )


def not_json_type(media_type: object) -> Fault:
    """Return the fault of a content type that is not JSON."""
    return Fault(f"not a JSON content type: {shorten(str(media_type))}", pointer="/datacontenttype")


def is_text(value: str) -> bool:
    """Return whether text holds only what a CloudEvents String may hold."""
    return value.isprintable() or not _FORBIDDEN.search(value)


def _text(obj: Mapping[str, Any], name: str, faults: list[Fault]) -> str:
    """Return a required attribute, or empty text after adding its fault."""
    value = obj.get(name)
    if isinstance(value, str) and value and is_text(value):
        return value
    if value is None:
        detail = f"{name} is missing"
    elif not isinstance(value, str):
        detail = f"{name} has to be text"
    else:
        detail = _forbidden(name) if value else f"{name} is empty"
    faults.append(Fault(detail, pointer=f"/{name}"))
    return ""


def _forbidden(name: str) -> str:
    return f"{name} holds a control character, a surrogate or a noncharacter"


def _source(obj: Mapping[str, Any], faults: list[Fault]) -> str:
    source = _text(obj, "source", faults)
    if " " in source or not source.isprintable():
        faults.append(Fault("source has to be a URI-reference", pointer="/source"))
    return source


def _subject(obj: Mapping[str, Any], limits: Limits, faults: list[Fault]) -> str:
    subject = _text(obj, "subject", faults)
    if len(subject) * _UTF8_MAX > limits.subject_bytes:
        size = len(subject.encode())
        if size > limits.subject_bytes:
            detail = f"subject has {size} bytes; at most {limits.subject_bytes} are taken"
            faults.append(Fault(detail, pointer="/subject", code="too_long"))
    return subject


def _client_type(obj: Mapping[str, Any], faults: list[Fault]) -> EventType | None:
    name = _text(obj, "type", faults)
    entry = find_type(name)
    if entry is None:
        if name:
            faults.append(unknown_type(name))
    elif not entry.client:
        detail = f"{name} is recorded by the daemon alone"
        faults.append(Fault(detail, pointer="/type", code=ReservedType.code))
        return None
    return entry


def _time(obj: Mapping[str, Any], faults: list[Fault]) -> int | None:
    value = obj.get("time")
    if value is None:
        return None
    try:
        moment = parse_timestamp(value)
    except TypeError:
        faults.append(Fault("time has to be text", pointer="/time"))
    except ValueError as error:
        faults.append(Fault(f"time is not valid: {error}", pointer="/time"))
    else:
        return None if is_missing(moment) else moment
    return None


def _expected_version(obj: Mapping[str, Any], faults: list[Fault]) -> int | None:
    value = obj.get("expectedversion")
    if value is None:
        return None
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if type(value) is int and 0 <= value <= INTEGER_MAX:
        return value
    detail = "expectedversion has to be the number of a version, or 0 for a new stream"
    faults.append(Fault(detail, pointer="/expectedversion"))
    return None


def _extensions(obj: Mapping[Any, Any], faults: list[Fault]) -> dict[str, ExtensionValue] | None:
    extensions: dict[str, ExtensionValue] = {}
    for name, value in obj.items():
        if value is None or name in _NOT_EXTENSIONS:
            continue
        if len(faults) >= FAULTS_MAX:
            break
        detail = extension_fault(name, value)
        if detail is None:
            extensions[name] = value
        else:
            faults.append(Fault(detail, pointer=f"/{escape(str(name))[:_POINTER_MAX]}"))
    return extensions or None


def extension_fault(name: object, value: object) -> str | None:
    """Return what is wrong with an extension attribute, None where nothing is."""
    has_meaning = name in _TEXT_EXTENSIONS
    if not has_meaning and not (isinstance(name, str) and _EXTENSION_NAME.fullmatch(name)):
        return f"unknown attribute {shorten(str(name))}; an extension is named [a-z0-9]+"
    if isinstance(value, str):
        if is_text(value):
            return None
        return _forbidden(shorten(str(name)))
    if has_meaning:
        return f"{name} has to be text"
    if isinstance(value, int) and -INTEGER_MAX <= value <= INTEGER_MAX:
        return None
    return f"{shorten(str(name))} has to be text, an integer or a boolean"


def _payload(obj: Mapping[str, Any], faults: list[Fault]) -> dict[str, Any] | None:
    """Return the decoded ``data``, ``{}`` where there is none, or None after adding its fault."""
    media_type = obj.get("datacontenttype")
    if not is_json_type(media_type):
        faults.append(not_json_type(media_type))
        return None
    payload, encoded = obj.get("data"), obj.get("data_base64")
    if encoded is not None:
        if payload is not None:
            faults.append(Fault("data and data_base64 exclude each other", pointer="/data_base64"))
            return None
        try:
            payload = orjson.loads(b64decode(encoded, validate=True))
        except (TypeError, ValueError) as error:
            faults.append(Fault(f"not JSON in base64: {error}", pointer="/data_base64"))
            return None
    if payload is None:
        return {}
    if isinstance(payload, dict):
        return payload
    faults.append(Fault("data has to be a JSON object", pointer="/data"))
    return None


def _encode(payload: dict[str, Any] | None, faults: list[Fault]) -> bytes:
    """Return the bytes to store, or none at all after adding why."""
    if payload is None:
        return b""
    try:
        return encode_payload(payload)
    except TypeError as error:
        faults.append(Fault(f"data cannot be stored as JSON: {error}", pointer="/data"))
        return b""


def _fits(
    data: bytes,
    texts: str,
    extensions: Mapping[str, ExtensionValue] | None,
    limits: Limits,
    faults: list[Fault],
) -> bool:
    """Return whether the event is within its limit; adds the fault where it is not."""
    if extensions:
        texts += "".join([f"{name}{value}" for name, value in extensions.items()])
    if len(data) + _UTF8_MAX * len(texts) <= limits.event_bytes:
        return True
    size = len(data) + len(texts.encode(errors="replace"))
    if size <= limits.event_bytes:
        return True
    detail = f"the event has {size} bytes; at most {limits.event_bytes} are taken"
    faults.append(Fault(detail, code=TooLarge.code))
    return False
