"""Object notifications of Google Cloud Storage, in the JSON form of the object resource."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daemon.intake.message import EventMaker, Message, identity
from domain.events import NewEvent


def is_notification(fields: Mapping[str, Any]) -> bool:
    """Return whether a message describes an object of the store, not a file's facts."""
    return bool(fields.get("id") and fields.get("name")) or (
        "path" not in fields and bool(fields.get("bucket"))
    )


def decode_notification(fields: Mapping[str, Any], make: EventMaker) -> NewEvent:
    """Return the event of one notification.

    Raises:
        Invalid: a field is missing or has a wrong JSON type; ``errors`` says which.
        TooLarge: what is made of it is over a limit.

    """
    message = Message(fields)
    bucket = message.text("bucket", required=True)
    name = message.text("name", required=True)
    object_id = message.text("id")
    generation = message.text("generation")
    created = message.moment("timeCreated")
    path = f"gs://{bucket}/{name}"
    said: dict[str, Any] = {
        "path": path,
        "size": message.count("size", as_text=True),
        "checksum": message.text("md5Hash"),
        "created": "" if created.unreadable else created.text,
        "generation": generation,
        "bucket": bucket,
    }
    extra = {"created": created.text if created.unreadable else "", "fields": message.rest()}
    said["extra"] = {key: value for key, value in extra.items() if value}
    message.check()
    told = identity("object", object_id or f"{bucket}/{name}/{generation}")
    return make.event("file.observed", path, told, created.time, said)
