"""Payloads of the events that only the daemon records: its own decisions and observations."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from domain.payloads.base import Count, JsonObject, Payload, Sha256, Timestamp, example
from domain.payloads.result import ResultFacts

Counts: TypeAlias = dict[str, Count]
_DIGEST: Final = "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"


class ArchivedFile(BaseModel):
    """A result file in the archive: what it was, and under which name it is stored there."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    result: str = Field(description="The subject of the result's events.")
    path: str
    bytes: Count
    sha256: Sha256
    object: str


class JobArchived(Payload):
    """A job and its results moved to the archive.

    ``row`` is the folded job as it was, without what can be large; ``replaces`` says up to which
    version of the stream this event stands for the others, which are in the object at
    ``location``.
    """

    model_config = example(
        reason="30 days after it ended",
        rule="completed",
        location="jobs/2026/02/3f6b4ad8c1d0",
        sha256=_DIGEST,
        replaces=6,
        events=6,
        bytes=2210,
        row={"id": "annotation-17", "status": "succeeded"},
    )
    event_type: ClassVar[str] = "job.archived"

    reason: str | None = None
    rule: str | None = None
    location: str | None = None
    sha256: Sha256 | None = None
    replaces: Count | None = None
    events: Count | None = Field(default=None, description="How many events the object holds.")
    bytes: Count | None = Field(default=None, description="How many bytes the object has.")
    row: JsonObject | None = None
    task: JsonObject | None = Field(
        default=None, description="What the task list shows of it, for a task of flowlord."
    )
    files: list[ArchivedFile] | None = None


class JobRestored(Payload):
    """An archived job was brought back: its files are in their places again."""

    model_config = example(
        reason="a question of the customer",
        location="jobs/2026/02/3f6b4ad8c1d0",
        sha256=_DIGEST,
        counts={"files": 3, "bytes": 88131},
    )
    event_type: ClassVar[str] = "job.restored"

    reason: str | None = None
    location: str | None = None
    sha256: Sha256 | None = None
    counts: Counts | None = None


class FollowingPhase(BaseModel):
    """A phase that depends on a job, and whether it follows; ``missing`` are keys it requires."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    phase: str
    outcome: Literal["expected", "require_unmet"]
    missing: list[str] | None = None


class JobContinued(Payload):
    """A job of a workflow is done: which phases depend on it, and which of them follow."""

    model_config = example(
        workflow="etl/hourly.toml",
        sha256=_DIGEST,
        phases=[
            {"phase": "sql-load:events", "outcome": "expected"},
            {"phase": "report", "outcome": "require_unmet", "missing": ["file"]},
        ],
    )
    event_type: ClassVar[str] = "job.continued"

    workflow: str | None = None
    sha256: Sha256 | None = None
    phases: list[FollowingPhase] | None = Field(
        default=None, description="None where no phase depends on it."
    )


class _Purged(Payload):
    """The events of an entity were removed; what it adds to the day summaries stays.

    ``replaces`` says up to which version of the stream this event stands for the others;
    ``digest`` is the SHA-256 over the digests of their rows, in order; ``location`` is what was
    removed with them from the archive.
    """

    reason: str | None = None
    rule: str | None = None
    replaces: Count | None = None
    counts: Counts | None = None
    digest: Sha256 | None = None
    summary: JsonObject | None = None
    location: str | None = None


class JobPurged(_Purged):
    """A job's events were removed; what it adds to the day summaries stays."""

    model_config = example(
        reason="90 days after it was archived",
        rule="archived",
        replaces=6,
        counts={"events": 6, "bytes": 2210},
        digest=_DIGEST,
        summary={"hour": 491544, "kind": "annotation", "status": "succeeded"},
    )
    event_type: ClassVar[str] = "job.purged"


class AlertPurged(_Purged):
    """An alert's events were removed; what it adds to the day summaries stays."""

    model_config = example(
        reason="90 days after its last event",
        rule="alerts",
        replaces=3,
        counts={"events": 3, "bytes": 640},
        digest=_DIGEST,
        summary={"hour": 491544, "state": "resolved"},
    )
    event_type: ClassVar[str] = "alert.purged"


class FilePurged(_Purged):
    """The messages about a file were removed; what they add to the day summaries stays."""

    model_config = example(
        reason="90 days after the last event",
        rule="files",
        replaces=2,
        counts={"events": 2, "bytes": 410},
        digest=_DIGEST,
        summary={"hours": [[491544, 1]]},
    )
    event_type: ClassVar[str] = "file.purged"


class ResultPurged(_Purged):
    """What was said of a result was removed, together with the job that made it."""

    model_config = example(
        reason="90 days after it ended",
        rule="completed",
        replaces=2,
        counts={"events": 2, "bytes": 380},
        digest=_DIGEST,
    )
    event_type: ClassVar[str] = "result.purged"


class _WorkflowChanged(Payload):
    """A workflow file as it was read."""

    sha256: Sha256 | None = None
    phases: list[JsonObject] | None = None
    issues: list[JsonObject] | None = None


class WorkflowLoaded(_WorkflowChanged):
    """A workflow file is new, or reads differently."""

    model_config = example(
        sha256=_DIGEST,
        phases=[
            {
                "phase": "sql-load:events",
                "topic": "sql-load",
                "job": "events",
                "depends_on": "csv2json",
                "template": "{meta:file}?at={ts}",
            }
        ],
        issues=[
            {
                "code": "unknown_token",
                "severity": "error",
                "message": "{ts} is not filled in; write {TS}",
                "phase": 0,
            }
        ],
    )
    event_type: ClassVar[str] = "workflow.loaded"


class WorkflowRemoved(_WorkflowChanged):
    """A workflow file is no longer there."""

    model_config = example(sha256=_DIGEST)
    event_type: ClassVar[str] = "workflow.removed"


class _ResultChecked(ResultFacts):
    """What a look at a recorded result found."""

    reason: str | None = None
    location: str | None = None


class ResultVerified(_ResultChecked):
    """A result is there and is what was recorded."""

    model_config = example(job="annotation-17", kind="GFF3", sha256=_DIGEST)
    event_type: ClassVar[str] = "result.verified"


class ResultMissing(_ResultChecked):
    """A recorded result is not there."""

    model_config = example(job="annotation-17", kind="GFF3", path="results/17.gff3")
    event_type: ClassVar[str] = "result.missing"


class ResultChanged(_ResultChecked):
    """A result is there but is not what was recorded; ``sha256`` is what it is now."""

    model_config = example(job="annotation-17", kind="GFF3", sha256=_DIGEST)
    event_type: ClassVar[str] = "result.changed"


class ResultArchived(_ResultChecked):
    """A result moved to the archive."""

    model_config = example(job="annotation-17", location="archive/2026/02/annotation-17.zip")
    event_type: ClassVar[str] = "result.archived"


class PolicyChanged(Payload):
    """A retention policy is new, different or gone."""

    model_config = example(before=None, after={"category": "job", "purge_after": "90d"})
    event_type: ClassVar[str] = "policy.changed"

    before: JsonObject | None = None
    after: JsonObject | None = None
    reason: str | None = None


class _Maintenance(Payload):
    """One run of the daemon's own housekeeping."""

    kind: str | None = None
    reason: str | None = None
    outcome: str | None = None
    counts: Counts | None = None
    message: str | None = None


class MaintenanceStarted(_Maintenance):
    """A run began; ``due`` is the newest due time that is seen to with it."""

    model_config = example(kind="retention", reason="schedule", due="2026-02-04T02:30:00Z")
    event_type: ClassVar[str] = "maintenance.started"

    due: Timestamp | None = None


class MaintenanceFinished(_Maintenance):
    """A run ended: outcome is succeeded, failed, interrupted or skipped."""

    model_config = example(
        kind="retention", reason="schedule", outcome="succeeded", counts={"purged": 12}
    )
    event_type: ClassVar[str] = "maintenance.finished"


class _Backup(Payload):
    """A snapshot of the log, where it is, and how far it reaches."""

    location: str | None = None
    position: Count | None = None
    bytes: Count | None = None
    sha256: Sha256 | None = None
    step: str | None = None
    message: str | None = None


class BackupSnapshotted(_Backup):
    """A snapshot was stored."""

    model_config = example(location="gs://backup/7/snapshot-88210", position=88210, bytes=9437184)
    event_type: ClassVar[str] = "backup.snapshotted"


class BackupProved(_Backup):
    """A snapshot was restored elsewhere and holds what it should."""

    model_config = example(location="gs://backup/7/snapshot-88210", position=88210)
    event_type: ClassVar[str] = "backup.proved"


class BackupFailed(_Backup):
    """A step of the backup failed."""

    model_config = example(step="upload", message="403 from the store")
    event_type: ClassVar[str] = "backup.failed"


class RemovedRun(BaseModel):
    """Positions that are gone from the log, and the chain's digest at the last of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    from_: Annotated[Count, Field(alias="from")]
    to: Count
    digest: Sha256


class LogRestored(Payload):
    """The log goes on from a backup, in a new epoch."""

    model_config = example(
        epoch=8, location="gs://backup/7", complete_to=88210, reported_head=88231
    )
    event_type: ClassVar[str] = "log.restored"

    epoch: Count | None = None
    location: str | None = None
    complete_to: Count | None = Field(default=None, description="Up to here nothing is lost.")
    reported_head: Count | None = Field(
        default=None, description="The last head that the old writer reported."
    )
    reason: str | None = None


class LogRedacted(Payload):
    """A value was taken out of a recorded event."""

    model_config = example(
        position=4711, pointer="/data/params/token", why="a token", payload_hash=_DIGEST
    )
    event_type: ClassVar[str] = "log.redacted"

    position: Count | None = None
    pointer: str | None = None
    why: str | None = None
    payload_hash: Sha256 | None = None


class LogTruncated(Payload):
    """Events were removed from the log.

    Each of ``runs`` is a whole stretch of positions without events, also those that were removed
    before; ``counts`` says how many events and bytes went this time.
    """

    model_config = example(
        runs=[{"from": 1, "to": 800, "digest": _DIGEST}],
        reason="retention",
        counts={"events": 12, "bytes": 5120},
    )
    event_type: ClassVar[str] = "log.truncated"

    runs: list[RemovedRun] | None = None
    reason: str | None = None
    counts: Counts | None = None


class LogSummarised(Payload):
    """What purges add to a day of the summary, once their tombstones are gone.

    Each of ``sums`` is a measure, kind and key, how many all purges up to this event add to it, and
    how many of these were of tombstones that are gone.
    """

    model_config = example(
        day="2026-02-04",
        sums=[
            ["kind", "annotation", "succeeded", 41, 30],
            ["status", "", "succeeded", 41, 30],
        ],
    )
    event_type: ClassVar[str] = "log.summarised"

    day: str | None = None
    sums: list[list[str | int]] | None = None


class _DeadLetter(Payload):
    """What was decided about an undecodable line."""

    digest: Sha256 | None = None
    format: str | None = None
    reason: str | None = None
    events: Count | None = None


class DeadLetterRetried(_DeadLetter):
    """The line was decoded after all."""

    model_config = example(digest=_DIGEST, format="flowlord-task", events=2)
    event_type: ClassVar[str] = "deadletter.retried"


class DeadLetterDiscarded(_DeadLetter):
    """The line was thrown away."""

    model_config = example(digest=_DIGEST, format="flowlord-task", reason="a test")
    event_type: ClassVar[str] = "deadletter.discarded"


class _Import(Payload):
    """One import of older records."""

    kind: str | None = None
    path: str | None = None
    sha256: Sha256 | None = None
    counts: Counts | None = None
    reason: str | None = None


class ImportStarted(_Import):
    """An import began."""

    model_config = example(kind="amr", path="data/db/predictor.db", sha256=_DIGEST)
    event_type: ClassVar[str] = "import.started"


class ImportCompleted(_Import):
    """An import is complete."""

    model_config = example(kind="amr", counts={"jobs": 14, "events": 61})
    event_type: ClassVar[str] = "import.completed"


class ImportReverted(_Import):
    """An import was taken back."""

    model_config = example(kind="amr", reason="wrong database")
    event_type: ClassVar[str] = "import.reverted"


PAYLOADS: Final[tuple[type[Payload], ...]] = (
    JobArchived,
    JobContinued,
    JobPurged,
    JobRestored,
    AlertPurged,
    FilePurged,
    ResultPurged,
    WorkflowLoaded,
    WorkflowRemoved,
    ResultVerified,
    ResultMissing,
    ResultChanged,
    ResultArchived,
    PolicyChanged,
    MaintenanceStarted,
    MaintenanceFinished,
    BackupSnapshotted,
    BackupProved,
    BackupFailed,
    LogRestored,
    LogRedacted,
    LogTruncated,
    LogSummarised,
    DeadLetterRetried,
    DeadLetterDiscarded,
    ImportStarted,
    ImportCompleted,
    ImportReverted,
)
