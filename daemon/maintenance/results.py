"""Looks whether the files of results are there, and are what was recorded.

What is found is an event of the result's own stream, recorded only where it differs from what was
found before. One run reads a bounded number of bytes, and the next one goes on from there.

Paths come from producers. So only regular files below one directory are opened, and no link leads
out of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Append, EventQuery, Work
from daemon.eventlog.transaction import Transaction
from daemon.intake.message import identity
from daemon.maintenance.runs import SOURCE
from daemon.maintenance.task import Stopping
from domain.catalog import validate_payload
from domain.events import NewEvent, RecordedEvent
from domain.lives import ARCHIVED

RECORDED: Final = "result.recorded"
VERIFIED: Final = "result.verified"
MISSING: Final = "result.missing"
CHANGED: Final = "result.changed"
MOVED: Final = "result.archived"

_LOOKED: Final = frozenset({VERIFIED, MISSING, CHANGED})
_STRETCH: Final = 10_000
"""How many positions are looked through for results at once."""
_PAGE: Final = 200
_BLOCK_BYTES: Final = 1 << 20
_FACTS: Final = ("job", "kind", "path", "bytes", "sha256", "media_type")
_GONE: Final = (ARCHIVED, "job.purged")


@dataclass(frozen=True, slots=True)
class Known:
    """A result as its stream tells it: the newest record of it, and what was found last."""

    stream: str
    version: int
    facts: Mapping[str, Any]
    found: str | None
    found_sha256: str | None

    @classmethod
    def of(cls, events: list[RecordedEvent]) -> Known | None:
        """Return the result of the events of its stream; None where there is no file to look at."""
        facts: Mapping[str, Any] = {}
        found = found_sha256 = None
        for event in events:
            if event.type == RECORDED:
                facts, found, found_sha256 = event.payload, None, None
            elif event.type in _LOOKED:
                found, found_sha256 = event.type, event.payload.get("sha256")
            elif event.type == MOVED:
                facts = {}
        if not facts.get("path"):
            return None
        return cls(events[-1].stream, events[-1].version, facts, found, found_sha256)


class ResultCheck:
    """Looks at the results of a log, one bounded run after another.

    ``pace`` makes for each run what is called with each number of bytes that was read, and waits
    where that is too fast.
    """

    def __init__(
        self,
        log: EventLog,
        root: Path,
        bytes_max: int,
        pace: Callable[[], Callable[[int], None]],
        stopping: Stopping,
    ) -> None:
        self._log = log
        self._root = root
        self._bytes_max = bytes_max
        self._new_pace = pace
        self._pace = pace()
        self._stopping = stopping
        self._after = 0
        """Up to this position the results of this round were looked at."""
        self._read_bytes = 0

    def run(self, now: int) -> dict[str, int]:
        """Look at results until this run has read its part, or every one was looked at."""
        counts = dict.fromkeys(("results", "verified", "missing", "changed"), 0)
        self._read_bytes, self._pace = 0, self._new_pace()
        root = Path(os.path.realpath(self._root))
        while (streams := self._next_streams()) and not self._stopping():
            events: list[NewEvent] = []
            for position, stream in streams:
                if self._stopping() or self._read_bytes >= self._bytes_max:
                    break
                found = self._look(root, stream, now)
                if found is not None:
                    type_, event = found
                    counts["results"] += 1
                    counts[type_.partition(".")[2]] += 1
                    events += event
                self._after = position
            if events:
                self._log.work(Work(partial(_append, events), events=len(events)))
            if self._read_bytes >= self._bytes_max:
                break
        return counts | {"result_bytes": self._read_bytes}

    def _next_streams(self) -> list[tuple[int, str]]:
        """Return the next results by the position of their first event; none ends the round."""
        # A stretch begins with an event: an epoch leaves a thousand million positions empty.
        while (first := self._log.position_after(self._after)) is not None:
            upto = first - 1 + _STRETCH
            if streams := self._log.streams_met("result", self._after, upto, 0, _PAGE):
                return streams
            self._after = upto
        self._after = 0
        return []

    def _look(self, root: Path, stream: str, now: int) -> tuple[str, list[NewEvent]] | None:
        """Look at a result; return what was found, and the event of it where that is new."""
        result = Known.of(list(self._events(stream)))
        if result is None:
            return None
        path = _within(root, result.facts["path"])
        if path is None:
            return None
        found, told = self._compare(path, result.facts)
        if found == MISSING and self._is_gone(result.facts.get("job")):
            return None
        known = result.facts.get("sha256") is not None
        same = not known or told.get("sha256") == result.found_sha256
        return found, [] if found == result.found and same else [_event(result, found, told, now)]

    def _events(self, stream: str) -> Iterator[RecordedEvent]:
        version = 0
        while events := self._log.read_stream(stream, after_version=version):
            yield from events
            version = events[-1].version

    def _compare(self, path: Path, facts: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        told = {name: facts[name] for name in _FACTS if facts.get(name) is not None}
        try:
            size, digest = self._read(path)
        except OSError as error:
            return MISSING, {**told, "reason": error.strerror or type(error).__name__}
        wanted_size, wanted = facts.get("bytes"), facts.get("sha256")
        if wanted is not None and wanted.lower() != digest:
            return CHANGED, {**told, "bytes": size, "sha256": digest, "reason": "other content"}
        if wanted_size is not None and wanted_size != size:
            return CHANGED, {**told, "bytes": size, "sha256": digest, "reason": "another size"}
        return VERIFIED, {**told, "bytes": size, "sha256": digest}

    def _read(self, path: Path) -> tuple[int, str]:
        """Return the size and the SHA-256 of a regular file."""
        # A pipe must not keep it waiting.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(number, "rb") as file:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise OSError(0, "not a regular file")
            digest, size = sha256(), 0
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                size += len(block)
                self._read_bytes += len(block)
                self._pace(len(block))
        return size, digest.hexdigest()

    def _is_gone(self, job: str | None) -> bool:
        """Return whether a job is archived or purged: its files are not where they were."""
        if job is None:
            return False
        types = (*_GONE, "job.restored")
        query = EventQuery(stream=f"job/{job}", types=types, descending=True)
        newest = self._log.select(query, 1).events
        return bool(newest) and newest[0].type in _GONE


def _within(root: Path, path: str) -> Path | None:
    """Return where a file is, None where that is not below the root or cannot be."""
    if "\0" in path:
        return None
    place = Path(os.path.realpath(root / path))
    return place if root in place.parents else None


def _event(result: Known, found: str, told: Mapping[str, Any], now: int) -> NewEvent:
    id_ = identity(found, result.stream, result.version + 1)
    subject = result.stream.partition("/")[2]
    data = validate_payload(found, told)
    return NewEvent(found, subject, SOURCE, id_, data, now, None, result.version)


def _append(events: list[NewEvent], transaction: Transaction) -> None:
    """Record what was found of the results that have not changed since."""
    for event in events:
        if transaction.version_of(event.stream) == event.expected_version:
            transaction.append(Append([event]))
