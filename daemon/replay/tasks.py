"""What a replay's process is asked to do, and what it says: one JSON object a line.

It is a process of its own so that folding does not share the interpreter's lock with intake.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from daemon.replay.limits import Bounds


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work on the data directory ``data``; the first line that the process is told.

    ``kind`` is ``moment`` (build the views as of ``position`` into the file ``target``), ``copy``
    (keep the live views as a checkpoint) or ``fill`` (replay up to ``position``, and keep that as
    one). ``bases`` are (position, file) of other moments.
    """

    kind: str
    data: str
    position: int = 0
    target: str = ""
    bases: tuple[tuple[int, str], ...] = ()
    checkpoints: Bounds = field(default_factory=Bounds)
    level: str = "warning"
    style: str = "auto"

    def message(self) -> dict[str, Any]:
        """Return the task as it is sent."""
        return asdict(self)

    @classmethod
    def of(cls, message: dict[str, Any]) -> Task:
        """Return the task of a message."""
        bases = tuple((position, path) for position, path in message["bases"])
        return cls(**{**message, "bases": bases, "checkpoints": Bounds(**message["checkpoints"])})
