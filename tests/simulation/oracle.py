"""What clients know: what they sent, what was answered, what they read. It judges what is there.

It reads the log's file with the standard library's SQLite and knows nothing of the daemon's code.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from chain import breaks

Key = tuple[str, str]
"""The source and the id of an event."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MARKERS: Final = ("job.archived", "job.purged", "alert.purged", "file.purged", "result.purged")
"""Events that stand for the removed ones of their stream."""
_HOUR: Final = 3_600_000_000
_DUE: Final[dict[str, tuple[tuple[str, int], ...]]] = {
    "job.archived": (("job.succeeded", 6 * _HOUR),),
    "job.purged": (
        ("job.failed", 12 * _HOUR),
        ("job.submitted", 48 * _HOUR),
        ("job.progressed", 48 * _HOUR),
        ("job.succeeded", 30 * _HOUR),
    ),
    "alert.purged": (("alert.raised", 8 * _HOUR),),
    "file.purged": (("file.observed", 8 * _HOUR),),
}
"""What a stream must have, and how long ago, for each marker (the policies of `swarm`).

A job that succeeded is purged a day after it was archived, which is six hours after its end.
"""
_ATTRIBUTES: Final = frozenset(
    ("specversion", "id", "source", "type", "subject", "time", "data", "datacontenttype",
     "position", "version", "recordedtime", "logdigest")
)  # fmt: skip
"""What is no extension of an event."""


class Broken(AssertionError):
    """Something that has to hold does not; the text says what."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An event as a client was shown it, or as it lies in the log."""

    key: Key
    type: str
    stream: str
    data: str
    time: int
    """When it happened, in microseconds."""
    extensions: str = ""

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Seen:
        """Return a CloudEvent as it was shown."""
        stream = f"{event['type'].partition('.')[0]}/{event['subject']}"
        key, data = (event["source"], event["id"]), _text(event.get("data"))
        extensions = {name: each for name, each in event.items() if name not in _ATTRIBUTES}
        time, more = _microseconds(event["time"]), _text(extensions) if extensions else ""
        return cls(key, event["type"], stream, data, time, more)


@dataclass(slots=True)
class Request:
    """Events that were sent together, all or nothing; ``answer`` is a status, None while unknown.

    ``fresh`` are those that nobody sent before.
    """

    number: int
    events: list[dict[str, Any]]
    fresh: frozenset[Key]
    expected: list[int | None] = field(default_factory=list)
    """Of each event the version that its stream is to have, if it says so."""
    answer: int | None = None

    @property
    def refused(self) -> bool:
        """Whether it was said that nothing was recorded, for a reason that lies in the request."""
        return self.answer is not None and 400 <= self.answer < 500


@dataclass
class Oracle:
    """The knowledge of all clients of one simulation."""

    sent: dict[Key, list[dict[str, Any]]] = field(default_factory=dict)
    claims: dict[Key, set[int]] = field(default_factory=dict)
    """Where each acknowledged event was said to be."""
    shown: dict[int, Seen] = field(default_factory=dict)
    """What readers were shown at each position."""
    requests: list[Request] = field(default_factory=list)
    walked: set[tuple[int, int]] = field(default_factory=set)
    """Positions that a reader was shown one after the other: there is nothing between."""
    versions: dict[int, int] = field(default_factory=dict)
    """The version in its stream that a receipt said of each position."""
    pinned: dict[str, int] = field(default_factory=dict)
    """Where the streams of jobs have the event that keeps them."""
    redacted: set[Key] = field(default_factory=set)
    calm: bool = False
    """Whether nothing is wrong, so that nobody may be told to wait for better times."""
    purged: dict[str, set[int]] = field(default_factory=dict)
    """Where each stream was seen to be purged."""
    clock_is_even: bool = True
    """Whether the clock never went back."""
    taken_back: int = 0
    """How many acknowledgements a lost disk was allowed to take."""

    def send(self, events: list[dict[str, Any]]) -> Request:
        """Note what is about to be sent."""
        expected = [event.get("expectedversion") for event in events]
        events = [_bare(event) for event in events]
        keys = [(event["source"], event["id"]) for event in events]
        fresh = frozenset(key for key in keys if key not in self.sent and keys.count(key) == 1)
        for key, event in zip(keys, events, strict=True):
            self.sent.setdefault(key, []).append(event)
        request = Request(len(self.requests), events, fresh, expected)
        self.requests.append(request)
        return request

    def answered(self, request: Request, status: int, document: Mapping[str, Any]) -> None:
        """Note what was answered."""
        request.answer = status
        if status not in (200, 201):
            return
        receipts = document["events"]
        if len(receipts) != len(request.events):
            raise Broken(f"{len(request.events)} events were sent, {len(receipts)} acknowledged")
        newest = 0
        for event, expected, receipt in zip(
            request.events, request.expected, receipts, strict=True
        ):
            key, position = (event["source"], event["id"]), receipt["position"]
            stream, version = Seen.of(event).stream, receipt["version"]
            if (receipt["id"], receipt["stream"]) != (key[1], stream):
                raise Broken(f"{key} of {stream} was sent, {receipt} acknowledged")
            if position > document["as_of"]:
                raise Broken(f"a receipt is beyond the head: {receipt}")
            if not receipt["duplicate"]:
                if position <= newest:
                    raise Broken(f"{key} was recorded before what was sent before it")
                if expected not in (None, version - 1):
                    raise Broken(f"{key} was taken as {version} of {stream}, not after {expected}")
                newest = position
            if self.versions.setdefault(position, version) != version:
                raise Broken(f"{receipt} was {self.versions[position]} of its stream before")
            self.claims.setdefault(key, set()).add(position)

    def read(self, position: int, event: Mapping[str, Any]) -> None:
        """Note what a reader was shown at a position; it has to stay what it was."""
        seen, before = Seen.of(event), self.shown.get(position)
        if before is not None and before != seen:
            same = (seen.key, seen.type, seen.stream) == (before.key, before.type, before.stream)
            if not (same and seen.key in self.redacted):
                raise Broken(f"position {position} changed from {before} to {seen}")
        self.shown[position] = seen

    def walk(self, before: int, positions: Iterable[int]) -> None:
        """Note a page of the whole log that a reader was shown behind a position."""
        for position in positions:
            if position <= before:
                raise Broken(f"a page goes from {before} back to {position}")
            if position > before + 1:
                self.walked.add((before, position))
            before = position

    def lose_beyond(self, position: int) -> None:
        """Take back what was not in the backup when the disk was lost."""
        # What was removed between two of them may be back: the backup need not know of the removal.
        self.walked.clear()
        self.versions = {at: each for at, each in self.versions.items() if at <= position}
        self.pinned = {name: at for name, at in self.pinned.items() if at <= position}
        for key, places in list(self.claims.items()):
            kept = {each for each in places if each <= position}
            self.taken_back += len(places) - len(kept)
            if kept:
                self.claims[key] = kept
            else:
                del self.claims[key]
        for each in [each for each in self.shown if each > position]:
            del self.shown[each]
        for request in self.requests:
            if request.answer in (200, 201):
                request.answer = None

    # -- judging --------------------------------------------------------------------------------

    def judge(self, log: Path, scratch: Path) -> Recorded:
        """Compare a log that nobody has open with what is known.

        Raises:
            Broken: something acknowledged or shown is not there, or something else is.

        """
        recorded = Recorded.of(log, scratch)
        self._judge_claims(recorded)
        self._judge_markers(recorded)
        self._judge_rows(recorded)
        self._judge_requests(recorded)
        self._judge_walks(recorded)
        for stream, position in self.pinned.items():
            if recorded.marked.get(stream, 0) > position:
                raise Broken(f"{stream} was pinned at {position}, and went nevertheless")
        for position, seen in self.shown.items():
            there = recorded.rows.get(position)
            if there is None:
                self._require_removed(recorded, seen.stream, position, f"{seen} was shown")
            elif there != seen and not (there.key == seen.key and seen.key in self.redacted):
                raise Broken(f"position {position} was shown as {seen}, and holds {there}")
        return recorded

    def _judge_claims(self, recorded: Recorded) -> None:
        for key, places in self.claims.items():
            stream = Seen.of(self.sent[key][0]).stream
            for position in places:
                there = recorded.rows.get(position)
                if there is not None and there.key == key:
                    version = recorded.versions_at[position]
                    if version != self.versions.get(position, version):
                        told = self.versions[position]
                        raise Broken(f"{key} is {version} of {stream}, not {told}, as was said")
                    continue
                what = f"{key} was acknowledged"
                if there is None:
                    self._require_removed(recorded, stream, position, what)
                elif not (there.stream == stream and there.type in MARKERS):
                    raise Broken(f"{what} at {position}, where there is {there}")

    def _judge_markers(self, recorded: Recorded) -> None:
        """Require that what was removed was due, and that nothing was taken twice."""
        for position, row in recorded.rows.items():
            if row.type.endswith(".purged"):
                self.purged.setdefault(row.stream, set()).add(position)
        times: dict[tuple[str, str], list[int]] = {}
        for events in self.sent.values():
            seen = Seen.of(events[0])
            times.setdefault((seen.stream, seen.type), []).append(seen.time)
        for stream, position in recorded.marked.items():
            marker = recorded.rows[position]
            due = _DUE.get(marker.type, ())
            known = any((stream, type_) in times for type_, _ in due)
            if (
                known
                and self.clock_is_even
                and not any(
                    time <= marker.time - age
                    for type_, age in due
                    for time in times.get((stream, type_), ())
                )
            ):
                raise Broken(f"{marker.type} of {stream} at {position} was not due")
        for key, places in self.claims.items():
            stream = Seen.of(self.sent[key][0]).stream
            for before, after in pairwise(sorted(places)):
                gone = self.purged.get(stream, set())
                if not any(before < each <= after for each in gone):
                    raise Broken(f"{key} of {stream} was taken at {before}, and again at {after}")

    def judge_archived(
        self, stream: str, marker: int, kept: Mapping[int, Mapping[str, Any]]
    ) -> None:
        """Require that what was archived of a stream is what was sent, and all of it.

        What lies before the first event that was archived went by an earlier purge.
        """
        for event in kept.values():
            seen = Seen.of(event)
            sent = [Seen.of(each) for each in self.sent.get(seen.key, ())]
            own = not seen.key[0].startswith("/clients/")
            if not (own or seen in sent or seen.key in self.redacted):
                raise Broken(f"nobody sent what was archived of {stream}: {seen}")
        for key, places in self.claims.items():
            if Seen.of(self.sent[key][0]).stream == stream:
                missing = {each for each in places if min(kept) < each < marker} - kept.keys()
                if missing:
                    raise Broken(f"{key} was archived at {missing}, and is not in the archive")

    def _require_removed(self, recorded: Recorded, stream: str, position: int, what: str) -> None:
        if not recorded.is_removed(position):
            raise Broken(f"{what} at {position}, and is not there")
        marked = recorded.marked.get(stream, 0)
        housekeeping = stream.partition("/")[0] not in ("job", "alert", "file", "result")
        if marked < position and not housekeeping:
            raise Broken(f"{what} at {position}, and was removed without a marker in {stream}")

    def _judge_rows(self, recorded: Recorded) -> None:
        places: dict[Key, int] = {}
        for position, row in recorded.rows.items():
            if not row.key[0].startswith("/clients/"):
                continue
            if row.key in places:
                raise Broken(f"{row.key} is there twice: at {places[row.key]} and {position}")
            places[row.key] = position
            self._require_new(recorded, position, row)
            sent = [Seen.of(event) for event in self.sent.get(row.key, ())]
            if row not in sent and row.key not in self.redacted:
                raise Broken(f"nobody sent what is at {position}: {row}")

    def _require_new(self, recorded: Recorded, position: int, row: Seen) -> None:
        """Require that an event was not there before, unless a purge took it that is older."""
        earlier = [each for each in self.claims.get(row.key, ()) if each < position]
        if not earlier:
            return
        purges = [each for each in self.purged.get(row.stream, ())
                  if max(earlier) <= each < position]  # fmt: skip
        purge = recorded.rows.get(max(purges, default=0))
        if not purges or (purge is not None and row.time <= purge.time):
            raise Broken(f"{row.key} was acknowledged at {earlier}, and came again at {position}")

    def _judge_walks(self, recorded: Recorded) -> None:
        rows = list(recorded.rows)
        for before, after in self.walked:
            place = bisect_right(rows, before)
            if place < len(rows) and rows[place] < after:
                raise Broken(f"pages went from {before} to {after}, without {rows[place]}")

    def _judge_requests(self, recorded: Recorded) -> None:
        there = {row.key for row in recorded.rows.values()}
        often = {key for key, events in self.sent.items() if len(events) > 1}
        for request in self.requests:
            alone = request.fresh - often
            found = alone & there
            if request.refused and found:
                raise Broken(f"request {request.number} was refused, and recorded: {found}")
            missing = {
                key
                for key in alone - there
                if Seen.of(self.sent[key][0]).stream not in recorded.marked
            }
            if found and missing:
                raise Broken(f"request {request.number} was recorded in part: without {missing}")


@dataclass(frozen=True)
class Recorded:
    """What a log holds, read without the daemon's code."""

    rows: dict[int, Seen]
    versions: dict[str, list[int]]
    versions_at: dict[int, int]
    runs: list[tuple[int, int]]
    marked: dict[str, int]
    """The newest marker of each stream that has one."""
    digests: dict[int, bytes]
    head: int
    keys: set[tuple[str, int, int]]
    """The stream, position and version of each removed event that is still known by its key."""
    pending: set[str]
    """Streams of which more is to be removed."""

    @classmethod
    def of(cls, log: Path, scratch: Path) -> Recorded:
        """Read a copy, as opening the file itself would change what a crash has left."""
        copy = scratch / log.name
        for suffix in ("", "-wal"):
            there, target = log.with_name(log.name + suffix), scratch / (log.name + suffix)
            target.unlink(missing_ok=True)
            if there.exists():
                shutil.copyfile(there, target)
        (scratch / f"{log.name}-shm").unlink(missing_ok=True)
        with closing(sqlite3.connect(copy)) as db:
            return cls._read(db)

    @classmethod
    def _read(cls, db: sqlite3.Connection) -> Recorded:
        for found in breaks(db):
            raise Broken(found)
        rows, versions, at, marked, digests = {}, {}, {}, {}, {}
        query = (
            "SELECT position, version, streams.name, types.name, sources.name, id, data, time,"
            " digest, extensions FROM events JOIN streams USING (stream_id)"
            " JOIN types USING (type_id) LEFT JOIN sources USING (source_id) ORDER BY position"
        )
        for position, version, stream, type_, source, id_, data, time, digest, more in db.execute(
            query
        ):
            extensions = _text(json.loads(more)) if more else ""
            rows[position] = Seen(
                (source, id_), type_, stream, _text(json.loads(data)), time, extensions
            )
            digests[position], at[position] = digest, version
            versions.setdefault(stream, []).append(version)
            if type_ in MARKERS:
                marked[stream] = position
        runs = db.execute("SELECT first, last FROM removed_runs ORDER BY first").fetchall()
        query = "SELECT name, position, version FROM removed_keys JOIN streams USING (stream_id)"
        keys = set(db.execute(query))
        query = "SELECT name FROM removals JOIN streams USING (stream_id)"
        pending = {name for (name,) in db.execute(query)}
        return cls(rows, versions, at, runs, marked, digests, max(rows, default=0), keys, pending)

    def is_removed(self, position: int) -> bool:
        """Return whether the log says that the event at a position was removed."""
        return any(first <= position <= last for first, last in self.runs)


def _bare(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "expectedversion"}


def _microseconds(text: object) -> int:
    """Return a time; what is none, as wrong events have it, is no time that there is."""
    try:
        since = datetime.fromisoformat(str(text)) - _EPOCH
    except ValueError:
        return -1
    return since // timedelta(microseconds=1)


def _text(data: object) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
