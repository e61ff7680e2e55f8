"""The events by which the daemon records what it concluded, and what it reads of a producer's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from daemon.intake.message import identity
from domain.catalog import find_type, validate_payload
from domain.events import NewEvent, RecordedEvent

SOURCE: Final = "/chronicled/workflows"
"""The source of everything that is concluded from workflows."""


def conclude(
    type_: str,
    subject: str,
    parts: tuple[str | int, ...],
    time: int | None,
    payload: Mapping[str, Any],
    *,
    cause: str | None = None,
    correlation: str | None = None,
) -> NewEvent:
    """Return an event of the daemon's own; ``parts`` are the causes that its id is a digest of.

    So a conclusion that is drawn again is a duplicate. Fields that say nothing are left out.
    """
    known = find_type(type_)
    said = {name: value for name, value in payload.items() if value is not None}
    extensions: dict[str, str | int | bool] = {}
    if cause is not None:
        extensions["causationid"] = cause
    if correlation is not None:
        extensions["correlationid"] = correlation
    return NewEvent(
        type_,
        subject,
        SOURCE,
        identity(type_, *parts),
        validate_payload(type_, orjson.dumps(said)),
        time,
        extensions or None,
        class_version=1 if known is None else known.class_version,
    )


def meta_of(event: RecordedEvent) -> Mapping[str, Any]:
    """Return the ``meta`` of the message that an event was made of."""
    extra = event.payload.get("extra")
    meta = extra.get("meta") if isinstance(extra, Mapping) else None
    return meta if isinstance(meta, Mapping) else {}


def first_value(meta: Mapping[str, Any], key: str) -> str:
    """Return the first value of a key of ``meta``, empty where there is none."""
    value = meta.get(key)
    if isinstance(value, list):
        value = value[0] if value else ""
    return value if isinstance(value, str) else ""
