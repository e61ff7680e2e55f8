"""An event made ready for the log: all that can be said of it before it has its place there.

It is made where the event is decoded, because whatever gives events their places does one after
another and has the least time of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, TypeAlias, cast

import orjson

from domain.events import NewEvent
from domain.timestamps import is_missing

KEY_BYTES: Final = 16
"""Length of an event key: enough that two events of one stream never share one by chance."""

Prepared: TypeAlias = tuple[
    str, str, str, str, bytes, int | None, str | None, int | None, int, bytes, bytes, bytes
]
"""Stream, type, source, id, data, time, extensions as JSON, expected version, class version, key,
payload hash, and what the hash of its row says behind the place. A plain tuple: these go from one
process to another by the thousand."""


def prepare(event: NewEvent) -> Prepared:
    """Return the event with its key and its digests."""
    type_, subject, source, id_, data, time, attributes, expected, class_version = event
    stream = f"{type_.partition('.')[0]}/{subject}"
    extensions = None
    if attributes:
        extensions = orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS).decode()
    payload_hash = sha256(data).digest()
    return (
        stream,
        type_,
        source,
        id_,
        data,
        None if is_missing(time) else time,
        extensions,
        expected,
        class_version,
        event_key(source, id_),
        payload_hash,
        row_tail("", stream, type_, source, id_, extensions or "", payload_hash),
    )


def prepare_all(events: Sequence[NewEvent] | Sequence[Prepared]) -> Sequence[Prepared]:
    """Return events prepared, unless they are."""
    if events and isinstance(events[0], NewEvent):
        return [prepare(event) for event in cast("Sequence[NewEvent]", events)]
    return cast("Sequence[Prepared]", events)


def event_key(source: str, event_id: str) -> bytes:
    """Return the idempotency key of a CloudEvents (source, id) pair."""
    return sha256(f"{len(source)}:{source}{event_id}".encode()).digest()[:KEY_BYTES]


def row_tail(
    application: str,
    stream: str,
    type_: str,
    source: str,
    event_id: str,
    extensions: str,
    payload_hash: bytes,
) -> bytes:
    """Return what a row's hash covers beside numbers; each text is preceded by its length."""
    return (
        f"{len(application)}:{application}{len(stream)}:{stream}{len(type_)}:{type_}"
        f"{len(source)}:{source}{len(event_id)}:{event_id}{len(extensions)}:{extensions}"
    ).encode() + payload_hash
