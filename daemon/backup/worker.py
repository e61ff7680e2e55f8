"""What goes on beside shipping, one thing at a time: snapshots, proofs, pruning, merging."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from functools import partial
from typing import Any, Final, NamedTuple

from daemon.backup.board import Board
from daemon.backup.errors import BackupError
from daemon.backup.manifest import Snapshot
from daemon.backup.shipped_log import ShippedLog
from daemon.backup.snapshots import StepFailed
from daemon.backup.status import Kind, Progress, State, unwatched
from daemon.backup.workshop import Workshop
from daemon.lifecycle import Clock
from daemon.schedule import Schedule
from domain.errors import ChronicledError, NotReady
from domain.timestamps import MICROSECONDS, format_timestamp

LOOK_SECONDS: Final = 5.0
MERGE_SECONDS: Final = 3600.0
FORGET_SECONDS: Final = 600.0
"""How often it is looked what has to be forgotten."""
RENEW_SECONDS: Final = 86_400.0
"""A snapshot that holds what was removed or redacted is followed by another one within a day."""
RETRY_SECONDS: Final = 60.0
RETRY_SECONDS_MAX: Final = 3600.0
"""The first and the longest rest before a snapshot or a proof that failed is tried again."""

MISSED_MAX: Final = 2
"""After so many missed snapshots there is an alert."""
ALERT: Final = "backup-snapshots"
"""The subject of that alert."""

Answer = Callable[[dict[str, Any] | ChronicledError], None]
_logger = logging.getLogger(__name__)


class Step(StrEnum):
    """What is done when it is due; a failure is counted as that, unless it says more of itself."""

    COPY = "copy"
    PROOF = "proof"
    PRUNE = "prune"
    MERGE = "merge"
    FORGET = "forget"


class Asked(NamedTuple):
    """Something that somebody waits for."""

    kind: Kind
    arguments: Mapping[str, Any]
    progress: Progress
    answer: Answer


class Retry:
    """When to try again what failed."""

    def __init__(self) -> None:
        self._seconds = RETRY_SECONDS
        self._after = 0

    def is_time(self, now: int) -> bool:
        """Return whether it may be tried; a clock that was set back does not hold it up."""
        return now >= self._after or self._after - now > RETRY_SECONDS_MAX * MICROSECONDS

    def failed(self, now: int) -> None:
        """Note a failure."""
        self._after = now + round(self._seconds * MICROSECONDS)
        self._seconds = min(self._seconds * 2, RETRY_SECONDS_MAX)

    def succeeded(self) -> None:
        """Note that it works."""
        self._seconds, self._after = RETRY_SECONDS, 0


class Alarm:
    """The alert about missed snapshots, in the log: raised once for each time, and resolved."""

    def __init__(self, log: ShippedLog, board: Board) -> None:
        self._log = log
        self._board = board
        self._raised: bool | None = None

    def raise_(self, missed: int, last: int) -> None:
        """Raise the alert, unless that was done for the same last snapshot."""
        if not self._is_raised():
            since = format_timestamp(last)
            told = {
                "id": f"snapshots-missed-since-{last}",
                "severity": "error",
                "kind": "backup",
                "title": "Snapshots are missed",
                "message": f"{missed} snapshots were due since {since}, and none was taken.",
                "fingerprint": ALERT,
            }
            self._board.record("alert.raised", ALERT, told)
            self._raised = True

    def resolve(self, last: int) -> None:
        """Resolve the alert, if it was raised."""
        if self._is_raised():
            told = {"id": f"snapshots-again-{last}", "by": "chronicled", "reason": "a snapshot"}
            self._board.record("alert.resolved", ALERT, told)
            self._raised = False

    def _is_raised(self) -> bool:
        if self._raised is None:
            events = self._log.read_stream(f"alert/{ALERT}")
            self._raised = bool(events) and events[-1].type != "alert.resolved"
        return self._raised


class Worker:
    """The service that takes snapshots when they are due, and does what it is asked."""

    name = "backup"

    def __init__(
        self,
        workshop: Workshop,
        board: Board,
        schedule: Schedule,
        *,
        prove: bool,
        clock: Clock,
    ) -> None:
        self.woken = threading.Event()
        self._workshop = workshop
        self._board = board
        self._schedule = schedule
        self._prove = prove
        self._clock = clock
        self._started = clock()
        self._asked: deque[Asked] = deque()
        self._retries = {step: Retry() for step in Step}
        self._renewal = Retry()
        """When a snapshot is taken again because the newest is not right."""
        self._merged = 0
        self._forgot = 0
        self._forget_seconds = FORGET_SECONDS
        if workshop.forgetter.forget_after < FORGET_SECONDS * MICROSECONDS:
            self._forget_seconds = RETRY_SECONDS
        self._renew_at: int | None = None
        """When a snapshot is taken because the newest holds what was removed or redacted."""
        self._tidy_due = False
        self._alarm = Alarm(workshop.log, board)
        self._looked = 0
        """When the last snapshot was taken, or seen to have nothing new; 0 before the first."""

    def ask(self, asked: Asked) -> None:
        """Do something as soon as what goes on has ended."""
        self._asked.append(asked)
        self.woken.set()

    def step(self, now: int) -> float | None:
        """Do one thing; return the seconds until there may be another."""
        if self._asked:
            self._answer(self._asked.popleft(), now)
            return 0.0
        if self._board.status.state is not State.SHIPPING:
            # Nothing is known of the place, or it is not ours.
            self._show_due(now)
            return LOOK_SECONDS
        for step, do in self._due_now(now):
            if self._retries[step].is_time(now):
                self._try(step, do)
                return 0.0
        self._show_due(now)
        return LOOK_SECONDS

    # -- what is due ----------------------------------------------------------------------------

    def _due_now(self, now: int) -> Iterator[tuple[Step, Callable[[], object]]]:
        manifest = self._workshop.ledger.manifest
        newest = manifest.newest()
        due = self._due(newest, now)
        # The first one is due as soon as there is anything.
        if due is not None and due <= now and (newest or self._workshop.log.has_news(0)):
            yield Step.COPY, partial(self._create, now, unwatched)
        if self._prove and newest is not None and newest.proof == "pending":
            yield Step.PROOF, partial(self._proved, newest.name, unwatched)
        if self._tidy_due:
            yield Step.PRUNE, self._prune
        if abs(now - self._merged) > MERGE_SECONDS * MICROSECONDS:
            yield Step.MERGE, partial(self._merge, now)
        if abs(now - self._forgot) > self._forget_seconds * MICROSECONDS:
            yield Step.FORGET, partial(self._forget, now)

    def _due(self, newest: Snapshot | None, now: int) -> int | None:
        """Return when the next snapshot is due; one that is not right is soon taken again."""
        wrong = newest is not None and newest.proof == "failed" and self._renewal.is_time(now)
        due = self._schedule.due(None if wrong else self._last(newest), now)
        return due if self._renew_at is None else min(due or self._renew_at, self._renew_at)

    def _last(self, newest: Snapshot | None) -> int | None:
        """Return when it was last looked for something new, None where it never was."""
        return self._looked or (newest.taken if newest else None)

    def _show_due(self, now: int) -> None:
        ledger = self._workshop.ledger
        newest = ledger.manifest.newest() if ledger.claimed else None
        last = self._last(newest) or self._started
        missed = self._schedule.missed(last, now)
        self._board.show(snapshot_due=self._due(newest, now), snapshots_missed=missed)
        if missed >= MISSED_MAX:
            self._alarm.raise_(missed, last)
        elif missed == 0:
            self._alarm.resolve(last)

    # -- doing it -------------------------------------------------------------------------------

    def _try(self, step: Step, do: Callable[[], object]) -> None:
        retry = self._retries[step]
        try:
            do()
        except NotReady:
            # The daemon stops, or the views are being built.
            retry.failed(self._clock())
        except StepFailed as failed:
            retry.failed(self._clock())
            self._failed(failed.step, failed.error)
        except ChronicledError as error:
            retry.failed(self._clock())
            self._failed(step.value, error)
        else:
            retry.succeeded()
        finally:
            self._board.show(working="")

    def _failed(self, step: str, error: ChronicledError) -> None:
        if isinstance(error, NotReady):
            return
        self._board.failed(step, error)

    def _create(self, now: int, progress: Progress) -> dict[str, Any]:
        self._board.show(working=Kind.CREATE)
        done = self._workshop.create(progress)
        self._looked = now
        self._renew_at = None
        if not done["skipped"]:
            self._tidy_due = True
            # What the one before held may go now.
            self._forgot = 0
            self._report("backup.snapshotted", done["snapshot"])
        self._show_due(now)
        return done

    def _proved(self, name: str | None, progress: Progress) -> dict[str, Any]:
        self._board.show(working=Kind.PROVE)
        done = self._workshop.prove(name, progress)
        snapshot = done["snapshot"]
        if done["ok"]:
            self._renewal.succeeded()
            self._report("backup.proved", snapshot)
        else:
            self._renewal.failed(self._clock())
            _logger.error("a snapshot is not right", extra={"finding": snapshot["finding"]})
            self._board.count("proof")
            self._report("backup.failed", snapshot, step="proof", message=snapshot["finding"])
        return done

    def _prune(self) -> None:
        self._board.show(working=Kind.PRUNE)
        self._workshop.prune(dry_run=False)
        self._tidy_due = False

    def _merge(self, now: int) -> None:
        self._workshop.tidying.merge(lambda: bool(self._asked))
        self._merged = now

    def _forget(self, now: int) -> None:
        """Look what the place has to forget, and when a snapshot is due because of that."""
        self._workshop.forget(lambda: bool(self._asked))
        self._forgot = now
        forgetter = self._workshop.forgetter
        since = forgetter.snapshot_since()
        rest = min(forgetter.forget_after, round(RENEW_SECONDS * MICROSECONDS))
        self._renew_at = None if since is None else since + rest

    def _report(self, type_: str, snapshot: dict[str, Any], **more: str) -> None:
        told = {
            "location": snapshot["name"],
            "position": snapshot["position"],
            "bytes": snapshot["bytes"],
            "sha256": snapshot["sha256"],
        }
        subject = snapshot["name"].removeprefix("snapshots/").partition(".")[0]
        self._board.record(type_, subject, told | more)

    def _answer(self, asked: Asked, now: int) -> None:
        try:
            self._workshop.ledger.read_again()
            asked.answer(self._perform(asked, now))
        except StepFailed as failed:
            self._failed(failed.step, failed.error)
            asked.answer(failed.error)
        except ChronicledError as error:
            if step := _STEPS.get(asked.kind):
                self._failed(step.value, error)
            asked.answer(error)
        except Exception:
            # Somebody waits for an answer, whatever it is.
            asked.answer(BackupError(f"{asked.kind} failed; the daemon's log says more"))
            raise
        finally:
            self._board.show(working="")

    def _perform(self, asked: Asked, now: int) -> dict[str, Any]:
        match asked.kind:
            case Kind.CREATE:
                return self._create(now, asked.progress)
            case Kind.PROVE:
                return self._proved(asked.arguments.get("snapshot"), asked.progress)
            case Kind.PRUNE:
                return self._workshop.prune(bool(asked.arguments.get("dry_run")))
            case Kind.LIST:
                return self._workshop.list()


_STEPS: Final = {Kind.CREATE: Step.COPY, Kind.PROVE: Step.PROOF, Kind.PRUNE: Step.PRUNE}
"""What a failure of something that was asked for is counted as."""
