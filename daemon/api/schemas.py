"""The shapes of requests and answers as the OpenAPI document states them.

Documentation that is tested: answers are made without these models, and the tests check real
answers against them. A client has to expect fields that are not here: more may be added.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from domain.alert import AlertStatus
from domain.file import FileStatus
from domain.job import JobStatus
from domain.payloads.alert import Severity

Item = TypeVar("Item")
AsOf = Field(description="The log position up to which the answer holds.")


class Shape(BaseModel):
    """A JSON object of the interface."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class Answer(Shape):
    """What every answer of a reading route has."""

    as_of: int = AsOf
    readonly: bool = Field(False, description="Whether it shows a moment of the past for good.")


class FaultShape(Shape):
    """One fault of a request and its place: in the batch and the event, or a parameter."""

    index: int | None = Field(None, description="Which event of the batch, from 0.")
    pointer: str | None = Field(None, description="Where in the event (RFC 6901).")
    parameter: str | None = Field(None, description="Which parameter or header.")
    detail: str
    code: str


class Problem(Shape):
    """Why a request was refused (RFC 9457)."""

    type: str = Field(description="A page about this kind of problem.")
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable; what programs should look at.")
    errors: list[FaultShape]
    hint: str = Field(description="What to do about it.")


class Event(BaseModel):
    """A CloudEvent 1.0 as it was recorded; extension attributes stand beside these."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    subject: str
    time: AwareDatetime
    datacontenttype: str
    data: dict[str, Any]
    position: int = Field(description="Counts over the log, from 1.")
    version: int = Field(description="Counts in the stream, from 1.")
    recordedtime: AwareDatetime


class ReceiptShape(Shape):
    """Where an event stands in the log."""

    id: str
    position: int
    stream: str
    version: int
    duplicate: bool = Field(description="It was there already; this is the original's place.")
    differs: bool = Field(False, description="It was there already, with another payload.")


class Receipts(Shape):
    """The answer to an append, given after the events are on disk."""

    events: list[ReceiptShape]
    dead_letters: int | None = Field(None, description="Intake only: what was put aside.")
    as_of: int = AsOf


class Page(Answer, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    next: str | None = Field(description="The cursor of the next page; null at the end.")


class Link(Shape):
    """Another thing a job is linked to."""

    to: str
    role: str | None


class Job(Shape):
    """The state of a job."""

    id: str
    kind: str | None
    name: str | None
    owner: str | None
    queue: str | None
    priority: int | None
    workflow: str | None
    phase: str | None
    parent: str | None
    correlation: str | None
    status: JobStatus
    native_status: str | None = Field(description="The producer's own word.")
    stage: str | None
    progress: float | None = Field(description="0 to 1.")
    attempt: int
    attempts: int
    worker: str | None
    params: dict[str, Any] | None
    input: Any
    result: Any
    message: str | None
    warning: str | None
    error: dict[str, Any] | None
    next: str | None = Field(description="The job id of the next attempt.")
    links: list[Link]
    submitted: AwareDatetime
    started: AwareDatetime | None
    ended: AwareDatetime | None
    updated: AwareDatetime
    queue_seconds: float | None
    run_seconds: float | None
    last_position: int
    events: int
    pinned: bool
    pinned_time: AwareDatetime | None
    archived: bool
    archived_time: AwareDatetime | None


class ArchivePlace(Shape):
    """Where the archive has a job."""

    location: str
    sha256: str = Field(description="Of the object with its events.")
    events: int
    bytes: int
    files: int
    note: str | None = Field(description="Why what it holds cannot be shown now.")


class JobDetail(Job, Answer):
    """The state of one job; what an archived job had comes out of the archive."""

    archive: ArchivePlace | None = Field(None, description="Of a job that is in the archive.")


class HistoryEntry(Shape):
    """What one event said about a job, and what it changed."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    job: str | None = Field(None, description="With attempts=all: which attempt.")
    position: int
    version: int
    type: str
    time: AwareDatetime
    recordedtime: AwareDatetime
    from_: JobStatus | None = Field(alias="from")
    to: JobStatus
    attempt: int
    stage: str | None
    percent: int | None
    source: str
    actor: str | None
    message: str | None
    late: bool = Field(description="A transition that did not move the status.")
    skewed: bool = Field(description="The producer's clock ran ahead; its time was cut.")


class Alert(Shape):
    """The state of an alert."""

    id: str
    state: AlertStatus
    severity: Severity | None
    kind: str | None
    title: str | None
    message: str | None
    fingerprint: str | None
    job: str | None
    labels: dict[str, str]
    first_seen: AwareDatetime | None
    last_seen: AwareDatetime | None
    count: int
    acknowledged: AwareDatetime | None
    acknowledged_by: str | None
    resolved: AwareDatetime | None
    resolved_by: str | None
    notified: AwareDatetime | None
    notifications: int
    updated: AwareDatetime
    last_position: int
    events: int


class TimelineEntry(Shape):
    """What one event said about an alert."""

    position: int
    version: int
    type: str
    time: AwareDatetime
    recordedtime: AwareDatetime
    source: str
    actor: str | None
    by: str | None
    reason: str | None
    channel: str | None
    severity: Severity | None
    message: str | None
    skewed: bool


class AlertDetail(Alert, Answer):
    """The state of one alert, with the newest entries of its timeline, in log order."""

    timeline: list[TimelineEntry]


class FileMatch(Shape):
    """What a rule made of a file."""

    workflow: str | None
    phases: list[str]
    jobs: list[str]
    reason: str | None
    time: AwareDatetime
    position: int


class File(Shape):
    """A message about a file, and what matched it."""

    path: str
    state: FileStatus = Field(description="The last state of the path.")
    size: int | None
    checksum: str | None
    linecnt: int | None
    bytecnt: int | None
    created: str | None
    is_dir: bool | None
    files: int | None
    generation: str | None
    bucket: str | None
    observed: AwareDatetime
    recordedtime: AwareDatetime
    skewed: bool
    position: int
    event: str = Field(description="The id of the event.")
    source: str
    matched: bool | None = Field(description="Null: no rule was asked yet.")
    matches: list[FileMatch]


Counts = dict[str, int]


class JobCounts(Shape):
    """Jobs by status and by kind."""

    total: int
    by_status: Counts
    by_kind: dict[str, Counts]


class Percentiles(Shape):
    """Durations (seconds), from fixed buckets: within a tenth of the real ones."""

    count: int
    p50: float | None
    p95: float | None


class Durations(Shape):
    """How long jobs of a kind run, and wait before."""

    run: Percentiles
    queue: Percentiles


class SpanCounts(Shape):
    """What happened in a day or an hour."""

    jobs: int
    alerts: int
    files: int
    by_status: Counts


class Day(SpanCounts):
    """A UTC day that has data."""

    date: str


class Hour(SpanCounts):
    """An hour that has data."""

    hour: AwareDatetime


class Summary(Answer):
    """Kept counts of a range of days, or of all time."""

    since: str | None
    until: str | None
    jobs: JobCounts
    durations: dict[str, Durations]
    alerts: Counts
    days: list[Day]
    hours: list[Hour] | None = Field(None, description="Only where the range is one day.")


class Offset(Shape):
    """How far a followed file or pipe was read."""

    follow: str
    offset: int
    updated: AwareDatetime | None = Field(None, description="Only with `latest`.")


class Progress(Shape):
    """How far an operation is."""

    done: int
    total: int


class ProjectionShape(Shape):
    """How a projection stands."""

    name: str
    version: int
    position: int
    state: Literal["building", "live", "rebuilding", "failed"]
    error: str | None
    failed_position: int | None
    built: int | None
    head: int
    last_processed: AwareDatetime | None


class LogShape(Shape):
    """How the log stands."""

    position: int
    epoch: int
    ok: bool
    code: str | None
    error: str | None
    since: AwareDatetime


class Health(Shape):
    """The process is alive."""

    status: Literal["alive"]
    version: str


class BackupReadiness(Shape):
    """How the backup stands; of `unavailable` and `refused` the detail says why."""

    state: Literal["off", "starting", "shipping", "unavailable", "refused"]
    detail: str | None = None


class FollowerReadiness(Shape):
    """How far workflows are followed."""

    position: int = Field(description="Up to where it is concluded what follows from workflows.")
    waits_for_views: bool


class DiskShape(Shape):
    """How the disk of the data directory stands; sizes are bytes."""

    state: Literal["ok", "low", "refusing"] = Field(
        description="low: an alert is raised. refusing: no events are taken."
    )
    since: AwareDatetime | None = Field(description="When it came to stand so.")
    total: int
    free: int = Field(description="What events may still take: not what is kept in reserve.")
    reserve: int = Field(description="What is held in reserve, and given up when all is full.")
    warn: int = Field(description="It is low below this; 0 for never.")
    refuse: int = Field(description="Events are refused below this; 0 for never.")


class Readiness(Shape):
    """Whether the daemon can do its work."""

    status: Literal["ready", "degraded", "starting", "failed", "stopping"]
    log: LogShape
    projections: list[ProjectionShape]
    disk: DiskShape | None
    backup: BackupReadiness
    workflows: FollowerReadiness | None
    draining: bool
    readonly: bool = Field(description="Whether it shows a moment of the past.")


class LogNumbers(Shape):
    """Which log this is, and how far it goes."""

    position: int
    log_id: str
    epoch: int


class RateNumbers(Shape):
    """Mean rates of appended events."""

    events_per_second_1m: float
    events_per_second_5m: float


class WriterNumbers(Shape):
    """How much waits for the writer."""

    queue_events: int
    queue_capacity_events: int


class SizeNumbers(Shape):
    """Bytes of a database and of its write-ahead log."""

    database: int
    wal: int


class DiskNumbers(Shape):
    """Bytes on the disk of the data directory."""

    databases: dict[str, SizeNumbers]
    disk_free: int


class DeadLetterNumbers(Shape):
    """How many dead letters of a format there are, and how often they came."""

    letters: int
    count: int


class Numbers(Answer):
    """The numbers people chart."""

    log: LogNumbers
    rates: RateNumbers
    writer: WriterNumbers
    sizes: DiskNumbers
    projections: list[ProjectionShape]
    jobs: Counts
    dead_letters: dict[str, DeadLetterNumbers]
    streams: int = Field(description="Open event streams.")
