"""The digests that make the log tamper-evident.

``row_hash`` covers everything a row says (the payload through its own hash, so that a payload can
be redacted and the chain still verifies); ``digest`` chains the rows. SHA-256 throughout.
"""

from __future__ import annotations

from hashlib import sha256

from domain.prepared import row_tail


def genesis(log_id: str) -> bytes:
    """Return the digest before the first event of a log."""
    return sha256(b"chronicled log " + log_id.encode()).digest()


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
    """Return the hash of one row."""
    tail = row_tail(
        application, stream, type_name, source or "", event_id or "", extensions or "", payload_hash
    )
    head = row_head(position, version, class_version, time, f" {recordedtime} ")
    return sha256(head + tail).digest()


def row_head(position: int, version: int, class_version: int, time: int, recorded: str) -> bytes:
    """Return the numbers that a row's hash covers before `row_tail`."""
    return f"{position} {version} {class_version} {time}{recorded}".encode()


def chained(previous: bytes, row: bytes) -> bytes:
    """Return the digest after a row."""
    return sha256(previous + row).digest()
