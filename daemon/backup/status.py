"""How the backup stands: what the daemon tells people, metrics and the service manager."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol, Self


class State(StrEnum):
    """How shipping stands."""

    OFF = "off"
    """No backup is configured."""
    STARTING = "starting"
    SHIPPING = "shipping"
    UNAVAILABLE = "unavailable"
    """The store cannot be reached; it is tried again."""
    REFUSED = "refused"
    """The store refuses, or the place belongs to another daemon: an operator has to act."""


class Kind(StrEnum):
    """What the backup can be asked to do."""

    CREATE = "create"
    """Take a snapshot now; ``{"skipped": bool, "snapshot": {...}}``."""
    PROVE = "prove"
    """Restore a snapshot (default: the newest) elsewhere and verify it."""
    PRUNE = "prune"
    """Remove what the keeping rules do not keep; ``dry_run``."""
    LIST = "list"
    """Say what there is: ``{"snapshots": [...], "segments": {...}, "epochs": [...]}``."""


@dataclass(frozen=True, slots=True)
class BackupStatus:
    """How the backup stands at one moment; times are microseconds UTC, None = never.

    ``detail`` and ``hint`` say why shipping does not go on. Every event up to ``shipped`` is in
    the store. ``behind_since`` is when the oldest event was recorded that is not shipped.
    """

    state: State = State.OFF
    url: str = ""
    detail: str = ""
    hint: str = ""
    epoch: int = 0
    shipped: int = 0
    shipped_at: int | None = None
    reported_head: int = 0
    behind_since: int | None = None
    snapshot_position: int | None = None
    snapshot_at: int | None = None
    proved_position: int | None = None
    proved_at: int | None = None
    snapshot_due: int | None = None
    snapshots_missed: int = 0
    forget_objects: int = 0
    """How many objects hold what was removed from the log since, or redacted."""
    forget_bytes: int = 0
    forget_due: int | None = None
    """When the first of them goes."""
    working: str = ""
    """What goes on beside shipping: a `Kind`, or nothing."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """Failures since the start, by step: segment, manifest, copy, upload, proof, prune."""
    bytes: Mapping[str, int] = field(default_factory=dict)
    """Bytes stored since the start, by kind of object: segment, snapshot."""

    def message(self) -> dict[str, Any]:
        """Return the status as it is sent from process to process."""
        return asdict(self)

    @classmethod
    def of(cls, message: dict[str, Any]) -> Self:
        """Return the status of a message."""
        return cls(**{**message, "state": State(message["state"])})


Progress = Callable[[int, int], None]
"""Called with what is done so far and what there is to do."""


def unwatched(done: int, total: int) -> None:
    """Tell nobody."""


class Backup(Protocol):
    """The backup as the rest of the daemon knows it."""

    def status(self) -> BackupStatus:
        """Return how it stands."""
        ...

    def perform(
        self, kind: Kind, arguments: Mapping[str, Any], progress: Progress
    ) -> dict[str, Any]:
        """Do what is asked for, and return what came of it.

        ``arguments``: for prove ``snapshot`` (the name of one, or None for the newest), for prune
        ``dry_run``.

        Raises:
            BackupError, Unavailable: it could not be done.

        """
        ...
