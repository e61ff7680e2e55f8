"""The shapes of an event on its way in, in the log, and in a receipt.

The envelope is CloudEvents 1.0 (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md);
the stream of an event is ``category/subject``, where the category is the type up to its first dot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

ExtensionValue = str | int | bool
"""What a CloudEvents extension attribute may hold here (JSON string, number or boolean)."""


class NewEvent(NamedTuple):
    """An event that was decoded and validated, and is ready for the log.

    ``data`` is the validated JSON object as it will be stored. ``time`` is microseconds UTC, or
    None when the producer gave none. ``expected_version`` asks for the stream to be at exactly
    that version (0 = a new stream).
    """

    type: str
    subject: str
    source: str
    id: str
    data: bytes
    time: int | None = None
    extensions: Mapping[str, ExtensionValue] | None = None
    expected_version: int | None = None
    class_version: int = 1

    @property
    def stream(self) -> str:
        """The stream this event belongs to: ``category/subject``."""
        return f"{self.type.partition('.')[0]}/{self.subject}"


class RecordedEvent(NamedTuple):
    """An event as the log holds it; times are microseconds UTC.

    ``data`` is the stored JSON text, ``payload`` the same decoded (upcast to the current class
    version). ``position`` counts over the log from 1, ``version`` within the stream from 1.
    """

    position: int
    stream: str
    version: int
    type: str
    time: int
    recordedtime: int
    source: str
    id: str
    data: bytes
    payload: Mapping[str, Any]
    extensions: Mapping[str, ExtensionValue]
    class_version: int = 1

    @property
    def subject(self) -> str:
        """The entity within the category: job id, alert id, file path."""
        return self.stream.partition("/")[2]


class Receipt(NamedTuple):
    """What the log answers for one event, after the commit that holds it.

    ``duplicate``: the same (source, id) was there already and this is the original's place;
    ``differs``: it was there with another payload.
    """

    id: str
    position: int
    stream: str
    version: int
    duplicate: bool = False
    differs: bool = False
