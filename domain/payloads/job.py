"""Payloads of ``job.*`` events that clients send; the subject is the job's id."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from domain.payloads.base import Integer, JsonObject, Payload, example

Attempt: TypeAlias = Annotated[int, Field(ge=1, le=2**31 - 1)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Delay: TypeAlias = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class JobError(BaseModel):
    """Why a job failed: a short class to group by, the message, and the log or its tail."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    class_: str | None = Field(default=None, alias="class")
    message: str | None = None
    log: str | None = None


class JobSubmitted(Payload):
    """A job was handed in: what it is, what it works on, and whose it is."""

    model_config = example(
        kind="annotation",
        name="plasmid pOSAK1",
        params={"translation_table": 11, "complete_genome": False},
        input="uploads/pOSAK1.fna",
        owner="mara",
        queue="default",
        priority=5,
        attempt=1,
    )
    event_type: ClassVar[str] = "job.submitted"

    kind: str | None = Field(default=None, description="What sort of work this is.")
    name: str | None = None
    params: JsonObject | None = None
    input: Any = Field(default=None, description="What it works on: a path, a list, an object.")
    owner: str | None = None
    queue: str | None = None
    priority: Integer | None = None
    parent: str | None = Field(default=None, description="The id of the job that caused this one.")
    workflow: str | None = None
    phase: str | None = None
    attempt: Attempt | None = None
    native_status: str | None = Field(default=None, description="The producer's own status word.")


class JobQueued(Payload):
    """A job waits for its turn, and why."""

    model_config = example(queue="default", reason="2 jobs before this one")
    event_type: ClassVar[str] = "job.queued"

    queue: str | None = None
    priority: Integer | None = None
    reason: str | None = None


class JobStarted(Payload):
    """A worker took the job up."""

    model_config = example(worker="node-3", native_status="RUNNING")
    event_type: ClassVar[str] = "job.started"

    worker: str | None = None
    attempt: Attempt | None = None
    native_status: str | None = None


class JobProgressed(Payload):
    """How far the job is."""

    model_config = example(fraction=0.42, stage="predict genes", message="95 features")
    event_type: ClassVar[str] = "job.progressed"

    fraction: Fraction | None = Field(default=None, description="0 to 1.")
    stage: str | None = None
    message: str | None = None


class JobSucceeded(Payload):
    """The job ended well, perhaps with a warning."""

    model_config = example(result={"features": 95}, message="wrote 14 files")
    event_type: ClassVar[str] = "job.succeeded"

    result: Any = Field(default=None, description="What came out: a path, a list, an object.")
    message: str | None = None
    warning: str | None = None
    native_status: str | None = None


class JobFailed(Payload):
    """The job ended badly."""

    model_config = example(
        error={
            "class": "ConnectionRefused",
            "message": "dial tcp 10.0.0.7:5432: connection refused",
            "log": "…last lines of the log…",
        },
        native_status="ERROR",
    )
    event_type: ClassVar[str] = "job.failed"

    error: JobError | None = None
    native_status: str | None = None


class _JobStopped(Payload):
    """What the three ends without an outcome say."""

    reason: str | None = None
    native_status: str | None = None


class JobCancelled(_JobStopped):
    """Somebody called the job off."""

    model_config = example(reason="no longer needed")
    event_type: ClassVar[str] = "job.cancelled"


class JobInterrupted(_JobStopped):
    """The job was cut off by something outside it, such as a restart."""

    model_config = example(reason="host restarted")
    event_type: ClassVar[str] = "job.interrupted"


class JobLost(_JobStopped):
    """Nobody can tell what became of the job."""

    model_config = example(reason="not known to the server", native_status="NOT_FOUND")
    event_type: ClassVar[str] = "job.lost"


class JobRetried(Payload):
    """Another attempt follows; ``next`` is its job id."""

    model_config = example(next="annotation-17-2", delay_seconds=41.4)
    event_type: ClassVar[str] = "job.retried"

    next: str | None = None
    delay_seconds: Delay | None = None


class JobLinked(Payload):
    """The job belongs with another entity, in some role."""

    model_config = example(to="prediction-9", role="annotation of")
    event_type: ClassVar[str] = "job.linked"

    to: str
    role: str | None = None


class JobPinned(Payload):
    """The job is to be kept, whatever the retention says."""

    model_config = example(reason="reference run for the paper")
    event_type: ClassVar[str] = "job.pinned"

    reason: str | None = None


class JobUnpinned(Payload):
    """The job falls under the retention again."""

    model_config = example(reason="paper is out")
    event_type: ClassVar[str] = "job.unpinned"

    reason: str | None = None


PAYLOADS: Final[tuple[type[Payload], ...]] = (
    JobSubmitted,
    JobQueued,
    JobStarted,
    JobProgressed,
    JobSucceeded,
    JobFailed,
    JobCancelled,
    JobInterrupted,
    JobLost,
    JobRetried,
    JobLinked,
    JobPinned,
    JobUnpinned,
)
