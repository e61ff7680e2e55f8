"""Object notifications of Google Cloud Storage: an object was written, changed or removed.

What is told of an object comes in three ways, which become the same events: the object resource
alone, a message of Pub/Sub with attributes beside the resource, and a CloudEvent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from daemon.intake.message import EventMaker, Message, Moment, identity
from domain.events import NewEvent

OBSERVED: Final = "OBJECT_FINALIZE"
_REMOVED: Final[Mapping[str, str]] = {"OBJECT_DELETE": "deleted", "OBJECT_ARCHIVE": "archived"}
_PREFIX: Final = "google.cloud.storage.object.v1."
_CLOUDEVENTS: Final[Mapping[str, str]] = {
    "finalized": OBSERVED,
    "deleted": "OBJECT_DELETE",
    "archived": "OBJECT_ARCHIVE",
    "metadataUpdated": "OBJECT_METADATA_UPDATE",
}
_EVENT_TYPES: Final = frozenset(_CLOUDEVENTS.values())


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why an object is told of: the type of the event, when it was, and what stands beside it."""

    type: str = OBSERVED
    time: Moment = field(default_factory=Moment)
    overwritten_by: str = ""
    beside: Mapping[str, str] = field(default_factory=dict)


def is_notification(fields: Mapping[str, Any]) -> bool:
    """Return whether a message describes an object of the store, not a file's facts."""
    return bool(fields.get("id") and fields.get("name")) or (
        "path" not in fields and bool(fields.get("bucket"))
    )


def is_cloudevent(fields: Mapping[str, Any]) -> bool:
    """Return whether a message is a CloudEvent of the store."""
    type_ = fields.get("type")
    return "specversion" in fields and isinstance(type_, str) and type_.startswith(_PREFIX)


def is_pushed(attributes: Mapping[str, str]) -> bool:
    """Return whether the attributes of a Pub/Sub message say that it is of the store."""
    return attributes.get("eventType") in _EVENT_TYPES and "bucketId" in attributes


def decode_pushed(
    attributes: Mapping[str, str], resource: Mapping[str, Any], make: EventMaker
) -> NewEvent:
    """Return the event of a Pub/Sub message; it need not hold the object's resource.

    Raises:
        Invalid: a field is missing or has a wrong JSON type; ``errors`` says which.
        TooLarge: what is made of it is over a limit.

    """
    told = Message(attributes)
    type_ = told.text("eventType")
    time = told.moment("eventTime")
    place = {
        "bucket": told.text("bucketId"),
        "name": told.text("objectId"),
        "generation": told.text("objectGeneration"),
    }
    by = told.text("overwrittenByGeneration")
    beside = told.rest()
    if not resource:
        if type_ in _REMOVED and by:
            # All that is left to say: which generation is there now, and since when.
            type_, by, place["generation"] = OBSERVED, "", by
        if type_ not in _REMOVED:
            resource = {"timeCreated": time.text}
    fields = {**{name: one for name, one in place.items() if one}, **resource}
    return decode_notification(fields, make, Occasion(type_, time, by, beside))


def decode_cloudevent(fields: Mapping[str, Any], make: EventMaker) -> NewEvent:
    """Return the event of a CloudEvent of the store.

    Raises:
        Invalid: a field is missing or has a wrong JSON type; ``errors`` says which.
        TooLarge: what is made of it is over a limit.

    """
    message = Message(fields)
    type_ = _CLOUDEVENTS.get(message.text("type").removeprefix(_PREFIX))
    if type_ is None:
        message.refuse("type", f"is none of {', '.join(_CLOUDEVENTS)}")
    subject = message.text("subject").removeprefix("objects/")
    source = message.text("source").partition("/buckets/")[2]
    time = message.moment("time")
    message.part("data")
    message.check()
    place = {name: one for name, one in (("bucket", source), ("name", subject)) if one}
    occasion = Occasion(type_ or OBSERVED, time)
    return decode_notification({**place, **fields["data"]}, make, occasion)


def decode_notification(
    fields: Mapping[str, Any], make: EventMaker, occasion: Occasion | None = None
) -> NewEvent:
    """Return the event of an object's resource.

    Raises:
        Invalid: a field is missing or has a wrong JSON type; ``errors`` says which.
        TooLarge: what is made of it is over a limit.

    """
    occasion = occasion or Occasion()
    message = Message(fields)
    bucket = message.text("bucket", required=True)
    name = message.text("name", required=True)
    object_id = message.text("id")
    generation = message.text("generation")
    path = f"gs://{bucket}/{name}"
    version = object_id or f"{bucket}/{name}/{generation}"
    if occasion.type in _REMOVED and not occasion.overwritten_by:
        return _removed(message, make, occasion, path, version)
    created = message.moment("timeCreated")
    said: dict[str, Any] = {
        "path": path,
        "size": message.count("size", as_text=True),
        "checksum": message.text("md5Hash"),
        "created": "" if created.unreadable else created.text,
        "generation": generation,
        "bucket": bucket,
    }
    extra = {
        "created": created.text if created.unreadable else "",
        "fields": message.rest(),
        "attributes": occasion.beside,
    }
    said["extra"] = {key: value for key, value in extra.items() if value}
    message.check()
    return make.event("file.observed", path, identity("object", version), created.time, said)


def _removed(
    message: Message, make: EventMaker, occasion: Occasion, path: str, version: str
) -> NewEvent:
    """Return the removal of a generation, told once for each way in which it went.

    A generation that is not the newest may be deleted long after it was replaced. ``timeDeleted``
    is when that was, the moment at which its successor was made: the removal comes just before.
    """
    deleted = message.moment("timeDeleted")
    time = occasion.time.time if deleted.time is None else deleted.time - 1
    outcome = _REMOVED[occasion.type]
    extra = {"fields": message.rest(), "attributes": occasion.beside}
    said = {"outcome": outcome, "extra": {key: value for key, value in extra.items() if value}}
    message.check()
    return make.event("file.removed", path, identity("object", version, outcome), time, said)
