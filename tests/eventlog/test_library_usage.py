"""Ordinary applications of the `eventsourcing` library on the event log, alone and together."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import pytest
from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import (
    InfrastructureFactory,
    IntegrityError,
    OperationalError,
    StoredEvent,
    Tracking,
)
from eventsourcing.projection import Projection, ProjectionRunner
from waiting import wait_until

from daemon.eventlog.log import LOGS, EventLog
from daemon.eventlog.recorder import (
    ApswApplicationRecorder,
    ApswDatastore,
    ApswSnapshotRecorder,
    ApswTrackingRecorder,
)
from daemon.eventlog.requests import Work
from domain.events import NewEvent


class Sample(Aggregate):
    """A sample on its way through a laboratory."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps: list[str] = []

    @staticmethod
    def create_id(name: str) -> UUID:
        """Return the id of the sample with a name."""
        return uuid5(NAMESPACE_URL, f"/samples/{name}")

    @event("StepTaken")
    def take(self, step: str) -> None:
        """Take one step."""
        self.steps.append(step)


class Laboratory(Application[UUID]):
    """Takes samples through their steps; a snapshot every three versions."""

    snapshotting_intervals = {Sample: 3}  # noqa: RUF012  the library's way

    def receive(self, name: str) -> None:
        """Receive a new sample."""
        self.save(Sample(name))

    def take(self, name: str, step: str) -> int:
        """Take one step and return the notification of it."""
        sample: Sample = self.repository.get(Sample.create_id(name))
        sample.take(step)
        return self.save(sample)[-1].notification.id

    def steps(self, name: str) -> list[str]:
        """Return the steps taken."""
        sample: Sample = self.repository.get(Sample.create_id(name))
        return sample.steps


class Archive(Application[UUID]):
    """Another application."""


class StepCounts(ApswTrackingRecorder):
    """How often each step was taken."""

    tables = "CREATE TABLE IF NOT EXISTS step_counts (step TEXT PRIMARY KEY, count INTEGER) STRICT"

    def count_step(self, step: str, tracking: Tracking) -> None:
        """Count a step."""
        sql = (
            "INSERT INTO step_counts VALUES (?, 1)"
            " ON CONFLICT (step) DO UPDATE SET count = count + 1"
        )
        self.track(tracking, lambda db: db.execute(sql, (step,)))

    def counts(self) -> dict[str, int]:
        """Return the counts."""
        with self.reading() as db:
            return dict(db.execute("SELECT step, count FROM step_counts"))


class StepCounting(Projection[StepCounts]):
    """Counts the steps of all samples."""

    name = "stepcounting"

    @singledispatchmethod
    def process_event(self, _: Aggregate.Event, tracking: Tracking) -> None:
        """Pass over what is no step."""
        self.view.insert_tracking(tracking)

    @process_event.register
    def _(self, taken: Sample.StepTaken, tracking: Tracking) -> None:
        self.view.count_step(taken.step, tracking)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return the environment of applications on one log."""
    return {"PERSISTENCE_MODULE": "daemon.eventlog", "APSW_DBNAME": str(tmp_path / "log.db")}


@pytest.fixture
def datastore(tmp_path: Path) -> Iterator[Callable[..., ApswDatastore]]:
    """Return a maker of datastores on one log; all are closed after."""
    made: list[ApswDatastore] = []

    def make(application: str = "", originator_id_type: str = "text") -> ApswDatastore:
        store = ApswDatastore(
            str(tmp_path / "log.db"),
            application=application,
            originator_id_type=originator_id_type,
        )
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


def stored(originator_id: str, version: int, topic: str = "topic") -> StoredEvent:
    """Return an event of a library application."""
    return StoredEvent(originator_id, version, topic, b"state")


def test_an_application_goes_on_where_it_was(environment) -> None:
    """Aggregates come back after a restart, from their snapshots, and versions go on."""
    with Laboratory(env=environment) as laboratory:
        laboratory.receive("s1")
        for step in "abcde":
            laboratory.take("s1", step)
    with Laboratory(env=environment) as laboratory:
        assert laboratory.steps("s1") == list("abcde")
        assert laboratory.snapshots is not None
        kept = list(laboratory.snapshots.get(Sample.create_id("s1")))
        assert [snapshot.originator_version for snapshot in kept] == [3, 6]
        assert laboratory.take("s1", "f") == 7
    log = EventLog.open(environment["APSW_DBNAME"])
    try:
        assert log.verify() == []
    finally:
        log.close()


def test_a_projection_counts_each_event_once(environment) -> None:
    """A `ProjectionRunner` follows by subscription and goes on after a restart where it was."""
    with Laboratory(env=environment) as laboratory:
        laboratory.receive("s1")
        laboratory.take("s1", "wash")
    for expected in ({"wash": 2}, {"wash": 3}):
        with ProjectionRunner(
            application_class=Laboratory,
            projection_class=StepCounting,
            view_class=StepCounts,
            env=environment,
        ) as runner:
            runner.wait(runner.app.take("s1", "wash"), timeout=20)
            assert runner.projection.view.counts() == expected


def test_a_tracked_change_is_made_whole_or_not_at_all(datastore) -> None:
    """What fails after the tracking undoes it; what was processed before changes nothing."""
    view = StepCounts(datastore("view"))
    view.create_table()

    def fail(db) -> None:
        db.execute("INSERT INTO step_counts VALUES ('wash', 9)")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        view.track(Tracking("up", 1), fail)
    assert (view.counts(), view.max_tracking_id("up")) == ({}, None)
    view.count_step("wash", Tracking("up", 1))
    with pytest.raises(IntegrityError):
        view.count_step("wash", Tracking("up", 1))
    assert (view.counts(), view.max_tracking_id("up")) == ({"wash": 1}, 1)


def test_a_view_without_its_table_says_so(datastore) -> None:
    """SQLite's errors come out as the library's, from writing and from reading."""
    view = StepCounts(datastore("view"))
    with pytest.raises(OperationalError, match="no such table"):
        view.count_step("wash", Tracking("up", 1))
    with pytest.raises(OperationalError, match="no such table"):
        view.counts()


def test_applications_on_one_log_see_their_own_events_only(environment) -> None:
    """Two applications share the positions of one log; ids, topics and snapshots are apart."""
    with Laboratory(env=environment) as laboratory, Archive(env=environment) as archive:
        shared_id = Sample.create_id("s1")
        laboratory.receive("s1")
        boxed = Sample("s1")
        archive.save(boxed)
        laboratory.take("s1", "wash")
        assert [n.id for n in laboratory.recorder.select_notifications(None, 10)] == [1, 3]
        assert [n.id for n in archive.recorder.select_notifications(None, 10)] == [2]
        assert laboratory.recorder.max_notification_id() == 3
        assert archive.recorder.max_notification_id() == 2
        assert archive.repository.get(shared_id).steps == []
        assert laboratory.factory.datastore.log is archive.factory.datastore.log


def test_topics_are_looked_for_in_the_application(datastore) -> None:
    """A topic that two applications use is found in each; one that only others use in none."""
    first = ApswApplicationRecorder(datastore("first"))
    second = ApswApplicationRecorder(datastore("second"))
    first.insert_events([stored("a", 1, "both"), stored("a", 2, "one")])
    second.insert_events([stored("a", 1, "both")])
    assert [n.id for n in first.select_notifications(None, 9, topics=["both"])] == [1]
    assert [n.id for n in second.select_notifications(None, 9, topics=["both"])] == [3]
    assert second.select_notifications(None, 9, topics=["one"]) == []


def test_an_application_without_events_beside_others(datastore) -> None:
    """It has no notifications and no newest one, however many the others have."""
    ApswApplicationRecorder(datastore("busy")).insert_events([stored("a", n) for n in range(9)])
    idle = ApswApplicationRecorder(datastore("idle"))
    assert idle.select_notifications(None, 10) == []
    assert idle.max_notification_id() is None


def test_snapshots_are_kept_by_application_and_purpose(datastore) -> None:
    """The same originator and version may be there once for each application and purpose."""
    places = [("one", "snapshots"), ("one", "drafts"), ("two", "snapshots")]
    for application, purpose in places:
        ApswSnapshotRecorder(datastore(application), purpose).insert_events([stored("a", 1)])
    again = ApswSnapshotRecorder(datastore("one"), "snapshots")
    with pytest.raises(IntegrityError):
        again.insert_events([stored("a", 2), stored("a", 1)])
    assert [event.originator_version for event in again.select_events("a")] == [1]


def test_the_daemons_own_events_are_notifications(datastore) -> None:
    """A recorder without a name reads the daemon's events; what it adds the daemon passes over."""
    store = datastore()
    recorder = ApswApplicationRecorder(store)
    store.log.append([NewEvent("job.submitted", "j1", "/t", "1", b'{"kind":"k"}')])
    recorder.insert_events([StoredEvent("job/j1", 7, "own", b"\xff no JSON")])
    store.log.append([NewEvent("job.queued", "j1", "/t", "2", b"{}")])
    seen = recorder.select_notifications(None, 10)
    assert [(n.originator_id, n.originator_version, n.topic) for n in seen] == [
        ("job/j1", 1, "job.submitted"),
        ("job/j1", 7, "own"),
        ("job/j1", 8, "job.queued"),
    ]
    assert [e.id for e in store.log.read(0, 10)] == ["1", "2"]
    assert [e.id for e in store.log.read_stream("job/j1")] == ["1", "2"]


def test_a_subscription_passes_over_the_events_of_others(datastore) -> None:
    """It yields its own events in order, and does not look through the others' twice."""
    busy = ApswApplicationRecorder(datastore("busy"))
    quiet = ApswApplicationRecorder(datastore("quiet"))
    with quiet.subscribe(gt=None) as subscription:
        busy.insert_events([stored("a", n) for n in range(2000)])
        wait_until(
            lambda: subscription._last_notification_id == 2000, "the subscription is at the head"
        )
        quiet.insert_events([stored("b", 1)])
        assert next(subscription).id == 2001


def test_what_is_committed_before_a_subscription_listens_is_not_missed(
    datastore, monkeypatch
) -> None:
    """An event between the first look and the listening comes without a further one to wake."""
    recorder = ApswApplicationRecorder(datastore("app"))
    log, looked = recorder.datastore.log, threading.Event()
    select, listen = recorder.select_notifications, log.on_commit

    def select_and_tell(*args, **options):
        found = select(*args, **options)
        looked.set()
        return found

    def listen_late(callback):
        assert looked.wait(20)
        recorder.insert_events([stored("a", 1)])
        return listen(callback)

    monkeypatch.setattr(recorder, "select_notifications", select_and_tell)
    monkeypatch.setattr(log, "on_commit", listen_late)
    with recorder.subscribe() as subscription:
        assert next(subscription).id == 1


def test_every_event_comes_once_whenever_a_subscription_starts(datastore) -> None:
    """Every event comes once, in order, while eight threads record and subscriptions begin."""
    recorder = ApswApplicationRecorder(datastore("busy"))
    threads = [
        threading.Thread(
            target=lambda t=t: [recorder.insert_events([stored(f"s{t}", n)]) for n in range(50)]
        )
        for t in range(8)
    ]
    for thread in threads:
        thread.start()
    for _ in range(5):
        with recorder.subscribe(gt=0) as subscription:
            assert [next(subscription).id for _ in range(400)] == list(range(1, 401))
    for thread in threads:
        thread.join()


def test_closing_ends_a_waiting_subscription(datastore) -> None:
    """Who waits for the next event of a log that closes gets an error, not silence."""
    store = datastore("app")
    subscription = ApswApplicationRecorder(store).subscribe()
    errors: list[Exception] = []

    def wait() -> None:
        try:
            next(subscription)
        except OperationalError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    store.close()
    thread.join(20)
    assert len(errors) == 1
    subscription.stop()


def test_closing_while_others_read_and_write(datastore) -> None:
    """Threads at work when the log closes get the library's error, and the close ends."""
    store = datastore("app")
    recorder = ApswApplicationRecorder(store)
    recorder.insert_events([stored("a", n) for n in range(1000)])
    started = threading.Barrier(9)
    unexpected: list[BaseException] = []

    def work(number: int) -> None:
        started.wait()
        try:
            for version in range(10**9):
                if number % 2:
                    recorder.select_notifications(None, 1000)
                else:
                    recorder.insert_events([stored(f"s{number}", version)])
        except OperationalError:
            pass
        except BaseException as error:  # noqa: BLE001  the test wants to know of any other
            unexpected.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    started.wait()
    store.close()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert unexpected == []
    with pytest.raises(OperationalError, match="closed"):
        recorder.select_events("a")
    with pytest.raises(OperationalError, match="closing"):
        recorder.insert_events([stored("z", 1)])


def test_a_log_is_open_until_its_last_user_leaves(datastore, tmp_path: Path) -> None:
    """Users of one file, by whatever path, share one log; closing twice counts once."""
    first, second = datastore("one"), datastore("two")
    (tmp_path / "link").symlink_to(tmp_path)
    third = ApswDatastore(str(tmp_path / "link" / "log.db"))
    assert first.log is second.log is third.log
    first.close()
    first.close()
    third.close()
    ApswApplicationRecorder(second).insert_events([stored("a", 1)])
    second.close()
    with pytest.raises(OperationalError):
        ApswApplicationRecorder(second).insert_events([stored("a", 2)])


def test_logs_in_memory_are_apart() -> None:
    """Each ``:memory:`` is a log of its own."""
    first, second = ApswDatastore(":memory:"), ApswDatastore(":memory:")
    assert first.log is not second.log
    first.close()
    ApswApplicationRecorder(second).insert_events([StoredEvent(uuid4(), 1, "t", b"s")])
    second.close()


def test_what_nobody_closed_the_garbage_collector_closes(tmp_path: Path) -> None:
    """A dropped factory leaves its log, so that the file is whole when the process goes on."""
    path = str(tmp_path / "log.db")
    factory = InfrastructureFactory.construct(
        {"PERSISTENCE_MODULE": "daemon.eventlog", "APSW_DBNAME": path}
    )
    factory.application_recorder().insert_events([StoredEvent(uuid4(), 1, "t", b"s")])
    assert Path(f"{path}-wal").exists()
    del factory
    gc.collect()
    assert not Path(f"{path}-wal").exists()


def test_the_garbage_collector_may_close_on_the_writers_thread(tmp_path: Path) -> None:
    """A log whose last user is dropped on its own writer's thread closes all the same."""
    path = str(tmp_path / "log.db")
    log = LOGS.acquire(path)
    log.writer.submit(_dropping(log), lambda _: None)
    del log
    wait_until(lambda: not Path(f"{path}-wal").exists(), "the log is closed")


def _dropping(log: EventLog):
    """Return work that leaves the log from within its writer."""
    return Work(lambda _: LOGS.release(log))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "APSW_DBNAME"),
        ({"APSW_DBNAME": ":memory:", "ORIGINATOR_ID_TYPE": "int"}, "'int'"),
    ],
)
def test_a_wrong_environment_is_named(variables: dict[str, str], message: str) -> None:
    """A missing path or an unknown kind of id is an error that names the variable."""
    with pytest.raises(OSError, match=message):
        InfrastructureFactory.construct({"PERSISTENCE_MODULE": "daemon.eventlog", **variables})


def test_a_recorder_topic_of_another_kind_is_refused() -> None:
    """An application recorder that is none is an error that names the variable."""
    factory = InfrastructureFactory.construct(
        {
            "PERSISTENCE_MODULE": "daemon.eventlog",
            "APSW_DBNAME": ":memory:",
            "APPLICATION_RECORDER_TOPIC": "daemon.eventlog.recorder:ApswTrackingRecorder",
        }
    )
    with pytest.raises(TypeError, match="APPLICATION_RECORDER_TOPIC"):
        factory.application_recorder()
    factory.close()


def test_a_file_that_is_no_log_is_the_librarys_error(tmp_path: Path) -> None:
    """The library's callers get a database error, with ours as its cause."""
    (tmp_path / "log.db").write_bytes(b"not a database" * 100)
    with pytest.raises(OperationalError.__base__):
        ApswDatastore(str(tmp_path / "log.db"))
