"""What looks into the past for a daemon: its processes, its checkpoints, and their ends."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from daemon_process import DaemonProcess
from waiting import wait_until

from daemon.eventlog.log import EventLog
from daemon.replay.checkpoints import Checkpoints, whole_at
from daemon.replay.history import History
from daemon.replay.keeper import RETRY_SECONDS, CheckpointKeeper
from daemon.replay.limits import Bounds, MomentBounds
from daemon.replay.moments import Moments
from daemon.replay.process import ReplayProcesses
from daemon.replay.tasks import Task
from domain.errors import ChronicledError, DiskFull, NotReady, QueueFull, StorageFailed
from domain.events import NewEvent
from projections.runner import ProjectionRunner
from projections.views import Views

BOUNDS = Bounds(count=10, spacing=20)
COUNT = 100


def submitted(first: int, last: int) -> list[NewEvent]:
    """Return one job.submitted for each number."""
    data = orjson.dumps({"kind": "k"})
    return [NewEvent("job.submitted", f"j{n}", "/tests", f"e{n}", data) for n in range(first, last)]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    """Return a log with some jobs in a data directory."""
    log = EventLog.open(tmp_path / "log.db")
    log.start()
    log.append(submitted(0, COUNT))
    yield log
    log.close()


@pytest.fixture
def runner(tmp_path: Path, log: EventLog) -> Iterator[ProjectionRunner]:
    """Return the runner of its views, which are caught up."""
    with closing(ProjectionRunner(tmp_path / "views.db", log)) as runner:
        runner.catch_up()
        yield runner


@pytest.fixture
def processes() -> Iterator[ReplayProcesses]:
    """Return what performs tasks in processes; all are ended after."""
    with closing(ReplayProcesses()) as processes:
        yield processes


def no_progress(_done: int, _goal: int) -> None:
    """Take note of nothing."""


def checkpoints_of(folder: Path, log: EventLog, bounds: Bounds = BOUNDS) -> Checkpoints:
    """Return the checkpoints of a log."""
    return Checkpoints(folder, log, bounds)


def test_a_moment_is_built_in_a_process_and_leaves_a_checkpoint(
    tmp_path: Path, log: EventLog, processes: ReplayProcesses
) -> None:
    """The answer comes when the moment is there; the process keeps a copy of it and ends."""
    target = tmp_path / "then.db"
    task = Task("moment", str(tmp_path), 60, str(target), checkpoints=BOUNDS)
    told: list[tuple[int, int]] = []
    answer = processes.perform(task, lambda done, goal: told.append((done, goal)))
    assert answer == {"built": 60}
    assert whole_at(target) == 60
    assert told[-1][1] == 60
    checkpoints = checkpoints_of(tmp_path, log)
    wait_until(lambda: [each.position for each in checkpoints.list()] == [60], "it is kept")


def test_faults_of_the_process_are_errors_of_who_asked(
    tmp_path: Path, processes: ReplayProcesses
) -> None:
    """A log that is not there, a process that cannot say more: one clear error each."""
    with pytest.raises(ChronicledError):
        processes.perform(Task("moment", str(tmp_path / "none"), 1, "x.db"), no_progress)
    processes.close()
    with pytest.raises(NotReady, match="stopping"):
        processes.perform(Task("moment", str(tmp_path), 1, "x.db"), no_progress)


def test_a_killed_process_is_not_ready_and_the_next_succeeds(
    tmp_path: Path, log: EventLog, processes: ReplayProcesses
) -> None:
    """Nothing but time is lost with a process that was killed in the middle."""
    target = tmp_path / "then.db"
    task = Task("moment", str(tmp_path), log.head(), str(target), checkpoints=BOUNDS)

    def kill(_done: int, _goal: int) -> None:
        for line in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
            for child in line.read_text().split():
                os.kill(int(child), signal.SIGKILL)

    with pytest.raises(NotReady, match="ended early"):
        processes.perform(task, kill)
    assert processes.perform(task, no_progress) == {"built": log.head()}
    assert whole_at(target) == log.head()


class Pause:
    """A clock for rests."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


def test_the_keeper_copies_the_views_and_fills_what_is_missing(
    tmp_path: Path, log: EventLog, runner: ProjectionRunner, processes: ReplayProcesses
) -> None:
    """First the live views are copied; then the stretches before get theirs, newest first."""
    checkpoints, pause = checkpoints_of(tmp_path, log), Pause()
    keeper = CheckpointKeeper(tmp_path, checkpoints, runner, processes.perform, pause)
    steps: list[list[int]] = []
    while (rest := keeper.step(0)) is not None:
        steps.append([each.position for each in checkpoints.list()])
        pause.now += rest
    assert steps[0] == [100]
    assert steps[1] == [20, 100]
    assert steps[-1] == [20, 40, 60, 80, 100]
    # Nothing is due until the views have gone on far enough.
    log.append(submitted(COUNT, COUNT + 10))
    runner.catch_up()
    assert keeper.step(0) is None
    keeper.woken.clear()
    log.append(submitted(COUNT + 10, COUNT + 25))
    runner.catch_up()
    assert keeper.woken.is_set()
    assert keeper.step(0) is not None
    assert checkpoints.list()[-1].position == COUNT + 25
    keeper.close()


def test_the_keeper_rests_after_a_fault(
    tmp_path: Path, log: EventLog, runner: ProjectionRunner
) -> None:
    """A full disk is not asked again and again; the log and the views go on meanwhile."""
    asked: list[str] = []

    def refuse(task: Task, _progress: Any) -> Any:
        asked.append(task.kind)
        raise DiskFull("no room")

    pause = Pause()
    checkpoints = checkpoints_of(tmp_path, log)
    keeper = CheckpointKeeper(tmp_path, checkpoints, runner, refuse, pause)
    # The copy is refused, then the replay.
    assert keeper.step(0) == 0
    assert keeper.step(0) == RETRY_SECONDS
    assert asked == ["copy", "fill"]
    pause.now += RETRY_SECONDS / 2
    assert keeper.step(0) == RETRY_SECONDS / 2
    assert asked == ["copy", "fill"]
    keeper.close()


def test_without_checkpoints_none_are_made(
    tmp_path: Path, log: EventLog, runner: ProjectionRunner, processes: ReplayProcesses
) -> None:
    """`checkpoints = 0` switches them off."""
    none = checkpoints_of(tmp_path, log, Bounds(count=0, spacing=1))
    keeper = CheckpointKeeper(tmp_path, none, runner, processes.perform)
    assert keeper.step(0) is None
    keeper.close()
    assert none.list() == []


def moments_of(folder: Path, build: Callable[..., None]) -> Moments:
    """Return moments that are built by a function."""
    return Moments(folder, folder / "views.db", build, Views, MomentBounds(count=2))


def test_a_moment_that_fails_is_tried_again(tmp_path: Path) -> None:
    """Who waits gets the error, once; who asks then has it built anew."""
    failures = [StorageFailed("the disk"), ValueError("a bug")]

    def build(_position: int, path: Path, *_: Any) -> None:
        if failures:
            raise failures.pop(0)
        path.write_bytes(b"")

    moments = moments_of(tmp_path, build)
    for kind in (StorageFailed, ValueError):
        assert moments.views(5) is None
        assert moments.step(0) == 0
        with pytest.raises(kind):
            moments.views(5)
    assert moments.views(5) is None
    assert moments.step(0) == 0
    assert moments.views(5) is not None
    assert moments.step(0) is None
    moments.close()
    assert not moments.folder.exists()


def test_only_so_many_moments_wait(tmp_path: Path) -> None:
    """Beyond that whoever asks is told to try again; those who wait are not forgotten."""
    moments = moments_of(tmp_path, lambda _position, path, *_: path.write_bytes(b""))
    for position in range(8):
        assert moments.views(position) is None
    with pytest.raises(QueueFull):
        moments.views(8)
    assert moments.views(3) is None
    assert moments.step(0) == 0
    assert moments.views(0) is not None
    assert moments.views(8) is None
    moments.close()
    with pytest.raises(NotReady):
        moments.views(0)


def test_moments_that_are_forgotten_are_built_anew(tmp_path: Path) -> None:
    """What was built goes with its file, and so does what was being built meanwhile.

    Who had asked for it was told to ask again, which over HTTP is a server's error.
    """
    meanwhile: list[Callable[[], None]] = []

    def build(_position: int, path: Path, *_: Any) -> None:
        path.write_bytes(b"")
        for each in meanwhile:
            each()

    def end() -> None:
        raise NotReady("The replay ended early.")

    moments = moments_of(tmp_path, build)
    assert moments.views(5) is None
    assert moments.step(0) == 0
    assert moments.views(5) is not None
    moments.forget()
    assert list(moments.folder.iterdir()) == []
    meanwhile.append(moments.forget)
    for ended in (False, True):
        meanwhile += [end] if ended else []
        assert moments.views(5) is None
        assert moments.step(0) == 0
        assert list(moments.folder.iterdir()) == []
    meanwhile.clear()
    assert moments.views(5) is None
    assert moments.step(0) == 0
    assert moments.views(5) is not None
    moments.close()


def test_all_that_is_kept_of_the_past_is_forgotten(
    tmp_path: Path, log: EventLog, runner: ProjectionRunner, processes: ReplayProcesses
) -> None:
    """Checkpoints and moments go; no process that could write one is left or begins meanwhile."""
    checkpoints = checkpoints_of(tmp_path, log)
    processes.perform(Task("copy", str(tmp_path), checkpoints=BOUNDS), no_progress)
    wait_until(checkpoints.list, "a checkpoint is there")
    moments = moments_of(tmp_path, lambda *_: None)
    keeper = CheckpointKeeper(tmp_path, checkpoints, runner, processes.perform)
    history = History(moments, checkpoints, keeper, processes)
    forgetting = threading.Thread(target=history.forget)

    def forget_meanwhile(_done: int, _goal: int) -> None:
        if forgetting.ident is None:
            forgetting.start()

    target = tmp_path / "then.db"
    task = Task("moment", str(tmp_path), 60, str(target), checkpoints=BOUNDS)
    with contextlib.suppress(NotReady):
        processes.perform(task, forget_meanwhile)
    forgetting.join()
    assert checkpoints.list() == []
    copy = Task("copy", str(tmp_path), checkpoints=BOUNDS)
    with ThreadPoolExecutor(1) as threads:
        with processes.held():
            waiting = threads.submit(processes.perform, copy, no_progress)
            with pytest.raises(TimeoutError):
                waiting.result(0.2)
        waiting.result(60)
    wait_until(checkpoints.list, "there are checkpoints again")
    keeper.close()
    moments.close()


def test_a_daemon_answers_as_of_beside_intake_and_leaves_nothing(
    daemons: Callable[..., DaemonProcess],
) -> None:
    """Asked of many moments while events come in, each answer is whole; a stop removes them."""
    daemon = daemons(environment={"CHRONICLED_REPLAY__CHECKPOINT_EVENTS": "1000"}).start()
    stop = threading.Event()
    head = 0

    def intake() -> None:
        nonlocal head
        number = 0
        with daemon.client() as client:
            while not stop.is_set():
                body = b"\n".join(
                    orjson.dumps(
                        {
                            "specversion": "1.0", "id": f"e{n}", "source": "/t",
                            "type": "job.submitted", "subject": f"j{n}", "data": {},
                        }
                    )
                    for n in range(number, number + 100)
                )  # fmt: skip
                answer = client.post(
                    "/api/events", content=body, headers={"content-type": "application/x-ndjson"}
                )
                assert answer.status_code == 201
                head, number = answer.json()["as_of"], number + 100

    thread = threading.Thread(target=intake)
    thread.start()
    try:
        wait_until(lambda: head >= 3_000, "there is something to ask for")
        with daemon.client() as client:
            for position in (700, 2_500, 1, 1_500, 700):
                params: dict[str, Any] = {"as_of": position, "limit": 1000, "timeout": 30}
                items = []
                while True:
                    page = client.get("/api/jobs", params=params).json()
                    assert page["as_of"] == position
                    items += page["items"]
                    if page["next"] is None:
                        break
                    params["cursor"] = page["next"]
                assert sorted(item["last_position"] for item in items) == list(
                    range(1, position + 1)
                )
    finally:
        stop.set()
        thread.join()
    folder = daemon.data / "replay"
    wait_until(lambda: any(folder.glob("checkpoints-*/*.zst")), "a checkpoint is made")
    daemon.stop()
    assert not list(folder.glob("moments/*"))
