"""Archiving one job in two phases: everything is stored and read back, then the log says so.

Only after that originals are deleted, and rows of the log removed. A kill at any point leaves
either a job that is not archived, and objects that `ArchiveService` deletes, or an archived job
whose originals it deletes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import orjson

from daemon.archive.container import PIECE_BYTES, Head, Packed, pack
from daemon.archive.errors import ArchiveDamaged, ArchiveError, NotArchived
from daemon.archive.facts import JobFacts, Recorded, read_job, read_rows, recorded_of
from daemon.archive.finishing import Finisher
from daemon.archive.journal import Begun
from daemon.archive.lines import First, decode, encode
from daemon.archive.marker import ArchivedFile, Marker, marker_of
from daemon.archive.parts import Parts
from daemon.archive.reading import read_lines
from daemon.archive.shelf import events_name, file_name, location_of
from daemon.eventlog.epochs import SOURCE
from domain.catalog import validate_payload
from domain.errors import ChronicledError, NotReady, VersionConflict
from domain.events import NewEvent
from domain.job import row_of
from domain.lives import ARCHIVED

if TYPE_CHECKING:
    from projections.views import Views

MISSING: Final = "result.missing"
RESULTS_MAX: Final = 10_000
"""A job with more results is not archived."""

logger = logging.getLogger(__name__)


class Archived(NamedTuple):
    """A job in the archive. ``again``: it was there already, and nothing was done."""

    job: str
    position: int
    location: str
    sha256: str
    events: int
    bytes: int
    files: int
    again: bool = False

    @classmethod
    def of(cls, marker: Marker, *, again: bool) -> Archived:
        """Return what a marker says."""
        return cls(
            marker.job, marker.position, marker.location, marker.sha256, marker.events,
            marker.bytes, len(marker.files), again,
        )  # fmt: skip


class Archiver(Protocol):
    """Whoever archives jobs."""

    def archive(
        self, job: str, rule: str, reason: str, now: int, version: int | None = None
    ) -> Archived:
        """Archive one job; it is there, whole, when this returns.

        ``version`` is the one at which somebody decided it: one that has moved on since is left.

        Raises:
            NotArchived: there is no such job.
            VersionConflict: it has moved on meanwhile; nothing was changed.
            StoreUnavailable, StoreRefused: the archive cannot be reached; nothing was changed.
            NotReady: the views do not know yet which results it has.
            ArchiveError: a file cannot be read, or there is too much; nothing was changed.

        """
        ...


@dataclass
class _Attempt:
    """What one attempt has gathered: files in the archive, events to record beside the marker."""

    facts: JobFacts
    location: str
    files: list[ArchivedFile] = field(default_factory=list)
    beside: list[NewEvent] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)


class JobArchiver:
    """The archiver of a daemon; see `Archiver`."""

    def __init__(
        self, parts: Parts, finisher: Finisher, views: Views, wait: Callable[[int], bool]
    ) -> None:
        """Make one; ``wait`` waits, for a bounded time, until the views have reached a position."""
        self._log = parts.log
        self._shelf = parts.shelf
        self._files = parts.files
        self._journal = parts.journal
        self._removals = parts.removals
        self._lock = parts.lock
        self._finisher = finisher
        self._views = views
        self._wait = wait

    def archive(
        self,
        job: str,
        rule: str,
        reason: str,
        now: int,  # noqa: ARG002
        version: int | None = None,
    ) -> Archived:
        """Archive one job; see `Archiver`."""
        with self._lock:
            results = self._results(job)
            facts = read_job(self._log, job)
            if facts is None:
                raise NotArchived(f"There is no job {job[:80]!r}.")
            if facts.marker is not None and facts.is_archived:
                self._finisher.finish_if_pending(f"job/{job}")
                return Archived.of(facts.marker, again=True)
            if version not in (None, facts.version):
                raise VersionConflict(f"job/{job[:80]} is at version {facts.version}")
            attempt = _Attempt(facts, self._location(job, facts))
            try:
                there = self._shelf.names(attempt.location)
                self._journal.begin(Begun(job, attempt.location, there))
                self._store_files(attempt, results)
                marker, outside = self._mark(attempt, job, rule, reason)
            except OSError as error:
                raise ArchiveError(f"job/{job[:80]} cannot be stored: {error.strerror}") from error
            self._finish(marker, outside=outside)
            return Archived.of(marker, again=False)

    def _finish(self, marker: Marker, *, outside: bool) -> None:
        """Delete what is superfluous now; what cannot be is left to the service.

        With a backup that is what is ``outside`` of the log.
        """
        try:
            if outside:
                self._finisher.finish_stream(f"job/{marker.job}", marker.position)
            else:
                self._finisher.finish(marker, checked=True)
            self._journal.end(marker.job)
        except (ChronicledError, OSError) as error:
            detail = error.detail if isinstance(error, ChronicledError) else str(error)
            logger.warning(
                "an archive is not ended yet", extra={"job": marker.job[:200], "error": detail}
            )

    def _results(self, job: str) -> list[str]:
        """Return the streams of the job's results, as of the newest event.

        Raises:
            NotReady: the views are behind.
            ArchiveError: there are too many.

        """
        head = self._log.head()
        if not self._wait(head):
            raise NotReady(f"The views have not reached position {head}.")
        streams, as_of = self._views.results(job, RESULTS_MAX + 1)
        if as_of < head:
            raise NotReady(f"The views are at position {as_of} of {head}.")
        if len(streams) > RESULTS_MAX:
            raise ArchiveError(f"job/{job[:80]} has more than {RESULTS_MAX} results")
        return streams

    def _location(self, job: str, facts: JobFacts) -> str:
        if facts.marker is not None:
            return facts.marker.location
        return location_of(self._log.log_id, job, facts.begun)

    # -- files ----------------------------------------------------------------------------------

    def _store_files(self, attempt: _Attempt, streams: Sequence[str]) -> None:
        job = attempt.facts.state.id
        for stream in streams:
            rows = list(read_rows(self._log, stream))
            attempt.lines += [row.line for row in rows]
            recorded = recorded_of(rows, job)
            if recorded is not None:
                self._store_file(attempt, recorded)

    def _store_file(self, attempt: _Attempt, recorded: Recorded) -> None:
        """Store the file of a result; what it is not, or that it is missing, is recorded."""
        kept = self._kept(attempt, recorded)
        file = self._files.open(recorded.path)
        if file is None:
            if kept is not None:
                attempt.files.append(kept)
            elif found := self._found(attempt, recorded):
                self._keep(attempt, recorded, *found)
            elif self._files.is_missing(recorded.path) and recorded.last_check != MISSING:
                attempt.beside.append(self._note(attempt, recorded, MISSING))
            return
        with file:
            pieces = _pieces(file, recorded.path)
            packed = pack("file", self._log.log_id, pieces, self._journal.folder)
        with packed.file:
            digest = packed.head.raw_sha256
            if recorded.sha256 not in (None, digest):
                if kept is not None:
                    attempt.files.append(kept)
                attempt.beside.append(
                    self._note(attempt, recorded, "result.changed", packed.head.raw_bytes, digest)
                )
                return
            name = file_name(attempt.location, recorded.subject, digest)
            self._shelf.put(name, packed)
        self._keep(attempt, recorded, packed.head, name)

    def _keep(self, attempt: _Attempt, recorded: Recorded, head: Head, name: str) -> None:
        size, digest = head.raw_bytes, head.raw_sha256
        attempt.files.append(ArchivedFile(recorded.subject, recorded.path, size, digest, name))
        attempt.beside.append(
            self._note(attempt, recorded, "result.archived", size, digest, location=name)
        )

    def _found(self, attempt: _Attempt, recorded: Recorded) -> tuple[Head, str] | None:
        """Return the object of a file that is gone, where an archive has it that the log forgot.

        That is so where the log came back from a backup that was older than the archive.
        """
        if recorded.sha256 is None or not self._files.is_missing(recorded.path):
            return None
        name = file_name(attempt.location, recorded.subject, recorded.sha256)
        if not self._shelf.has(name):
            return None
        return self._shelf.check(name, content=recorded.sha256), name

    def _kept(self, attempt: _Attempt, recorded: Recorded) -> ArchivedFile | None:
        """Return the file of a result that an earlier archive of the job holds."""
        earlier = attempt.facts.marker
        for file in earlier.files if earlier else ():
            same = recorded.sha256 in (None, file.sha256)
            if file.result == recorded.subject and file.path == recorded.path and same:
                self._shelf.check(file.object, content=file.sha256)
                return file
        return None

    def _note(
        self,
        attempt: _Attempt,
        recorded: Recorded,
        type_: str,
        size: int | None = None,
        digest: str | None = None,
        location: str | None = None,
    ) -> NewEvent:
        said = {
            "job": attempt.facts.state.id,
            "kind": recorded.kind,
            "path": recorded.path,
            "bytes": size,
            "sha256": digest,
            "location": location,
            "reason": "archive",
        }
        payload = {name: value for name, value in said.items() if value is not None}
        id_ = f"{type_}:{attempt.facts.state.id}:{attempt.facts.version}"
        return NewEvent(type_, recorded.subject, SOURCE, id_, validate_payload(type_, payload))

    # -- the marker -----------------------------------------------------------------------------

    def _mark(self, attempt: _Attempt, job: str, rule: str, reason: str) -> tuple[Marker, bool]:
        """Store the events, and record that the job is archived.

        Returns the marker, and whether something outside of the log is superfluous by it.
        """
        facts = attempt.facts
        own, results = self._earlier(facts)
        # What an earlier archive of the job has of results, and that is gone from the log since.
        # An event that is still there is as the log has it: a value may have been taken out of it.
        places = {_place_of(line): line for line in [*results, *attempt.lines]}
        lines = [*own, *facts.lines]
        others = [places[place] for place in sorted(places)]
        first = First(job=job, log_id=self._log.log_id, version=facts.version)
        pieces = encode(first, [*lines, *others])
        name = events_name(attempt.location, facts.version)
        with ExitStack() as stack:
            packed = pack("job", self._log.log_id, pieces, self._journal.folder)
            stack.enter_context(packed.file)
            self._spare(facts, attempt.location, name, packed)
            self._shelf.put(name, packed)
        self._read_back(name, packed.sha256, lines)
        payload: dict[str, Any] = {
            "reason": reason,
            "rule": rule,
            "location": attempt.location,
            "sha256": packed.sha256,
            "replaces": facts.version,
            "events": len(lines) + len(others),
            "bytes": packed.size,
            "row": row_of(facts.state),
            "task": facts.task,
            "files": [file._asdict() for file in attempt.files],
        }
        marker = NewEvent(
            ARCHIVED, job, SOURCE, f"{ARCHIVED}:{facts.version}",
            validate_payload(ARCHIVED, payload), expected_version=facts.version,
        )  # fmt: skip
        outside = bool(attempt.files) or facts.marker is not None
        self._removals.mark(marker, attempt.beside, outside=outside)
        [event] = self._log.read_stream(marker.stream, after_version=facts.version, limit=1)
        found = marker_of(event)
        if found is None:
            raise ArchiveError(f"job/{job[:80]} was not marked")
        return found, outside

    def _earlier(self, facts: JobFacts) -> tuple[list[bytes], list[bytes]]:
        """Return the lines that the archive has of the job: its own, and those of its results."""
        if facts.marker is None:
            return [], []
        lines = read_lines(self._shelf, facts.marker)
        return lines.own, lines.results

    def _spare(self, facts: JobFacts, location: str, name: str, packed: Packed) -> None:
        """Store the events beside an object that may be replaced, and be the only one with them.

        It stands in for one that the marker names and that is gone: see `read_lines`. What is
        stored here goes as soon as a marker names the other.
        """
        earlier = facts.marker
        if earlier is None or self._shelf.has(earlier.object) or not self._shelf.has(name):
            return
        self._shelf.put(self._shelf.free_name(location), packed)

    def _read_back(self, name: str, digest: str, lines: Sequence[bytes]) -> None:
        """Check that what was stored gives the events back that the log holds."""
        if decode(self._shelf.read(name, digest), name).own != list(lines):
            raise ArchiveDamaged(f"{name} does not give back what was stored")


def _pieces(file: IO[bytes], path: str) -> Iterator[bytes]:
    """Yield the content of a file.

    Raises:
        ArchiveError: it cannot be read.

    """
    try:
        while piece := file.read(PIECE_BYTES):
            yield piece
    except OSError as error:
        raise ArchiveError(f"{path}: {error.strerror}") from error


def _place_of(line: bytes) -> tuple[str, int]:
    """Return the stream and the version of a line."""
    event: Any = orjson.loads(line)
    return event["subject"], event["version"]
