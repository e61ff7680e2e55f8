"""Everything that was made of an event is made again, so that nothing of a value is left.

The log says in its own file that this has to be done, from the transaction of a redaction on, so a
daemon that dies in between does it after its next start.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import apsw

from daemon.backup.status import Kind
from daemon.eventlog.requests import Work
from daemon.eventlog.statements import SQL as LOG_SQL
from daemon.eventlog.transaction import Transaction
from daemon.projector.rebuilding import Progress, rebuild_anew
from daemon.redaction.redacting import PENDING, SQL, Redacted, Redaction, find_letters
from daemon.unallocated import clear_unallocated
from domain.errors import ChronicledError, NotReady

if TYPE_CHECKING:
    from daemon.api.context import Context

RETRY_SECONDS: Final = 30.0
"""When what could not be ended is tried again."""
WAIT_SECONDS: Final = 60.0
"""How long dropped tables, and readers of a write-ahead log, are waited for."""
_LOOK_SECONDS: Final = 0.05
_READERS_MS: Final = 20
"""How long a write-ahead log that is emptied waits for readers, while nobody writes."""

_logger = logging.getLogger(__name__)


class Cleansing:
    """Redacts events of one daemon's log, and cleanses what was made of them; also a service."""

    name = "redaction"

    def __init__(self, context: Context) -> None:
        self.woken = threading.Event()
        self._context = context
        self._log = context.log
        self._lock = threading.Lock()
        self._pause = threading.Event()

    def redact(self, redaction: Redaction, progress: Progress) -> dict[str, Any]:
        """Take a value out of an event, and out of everything else; say what was done.

        Raises:
            NotFound, Conflict, Invalid: it cannot be done; nothing is.
            NotReady: the daemon stops, or is busy: the log is redacted, the rest is done later.

        """
        letters = find_letters(self._log, redaction.position, redaction.pointer)
        done: Redacted = self._log.work(Work(redaction.run))
        self._cleanse(progress)
        return {
            "ok": True,
            "changed": done.event is not None,
            "position": done.position,
            "pointer": redaction.pointer,
            "event": done.event,
            "dead_letters": letters,
            "backup": self._back_up(progress) if done.event is not None else None,
        }

    def step(self, now: int) -> float | None:  # noqa: ARG002
        """End what a daemon that died had begun."""
        try:
            self._cleanse(self._while_running)
        except ChronicledError as error:
            _logger.warning("what was redacted is not gone yet", extra={"error": error.detail})
            return RETRY_SECONDS
        return None

    def _while_running(self, _done: int, _total: int) -> None:
        if self._context.draining:
            raise NotReady("The daemon is stopping.")

    def _back_up(self, progress: Progress) -> dict[str, Any] | None:
        """Take a snapshot, as those that are there hold what was redacted."""
        if self._context.backup is None:
            return None
        try:
            done = self._context.backup.perform(Kind.CREATE, {}, progress)
        except ChronicledError as error:
            # It takes one by itself as soon as it can.
            return {"snapshot": None, "error": error.detail}
        return {"snapshot": done["snapshot"] and done["snapshot"]["name"], "error": None}

    # -- what was made of events ------------------------------------------------------------------

    def _cleanse(self, progress: Progress) -> None:
        with self._lock:
            pending = self._pending()
            if pending is None:
                return
            context, views = self._context, self._context.files["views"]
            rebuild_anew(context.runner, progress)
            self._wait(lambda: _is_swept(views), "tables that are not used any more", progress)
            if context.history is not None:
                context.history.forget()
            for damaged in views.parent.glob(f"{views.name}.damaged*"):
                damaged.unlink(missing_ok=True)
            for path in (views, context.files["log"]):
                clear = partial(clear_unallocated, path, lambda: context.draining)
                self._wait(clear, f"pages of {path.name}", progress)
            self._log.work(Work(lambda transaction: _settle(transaction, pending)))

    def _pending(self) -> int | None:
        with self._log.reading().connection() as db:
            found: Any = db.execute(LOG_SQL["find_meta"], (PENDING,)).get
        return found if isinstance(found, int) else None

    def _wait(self, done: Callable[[], bool], what: str, progress: Progress) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not done():
            if time.monotonic() > deadline:
                raise NotReady(f"The log is redacted; {what} still hold the value.")
            progress(self._log.head(), self._log.head())
            self._pause.wait(_LOOK_SECONDS)


def _settle(transaction: Transaction, pending: int) -> None:
    """Note that nothing is left to do, unless something was redacted since."""
    transaction.connection.execute(SQL["settle"], (PENDING, pending))


def _is_swept(views: Path) -> bool:
    """Return whether tables that were replaced are gone from the views."""
    with closing(apsw.Connection(str(views), flags=apsw.SQLITE_OPEN_READONLY)) as db:
        db.set_busy_timeout(_READERS_MS)
        return not db.execute(SQL["left_tables"]).get
