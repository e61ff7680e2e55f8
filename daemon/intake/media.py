"""The content types that are read, and what their parameters may say."""

from __future__ import annotations

from typing import Final

from domain.errors import UnsupportedMediaType

PLAIN: Final = "application/json"
STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
LINES: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})

_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii"})


def parse_media_type(content_type: str | None) -> str:
    """Return the media type without parameters, lower case; empty when there is none.

    Raises:
        UnsupportedMediaType: the charset is not UTF-8.

    """
    name, *parameters = (content_type or "").lower().split(";")
    for parameter in parameters:
        key, _, value = parameter.strip().partition("=")
        if key == "charset" and value.strip('"') not in _CHARSETS:
            raise UnsupportedMediaType(f"The charset {value[:64]!r} is not read; send UTF-8.")
    return name.strip()
