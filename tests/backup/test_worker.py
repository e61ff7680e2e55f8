"""What goes on beside shipping, driven by hand with a clock: when, and when again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from backup_driving import Backed
from golden_log import views_of
from grown_logs import Growing, Step

from daemon.backup.errors import NoBackup, NotTheWriter, StoreUnavailable
from daemon.backup.status import Kind, State, unwatched
from daemon.backup.worker import LOOK_SECONDS, Asked, Worker
from daemon.eventlog.log import EventLog
from daemon.lock import VIEWS_FILE
from daemon.schedule import Schedule
from domain.errors import ChronicledError
from domain.events import NewEvent

SECOND = 1_000_000
HOUR = 3600 * SECOND


class Working:
    """A worker on a small backup, its clock, and what it recorded, put into the log."""

    def __init__(self, folder: Path, *, prove: bool = False, schedule: str = "hourly") -> None:
        self.backed = Backed(folder)
        self.backed.now -= self.backed.now % HOUR
        self._growing = Growing(self.backed.log)
        self._number = 0
        self._prove, self._schedule = prove, schedule
        self.grow()
        self.worker = self.restarted()

    def restarted(self) -> Worker:
        """Return the worker of another run."""
        self.backed.close()
        self.backed.ship()
        self.worker = Worker(
            self.backed.workshop, self.backed.board, Schedule.parse(self._schedule),
            prove=self._prove, clock=lambda: self.backed.now,
        )  # fmt: skip
        return self.worker

    def grow(self) -> None:
        """Record something."""
        self._number += 1
        self._growing.do(Step("events", [("a", "/s", f"{self._number}", None)]))
        self._growing.close()

    def later(self, seconds: float, *, news: bool = True) -> list[str]:
        """Let time pass, and the worker do what is due; return the types that it records."""
        self.backed.now += round(seconds * SECOND)
        if news:
            self.grow()
        return self.done()

    def done(self) -> list[str]:
        """Let the worker do what is due; return the types of what it records."""
        first = len(self.backed.recorded)
        for _ in range(50):
            if self.worker.step(self.backed.now) == LOOK_SECONDS:
                return self.recorded(first)
        raise AssertionError("the worker does not come to rest")

    def recorded(self, first: int = 0) -> list[str]:
        """Return the types of what was recorded from one on, and put that into the log."""
        events = self.backed.recorded[first:]
        log = EventLog.open(self.backed.log, clock=lambda: self.backed.now)
        log.start()
        for number, (type_, subject, payload) in enumerate(events, first):
            log.append([NewEvent(type_, subject, "/t", f"{number}", _json(payload))])
        log.close()
        return [type_ for type_, _, _ in events]

    def ask(self, kind: Kind, **arguments: Any) -> dict[str, Any] | ChronicledError:
        """Ask for something, and return the answer."""
        answers: list[dict[str, Any] | ChronicledError] = []
        self.worker.ask(Asked(kind, arguments, unwatched, answers.append))
        assert self.worker.woken.is_set()
        assert self.worker.step(self.backed.now) == 0.0
        (answer,) = answers
        return answer


def _json(payload: dict[str, Any]) -> bytes:
    return orjson.dumps(payload)


@pytest.fixture
def working(tmp_path: Path) -> Iterator[Working]:
    """Return a worker without proofs."""
    working = Working(tmp_path)
    yield working
    working.backed.close()


def failing(working: Working, word: str, error: Exception | None) -> None:
    """Let every call of the store of a kind fail from now on."""

    def before(called: str, name: str) -> None:
        if called == word and error is not None and not name.startswith("segments"):
            raise error

    working.backed.before = before


def test_the_first_snapshot_is_taken_at_once_and_the_next_when_due(working: Working) -> None:
    """After the first one, a snapshot is taken at each full hour, if anything is new."""
    assert working.done() == ["backup.snapshotted"]
    assert working.backed.board.status.snapshot_due == working.backed.now + HOUR
    assert working.later(3599) == []
    assert working.later(1) == ["backup.snapshotted"]
    assert working.later(3600, news=False) == []
    assert working.later(3599) == []
    assert working.later(1) == ["backup.snapshotted"]
    assert len(working.backed.manifest.snapshots) == 2


def test_a_restart_takes_no_snapshot_before_it_is_due(working: Working) -> None:
    """The place says when the last one was taken."""
    working.done()
    working.restarted()
    assert working.later(1800) == []
    assert working.later(1800) == ["backup.snapshotted"]


def test_nothing_is_due_where_it_is_off(tmp_path: Path) -> None:
    """Without a schedule no snapshot is taken, but when it is asked for."""
    working = Working(tmp_path, schedule="off")
    assert working.later(10**6) == []
    answer = working.ask(Kind.CREATE)
    assert isinstance(answer, dict)
    assert not answer["skipped"]
    assert working.recorded() == ["backup.snapshotted"]
    working.backed.close()


def test_nothing_is_done_while_the_place_is_not_ours(working: Working) -> None:
    """Snapshots wait until shipping works."""
    for state in (State.STARTING, State.UNAVAILABLE, State.REFUSED):
        working.backed.board.show(state=state)
        assert working.later(1) == []
    working.backed.board.show(state=State.SHIPPING)
    assert working.done() == ["backup.snapshotted"]


def test_what_fails_is_tried_again_with_growing_rests(working: Working) -> None:
    """After 60 s, then 120 s, and so on; it is recorded once an hour, and counted each time."""
    failing(working, "put", StoreUnavailable("down"))
    assert working.done() == ["backup.failed"]
    for rest in (60, 120, 240):
        assert working.later(rest - 1) == []
        failures = working.backed.board.status.failures["upload"]
        assert working.later(1) == []
        assert working.backed.board.status.failures["upload"] == failures + 1
    failing(working, "put", None)
    assert working.later(479) == []
    assert working.later(1) == ["backup.snapshotted"]
    # And the rests are short again.
    failing(working, "put", StoreUnavailable("down"))
    working.later(3600)
    failing(working, "put", None)
    assert working.later(60)[-1] == "backup.snapshotted"


def test_a_clock_that_is_set_back_holds_nothing_up(working: Working) -> None:
    """A rest that lies far in the future is none."""
    failing(working, "put", StoreUnavailable("down"))
    working.done()
    failing(working, "put", None)
    assert working.later(-5 * 3600) == ["backup.snapshotted"]


def test_missed_snapshots_are_an_alert_once_and_resolved(working: Working) -> None:
    """After two missed ones an alert is raised, once, also over a restart; then it is resolved."""
    working.done()
    failing(working, "put", StoreUnavailable("down"))
    assert "alert.raised" not in working.later(3600)
    assert working.backed.board.status.snapshots_missed == 1
    assert "alert.raised" in working.later(3600)
    assert working.backed.board.status.snapshots_missed == 2
    assert "alert.raised" not in working.later(3600)
    working.restarted()
    assert "alert.raised" not in working.later(3600)
    failing(working, "put", None)
    done = working.later(3600)
    assert done == ["backup.snapshotted", "alert.resolved"]
    working.restarted()
    assert working.later(1) == []


def test_missed_snapshots_are_told_while_the_place_is_away(working: Working) -> None:
    """Also where shipping does not work at all."""
    working.done()
    working.backed.board.show(state=State.UNAVAILABLE)
    assert working.later(2 * 3600) == ["alert.raised"]


def test_snapshots_are_pruned_after_each(working: Working) -> None:
    """What the rules do not keep goes when there is a new one."""
    working.done()
    for _ in range(4):
        working.later(3600)
    # Two hours are kept; none of these was proved.
    assert len(working.backed.manifest.snapshots) == 2
    assert len(list(working.backed.store.list("snapshots/"))) == 2


def test_a_prune_that_fails_is_tried_again(working: Working) -> None:
    """Removing is due until it is done."""
    working.done()
    working.later(3600)
    failing(working, "delete", StoreUnavailable("down"))
    assert "backup.failed" in working.later(3600)
    # What was left half removed is also looked at before merging.
    assert working.backed.board.status.failures == {"prune": 1, "merge": 1, "forget": 1}
    failing(working, "delete", None)
    working.later(60)
    assert len(working.backed.manifest.snapshots) == 2


def test_merging_is_hourly_and_a_failure_is_its_own(
    working: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small segments become one every hour; where that fails it is counted as merging."""
    monkeypatch.setattr("daemon.backup.tidying.MERGED_MIN", 3)
    working.done()

    def segments() -> int:
        return len(list(working.backed.store.list("segments/")))

    for _ in range(4):
        working.grow()
        working.backed.ship()
    working.later(3600)
    before = segments()
    fails = StoreUnavailable("down")
    failing(working, "list", fails)
    assert "backup.failed" in working.later(1)
    assert set(working.backed.board.status.failures) == {"merge"}
    failing(working, "list", None)
    working.later(60)
    assert segments() < before


def test_a_snapshot_is_proved_after_it_was_taken(tmp_path: Path) -> None:
    """With proofs, each new snapshot is restored and compared."""
    working = Working(tmp_path, prove=True)
    views_of(working.backed.log, working.backed.data / VIEWS_FILE)
    assert working.done() == ["backup.snapshotted", "backup.proved"]
    assert working.backed.manifest.snapshots[0].proved
    assert working.backed.board.status.proved_at == working.backed.now
    assert working.backed.board.status.working == ""
    assert working.later(1) == []
    working.backed.close()


def test_a_proof_that_fails_leads_to_another_snapshot(tmp_path: Path) -> None:
    """What is not right is taken again, with growing rests, and recorded as failed."""
    working = Working(tmp_path, prove=True)
    views_of(working.backed.log, working.backed.data / VIEWS_FILE)

    seen: list[str] = []

    def damaging(word: str, name: str) -> None:
        if word == "get" and name.startswith("snapshots/") and name not in seen:
            seen.append(name)
            working.backed.damage(name)

    working.backed.before = damaging
    assert working.done() == ["backup.snapshotted", "backup.failed"]
    assert working.backed.recorded[-1][2]["step"] == "proof"
    assert working.backed.board.status.failures == {"proof": 1}
    working.backed.before = lambda *_: None
    assert working.later(59, news=False) == []
    assert working.later(1, news=False) == ["backup.snapshotted", "backup.proved"]
    working.backed.close()


def test_views_that_are_being_built_are_no_failure(tmp_path: Path) -> None:
    """A proof that cannot be made yet is tried later."""
    working = Working(tmp_path, prove=True)
    assert working.done() == ["backup.snapshotted"]
    assert working.backed.board.status.failures == {}
    views_of(working.backed.log, working.backed.data / VIEWS_FILE)
    assert working.later(60, news=False) == ["backup.proved"]
    working.backed.close()


def test_what_is_asked_for_is_done_first(working: Working) -> None:
    """Create, list, prune: each is answered, before anything that is due."""
    created = working.ask(Kind.CREATE)
    assert isinstance(created, dict)
    assert not created["skipped"]
    again = working.ask(Kind.CREATE)
    assert isinstance(again, dict)
    assert again == {"skipped": True, "snapshot": created["snapshot"]}
    listed = working.ask(Kind.LIST)
    assert isinstance(listed, dict)
    assert [each["name"] for each in listed["snapshots"]] == [created["snapshot"]["name"]]
    pruned = working.ask(Kind.PRUNE, dry_run=True)
    assert pruned == {"dry_run": True, "snapshots": [], "strays": [], "bytes": 0}
    assert isinstance(working.ask(Kind.PROVE, snapshot="nothing"), NoBackup)


def test_what_fails_is_answered_and_counted(working: Working) -> None:
    """Whoever asked hears why; a list that fails is no failure of the backup."""
    failing(working, "put", StoreUnavailable("down"))
    assert isinstance(working.ask(Kind.CREATE), StoreUnavailable)
    assert working.backed.board.status.failures == {"upload": 1}
    failing(working, "list", StoreUnavailable("down"))
    assert isinstance(working.ask(Kind.LIST), StoreUnavailable)
    assert isinstance(working.ask(Kind.PRUNE, dry_run=True), StoreUnavailable)
    assert working.backed.board.status.failures == {"upload": 1, "prune": 1}
    assert working.backed.board.status.working == ""


def test_a_place_that_was_taken_over_is_told_to_whoever_asks(working: Working) -> None:
    """Nothing is done in a place of another daemon."""
    working.done()
    held = working.backed.manifest
    other = held.model_copy(update={"writer": held.writer.model_copy(update={"session": "other"})})
    version = working.backed.place.register.read()
    assert version is not None
    working.backed.place.register.swap(other.content(), version.version)
    assert isinstance(working.ask(Kind.CREATE), NotTheWriter)
