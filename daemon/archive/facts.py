"""What the archiver reads of a job before it stores anything: events, results, state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from daemon.archive.errors import ArchiveError
from daemon.archive.lines import event_of
from daemon.archive.marker import Marker, marker_of
from daemon.eventlog.statements import SQL
from daemon.replay.export import row_line
from domain.events import RecordedEvent
from domain.job import JobState, job_after
from domain.lives import is_tombstone
from projections.tasks import is_task, task_of

if TYPE_CHECKING:
    from daemon.eventlog.log import EventLog

_PAGE_ROWS: Final = 1_000
JOB_BYTES_MAX: Final = 512 << 20
"""A job with more in its events is not archived: they are held in memory together."""


class StoredRow(NamedTuple):
    """A row of the log: its event, and the line that keeps everything of it."""

    event: RecordedEvent
    line: bytes


class JobFacts(NamedTuple):
    """A job in the log: its lines since it was archived last, and what stands for those before.

    ``version`` is that of its newest event, ``begun`` when the first of these was recorded;
    ``task`` is what the list of tasks needs of it.
    """

    lines: list[bytes]
    version: int
    begun: int
    marker: Marker | None
    state: JobState
    task: dict[str, Any] | None

    @property
    def is_archived(self) -> bool:
        """Whether nothing has happened since it was archived."""
        return self.marker is not None and self.marker.version == self.version


class Recorded(NamedTuple):
    """A result of a job whose file was recorded: where it is, and what the last look found."""

    subject: str
    path: str
    bytes: int | None
    sha256: str | None
    kind: str | None
    last_check: str


def read_job(log: EventLog, job: str) -> JobFacts | None:
    """Return what the log holds of a job since its last purge; None where that is nothing.

    Raises:
        ArchiveError: rows are missing that should be there, or there is too much.

    """
    life = _Life()
    for row in read_rows(log, f"job/{job}"):
        event = row.event
        if is_tombstone(event):
            life = _Life(event.version + 1)
            continue
        if found := marker_of(event):
            # What it stands for is in the archive, whether its rows are still here or not.
            life = _Life(event.version, found)
        life.add(row)
    if life.lacking:
        raise ArchiveError(f"job/{job} lacks events before {life.lacking}")
    return life.facts()


@dataclass
class _Life:
    """A job as it is read; of its events only the lines are kept, as there may be very many."""

    following: int = 1
    marker: Marker | None = None
    lacking: int = 0
    lines: list[bytes] = field(default_factory=list)
    _begun: int = 0
    _state: JobState | None = None
    _is_told: bool = False
    _told: list[RecordedEvent] = field(default_factory=list)

    def add(self, row: StoredRow) -> None:
        """Take the next row."""
        event = row.event
        if event.version != self.following:
            self.lacking = self.lacking or event.version
        self.following = event.version + 1
        if not self.lines:
            self._begun = event.recordedtime
            self._is_told = is_task(event) or bool(event.payload.get("task"))
        if self._is_told:
            self._told.append(event)
        self.lines.append(row.line)
        self._state = job_after(self._state, event)

    def facts(self) -> JobFacts | None:
        """Return what was read, None where nothing was."""
        if self._state is None:
            return None
        task = task_of(self._told)
        return JobFacts(self.lines, self.following - 1, self._begun, self.marker, self._state, task)


def read_rows(log: EventLog, stream: str) -> Iterable[StoredRow]:
    """Yield the rows of a stream, in the order of their versions.

    Raises:
        ArchiveError: there is too much.

    """
    version = size = 0
    while True:
        with log.reading().connection() as db:
            page: Any = db.execute(
                SQL["rows_of_stream"], (0, stream, version, _PAGE_ROWS)
            ).fetchall()
        for row in page:
            # What orjson makes has room behind it, some kilobytes: a copy has not.
            line = memoryview(row_line(row, {})).tobytes()
            size += len(line)
            if size > JOB_BYTES_MAX:
                raise ArchiveError(f"{stream} has more than {JOB_BYTES_MAX} bytes of events")
            yield StoredRow(event_of(line, stream), line)
        if not page:
            return
        version = page[-1][3]


def recorded_of(rows: Iterable[StoredRow], job: str) -> Recorded | None:
    """Return the file of a result, from its events; None where none of this job was recorded."""
    said: Any = None
    event: RecordedEvent | None = None
    check = ""
    for row in rows:
        if is_tombstone(row.event):
            event = None
        elif row.event.type == "result.recorded":
            event, said, check = row.event, row.event.payload, ""
        elif row.event.type != "result.offered":
            check = row.event.type
    if event is None or said.get("job") != job or not said.get("path"):
        return None
    return Recorded(
        event.subject, said["path"], said.get("bytes"), said.get("sha256"), said.get("kind"), check
    )
