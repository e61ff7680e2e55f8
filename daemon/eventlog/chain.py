"""The digests that make the log tamper-evident.

``row_hash`` covers everything a row says (the payload through its own hash, so that a payload can
be redacted and the chain still verifies); ``digest`` chains the rows. SHA-256 throughout.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

KEY_BYTES: Final = 16
"""Length of an event key: enough that two events of one stream never share one by chance."""


def genesis(log_id: str) -> bytes:
    """Return the digest before the first event of a log."""
    return sha256(b"chronicled log " + log_id.encode()).digest()


def event_key(source: str, event_id: str) -> bytes:
    """Return the idempotency key of a CloudEvents (source, id) pair."""
    return sha256(f"{len(source)}:{source}{event_id}".encode()).digest()[:KEY_BYTES]


def row_hash(
    position: int,
    application: str,
    stream: str,
    version: int,
    type_name: str,
    class_version: int,
    time: int,
    recordedtime: int,
    source: str | None,
    event_id: str | None,
    extensions: str | None,
    payload_hash: bytes,
) -> bytes:
    """Return the hash of one row; every text is preceded by its length, so nothing can shift."""
    source, event_id, extensions = source or "", event_id or "", extensions or ""
    text = (
        f"{position} {version} {class_version} {time} {recordedtime} "
        f"{len(application)}:{application}{len(stream)}:{stream}{len(type_name)}:{type_name}"
        f"{len(source)}:{source}{len(event_id)}:{event_id}{len(extensions)}:{extensions}"
    )
    return sha256(text.encode() + payload_hash).digest()


def chained(previous: bytes, row: bytes) -> bytes:
    """Return the digest after a row."""
    return sha256(previous + row).digest()
