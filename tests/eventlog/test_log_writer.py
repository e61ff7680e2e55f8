"""The writer: what shares a commit, who is answered when, what waits, and how it ends."""

from __future__ import annotations

import threading
from contextlib import suppress

import apsw
import pytest
from log_driving import drive, event, events, large, one, sql, submit

from daemon.eventlog import known as known_names
from daemon.eventlog.requests import Append, DeadLetter, Done, Follow, Work, WriterBounds
from domain.errors import NotReady, QueueFull, StorageFailed, VersionConflict


def commits(log) -> list[int]:
    """Return the list that the sizes of the log's commits go into."""
    sizes: list[int] = []
    log.writer.observe_groups(sizes.append)
    return sizes


def run_dry(log) -> None:
    """Let the writer step until nothing waits."""
    while log.writer.step(log.writer._clock()) == 0:
        pass


def test_what_waits_shares_one_commit(log) -> None:
    """Requests of many callers are one transaction; each gets its own receipts, in order."""
    sizes = commits(log)
    outcomes = drive(log, *([event(n, f"j{n}")] for n in range(1, 101)))
    assert sizes == [100]
    assert [o.receipts[0].position for o in outcomes] == list(range(1, 101))
    assert [o.receipts[0].id for o in outcomes] == [f"e{n}" for n in range(1, 101)]


def test_a_group_is_bounded_in_events_and_bytes(opened) -> None:
    """A commit takes no more than its bounds; a request over them has one of its own."""
    log = opened(bounds=WriterBounds(group_events=5, group_bytes=2000))
    sizes = commits(log)
    submit(log, *([events(n, 2)][0] for n in range(1, 7, 2)))
    run_dry(log)
    assert sizes == [4, 2]
    sizes.clear()
    submit(log, events(10, 7), [event(20)], *([event(n, data=b"x" * 900)] for n in range(30, 33)))
    run_dry(log)
    assert sizes == [7, 2, 1, 1]


def test_a_failing_request_fails_alone(log) -> None:
    """Neighbours of a conflict in the same commit are recorded as if it had not been there."""
    sizes = commits(log)
    outcomes = drive(
        log,
        [event(1)],
        [event(2, "new"), event(3, expected_version=9)],
        Append([event(4)], (), Follow("pipe", 0, 10)),
        [event(5, "new", expected_version=0)],
    )
    assert isinstance(outcomes[1], VersionConflict)
    assert [o.receipts[0].position for o in outcomes[:1] + outcomes[2:]] == [1, 2, 3]
    assert sizes == [3]
    assert log.verify() == []


def test_poison_that_nobody_foresaw_fails_alone(log) -> None:
    """A request that the database or Python cannot take fails; its neighbours do not."""
    poison = [
        [event(2)._replace(source="\ud800")],
        [event(3)._replace(class_version="one")],
        [event(4, time=2**70)],
        [event(5), event(6)._replace(data="text, not bytes")],
    ]
    outcomes = drive(log, [event(1)], *poison, [event(9)])
    assert all(isinstance(outcome, Exception) for outcome in outcomes[1:-1])
    assert [o.receipts[0].position for o in (outcomes[0], outcomes[-1])] == [1, 2]
    assert log.health.ok
    assert log.verify() == []


def test_work_that_fails_is_undone_alone(log) -> None:
    """What a function did before it raised is gone; its neighbours' events stay."""

    def fail(transaction) -> None:
        transaction.append(Append([event(2, "new")]))
        transaction.flush()
        transaction.append(Append([event(3)]))
        transaction.connection.execute("CREATE TABLE mine (x)")
        raise KeyError("mine")

    def count(transaction) -> int:
        return transaction.append(Append([event(4, "new")])).receipts[0].version

    first, failed, second, last = drive(log, [event(1)], Work(fail), Work(count), [event(5)])
    assert isinstance(failed, KeyError)
    assert second == Done(1)
    assert (first.receipts[0].position, last.receipts[0].position) == (1, 3)
    assert sql(log.path, "SELECT name FROM sqlite_schema WHERE name = 'mine'") == []
    assert log.verify() == []


def test_even_a_system_exit_in_work_does_not_end_the_writer(running) -> None:
    """The caller whose function raised it gets it; the next caller is served."""
    with pytest.raises(SystemExit):
        running.work(Work(lambda _: exec("raise SystemExit")))
    assert running.append([event(1)]).head == 1


def test_work_that_gives_up_the_transaction_is_found_out(log) -> None:
    """A function that rolls everything back and says nothing: nobody is told of success."""
    outcomes = drive(
        log, [event(1)], Work(lambda t: t.connection.execute("ROLLBACK") and None), [event(2)]
    )
    assert all(isinstance(outcome, Exception) for outcome in outcomes)
    assert sql(log.path, "SELECT count(*) FROM events") == [(0,)]
    assert one(log, [event(1)]).head == 1
    assert log.verify() == []


def test_nobody_is_answered_before_the_commit(log, path) -> None:
    """When a callback runs, a connection of another process would see its rows."""
    seen: list[int] = []

    def look(_) -> None:
        seen.append(sql(path, "SELECT count(*) FROM events")[0][0])

    for number in (1, 2):
        log.submit(Append([event(number)]), look)
    log.writer.step(0)
    assert seen == [2, 2]


def test_listeners_hear_of_each_commit_that_moved_the_head(log) -> None:
    """A commit of duplicates or of work alone wakes nobody; who left hears no more."""
    heard: list[int] = []
    leave = log.on_commit(heard.append)
    drive(log, [event(1)], [event(2)])
    drive(log, [event(1)])
    drive(log, Work(lambda _: None))
    leave()
    drive(log, [event(3)])
    assert heard == [2]


def test_the_end_of_a_group_follows_its_answers(log) -> None:
    """Who gathers answers is told once that the group is answered, also when it failed."""
    heard: list[object] = []
    log.on_group_end(lambda: heard.append("end"))
    requests = [[event(1)], [event(2, expected_version=7)], Work(lambda _: 1 / 0)]
    for request in requests:
        log.submit(request if isinstance(request, Work) else Append(request), heard.append)
    log.writer.step(0)
    assert len(heard) == 4
    assert heard.index("end") == 3
    log.submit(Append([event(1)]), heard.append)
    log.writer.step(0)
    assert (len(heard), heard[-1]) == (6, "end")


def test_a_callback_that_fails_stops_nobody(log, caplog) -> None:
    """An answer that raises is logged; the next caller and the listeners are called."""
    heard: list[int] = []
    log.on_commit(heard.append)
    outcomes: list[object] = []
    log.submit(Append([event(1)]), lambda _: 1 / 0)
    log.submit(Append([event(2)]), outcomes.append)
    log.writer.step(0)
    assert (len(outcomes), heard) == (1, [2])
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    "bounds", [WriterBounds(queue_events=10), WriterBounds(queue_bytes=10 * 300)]
)
def test_the_queue_is_bounded(opened, bounds) -> None:
    """At the bound a request is refused and nothing of it is taken; there is room after a step."""
    log = opened(bounds=bounds)
    outcomes = submit(log, events(1, 4), events(5, 5))
    with pytest.raises(QueueFull):
        submit(log, events(20, 3))
    assert log.writer.queued_events == 9
    run_dry(log)
    assert log.writer.queued_events == 0
    assert one(log, events(20, 3)).head == 12
    assert len(outcomes) == 2


def test_dead_letters_count_in_the_queue(opened) -> None:
    """What is kept of bad input is bounded like events are."""
    log = opened(bounds=WriterBounds(queue_bytes=10_000))
    submit(log, [event(1)])
    with pytest.raises(QueueFull):
        submit(log, Append([], [DeadLetter("f", b"x" * 10_000, "r", "d", "o")]))


def test_long_attributes_count_in_the_queue(opened) -> None:
    """An event weighs what it holds, wherever it holds it."""
    log = opened(bounds=WriterBounds(queue_bytes=10_000))
    submit(log, [event(1)])
    for heavy in (event(2, "j" * 10_000), event(2, extensions={"note": "x" * 10_000})):
        with pytest.raises(QueueFull):
            submit(log, [heavy])


def test_a_request_over_the_bound_is_taken_when_nothing_waits(opened) -> None:
    """The bound must not make a batch impossible that the limits of a request allow."""
    log = opened(bounds=WriterBounds(queue_events=10, group_events=10))
    assert one(log, events(1, 50)).head == 50


def test_work_waits_for_room_in_the_queue(opened) -> None:
    """A blocking caller of `work` is not refused: it is let in when the writer has taken a step."""
    log = opened(bounds=WriterBounds(queue_events=1))
    submit(log, [event(1)])
    done: list[object] = []
    thread = threading.Thread(target=lambda: done.append(log.work(Work(lambda _: "done"))))
    thread.start()
    log.start()
    thread.join(20)
    assert done == ["done"]


def test_work_does_not_wait_for_ever(opened) -> None:
    """Where no room comes, and where no commit comes, the caller hears of it."""
    log = opened(bounds=WriterBounds(queue_events=1))
    with pytest.raises(NotReady):
        log.append([event(1)], timeout_seconds=0.01)
    with pytest.raises(QueueFull):
        log.work(Work(lambda _: None), timeout_seconds=0.01)


def test_a_commit_of_another_process_is_noticed(log, opened) -> None:
    """Positions, versions, names and keys go on after rows that somebody else committed."""
    other = opened()
    one(log, [event(1), event(2, "j2")])
    one(other, [event(3), event(4, "j3", type="alert.raised")])
    outcome = one(log, [event(5), event(3), event(6, "j3", type="alert.raised")])
    assert [(r.position, r.version, r.duplicate) for r in outcome.receipts] == [
        (5, 3, False), (3, 2, True), (6, 2, False),
    ]  # fmt: skip
    assert log.verify() == []


def test_two_processes_that_make_the_log_at_once_make_one(tmp_path, opened) -> None:
    """Whoever comes second finds the log made, with its id, or is told that it is locked."""
    ready = threading.Barrier(4)
    ids: list[str] = []

    def make(place) -> None:
        ready.wait()
        with suppress(StorageFailed):
            ids.append(opened(place).log_id)

    for number in range(10):
        place = tmp_path / f"log-{number}.db"
        threads = [threading.Thread(target=make, args=(place,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(ids) == {opened(place).log_id}
        ids.clear()


def test_what_the_writer_remembers_is_bounded(opened, monkeypatch) -> None:
    """Names beyond the bound are forgotten and looked up again; nothing else changes."""
    monkeypatch.setattr(known_names, "NAMES_MAX", 10)
    log = opened()
    for first in range(0, 60, 6):
        one(log, [event(n, f"j{n}")._replace(source=f"/{n}") for n in range(first, first + 6)])
        known = log.writer._known
        assert len(known.streams) <= 10
        assert len(known.sources) <= 10
    versions = one(log, [event(100 + n, f"j{n}") for n in range(60)]).receipts
    assert {receipt.version for receipt in versions} == {2}
    assert sql(log.path, "SELECT count(*), max(stream_id) FROM streams") == [(60, 60)]
    assert log.verify() == []


def test_long_names_are_not_remembered(log) -> None:
    """They count as ever, within one commit and after it, and take no memory in between."""
    long = "x" * 2000
    for number in (1, 3):
        first = event(number, long)._replace(source=f"/{long}")
        second = event(number + 1, long)._replace(source=f"/{long}")
        receipts = one(log, [first, second, event(100 + number)]).receipts
        assert [receipt.version for receipt in receipts[:2]] == [number, number + 1]
        known = log.writer._known
        assert [name for _, name in known.streams] == ["job/j1"]
        assert list(known.sources) == ["/test"]
    assert [e.source for e in log.read_stream(f"job/{long}")] == [f"/{long}"] * 4
    assert list(log._reader._sources.values()) == []
    assert sql(log.path, "SELECT count(*) FROM sources") == [(2,)]
    assert log.verify() == []


def test_an_undone_request_leaves_no_names(log) -> None:
    """The numbers that a refused request gave to names go to the next one that is taken."""
    refused = [
        event(1, "never", type="file.observed")._replace(source="/never"),
        event(2, expected_version=5),
    ]
    drive(log, refused, [event(3, "kept", type="alert.raised")._replace(source="/kept")])
    assert sql(log.path, "SELECT stream_id, name FROM streams") == [(1, "alert/kept")]
    assert sql(log.path, "SELECT type_id, name FROM types") == [(1, "alert.raised")]
    assert sql(log.path, "SELECT source_id, name FROM sources") == [(1, "/kept")]


def test_the_write_ahead_log_is_moved_into_the_database_on_the_way(log, path) -> None:
    """Without readers it stays short, however much is written, and nobody has to close for that."""
    for number in range(600):
        one(log, [large(number, 60_000)])
    assert path.with_name("log.db-wal").stat().st_size < 18_000_000
    assert path.stat().st_size > 16_000_000


def test_the_write_ahead_log_is_emptied_at_its_cap(opened, path) -> None:
    """Over the cap a checkpoint empties it; while a reader holds it, commits go on."""
    log = opened(bounds=WriterBounds(wal_bytes=4_200_000))
    wal = path.with_name("log.db-wal")
    one(log, [event(0)])
    reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchall()
    try:
        for number in range(1, 600):
            one(log, [large(number, 20_000)])
        assert wal.stat().st_size > 10_000_000
    finally:
        reader.close()
    while wal.stat().st_size:
        number += 1
        assert number < 4000, "the write-ahead log was never emptied"
        one(log, [large(number, 20_000)])
    assert log.verify() == []


def test_closing_answers_everybody_and_leaves_one_file(opened, path) -> None:
    """What waits is committed, the checkpoint is done, and later callers are refused."""
    log = opened()
    outcomes = submit(log, *([event(n)] for n in range(20)))
    log.close()
    log.close()
    assert [o.head for o in outcomes] == list(range(1, 21))
    assert sorted(p.name for p in path.parent.iterdir()) == ["log.db"]
    with pytest.raises(NotReady):
        submit(log, [event(99)])


def test_closing_lets_go_whoever_waits_for_room(opened) -> None:
    """A caller that waits for room in the queue of a closing log is refused, not forgotten."""
    log = opened(bounds=WriterBounds(queue_events=1))
    submit(log, [event(1)])
    errors: list[Exception] = []
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        try:
            log.work(Work(lambda _: None))
        except NotReady as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait(20)
    log.close()
    thread.join(20)
    assert len(errors) == 1


def test_a_log_in_memory_does_all_the_same(opened) -> None:
    """Append, repeat, conflict, read, verify, with a writer and readers on threads."""
    log = opened(":memory:")
    log.start()
    threads = [
        threading.Thread(target=lambda t=t: [log.append([event(t * 100 + n)]) for n in range(20)])
        for t in range(8)
    ]
    for thread in threads:
        thread.start()
    for _ in range(50):
        positions = [e.position for e in log.read(0, 200)]
        assert positions == list(range(1, len(positions) + 1))
    for thread in threads:
        thread.join()
    assert log.append([event(100)]).receipts[0].duplicate
    with pytest.raises(VersionConflict):
        log.append([event(999, expected_version=1)])
    assert log.head() == 160
    assert log.verify() == []
    assert opened(":memory:").head() == 0


def test_ping_goes_through_the_writer(running) -> None:
    """The answer says that the writer is alive."""
    answered = threading.Event()
    running.ping(answered.set)
    assert answered.wait(20)
