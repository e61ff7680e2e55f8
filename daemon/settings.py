"""The tables of the configuration file: every setting, its default, and what it is for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from daemon.eventlog.requests import WriterBounds
from daemon.patience import REQUEST_SECONDS
from daemon.replay.limits import Bounds, MomentBounds
from domain.limits import Limits

if TYPE_CHECKING:
    from domain.retention import Policies

SOCKET_FILE: Final = "chronicled.sock"
"""The Unix socket's name in ``$RUNTIME_DIRECTORY``, else in the data directory."""

RESERVE_BYTES_MIN: Final = 16 << 20
"""What it takes to empty the write-ahead log: a smaller reserve does not help (bytes)."""

_LIMITS: Final = Limits()
_BOUNDS: Final = WriterBounds()
_CHECKPOINTS: Final = Bounds()
_MOMENTS: Final = MomentBounds()


class Address(NamedTuple):
    """A host and a port to listen on; port 0 lets the system choose a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``HOST:PORT`` or ``[HOST]:PORT``.

        Raises:
            ValueError: the text is not of that form.

        """
        host, colon, port = text.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        if not (colon and bare and port.isdecimal() and int(port) < 65536):
            raise ValueError("must be HOST:PORT, such as 127.0.0.1:8321 or [::1]:8321")
        return cls(bare, int(port))


class Section(BaseModel):
    """A table of the configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSettings(Section):
    """The HTTP listeners and what a request may be."""

    listen: str = Field("127.0.0.1:8321", description="TCP address, as HOST:PORT.")
    socket: Path = Field(
        Path(SOCKET_FILE),
        description="Unix socket. Without a value: chronicled.sock in $RUNTIME_DIRECTORY, else "
        "in the data directory.",
    )
    subject_bytes: int = Field(
        _LIMITS.subject_bytes, ge=1, le=65_536, description="Longest subject of an event (bytes)."
    )
    event_bytes: int = Field(
        _LIMITS.event_bytes, ge=1_024, le=64 << 20, description="Largest event (bytes)."
    )
    batch_events: int = Field(
        _LIMITS.batch_events, ge=1, le=1_000_000, description="Most events in one request."
    )
    batch_bytes: int = Field(
        _LIMITS.batch_bytes, ge=1_024, le=1 << 30, description="Largest request body (bytes)."
    )
    read_threads: int = Field(4, ge=1, le=64, description="Threads that answer queries.")
    read_timeout_seconds: float = Field(
        10.0, gt=0, le=600, description="Longest run of one query (seconds); past it, 503."
    )
    streams: int = Field(
        64, ge=1, le=10_000, description="Most event streams open at once; past it, 503."
    )
    request_timeout_seconds: float = Field(
        REQUEST_SECONDS,
        ge=0.1,
        le=3_600,
        description="How long a request may take to come in (seconds), and a second more for each "
        "16 KiB of it; past it, 408.",
    )

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, text: str) -> str:
        Address.parse(text)
        return text


class LogSettings(Section):
    """The event log and its writer."""

    synchronous: Literal["NORMAL", "FULL", "EXTRA"] = Field(
        "FULL",
        description="SQLite's `synchronous` for log.db. With NORMAL a power cut may lose events "
        "that were acknowledged.",
    )
    group_events: int = Field(
        _BOUNDS.group_events, ge=1, le=1_000_000, description="Most events in one commit."
    )
    group_bytes: int = Field(
        _BOUNDS.group_bytes, ge=1_024, le=1 << 30, description="Most payload in one commit (bytes)."
    )
    queue_events: int = Field(
        _BOUNDS.queue_events,
        ge=1,
        le=10_000_000,
        description="Most events that wait for the writer; past it, 503.",
    )
    queue_bytes: int = Field(
        _BOUNDS.queue_bytes,
        ge=1_024,
        le=4 << 30,
        description="Most payload that waits for the writer (bytes); past it, 503.",
    )


class ViewsSettings(Section):
    """The projections' file."""

    batch_events: int = Field(
        10_000, ge=1, le=100_000, description="Most events in one transaction of the projections."
    )
    synchronous: Literal["NORMAL", "FULL"] = Field(
        "NORMAL", description="SQLite's `synchronous` for views.db, which can be built again."
    )


class ReplaySettings(Section):
    """Answers as of the past: checkpoints to start from, and moments that are kept a while."""

    checkpoints: int = Field(
        _CHECKPOINTS.count, ge=0, le=10_000, description="Most checkpoints kept; 0 makes none."
    )
    checkpoint_bytes: int = Field(
        _CHECKPOINTS.bytes,
        ge=1,
        le=1 << 40,
        description="Most room that the checkpoints take together (bytes).",
    )
    checkpoint_events: int = Field(
        _CHECKPOINTS.spacing,
        ge=1_000,
        le=10_000_000,
        description="How many events at least lie between two checkpoints.",
    )
    moments: int = Field(
        _MOMENTS.count, ge=1, le=10_000, description="Most moments of the past kept to be asked."
    )
    moment_bytes: int = Field(
        _MOMENTS.bytes,
        ge=1,
        le=1 << 40,
        description="Most room that those moments take together (bytes).",
    )


class BackupSettings(Section):
    """Where the log is backed up to, how often, and what of it is kept."""

    url: str = Field(
        "", description="gs://BUCKET/PREFIX or file:///DIRECTORY. Without it there is no backup."
    )
    segment_seconds: float = Field(
        10.0, ge=1, le=3_600, description="How long an event waits at most to be shipped (seconds)."
    )
    segment_events: int = Field(
        50_000, ge=1, le=1_000_000, description="Most events in one segment."
    )
    snapshot: str = Field(
        "daily",
        description="When the whole log is copied: off, hourly, daily, weekly, or a cron line.",
    )
    keep: str = Field(
        "24 hourly, 7 daily, 4 weekly, 12 monthly", description="Which snapshots prune keeps."
    )
    prove: bool = Field(
        True, description="Whether each snapshot is proved by restoring it elsewhere."
    )
    bytes_per_second: int = Field(
        50_000_000, ge=1_000, le=100_000_000_000, description="The most that proofs download."
    )
    timeout_seconds: float = Field(
        30.0, ge=1, le=600, description="Longest wait for one answer of the store (seconds)."
    )
    stop_seconds: float = Field(
        20.0,
        ge=0,
        le=600,
        description="Longest wait at a stop for the last segment and snapshot (seconds).",
    )
    snapshot_on_stop: bool = Field(
        True, description="Whether a clean stop takes a snapshot where something is new."
    )
    forget_after_days: float = Field(
        30.0,
        ge=0,
        le=36_500,
        description="How long objects may hold what was removed from the log, or redacted (days); "
        "0 for at once.",
    )
    credentials: str = Field(
        "",
        description="Key file of a service account. Without a value: chronicled.gcs.json in "
        "$CREDENTIALS_DIRECTORY where it exists, else application default credentials.",
    )

    # Imported where a value is given: most commands start faster without these.

    @field_validator("snapshot")
    @classmethod
    def _check_snapshot(cls, text: str) -> str:
        from daemon.schedule import Schedule

        Schedule.parse(text)
        return text

    @field_validator("keep")
    @classmethod
    def _check_keep(cls, text: str) -> str:
        from daemon.backup.keeping import Keep

        Keep.parse(text)
        return text


class WorkflowsSettings(Section):
    """Workflow files: where they are, and how long what they describe may take."""

    path: str = Field(
        "", description="A workflow file or a directory of them. Without it none are read."
    )
    refresh_seconds: float = Field(
        15.0, ge=0.1, le=86_400, description="How often the files are looked at (seconds)."
    )
    overdue: str = Field(
        "4h", description="How long an attempt may take before an alert is raised; off for never."
    )
    overdue_for: dict[str, str] = Field(
        default_factory=dict,
        description="The same for single phases or kinds, such as "
        '{ "sql-load:events" = "30m", bakta = "2h" }.',
    )

    @field_validator("overdue_for", mode="before")
    @classmethod
    def _read_overdue_for(cls, given: object) -> object:
        """Take JSON text too: a variable of the environment has no other way to say it."""
        try:
            return json.loads(given) if isinstance(given, str) else given
        except ValueError:
            raise ValueError("must be a table, or JSON text of one") from None

    child_seconds: float = Field(
        60.0,
        ge=1,
        le=86_400,
        description="How long after a job's end its children may be missing (seconds).",
    )

    @field_validator("overdue")
    @classmethod
    def _check_overdue(cls, text: str) -> str:
        from daemon.workflows.limits import parse_limit

        parse_limit(text)
        return text

    @field_validator("overdue_for")
    @classmethod
    def _check_overdue_for(cls, given: dict[str, str]) -> dict[str, str]:
        from daemon.workflows.limits import OFF, OverdueLimits

        OverdueLimits.parse(OFF, given)
        return given


class RetentionSettings(Section):
    """How long what the log knows is kept."""

    preset: str = Field("", description="Policies known by a name: flowlord or amr.")
    policies: tuple[dict[str, Any], ...] = Field(
        (), description="Policies, each a `[[retention.policies]]`; see docs/retention.md."
    )
    archive: str = Field(
        "",
        description="Where jobs are archived: gs://BUCKET/PREFIX or file:///DIRECTORY. Without it "
        "none are.",
    )
    files_root: str = Field(
        "",
        description="The directory that relative paths of results are below. What is archived is "
        "deleted there, and nowhere else; without it no files are looked at.",
    )
    tombstones: str = Field(
        "365d",
        description="How long a purge is remembered in the log; what it adds to the summary stays.",
    )
    apply: bool = Field(
        True, description="Whether the daemon applies the policies by itself, by its schedule."
    )
    batch: int = Field(
        20, ge=1, le=1_000, description="Most jobs, alerts and files in one transaction."
    )
    run_max: int = Field(
        20_000, ge=1, le=1_000_000, description="Most jobs, alerts and files in one plan."
    )

    @field_validator("files_root")
    @classmethod
    def _check_files_root(cls, text: str) -> str:
        if text and not Path(text).is_absolute():
            raise ValueError("must be an absolute path")
        return text

    # Imported where a value is given: most commands start faster without these.

    @field_validator("preset")
    @classmethod
    def _check_preset(cls, name: str) -> str:
        from domain.policies import preset

        preset(name)
        return name

    @field_validator("tombstones")
    @classmethod
    def _check_tombstones(cls, text: str) -> str:
        from domain.policies import parse_age

        parse_age(text)
        return text

    @field_validator("policies", mode="before")
    @classmethod
    def _check_policies(cls, given: object) -> object:
        """Take JSON text too: a variable of the environment has no other way to say it."""
        from domain.policies import read_policies

        try:
            tables = json.loads(given) if isinstance(given, str) else given
        except ValueError:
            raise ValueError("must be an array of tables, or JSON text of one") from None
        read_policies(tables)
        return tables

    def policy_set(self) -> Policies:
        """Return the policies: its own, then those of the preset."""
        from domain.policies import preset, read_policies
        from domain.retention import Policies

        return Policies([*read_policies(self.policies), *preset(self.preset)])


SCHEDULES: Final = ("retention", "size", "scrub", "vacuum", "checkpoints")
"""The settings of ``[maintenance]`` that say when a task is due, each of the task's name."""


class MaintenanceSettings(Section):
    """When the daemon does its housekeeping: off, hourly, daily, weekly, or a cron line (UTC)."""

    retention: str = Field("30 2 * * *", description="Archive and purge what is due.")
    size: str = Field("40 * * * *", description="Measure what takes how much room.")
    scrub: str = Field(
        "30 4 * * 0",
        description="Verify the log and the views, and look whether result files are as recorded.",
    )
    vacuum: str = Field("20 * * * *", description="Give free pages of log.db back to the disk.")
    checkpoints: str = Field(
        "50 * * * *",
        description="Empty the write-ahead logs, and remove checkpoints that are of no use.",
    )
    jitter_seconds: float = Field(
        60.0,
        ge=0,
        le=3_600,
        description="By how much a task may be later than its schedule says (seconds); always the "
        "same for one log and one task.",
    )
    result_bytes: int = Field(
        10 << 30,
        ge=0,
        le=1 << 50,
        description="Most that one scrub reads of files of results (bytes).",
    )
    bytes_per_second: int = Field(
        50_000_000, ge=1_000, le=100_000_000_000, description="The most of them read in a second."
    )

    @field_validator(*SCHEDULES)
    @classmethod
    def _check_schedule(cls, text: str) -> str:
        from daemon.schedule import Schedule

        Schedule.parse(text)
        return text


class SizeSettings(Section):
    """How large things may become, and what is done before the disk is full."""

    log_bytes: int = Field(
        0, ge=0, description="Size of log.db from which an alert is raised (bytes); 0 for none."
    )
    data_bytes: int = Field(
        0,
        ge=0,
        description="Size of the whole data directory from which an alert is raised (bytes); 0 for "
        "none.",
    )
    days_left: float = Field(
        7.0,
        ge=0,
        le=3_650,
        description="Days until events are refused, as the growth goes, from which an alert is "
        "raised; 0 for none.",
    )
    disk_warn_bytes: int = Field(
        1 << 30,
        ge=0,
        description="Free room on the disk below which an alert is raised (bytes), at most a tenth "
        "of the disk; 0 for none.",
    )
    disk_refuse_bytes: int = Field(
        256 << 20,
        ge=0,
        validate_default=True,
        description="Free room on the disk below which events are refused (bytes), at most a "
        "twentieth of the disk; 0 for never.",
    )
    reserve_bytes: int = Field(
        64 << 20,
        ge=0,
        le=1 << 40,
        description="Room that is held for when the disk is full (bytes), at least 16 MiB, and at "
        "most a tenth of the disk; 0 for none.",
    )

    @field_validator("reserve_bytes")
    @classmethod
    def _check_reserve(cls, reserve: int) -> int:
        if 0 < reserve < RESERVE_BYTES_MIN:
            raise ValueError(f"must be 0, or at least {RESERVE_BYTES_MIN}")
        return reserve

    @field_validator("disk_refuse_bytes")
    @classmethod
    def _check_refuse(cls, refuse: int, info: ValidationInfo) -> int:
        warn = info.data.get("disk_warn_bytes", 0)
        if warn and refuse >= warn:
            raise ValueError(f"must be less than disk_warn_bytes, which is {warn}")
        return refuse


class LoggingSettings(Section):
    """The daemon's own log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is written; debug has a line for each request."
    )
    format: Literal["auto", "json", "plain"] = Field(
        "auto",
        description="auto = plain with priorities under journald, plain on a terminal, JSON "
        "elsewhere.",
    )


SECTIONS: Final[Mapping[str, type[Section]]] = {
    "server": ServerSettings,
    "log": LogSettings,
    "views": ViewsSettings,
    "replay": ReplaySettings,
    "backup": BackupSettings,
    "workflows": WorkflowsSettings,
    "retention": RetentionSettings,
    "maintenance": MaintenanceSettings,
    "size": SizeSettings,
    "logging": LoggingSettings,
}
"""The sections of the configuration file, each there once."""
