"""The projections' own process: it may die at any moment, and nothing but time is lost."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from daemon_process import DaemonProcess, children
from waiting import wait_until

from daemon.eventlog.log import EventLog
from daemon.eventlog.log_file import LogFile
from daemon.lock import find_daemon
from daemon.projector.child import AT_ONCE_EVENTS_MAX
from daemon.projector.courtesy import WINDOW_SECONDS, Courtesy, may_return, schedule
from daemon.projector.messages import Line, Settings
from daemon.projector.pace import REST_SECONDS, PacedRunner
from daemon.projector.process import ProjectorProcess
from domain.errors import NotFound
from domain.events import NewEvent
from projections.registry import PROJECTIONS
from projections.runner import ProjectionRunner
from projections.views import Views

SECONDS = 30.0


def submitted(name: str) -> NewEvent:
    """Return the event of a job that was submitted."""
    return NewEvent("job.submitted", name, "/test", f"{name}-1", b'{"kind":"copy"}', 1_000_000)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    """Return a log that can be written."""
    with closing(EventLog.open(tmp_path / "log.db")) as log:
        log.start()
        yield log


@pytest.fixture
def settings(tmp_path: Path, log: EventLog) -> Settings:
    """Return what a projector of the log is told."""
    return Settings(
        log=log.path,
        views=str(tmp_path / "views.db"),
        batch_events=5_000,
        synchronous="NORMAL",
        level="warning",
        style="plain",
    )


@pytest.fixture
def projector(log: EventLog, settings: Settings) -> Iterator[ProjectorProcess]:
    """Return a running projector of the log, which is woken by its commits."""
    with closing(ProjectorProcess(settings)) as projector:
        leave = log.on_commit(lambda _: projector.wake())
        projector.start()
        assert projector.opened(SECONDS)
        yield projector
        leave()


def states(projector: ProjectorProcess) -> set[str]:
    """Return the states that the projections are in."""
    return {status.state for status in projector.status()}


def child(projector: ProjectorProcess) -> int:
    """Return the process id of the projector's child, when it has one."""
    return wait_until(lambda: projector.pid, "there is a child")


def test_what_is_appended_is_shown(
    tmp_path: Path, log: EventLog, projector: ProjectorProcess
) -> None:
    """The child is woken by commits, and tells how far it is."""
    head = log.append([submitted("a"), submitted("b")]).head
    assert projector.wait_for(head, SECONDS)
    wait_until(lambda: projector.caught_up, "the word that it has caught up")
    with closing(Views(tmp_path / "views.db")) as views:
        assert {item["id"] for item in views.list_jobs().items} == {"a", "b"}


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "live"), (AT_ONCE_EVENTS_MAX, "live"), (AT_ONCE_EVENTS_MAX + 1, "building")],
)
def test_a_short_way_is_gone_before_the_child_speaks(
    log: EventLog, settings: Settings, count: int, shown: str
) -> None:
    """Who asks right after the start finds views; a long log does not hold up the daemon."""
    log.append([submitted(f"job-{number}") for number in range(count)])
    seen: list[tuple[set[str], bool]] = []
    with closing(ProjectorProcess(settings)) as projector:
        projector.on_progress(lambda: seen.append((states(projector), projector.caught_up)))
        projector.start()
        assert projector.opened(SECONDS)
        wait_until(lambda: seen, "the child has spoken")
    assert seen[0] == ({shown}, shown == "live")


def test_views_that_cannot_be_begun_are_tried_again(settings: Settings) -> None:
    """A disk that refuses at the start holds up nobody, and each projection has a status."""
    views = Path(settings.views)
    views.mkdir()
    with closing(ProjectorProcess(settings)) as projector:
        projector.start()
        assert projector.opened(SECONDS)
        assert projector.pid
        assert states(projector) == {"building"}
        views.rmdir()
        wait_until(lambda: states(projector) == {"live"}, "the views are built")


def test_a_killed_child_is_started_again_and_catches_up(
    log: EventLog, projector: ProjectorProcess
) -> None:
    """What was appended while nobody projected is shown after the restart."""
    first = child(projector)
    os.kill(first, signal.SIGKILL)
    head = log.append([submitted("a")]).head
    wait_until(
        lambda: states(projector) == {"live"} and projector.wait_for(head, 0),
        "the new child has caught up",
    )
    assert child(projector) != first


def test_while_no_child_lives_the_projections_have_failed(projector: ProjectorProcess) -> None:
    """The status tells what became of the child, and nobody waits for what does not come."""
    os.kill(child(projector), signal.SIGKILL)
    wait_until(lambda: states(projector) == {"failed"}, "the status says so")
    assert all("-9" in (status.error or "") for status in projector.status())
    assert not projector.wait_for(1, SECONDS)


def test_the_child_leaves_signals_to_the_daemon(log: EventLog, projector: ProjectorProcess) -> None:
    """What a terminal or a service manager sends to the whole group does not end it."""
    pid = child(projector)
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    assert projector.wait_for(log.append([submitted("a")]).head, SECONDS)
    assert projector.pid == pid


def test_a_rebuild_is_shown_from_the_moment_it_is_asked_for(
    log: EventLog, projector: ProjectorProcess
) -> None:
    """The answer to "is it live" is no before the child has even heard of the request."""
    assert projector.wait_for(log.append([submitted("a")]).head, SECONDS)
    os.kill(child(projector), signal.SIGSTOP)
    projector.request_rebuild("jobs")
    assert {each.name: each.state for each in projector.status()}["jobs"] == "rebuilding"
    os.kill(child(projector), signal.SIGCONT)
    wait_until(lambda: states(projector) == {"live"}, "the rebuild has ended")


def test_a_rebuild_outlives_the_child_that_was_asked(
    log: EventLog, projector: ProjectorProcess
) -> None:
    """A request that the child died with is given to the next one."""
    assert projector.wait_for(log.append([submitted("a")]).head, SECONDS)
    pid = child(projector)
    os.kill(pid, signal.SIGSTOP)
    projector.request_rebuild()
    seen: list[set[str]] = []
    leave = projector.on_progress(lambda: seen.append(states(projector)))
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: states(projector) == {"live"}, "everything is live again")
    leave()
    assert {"rebuilding"} in seen


def test_an_unknown_projection_cannot_be_rebuilt(projector: ProjectorProcess) -> None:
    """The name is checked where it is asked for, with the nearest known one."""
    with pytest.raises(NotFound, match="jobs"):
        projector.request_rebuild("job")


def test_before_the_child_speaks_everything_is_building(tmp_path: Path) -> None:
    """Readiness and metrics have a status for each projection from the first moment."""
    settings = Settings("no/log.db", str(tmp_path / "v"), 10, "NORMAL", "critical", "json")
    with closing(ProjectorProcess(settings)) as projector:
        assert states(projector) == {"building"}
        assert len(projector.status()) == len(PROJECTIONS)
        assert not projector.caught_up


def test_a_log_that_cannot_be_read_is_tried_again(tmp_path: Path) -> None:
    """The child ends, the status says why not, and closing does not wait for the next try."""
    settings = Settings("no/log.db", str(tmp_path / "v"), 10, "NORMAL", "critical", "json")
    with closing(ProjectorProcess(settings)) as projector:
        projector.start()
        assert projector.opened(SECONDS)
        wait_until(lambda: states(projector) == {"failed"}, "the child has ended")


def test_closing_ends_the_child(projector: ProjectorProcess) -> None:
    """Nothing of the projector is left, and a late wake does no harm."""
    pid = child(projector)
    projector.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    projector.wake()


def test_half_a_line_is_no_message() -> None:
    """A side that died while it spoke has said nothing."""
    ours, theirs = socket.socketpair()
    theirs.sendall(b'{"handled":1}\n{"handled":2')
    theirs.close()
    with closing(Line(ours)) as line:
        assert list(line.messages()) == [{"handled": 1}]


def test_messages_of_several_threads_stay_whole() -> None:
    """Who sends at the same time does not cut into another's line."""
    ours, theirs = socket.socketpair()
    text = "x" * 300_000
    with closing(Line(ours)) as sender, closing(Line(theirs)) as receiver:
        senders = [
            threading.Thread(target=sender.send, args=({"from": number, "text": text},))
            for number in range(4)
        ]
        for thread in senders:
            thread.start()
        messages = receiver.messages()
        received = [next(messages) for _ in senders]
        for thread in senders:
            thread.join()
    assert {message["from"] for message in received} == {0, 1, 2, 3}
    assert all(message["text"] == text for message in received)


def test_the_head_of_the_file_counts_positions_that_were_used(
    tmp_path: Path, log: EventLog
) -> None:
    """A reader in another process sees the same head as the writer, also behind a gap."""
    log.append([submitted("a"), submitted("b")])
    with closing(LogFile(tmp_path / "log.db")) as file:
        assert file.head() == log.head() == 2
        assert (file.log_id, file.epoch) == (log.log_id, log.epoch)
        other = apsw.Connection(str(tmp_path / "log.db"))
        other.execute("DELETE FROM events WHERE position = 2")
        other.close()
        assert file.head() == 2
        assert [event.position for event in file.read(0, 10)] == [1]


# -- with the whole daemon ------------------------------------------------------------------------


def projector_of(daemon: DaemonProcess) -> int:
    """Return the process id of a daemon's projector."""
    return wait_until(lambda: children(daemon.pid), "the daemon has a projector")[0]


def post(daemon: DaemonProcess, name: str) -> int:
    """Append a job by HTTP; return its position."""
    event = {
        "specversion": "1.0", "id": f"{name}-1", "source": "/test", "type": "job.submitted",
        "subject": name, "data": {},
    }  # fmt: skip
    headers = {"content-type": "application/cloudevents+json"}
    with daemon.client() as client:
        answer = client.post("/api/events", json=event, headers=headers)
        assert answer.status_code == 201
        return int(answer.json()["as_of"])


def test_acknowledgements_do_not_wait_for_the_projections(daemon: DaemonProcess) -> None:
    """A projector that hangs holds up what is shown, and nothing else."""
    daemon.wait_caught_up()
    pid = projector_of(daemon)
    os.kill(pid, signal.SIGSTOP)
    position = post(daemon, "a")
    with daemon.client() as client:
        behind = client.get("/api/jobs", params={"wait_for": position, "timeout": 0.1})
        assert behind.status_code == 503
        os.kill(pid, signal.SIGCONT)
        shown = client.get("/api/jobs", params={"wait_for": position})
        assert [job["id"] for job in shown.json()["items"]] == ["a"]


def test_a_killed_daemon_takes_its_projector_with_it(daemon: DaemonProcess) -> None:
    """The directory is free at once, and the next daemon shows what the first one took."""
    daemon.wait_caught_up()
    projector = projector_of(daemon)
    position = post(daemon, "a")
    daemon.kill()
    wait_until(lambda: not Path(f"/proc/{projector}").exists(), "the projector has ended")
    assert find_daemon(daemon.data) is None
    daemon.start()
    with daemon.client() as client:
        shown = client.get("/api/jobs", params={"wait_for": position})
        assert [job["id"] for job in shown.json()["items"]] == ["a"]


def test_the_directory_stays_locked_while_a_projector_lives(daemon: DaemonProcess) -> None:
    """A projector that outlives its daemon keeps other daemons from the views."""
    daemon.wait_caught_up()
    projector = projector_of(daemon)
    os.kill(projector, signal.SIGSTOP)
    daemon.kill()
    assert find_daemon(daemon.data) is not None
    os.kill(projector, signal.SIGCONT)
    wait_until(lambda: find_daemon(daemon.data) is None, "the projector has ended")


def test_a_stop_does_not_wait_for_a_hanging_projector(daemon: DaemonProcess) -> None:
    """A stop ends within its bound although the projector hangs: it is killed."""
    daemon.wait_caught_up()
    projector = projector_of(daemon)
    os.kill(projector, signal.SIGSTOP)
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(seconds=60) == 0
    assert not Path(f"/proc/{projector}").exists()


def test_the_projector_rests_at_the_head_and_not_before(tmp_path: Path, log: EventLog) -> None:
    """Events up to the head are followed by a rest, which a wake waits for; others at once."""
    log.append([submitted(f"job-{number}") for number in range(250)])
    moments = iter([1.0, 1.02])
    with (
        closing(LogFile(Path(log.path))) as file,
        closing(ProjectionRunner(tmp_path / "views.db", file, build_events=150)) as runner,
    ):
        paced = PacedRunner(runner, Courtesy(lambda _: None), lambda: next(moments))
        assert paced.step(0) == 0
        assert (runner.position, runner.head) == (150, 250)
        assert paced.step(0) == REST_SECONDS
        paced.woken.clear()
        paced.wake()
        assert paced.woken.is_set()
        assert paced.step(0) is None


class Worker:
    """A thread of which a test says how long it works, and what of that it had a processor."""

    def __init__(self) -> None:
        self.now = self.used = 0.0
        self.changes: list[bool] = []
        self.courtesy = Courtesy(self.changes.append, lambda: self.now, lambda: self.used)

    def work(self, seconds: float, share: float) -> None:
        """Work so long."""
        with self.courtesy.working():
            self.now += seconds
            self.used += seconds * share


def test_work_gives_way_until_nothing_is_left_for_it() -> None:
    """It is idle from its first step; who starves in a window is ordinary for the next ones."""
    worker = Worker()
    worker.work(0.5, 0.0)
    assert worker.changes == [True]
    worker.work(WINDOW_SECONDS, 0.5)
    assert worker.changes == [True]
    worker.now += 60.0  # A rest is no work.
    worker.work(WINDOW_SECONDS, 0.05)
    assert worker.changes == [True, False]
    worker.work(WINDOW_SECONDS / 2, 0.0)
    worker.work(WINDOW_SECONDS / 2, 0.1)
    assert worker.changes == [True, False]
    worker.work(WINDOW_SECONDS, 0.6)
    assert worker.changes == [True, False, True]


def test_a_thread_becomes_idle_and_ordinary_again() -> None:
    """The system takes both, where it lets an idle thread return; other threads stay alike."""
    if not may_return():
        pytest.skip("an idle thread could not become ordinary again here")
    seen: list[int] = []

    def change() -> None:
        for idle in (True, False):
            schedule(idle)
            seen.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=change)
    thread.start()
    thread.join()
    assert seen == [os.SCHED_IDLE, os.SCHED_OTHER]
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_no_thread_becomes_idle_that_could_not_return(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system lets a thread become idle and not ordinary again, none is to try."""
    asked = os.sched_setscheduler

    def refuse(pid: int, policy: int, parameter: os.sched_param) -> None:
        if policy != os.SCHED_IDLE:
            raise PermissionError
        asked(pid, policy, parameter)

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert not may_return()


def test_the_thread_that_folds_gives_way(daemon: DaemonProcess) -> None:
    """Of the projector's threads the one that brings the views on is idle, and no other."""
    daemon.wait_caught_up()
    threads = Path(f"/proc/{projector_of(daemon)}/task")
    idle = 1 if may_return() else 0

    def count() -> int:
        policies = [os.sched_getscheduler(int(each.name)) for each in threads.iterdir()]
        return policies.count(os.SCHED_IDLE)

    wait_until(lambda: count() == idle, "the thread gives way")
    # It has waited for work since its first step, and the others have never had any.
    position = post(daemon, "a")
    with daemon.client() as client:
        assert client.get("/api/jobs", params={"wait_for": position}).status_code == 200
    assert count() == idle
