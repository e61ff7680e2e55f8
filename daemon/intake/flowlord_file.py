"""Messages of flowlord's file topic: a file's facts, or an object notification as it came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from daemon.intake import gcs_notification
from daemon.intake.message import EventMaker, Message, Options, identity
from domain.events import NewEvent

SOURCE: Final = "/flowlord/files"


def decode_file(fields: Mapping[str, Any], options: Options) -> list[NewEvent]:
    """Return the event of a message of the file topic, of either kind.

    Raises:
        Invalid: a field is missing or has a wrong JSON type; ``errors`` says which.
        TooLarge: what is made of it is over a limit.

    """
    make = EventMaker(options.source or SOURCE, options.limits)
    if gcs_notification.is_cloudevent(fields):
        return [gcs_notification.decode_cloudevent(fields, make)]
    if gcs_notification.is_notification(fields):
        return [gcs_notification.decode_notification(fields, make)]
    message = Message(fields)
    path = message.text("path", required=True)
    created = message.moment("created")
    checksum = message.text("checksum")
    said: dict[str, Any] = {
        "path": path,
        "size": message.count("size"),
        "checksum": checksum,
        "linecnt": message.count("linecnt"),
        "bytecnt": message.count("bytecnt"),
        "created": "" if created.unreadable else created.text,
        "is_dir": message.flag("isDir") or None,
        "files": message.count("files"),
    }
    extra = {"created": created.text if created.unreadable else "", "fields": message.rest()}
    said["extra"] = {name: value for name, value in extra.items() if value}
    message.check()
    told = identity("file", path, created.text, said["size"] or 0, checksum)
    return [make.event("file.observed", path, told, created.time, said)]
