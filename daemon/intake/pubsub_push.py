"""Envelopes of Google Cloud Pub/Sub push delivery: a message, and how it is known."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from daemon.intake.message import Message, identity
from daemon.intake.secrets import mask_bytes
from domain.errors import ChronicledError
from domain.timestamps import MICROSECONDS, parse_timestamp

KEYS: Final = "pubsub/"
"""How the keys of messages begin, among the names of what is followed."""

KEPT_DAYS: Final = 32
"""So long a key is remembered; no message is delivered for longer than 31 days."""

_DATA: Final = re.compile(rb'("data"\s*:\s*")([A-Za-z0-9+/\\]+={0,2})')
_DAY: Final = 86_400 * MICROSECONDS
_HEADER: Final = "x-goog-pubsub-"
_OBJECT_HEADERS: Final = (
    *("eventType", "eventTime", "bucketId", "objectId", "objectGeneration", "payloadFormat"),
    *("notificationConfig", "overwroteGeneration", "overwrittenByGeneration"),
)
"""The attributes that are looked for where they come as headers, which have lost their case."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A pushed message: its bytes as they were published, its attributes, its key."""

    data: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)
    key: str = ""


def read_envelope(fields: Mapping[str, Any]) -> Envelope:
    """Return what an envelope holds; a message may have data, attributes, or both.

    Raises:
        Invalid: it is no envelope; ``errors`` says why.

    """
    envelope = Message(fields)
    message = envelope.part("message")
    attributes = message.texts("attributes")
    data = _unpacked(message)
    id_ = message.text("messageId") or message.text("message_id")
    published = message.text("publishTime") or message.text("publish_time")
    key = _key(envelope.text("subscription"), id_, published) if id_ else ""
    if not data and not attributes and not envelope.faults:
        message.refuse("data", "neither data nor attributes")
    envelope.check()
    return Envelope(data, attributes, key)


def key_of(fields: Mapping[str, Any]) -> str:
    """Return the key of a message, by which a second delivery is known; empty where none is."""
    try:
        return read_envelope(fields).key
    except ChronicledError:
        return ""


def forgettable(now: int) -> tuple[str, str, int]:
    """Return the bounds of the keys that need not be remembered: their names, and since when."""
    since = now - KEPT_DAYS * _DAY
    day = datetime.fromtimestamp(since / MICROSECONDS, UTC)
    return f"{KEYS}0", f"{KEYS}{day:%Y-%m-%d}", since


def is_unwrapped(headers: Mapping[str, str]) -> bool:
    """Return whether a message comes without its envelope, with what it says as headers."""
    return f"{_HEADER}message-id" in headers


def wrap(headers: Mapping[str, str], body: bytes) -> bytes:
    """Return the envelope of a message that comes without one."""
    attributes = {
        name: headers[name.lower()] for name in _OBJECT_HEADERS if name.lower() in headers
    }
    message = {
        "data": b64encode(body).decode(),
        "attributes": attributes,
        "messageId": headers.get(f"{_HEADER}message-id", ""),
        "publishTime": headers.get(f"{_HEADER}publish-time", ""),
    }
    subscription = headers.get(f"{_HEADER}subscription-name", "")
    return orjson.dumps({"message": message, "subscription": subscription})


def mask_envelope(raw: bytes) -> bytes:
    """Return an envelope, whole or torn, with the known secrets masked that its base64 hides."""
    return _DATA.sub(_masked_data, raw)


def _masked_data(found: re.Match[bytes]) -> bytes:
    text = found[2].replace(b"\\", b"")
    data = b64decode(text[: len(text) - len(text) % 4])
    masked = mask_bytes(data)
    return found[0] if masked == data else found[1] + b64encode(masked)


def _unpacked(message: Message) -> bytes:
    # Nothing is masked here: a mask in the middle would make another message of it.
    text = message.raw_text("data")
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        message.refuse("data", "not base64")
        return b""


def _key(subscription: str, id_: str, published: str) -> str:
    """Return the key: by the day first, so that those of old days are found together."""
    try:
        day = datetime.fromtimestamp(parse_timestamp(published) / MICROSECONDS, UTC)
    except (ValueError, OverflowError):
        return f"{KEYS}~/{identity(subscription, id_)}"
    return f"{KEYS}{day:%Y-%m-%d}/{identity(subscription, id_)}"
