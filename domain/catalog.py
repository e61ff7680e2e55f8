"""Every event type: its payload model, its category, and who may record it.

What makes an event valid is said in two places: the envelope in `domain.cloudevents`, the payload
by the type's model in `domain.payloads`.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

import orjson

from domain.errors import Fault, Undecodable, UnknownType
from domain.faults import payload_faults, raise_faults
from domain.payloads import alert, daemon, file, job, producer, queue, result
from domain.payloads.base import Payload, encode_payload
from domain.suggest import did_you_mean, shorten


@dataclass(frozen=True, slots=True)
class EventType:
    """One event type. ``client``: producers may send it; else only the daemon records it."""

    name: str
    category: str
    model: type[Payload]
    client: bool
    class_version: int
    summary: str


def category_of(type_: str) -> str:
    """Return the category of an event type: what stands before its first dot."""
    return type_.partition(".")[0]


def _event_type(model: type[Payload], *, client: bool) -> EventType:
    return EventType(
        name=model.event_type,
        category=category_of(model.event_type),
        model=model,
        client=client,
        class_version=model.class_version,
        summary=(model.__doc__ or "").partition("\n")[0],
    )


_TYPES: Final[Mapping[str, EventType]] = {
    model.event_type: _event_type(model, client=module is not daemon)
    for module in (job, alert, file, result, queue, producer, daemon)
    for model in module.PAYLOADS
}


def event_types() -> tuple[EventType, ...]:
    """Return every event type, those of clients first."""
    return tuple(_TYPES.values())


def find_type(type_: str) -> EventType | None:
    """Return the event type of this name, or None."""
    return _TYPES.get(type_)


def event_type(type_: str) -> EventType:
    """Return the event type of this name.

    Raises:
        UnknownType: there is none; the detail names the nearest one.

    """
    found = _TYPES.get(type_)
    if found is None:
        fault = unknown_type(type_)
        raise UnknownType(fault.detail, errors=[fault])
    return found


def unknown_type(type_: str) -> Fault:
    """Return the fault of a type that is not known, with the nearest one that clients may send."""
    known = [entry.name for entry in _TYPES.values() if entry.client]
    return Fault(
        f"unknown event type {shorten(type_)}; {did_you_mean(type_, known)}",
        pointer="/type",
        code=UnknownType.code,
    )


def validate_payload(type_: str, payload: bytes | Mapping[str, Any]) -> bytes:
    """Check a payload against its type's model and return the JSON bytes to store.

    The bytes are the payload as given, in compact form: fields keep their order, and ``null`` is
    kept. Types of clients and of the daemon are treated alike.

    Raises:
        UnknownType: there is no such type.
        UnknownField: the payload has fields that the model has not, and no other fault.
        Invalid: the payload does not fit the model; ``errors`` says where.
        Undecodable: the bytes are not JSON.

    """
    entry = event_type(type_)
    if isinstance(payload, bytes):
        try:
            payload = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise Undecodable(f"data is not JSON: {error}") from None
    faults = payload_faults(entry.model, payload)
    stored = b""
    if not faults:
        try:
            stored = encode_payload(payload)
        except TypeError as error:
            faults = [Fault(f"data cannot be stored as JSON: {error}", pointer="/data")]
    raise_faults(faults)
    return stored


def upcast(type_: str, class_version: int, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a stored payload in the form of the type's current class version."""
    entry = _TYPES.get(type_)
    return payload if entry is None else upcast_payload(entry.model, class_version, payload)


def upcast_payload(
    model: type[Payload], class_version: int, payload: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Take a payload through the model's ``upcast_vN_vM`` steps, from its own version on."""
    for version in range(class_version, model.class_version):
        step = getattr(model, f"upcast_v{version}_v{version + 1}")
        payload = step(payload)
    return payload


def schema_of(type_: str) -> dict[str, Any]:
    """Return the JSON Schema of the type's ``data``."""
    return event_type(type_).model.model_json_schema()


def example_of(type_: str) -> dict[str, Any]:
    """Return a typical ``data`` of the type, which the caller may change."""
    schema: Any = event_type(type_).model.model_config["json_schema_extra"]
    example: dict[str, Any] = deepcopy(schema["examples"][0])
    return example
