"""What the object of a job holds: a first line, a line for each event, and a last line.

The lines of events are those of an export (`domain.cloudevents.to_line`): everything that the row
in the log says, its digest in the chain included. First come the events of the job, in the order
of their versions, then those of its results, stream by stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, Final, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from daemon.archive.container import PIECE_BYTES
from daemon.archive.errors import ArchiveDamaged
from domain.catalog import upcast
from domain.errors import ChronicledError
from domain.events import RecordedEvent
from domain.historic import read_historic

LINE_BYTES_MAX: Final = 256 << 20
"""No line is longer: an event has 64 MiB at the most, and escapes can make four of one byte."""


class First(BaseModel):
    """The first line: whose events these are. ``version`` is that of the job's last one."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    archive: int = 1
    job: str
    log_id: str
    version: int


class Last(BaseModel):
    """The last line: how many events there are, those of results included, and their SHA-256."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    events: int
    sha256: str


class JobLines(NamedTuple):
    """The content of a job's object: its lines as they stand, without their ends."""

    first: First
    own: list[bytes]
    results: list[bytes]

    def upto(self, version: int) -> JobLines:
        """Return the same without the job's events after a version."""
        own = [line for line in self.own if orjson.loads(line)["version"] <= version]
        return JobLines(self.first, own, self.results)


def encode(first: First, lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the content of a job's object, in pieces of about the same size."""
    chunk = bytearray(first.model_dump_json().encode() + b"\n")
    digest, count = sha256(), 0
    for line in lines:
        count += 1
        digest.update(line + b"\n")
        chunk += line + b"\n"
        if len(chunk) >= PIECE_BYTES:
            yield bytes(chunk)
            chunk.clear()
    last = Last(events=count, sha256=digest.hexdigest())
    yield bytes(chunk) + last.model_dump_json().encode() + b"\n"


def decode(pieces: Iterable[bytes], name: str) -> JobLines:
    """Return the lines of a job's object.

    Raises:
        ArchiveDamaged: they are not those of one.

    """
    lines = b"".join(pieces).split(b"\n")
    if len(lines) < 3 or lines.pop():
        raise ArchiveDamaged(f"{name} ends before its last line")
    try:
        first = First.model_validate_json(lines[0])
        last = Last.model_validate_json(lines[-1])
    except ValidationError:
        raise ArchiveDamaged(f"the first or the last line of {name} cannot be read") from None
    events = lines[1:-1]
    digest = sha256()
    for line in events:
        digest.update(line + b"\n")
    if (last.events, last.sha256) != (len(events), digest.hexdigest()):
        raise ArchiveDamaged(f"{name} does not hold the lines that it says")
    stream = f"job/{first.job}"
    own = [line for line in events if _stream(line, name) == stream]
    return JobLines(first, own, events[len(own) :])


def _stream(line: bytes, name: str) -> str:
    try:
        obj: Any = orjson.loads(line)
        stream = f"{obj['type'].partition('.')[0]}/{obj['subject']}"
        known = type(obj["version"]) is int
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        known = False
    if not known:
        raise ArchiveDamaged(f"a line of {name} is no event")
    return stream


def event_of(line: bytes, name: str) -> RecordedEvent:
    """Return the event of a line, in the form that this program knows.

    Raises:
        ArchiveDamaged: it is none.
        NewerEvent: a newer release recorded it.

    """
    try:
        event = read_historic(line)
    except ChronicledError as error:
        if error.status == 501:
            raise
        raise ArchiveDamaged(f"a line of {name} is no event: {error.detail}") from None
    payload = upcast(event.type, event.class_version, orjson.loads(event.data))
    extensions = orjson.loads(event.extensions) if event.extensions else {}
    return RecordedEvent(
        event.position, event.stream, event.version, event.type, event.time, event.recordedtime,
        event.source, event.id, event.data, payload, extensions, event.class_version,
    )  # fmt: skip
