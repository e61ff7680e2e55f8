"""Loads workflow files into the log: at the start, and whenever one of them has changed.

What is loaded is what the log says: the newest event of each stream ``workflow/PATH``. A file that
has other bytes than that is loaded anew, with everything that is wrong with it; one that is gone is
removed. What cannot be looked at stays as it is: a mount that vanished removes nothing.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import EventQuery
from daemon.intake.message import identity
from daemon.intake.secrets import mask_text
from daemon.workflows.folder import Listing, list_files, read_file
from daemon.workflows.issues import ERROR, Issue
from daemon.workflows.workflow_file import Workflow, digest_of, read_workflow
from domain.catalog import validate_payload
from domain.events import NewEvent
from domain.limits import Limits

SOURCE: Final = "/chronicled/workflows"
LOADED: Final = "workflow.loaded"
REMOVED: Final = "workflow.removed"

COMMIT_SECONDS: Final = 5.0
"""How long a step waits at most for its commit."""
_BATCH: Final = 50
"""How many files one step reads at most."""
_ENVELOPE_BYTES: Final = 1_024
_SHOWN_MAX: Final = 5

_logger = logging.getLogger(__name__)


class LoaderState(NamedTuple):
    """How the last look at the files ended; ``time`` is None before the first one."""

    time: int | None = None
    files: int = 0
    problems: tuple[str, ...] = ()


class _Version(NamedTuple):
    """The newest version of a file in the log; without a digest it is removed."""

    sha256: str | None
    version: int


class Loader:
    """Compares the files with the log, some in each step, all of them every few seconds."""

    name = "workflows"

    def __init__(
        self, log: EventLog, root: Path, refresh_seconds: float, limits: Limits | None = None
    ) -> None:
        self.woken = threading.Event()
        self.state = LoaderState()
        self._log = log
        self._root = root
        self._refresh_seconds = refresh_seconds
        self._limits = limits or Limits()
        self._known: dict[str, _Version] | None = None
        self._listing: Listing | None = None
        self._waiting: deque[str] = deque()

    def step(self, now: int) -> float | None:
        """Look at some files; the seconds until the next look, 0 where this one goes on."""
        try:
            return self._look(now)
        except BaseException:
            # What was recorded meanwhile is read again, and the look begins afresh.
            self._known = self._listing = None
            raise

    def _look(self, now: int) -> float:
        if self._known is None:
            self._known = self._read_known()
        if self._listing is None:
            self._listing = list_files(self._root)
            self._waiting = deque(self._listing.files)
        changed = []
        for _ in range(min(_BATCH, len(self._waiting))):
            event = self._check(self._listing, self._waiting.popleft(), self._known, now)
            if event is not None:
                changed.append(event)
        self._record(changed)
        if self._waiting:
            return 0.0
        self._record(self._gone(self._listing, self._known, now))
        self._tell(self._listing, now)
        self._listing = None
        return self._refresh_seconds

    def _read_known(self) -> dict[str, _Version]:
        known = {}
        for stream in self._log.streams_of("workflow"):
            query = EventQuery(stream=stream, types=(LOADED, REMOVED), descending=True)
            for event in self._log.select(query, 1).events:
                loaded = event.type == LOADED
                digest = event.payload.get("sha256") if loaded else None
                known[event.subject] = _Version(digest, event.version)
        return known

    def _check(
        self, listing: Listing, name: str, known: dict[str, _Version], now: int
    ) -> NewEvent | None:
        """Return the event of a file that changed; None where it did not, or cannot be read."""
        if len(name.encode()) > self._limits.subject_bytes:
            listing.problems[name] = f"{name[:80]}… is too long a name"
            return None
        try:
            content = read_file(listing.files[name])
        except (OSError, ValueError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            listing.problems[name] = f"{name} cannot be read: {reason}"
            return None
        if name in known and known[name].sha256 == digest_of(content):
            return None
        workflow = read_workflow(content)
        return self._event(LOADED, name, workflow.sha256, self._payload(workflow), now)

    def _payload(self, workflow: Workflow) -> bytes:
        """Return the payload of a version, without its phases where it is over the limit."""
        payload = validate_payload(LOADED, _masked(workflow.document()))
        if len(payload) + _ENVELOPE_BYTES <= self._limits.event_bytes:
            return payload
        message = (
            f"the file is not loaded: its event has more than {self._limits.event_bytes} bytes"
        )
        issue = Issue("too_large", ERROR, message)
        return validate_payload(LOADED, Workflow(workflow.sha256, (), (issue,)).document())

    def _gone(self, listing: Listing, known: dict[str, _Version], now: int) -> list[NewEvent]:
        return [
            self._event(REMOVED, name, "", orjson.dumps({"sha256": version.sha256}), now)
            for name, version in known.items()
            if version.sha256 is not None and listing.lacks(name)
        ]

    def _event(self, type_: str, name: str, digest: str, payload: bytes, now: int) -> NewEvent:
        """Return an event whose id says which version follows which, so that again is a repeat."""
        known = self._known or {}
        before = known[name].version if name in known else 0
        id_ = identity(type_, name, digest, before)
        return NewEvent(type_, name, SOURCE, id_, payload, now)

    def _record(self, events: list[NewEvent]) -> None:
        if not events or self._known is None:
            return
        receipts = self._log.append(events, timeout_seconds=COMMIT_SECONDS).receipts
        for event, receipt in zip(events, receipts, strict=True):
            payload = orjson.loads(event.data)
            digest = payload["sha256"] if event.type == LOADED else None
            self._known[event.subject] = _Version(digest, receipt.version)
            _logger.info(
                "a workflow file was %s", event.type.partition(".")[2],
                extra={"file": event.subject, "issues": len(payload.get("issues", ()))},
            )  # fmt: skip

    def _tell(self, listing: Listing, now: int) -> None:
        """Keep how the look ended, and log what is in its way when that changes."""
        problems = tuple(listing.problems.values())
        if problems and problems != self.state.problems:
            _logger.warning(
                "workflow files cannot be looked at; their last versions stay",
                extra={"count": len(problems), "problems": "; ".join(problems[:_SHOWN_MAX])},
            )
        elif self.state.problems and not problems:
            _logger.info("every workflow file can be looked at again")
        self.state = LoaderState(now, len(listing.files), problems)


def _masked(document: Any) -> Any:
    """Return a document with the secrets in its texts masked."""
    if isinstance(document, dict):
        return {name: _masked(value) for name, value in document.items()}
    if isinstance(document, list):
        return [_masked(value) for value in document]
    return mask_text(document) if isinstance(document, str) else document
