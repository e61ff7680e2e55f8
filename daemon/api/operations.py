"""Long work inside the daemon, such as verify or a backup: one at a time, watched by who asks."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from daemon.api.problems import internal_error, problem_document
from daemon.api.signals import Signal
from daemon.lifecycle import Clock
from domain.errors import ChronicledError, Conflict, NotFound, NotReady
from domain.timestamps import format_timestamp

KEPT: Final = 100
"""How many operations are remembered."""

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
Work = Callable[[Progress], dict[str, Any]]


class Kind(StrEnum):
    """What can be asked for."""

    VERIFY = "verify"
    REBUILD = "rebuild"
    BACKUP = "backup"
    PROVE = "prove"
    PRUNE = "prune"
    RETENTION_APPLY = "retention-apply"
    RESTORE = "restore"
    ARCHIVE_VERIFY = "archive-verify"
    MAINTENANCE = "maintenance"
    MEASURE = "measure"
    REDACT = "redact"


class OperationRunningError(Conflict):
    """Another operation is running; there is one at a time."""

    code = "operation_running"
    title = "Another operation is running"
    hint = "Wait for it: its id is in the detail; GET /api/operations/{id} says how far it is."


@dataclass(frozen=True, slots=True)
class Operation:
    """One piece of long work, at one moment of its life; times are microseconds UTC."""

    id: str
    kind: Kind
    started: int
    projection: str | None = None
    state: str = "running"
    done: int = 0
    total: int = 0
    ended: int | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        """Return the operation as JSON."""
        return {
            "id": self.id,
            "kind": self.kind,
            "projection": self.projection,
            "state": self.state,
            "started": format_timestamp(self.started),
            "ended": None if self.ended is None else format_timestamp(self.ended),
            "progress": {"done": self.done, "total": self.total},
            "result": self.result,
            "error": self.error,
        }


class Operations:
    """Starts operations, one at a time, each on a thread, and remembers how they went."""

    def __init__(self, clock: Clock) -> None:
        self.changed = Signal()
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, Operation] = {}
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def find(self, operation_id: str) -> Operation:
        """Return an operation as it is now.

        Raises:
            NotFound: it is not known, or was forgotten.

        """
        found = self._known.get(operation_id)
        if found is None:
            raise NotFound(f"There is no operation {operation_id[:80]!r}.")
        return found

    def recent(self) -> list[Operation]:
        """Return the operations that are remembered, the newest first."""
        with self._lock:
            return list(reversed(self._known.values()))

    def start(self, kind: Kind, work: Work, projection: str | None = None) -> Operation:
        """Start an operation.

        Raises:
            OperationRunningError: another one has not ended.
            NotReady: the daemon is stopping.

        """
        with self._lock:
            if self._stopping.is_set():
                raise NotReady("The daemon is stopping.")
            for other in self._known.values():
                if other.state == "running":
                    raise OperationRunningError(f"{other.kind} {other.id} is running.")
            operation = Operation(uuid.uuid4().hex, kind, self._clock(), projection)
            self._known[operation.id] = operation
            if len(self._known) > KEPT:
                del self._known[next(iter(self._known))]
            name = f"operation-{kind}"
            self._thread = threading.Thread(
                target=self._run, args=(operation.id, work), name=name, daemon=True
            )
            self._thread.start()
        return operation

    def stop(self) -> None:
        """Let the running operation end at its next sign of progress; start no more."""
        self._stopping.set()
        self.changed.fire()

    def close(self) -> None:
        """Stop, and wait for the running operation."""
        self.stop()
        if self._thread is not None:
            self._thread.join()

    def _run(self, operation_id: str, work: Work) -> None:
        def progress(done: int, total: int) -> None:
            if self._stopping.is_set():
                raise NotReady("The operation ended early because the daemon stops.")
            self._change(operation_id, done=done, total=total)

        try:
            result = work(progress)
        except ChronicledError as error:
            self._fail(operation_id, error)
        except Exception:
            logger.exception("operation %s failed", operation_id)
            self._fail(operation_id, internal_error())
        else:
            self._change(operation_id, state="succeeded", ended=self._clock(), result=result)

    def _fail(self, operation_id: str, error: ChronicledError) -> None:
        document = problem_document(error)
        self._change(operation_id, state="failed", ended=self._clock(), error=document)

    def _change(self, operation_id: str, **changes: Any) -> None:
        with self._lock:
            self._known[operation_id] = replace(self._known[operation_id], **changes)
        self.changed.fire()
