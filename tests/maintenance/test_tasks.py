"""The tasks of the house: what each of them does, and what it leaves alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import apsw
import pytest
from epoch_log import resume

from daemon.backup.pace import Pace
from daemon.backup.status import BackupStatus, Kind, Progress
from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Work
from daemon.eventlog.transaction import Transaction
from daemon.maintenance.checkpoints import WORTH_BYTES, CheckpointsTask
from daemon.maintenance.results import ResultCheck
from daemon.maintenance.scrub import ScrubTask
from daemon.maintenance.services import WOKEN, SnapshotsTask, WokenTask
from daemon.maintenance.task import Outcome
from daemon.maintenance.vacuum import VacuumTask
from daemon.replay.checkpoints import Checkpoints
from daemon.replay.limits import Bounds
from daemon.replay.verifier import alone, verify_apart
from domain.catalog import validate_payload
from domain.errors import NotReady
from domain.events import NewEvent, RecordedEvent
from projections.runner import ProjectionRunner

NOW = 1_770_000_000_000_000
PAYLOAD = b"the result\n"
DIGEST = sha256(PAYLOAD).hexdigest()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    """Return a log at work."""
    log = EventLog.open(tmp_path / "log.db", clock=lambda: NOW, synchronous="OFF")
    log.start()
    yield log
    log.close()


def add(log: EventLog, type_: str, subject: str, **payload: Any) -> None:
    """Record an event."""
    data = validate_payload(type_, payload)
    log.append([NewEvent(type_, subject, "/test", f"e{log.head()}", data, NOW)])


def found(log: EventLog, subject: str = "r1") -> list[RecordedEvent]:
    """Return what was recorded about a result, but for its own first event."""
    return log.read_stream(f"result/{subject}")[1:]


def verbs(log: EventLog, subject: str = "r1") -> list[str]:
    """Return the verbs of that."""
    return [event.type.partition(".")[2] for event in found(log, subject)]


# -- results --------------------------------------------------------------------------------------


class Shelf:
    """A directory of result files, and who looks at them."""

    def __init__(self, log: EventLog, root: Path, bytes_max: int = 1 << 30) -> None:
        self.log = log
        self.root = root
        root.mkdir()
        self.stopping = False
        self.paced: list[int] = []
        self.check = ResultCheck(
            log, root, bytes_max, lambda: self.paced.append, lambda: self.stopping
        )

    def put(self, name: str, payload: bytes = PAYLOAD, **facts: Any) -> Path:
        """Store a file, and record it as a result."""
        path = self.root / name
        path.write_bytes(payload)
        digest = sha256(payload).hexdigest()
        recorded = {"job": "j1", "path": name, "bytes": len(payload), "sha256": digest, **facts}
        add(self.log, "result.recorded", name, **recorded)
        return path

    def look(self) -> dict[str, int]:
        """Look at the results once."""
        return self.check.run(NOW)


@pytest.fixture
def shelf(log: EventLog, tmp_path: Path) -> Shelf:
    """Return an empty shelf."""
    return Shelf(log, tmp_path / "results")


def test_results_are_found_across_epochs_without_looking_where_nothing_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stretch of positions that an epoch had left empty was asked for results."""
    asked: list[int] = []
    met = EventLog.streams_met
    monkeypatch.setattr(
        EventLog, "streams_met", lambda log, *told: asked.append(1) or met(log, *told)
    )
    for number in range(2):
        with closing(EventLog.open(tmp_path / "log.db", clock=lambda: NOW)) as log:
            log.start()
            shelf = Shelf(log, tmp_path / f"results-{number}")
            shelf.put(f"r{number}")
        resume(tmp_path / "log.db", gap=1_000_000_000)
    asked.clear()
    with closing(EventLog.open(tmp_path / "log.db", clock=lambda: NOW)) as log:
        log.start()
        shelf = Shelf(log, tmp_path / "results")
        assert shelf.look()["missing"] == 2
        assert verbs(log, "r0") == verbs(log, "r1") == ["missing"]
    assert len(asked) < 10


def test_only_a_change_of_a_result_is_recorded(log: EventLog, shelf: Shelf) -> None:
    """Verified once, then missing, changed, and verified again, however often it is looked."""
    path = shelf.put("r1")
    for _ in range(3):
        assert shelf.look() == {
            "results": 1,
            "verified": 1,
            "missing": 0,
            "changed": 0,
            "result_bytes": len(PAYLOAD),
        }
    assert verbs(log) == ["verified"]
    assert found(log)[0].payload == {
        "job": "j1",
        "path": "r1",
        "bytes": len(PAYLOAD),
        "sha256": DIGEST,
    }
    path.unlink()
    assert [shelf.look()["missing"] for _ in range(2)] == [1, 1]
    path.write_bytes(b"other")
    assert [shelf.look()["changed"] for _ in range(2)] == [1, 1]
    path.write_bytes(b"third")
    shelf.look()
    path.write_bytes(PAYLOAD)
    shelf.look()
    assert verbs(log) == ["verified", "missing", "changed", "changed", "verified"]
    assert found(log)[2].payload["sha256"] == sha256(b"other").hexdigest()
    assert log.verify() == []


def test_a_result_that_is_recorded_again_is_looked_at_anew(log: EventLog, shelf: Shelf) -> None:
    """The newest record says what the file has to be."""
    path = shelf.put("r1")
    shelf.look()
    path.write_bytes(b"new")
    add(log, "result.recorded", "r1", path="r1", sha256=sha256(b"new").hexdigest())
    shelf.look()
    assert verbs(log) == ["verified", "recorded", "verified"]


def test_another_size_shows_without_a_digest(log: EventLog, shelf: Shelf) -> None:
    """Where only the size was recorded, the size is compared."""
    path = shelf.put("r1", sha256=None)
    shelf.look()
    path.write_bytes(b"x")
    shelf.look()
    assert verbs(log) == ["verified", "changed"]
    assert found(log)[1].payload["reason"] == "another size"


def test_files_outside_of_the_directory_are_not_opened(
    log: EventLog, shelf: Shelf, tmp_path: Path
) -> None:
    """Neither by an absolute path, nor by dots, nor by a link."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (shelf.root / "link").symlink_to(secret)
    for number, path in enumerate((str(secret), "../secret", "link", "a\0b", "", ".")):
        add(log, "result.recorded", f"o{number}", path=path, sha256=DIGEST)
    assert shelf.look()["results"] == 0
    assert all(not found(log, f"o{number}") for number in range(6))


def test_what_is_no_file_is_missing(log: EventLog, shelf: Shelf) -> None:
    """A pipe or a directory in the file's place keeps nobody waiting."""
    os.mkfifo(shelf.root / "pipe")
    (shelf.root / "folder").mkdir()
    for name in ("pipe", "folder"):
        add(log, "result.recorded", name, path=name)
    assert shelf.look()["missing"] == 2
    assert found(log, "pipe")[0].payload["reason"] == "not a regular file"


def test_results_of_archived_jobs_are_not_missed(log: EventLog, shelf: Shelf) -> None:
    """Their files went to the archive; where the job was brought back they have to be there."""
    shelf.put("r1").unlink()
    shelf.put("r2", job=None).unlink()
    add(log, "result.archived", "r2", location="archive/r2")
    add(log, "job.submitted", "j1")
    add(log, "job.archived", "j1")
    assert shelf.look()["results"] == 0
    add(log, "job.restored", "j1")
    assert shelf.look()["missing"] == 1


def test_a_run_is_bounded_and_the_next_goes_on(log: EventLog, tmp_path: Path) -> None:
    """Every result is looked at in turn, some in each run."""
    shelf = Shelf(log, tmp_path / "many", bytes_max=3 * len(PAYLOAD))
    for number in range(8):
        shelf.put(f"r{number}")
    assert [shelf.look()["results"] for _ in range(3)] == [3, 3, 2]
    assert all(verbs(log, f"r{number}") == ["verified"] for number in range(8))
    assert shelf.look()["results"] == 3
    assert sum(shelf.paced) == 11 * len(PAYLOAD)


def test_a_look_ends_with_the_daemon(log: EventLog, shelf: Shelf) -> None:
    """Nothing is begun after the stop, and what is read ends at the next block."""
    shelf.put("r1")
    shelf.stopping = True
    assert shelf.look()["results"] == 0
    shelf.stopping = False
    ended = threading.Event()
    ended.set()
    check = ResultCheck(log, shelf.root, 100, lambda: Pace(1000, ended), lambda: False)
    with pytest.raises(NotReady):
        check.run(NOW)
    assert found(log) == []


# -- scrub ----------------------------------------------------------------------------------------


def test_scrub_verifies_log_and_views(log: EventLog, tmp_path: Path) -> None:
    """A healthy log succeeds with its events counted; a changed event is found and named."""
    for number in range(5):
        add(log, "job.submitted", f"j{number}")
    runner = ProjectionRunner(tmp_path / "views.db", log)
    while runner.step(NOW) == 0:
        pass
    runner.close()

    def verify(progress: Callable[[int, int], None]) -> Mapping[str, Any]:
        return verify_apart(tmp_path / "log.db", tmp_path / "views.db", False, progress)

    task = ScrubTask(verify, None, lambda: False)
    assert task.run(NOW) == Outcome({"events": 5, "findings": 0})
    with apsw.Connection(str(tmp_path / "log.db")) as db:
        db.execute("UPDATE events SET time = time + 1 WHERE position = 3")
    damaged = task.run(NOW)
    assert not damaged.ok
    assert "at position 3" in (damaged.message or "")


def test_scrub_ends_with_the_daemon() -> None:
    """The verification's progress is where it hears of a stop."""

    def verify(progress: Callable[[int, int], None]) -> Mapping[str, Any]:
        progress(1, 2)
        raise AssertionError("it goes on")

    with pytest.raises(NotReady):
        ScrubTask(verify, None, lambda: True).run(NOW)


def test_one_verification_at_a_time(log: EventLog, tmp_path: Path) -> None:
    """Two would write the same files beside the views; the second is told to come later."""
    add(log, "job.submitted", "j1")
    paths = (tmp_path / "log.db", tmp_path / "views.db")
    ProjectionRunner(paths[1], log).close()
    with alone(paths[1]), pytest.raises(NotReady, match="Another verification"):
        verify_apart(*paths, True, lambda *_: None)
    assert verify_apart(*paths, True, lambda *_: None)["events"] == 1


# -- vacuum and checkpoints -----------------------------------------------------------------------


def remove_all(transaction: Transaction) -> None:
    """Remove every event, so that their pages are free."""
    transaction.connection.execute("DELETE FROM events")


def test_vacuum_gives_free_pages_back(log: EventLog, tmp_path: Path) -> None:
    """In steps, until none is free; the file is shorter after a checkpoint."""
    for number in range(100):
        add(log, "job.submitted", f"j{number}", params={"text": "x" * 20_000})
    log.work(Work(remove_all))
    checkpoints = CheckpointsTask(
        {"log": tmp_path / "log.db"}, Checkpoints(tmp_path, log, Bounds()), log.head
    )
    checkpoints.run(NOW)
    before = (tmp_path / "log.db").stat().st_size
    going, stopping = threading.Event(), threading.Event()
    stopping.set()
    assert VacuumTask(log, stopping).run(NOW) == Outcome({"pages": 0, "bytes": 0}, complete=False)
    outcome = VacuumTask(log, going, step_pages=64).run(NOW)
    assert outcome.counts["pages"] > 400
    checkpoints.run(NOW)
    assert before - (tmp_path / "log.db").stat().st_size == outcome.counts["bytes"]
    again = VacuumTask(log, going).run(NOW)
    assert again.counts["pages"] == 0


def test_checkpoints_empty_the_write_ahead_log(log: EventLog, tmp_path: Path) -> None:
    """What is long is counted; what its own record adds is not, or it would never be idle."""
    files = {"log": tmp_path / "log.db", "views": tmp_path / "none.db"}
    task = CheckpointsTask(files, Checkpoints(tmp_path, log, Bounds()), log.head)
    wal = tmp_path / "log.db-wal"
    add(log, "job.submitted", "secret", params={"text": "x" * 2 * WORTH_BYTES})
    assert b"x" * 1000 in wal.read_bytes()
    assert task.run(NOW).counts["wal_bytes"] > WORTH_BYTES
    assert wal.stat().st_size == 0
    add(log, "job.submitted", "small")
    assert task.run(NOW).counts == {"wal_bytes": 0, "checkpoints": 0}
    assert wal.stat().st_size == 0
    assert not (tmp_path / "none.db").exists()
    add(log, "job.submitted", "after")
    assert log.verify() == []


# -- what others do -------------------------------------------------------------------------------


class Backup:
    """A backup that has something new once."""

    def __init__(self) -> None:
        self.asked: list[Kind] = []

    def status(self) -> BackupStatus:
        """Return how it stands."""
        return BackupStatus()

    def perform(
        self, kind: Kind, arguments: Mapping[str, Any], progress: Progress
    ) -> dict[str, Any]:
        """Note what is asked for, and do it once."""
        assert arguments == {}
        progress(0, 1)
        self.asked.append(kind)
        return {"skipped": len(self.asked) > 1, "snapshot": {"bytes": 77}}


def test_snapshots_are_the_backups(log: EventLog) -> None:
    """The task asks the backup; where nothing is new there is nothing to do."""
    backup = Backup()
    task = SnapshotsTask(backup, lambda: False)
    assert task.run(log.head()) == Outcome({"snapshots": 1, "bytes": 77})
    assert task.run(log.head()) == Outcome({"snapshots": 0})
    assert backup.asked == [Kind.CREATE, Kind.CREATE]
    with pytest.raises(NotReady):
        SnapshotsTask(backup, lambda: True).run(NOW)


def test_overdue_wakes_the_check() -> None:
    """The check is a service; asked for, it looks at once."""

    class Check:
        name = "overdue"
        woken = threading.Event()

        def step(self, now: int) -> float | None:
            return float(now)

    service = Check()
    task = WokenTask(service, WOKEN["overdue"])
    assert (task.name, bool(task.run(NOW).message)) == ("overdue", True)
    assert service.woken.is_set()
