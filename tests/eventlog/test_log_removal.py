"""Removing events: what goes, what stays, what is proved, and what a repeat is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw
import hypothesis.strategies as st
import orjson
import pytest
from epoch_log import resume
from hypothesis import HealthCheck, given, settings
from log_driving import Clock, event, events, one, sql

from daemon.eventlog.log import EventLog
from daemon.eventlog.proof import prove_log
from daemon.eventlog.removal import (
    Removed,
    ask_again,
    mark,
    removable_streams,
    remove_some,
    settle,
    take_over,
    trim,
)
from daemon.eventlog.requests import Work
from daemon.eventlog.transaction import Transaction
from daemon.eventlog.truncation import Bound, Truncation
from domain.epochs import removals_stream
from domain.errors import VersionConflict
from domain.events import NewEvent, Receipt

FEW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
END = 2**62


def marker(kind: str, subject: str, version: int, number: int = 0, **more: Any) -> NewEvent:
    """Return the marker of a stream that is at a version."""
    data = orjson.dumps({"replaces": version} | more)
    return NewEvent(
        kind, subject, "/test", f"m{kind}{subject}{number}", data, expected_version=version
    )


def marked(log: EventLog, event: NewEvent, *, outside: bool = False) -> Receipt:
    """Append a marker."""
    receipt: Receipt = one(log, Work(lambda t: mark(t, event, outside=outside))).value
    return receipt


def removed(log: EventLog, *, before: int = END, rows_max: int = 1000) -> Removed:
    """Remove what may be removed in one transaction."""

    def run(transaction: Transaction) -> Removed:
        streams = removable_streams(transaction.connection, before)
        return remove_some(
            transaction, log.log_id, before=before, rows_max=rows_max, streams=streams
        )

    result: Removed = one(log, Work(run)).value
    return result


def kept(path: Path) -> list[int]:
    """Return the positions that the file has."""
    return [row[0] for row in sql(path, "SELECT position FROM events ORDER BY position")]


def runs(path: Path) -> list[tuple[int, int]]:
    """Return the runs of removed positions."""
    return sql(path, "SELECT first, last FROM removed_runs ORDER BY first")


def test_a_purge_leaves_its_marker_and_the_chain_holds(log: EventLog, path: Path) -> None:
    """The rows before it are gone, positions and versions go on, and verify finds nothing."""
    one(log, events(1, 3))
    one(log, events(4, 2, "j2"))
    one(log, events(6, 2))
    receipt = marked(log, marker("job.purged", "j1", 5))
    assert (receipt.position, receipt.version) == (8, 6)
    assert log.verify() == []
    assert removed(log)[:2] == (5, sum(len(b'{"number":%d}' % n) for n in (1, 2, 3, 6, 7)))
    assert kept(path) == [4, 5, 8, 9]
    assert runs(path) == [(1, 3), (6, 7)]
    (told,) = log.read_stream(removals_stream(log.log_id))
    assert [(run["from"], run["to"]) for run in told.payload["runs"]] == [(1, 3), (6, 7)]
    assert told.payload["counts"]["events"] == 5
    assert log.verify() == []
    assert prove_log(path, quick=True).findings == []
    assert removed(log) == Removed()
    (after,) = one(log, [event(20)]).receipts
    assert (after.position, after.version) == (10, 7)
    assert [each.version for each in log.read_stream("job/j1")] == [6, 7]


def test_a_stream_that_moved_on_is_left_alone(log: EventLog, path: Path) -> None:
    """A marker for an older version is refused, and nothing is asked for."""
    one(log, events(1, 3))
    with pytest.raises(VersionConflict):
        marked(log, marker("job.purged", "j1", 2))
    assert log.pending_removals(outside=False) == []
    assert removed(log) == Removed()
    assert kept(path) == [1, 2, 3]


def test_what_is_kept_elsewhere_goes_first(log: EventLog, path: Path) -> None:
    """Rows stay until it is settled; the removal is told meanwhile."""
    one(log, events(1, 2))
    marked(log, marker("job.archived", "j1", 2), outside=True)
    assert removed(log) == Removed()
    (waiting,) = log.pending_removals(outside=True)
    assert waiting == ("job/j1", 2, True)
    one(log, Work(lambda transaction: settle(transaction, "job/j1", 2)))
    assert removed(log).events == 2
    assert kept(path) == [3, 4]


def test_who_sends_a_removed_event_again_hears_that_it_was_there(
    opened: Callable[..., EventLog], clock: Clock
) -> None:
    """Of an archived stream each event is known; of a purged one what is older than the purge."""
    log = opened()
    one(log, [event(1, time=5), event(2, time=6), event(3, "j2", time=7), event(4, "j2")])
    marked(log, marker("job.archived", "j1", 2))
    marked(log, marker("job.purged", "j2", 2))
    removed(log)
    for again in (log, opened()):
        late = event(9, "j1", time=6)
        receipts = one(again, [event(1, time=5), event(3, "j2", time=7), event(8, "j2", time=7)])
        assert [tuple(each)[1:] for each in receipts.receipts] == [
            (1, "job/j1", 1, True, False),
            (6, "job/j2", 3, True, False),
            (6, "job/j2", 3, True, False),
        ]
    (new,) = one(log, [late]).receipts
    assert not new.duplicate  # nobody ever recorded it, so it is not lost
    clock.now += 10
    (newer,) = one(log, [event(10, "j2", time=clock.now)]).receipts
    assert not newer.duplicate
    assert log.verify() == []


def test_an_archive_that_overtakes_a_purge_keeps_no_key_of_what_was_purged(
    log: EventLog, path: Path
) -> None:
    """Both were removed at once, and all of it was kept as that of an archived stream."""
    one(log, events(1, 2))
    marked(log, marker("job.purged", "j1", 2))
    one(log, events(4, 2))
    marked(log, marker("job.archived", "j1", 5))
    removed(log)
    assert sql(path, "SELECT version FROM removed_keys ORDER BY version") == [(4,), (5,)]
    receipts = one(log, [event(1, time=5), event(4)]).receipts
    assert [(each.version, each.duplicate) for each in receipts] == [(3, True), (4, True)]


@pytest.mark.parametrize("begun", [False, True])
def test_while_an_archive_overtakes_a_purge_nothing_that_was_purged_comes_again(
    log: EventLog, begun: bool
) -> None:
    """When a part of the rows was gone, a purged event that was sent again was a new one.

    The purge stood neither at the end of what was removed nor of what was to be.
    """
    one(log, [event(number, time=number) for number in range(1, 9)])
    purge = marked(log, marker("job.purged", "j1", 8))
    if begun:
        removed(log, rows_max=2)
    one(log, [event(20)])
    marked(log, marker("job.archived", "j1", 10))
    removed(log, rows_max=3)
    receipts = one(log, [event(1, time=1), event(8, time=8)]).receipts
    assert [each.duplicate for each in receipts] == [True, True]
    assert receipts[0].position == purge.position
    removed(log)
    assert one(log, [event(8, time=8)]).receipts[0].position == purge.position


def test_what_came_behind_a_purge_is_its_own_repeat_also_where_it_is_older(log: EventLog) -> None:
    """Sent again when the rows before the purge were gone, it got the receipt of the purge."""
    one(log, events(1, 2))
    marked(log, marker("job.purged", "j1", 2))
    (own,) = one(log, [event(9, time=5)]).receipts
    removed(log)
    (again,) = one(log, [event(9, time=5)]).receipts
    assert (again.position, again.version, again.duplicate) == (own.position, 4, True)


def test_an_untold_run_is_a_finding(log: EventLog, path: Path) -> None:
    """Rows that are removed by hand, with a run made up for them, do not pass."""
    one(log, events(1, 5))
    digest = sql(path, "SELECT digest FROM events WHERE position = 3")[0][0]
    sql(path, "DELETE FROM events WHERE position BETWEEN 2 AND 3")
    assert {finding.kind for finding in prove_log(path).findings} == {"gap", "version"}
    sql(path, "INSERT INTO removed_runs VALUES (2, 3, ?)", (digest,))
    sql(path, "UPDATE streams SET floor = 3")
    assert {finding.kind for finding in prove_log(path).findings} == {"removed"}
    sql(path, "UPDATE removed_runs SET digest = zeroblob(32)")
    assert {finding.kind for finding in prove_log(path).findings} == {"removed", "chain"}


def test_a_log_that_was_brought_back_removes_again(
    opened: Callable[..., EventLog], path: Path
) -> None:
    """Markers say what was removed, so that an older copy with them comes to the same."""
    log = opened()
    one(log, events(1, 3))
    marked(log, marker("job.purged", "j1", 3))
    log.close()
    with apsw.Connection(str(path)) as db:
        db.execute("DELETE FROM removals")
        assert ask_again(db, 0) == 1
    again = opened()
    assert removed(again).events == 3
    assert kept(path) == [4, 5]


def test_a_schema_1_log_is_read_as_it_is_and_migrated_when_written(
    opened: Callable[..., EventLog], path: Path
) -> None:
    """Reading at rest changes nothing; opening to write adds the tables that a fresh log has."""
    log = opened()
    one(log, events(1, 3))
    log.close()
    for table in ("removed_runs", "removals", "removed_keys"):
        sql(path, f"DROP TABLE {table}")
    sql(path, "PRAGMA user_version = 1")
    proof = prove_log(path)
    assert (proof.findings, proof.events) == ([], 3)
    again = opened()
    assert sql(path, "PRAGMA user_version") == [(2,)]
    assert again.verify() == []
    with TemporaryDirectory() as other:
        EventLog.open(Path(other) / "log.db").close()
        tables = "SELECT name, sql FROM sqlite_schema ORDER BY name"
        assert sql(path, tables) == sql(Path(other) / "log.db", tables)


def test_the_runs_are_told_anew_when_most_of_what_was_told_is_old(
    running: EventLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What tells of removals does not grow with the log, and everything stays proved."""
    monkeypatch.setattr("daemon.eventlog.truncation.TOLD_MIN", 20)
    truncation = Truncation(running, lambda: Bound(END))
    for number in range(12):
        for part in range(10):
            running.append([event(100 * number + part, f"j{number}-{part}") for _ in range(1)])
        for part in range(0, 10, 2):
            subject = f"j{number}-{part}"
            purge = marker("job.purged", subject, 1)
            running.work(Work(lambda t, purge=purge: mark(t, purge)))
            truncation.run_dry()
    told = running.read_stream(removals_stream(running.log_id))
    assert sum(len(each.payload["runs"]) for each in told) <= 20 + 2 * len(runs(path))
    assert truncation.board.events >= 60
    assert running.verify() == []


def test_the_runs_are_told_anew_once_however_long_that_waits(
    running: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While what told them before may not go yet, nothing more is told, a part a step."""
    monkeypatch.setattr("daemon.eventlog.truncation.TOLD_MIN", 20)
    monkeypatch.setattr("daemon.eventlog.truncation.RUNS_AT_ONCE", 10)
    bound = Bound(END)
    truncation = Truncation(running, lambda: bound)
    for number in range(60):
        running.append([event(number, f"j{number}"), event(number, f"k{number}")])
    for number in range(60):
        purge = marker("job.purged", f"j{number}", 1)
        running.work(Work(lambda t, purge=purge: mark(t, purge)))
    monkeypatch.setattr("daemon.eventlog.truncation.TOLD_SHARE", 0)
    while running.pending_removals(outside=False):
        truncation.step(0)
    bound = Bound(0, "a projection stands still")
    for _ in range(40):
        truncation.step(0)
    told = running.read_stream(removals_stream(running.log_id))
    again = [each for each in told if each.payload["reason"] == "told again"]
    assert [len(each.payload["runs"]) for each in again] == [10] * 6
    assert truncation.board.waits_for == "a projection stands still"
    assert running.verify() == []
    bound = Bound(END)
    monkeypatch.setattr("daemon.eventlog.truncation.TOLD_SHARE", 2)
    truncation.run_dry()
    assert running.verify() == []


def test_a_reader_in_the_way_of_emptying_costs_intake_little(
    log: EventLog, clock: Clock, path: Path
) -> None:
    """The write-ahead log is tried once a second, not with every commit, until it is empty."""
    one(log, events(1, 3))
    tries: list[int] = []
    checkpoint = log.writer._checkpoint

    def counted(mode: int, wait_ms: int = 0) -> bool:
        tries.append(clock.now)
        return checkpoint(mode, wait_ms)

    log.writer._checkpoint = counted  # type: ignore[method-assign]
    wal = path.with_name("log.db-wal")
    with log.reading().snapshot() as reader:
        assert reader.execute("SELECT count(*) FROM events").get == 3
        log.empty_wal()
        for number in range(4, 9):
            one(log, [event(number)])
        assert len(tries) == 1
        clock.now += 1_000_000
        one(log, [event(9)])
        assert len(tries) == 2
        assert wal.stat().st_size > 0
    clock.now += 1_000_000
    log.writer.step(clock.now)
    assert wal.stat().st_size == 0
    assert log.verify() == []


def test_room_is_given_back_and_no_byte_stays(running: EventLog, path: Path) -> None:
    """After a purge the file is smaller, and neither it nor its write-ahead log has the payload."""
    secret = b"d1b2-secret-9f"
    for number in range(300):
        data = b'{"message":"%s%s"}' % (secret, b"x" * 8000)
        running.append([event(number, f"j{number}", data=data)])
    before = sql(path, "PRAGMA page_count")[0][0]
    for number in range(300):
        purge = marker("job.purged", f"j{number}", 1)
        running.work(Work(lambda t, purge=purge: mark(t, purge)))
    truncation = Truncation(running, lambda: Bound(END))
    truncation.run_dry()
    running.work(Work(lambda _: None))
    assert truncation.board.pages > before / 2
    assert sql(path, "PRAGMA page_count")[0][0] < before / 2
    running.close()
    for file in path.parent.iterdir():
        assert secret not in file.read_bytes(), file


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 3), st.integers(1, 4)),
        st.tuples(st.just("archive"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("purge"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("forget"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("remove"), st.integers(1, 4), st.integers(0, 30)),
        st.tuples(st.just("reopen"), st.just(0), st.just(0)),
        st.tuples(st.just("epoch"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@FEW
@given(ACTIONS)
def test_whatever_is_removed_the_rest_is_proved(actions: list[tuple[str, int, int]]) -> None:
    """Just what markers stand for goes, runs are as long as can be, digests stay what they were."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "log.db"
        log = EventLog.open(path, clock=Clock())
        gone: set[int] = set()
        number = 0
        for action, one_, other in actions:
            subject = f"j{one_}"
            stream = f"job/{subject}"
            version = one(log, Work(lambda t, s=stream: t.version_of(s))).value
            if action == "append":
                one(log, events(number, other, subject))
                number += other
            elif action in ("archive", "purge") and version:
                kind = "job.archived" if action == "archive" else "job.purged"
                if stream not in {each.stream for each in log.pending_removals(outside=False)}:
                    marked(log, marker(kind, subject, version, number))
                    number += 1
                    gone |= _replaced(path, stream, version)
            elif action == "forget" and version:
                forgotten = _tombstone(path, stream)
                before = _replaced(path, stream, forgotten, tombstones=True)
                going = [(stream, forgotten)] if forgotten else []
                own = log.log_id
                one(log, Work(lambda t, own=own, g=going: take_over(t, own, [], g)))
                gone |= before
            elif action == "remove":
                removed(log, rows_max=one_, before=log.head() - other + 1)
            elif action in ("reopen", "epoch"):
                log.close()
                if action == "epoch":
                    resume(path, gap=3)
                log = EventLog.open(path, clock=Clock())
            assert log.verify() == []
            assert prove_log(path, quick=True).findings == []
        while removed(log, rows_max=3).events:
            assert log.verify() == []
        lost = {
            position
            for each in log.lost_stretches()
            for position in range(each.complete_to + 1, each.resumed)
        }
        there = set(kept(path))
        in_runs = {p for first, last in runs(path) for p in range(first, last + 1)}
        assert in_runs == gone
        assert there | in_runs | lost == set(range(1, log.head() + 1))
        assert not there & in_runs
        assert all(last + 1 not in in_runs for _, last in runs(path))
        log.close()


_EVENTS = "FROM events JOIN streams USING (stream_id) JOIN types USING (type_id)"


def _replaced(path: Path, stream: str, version: int, *, tombstones: bool = False) -> set[int]:
    """Return the positions that a marker behind a version stands for."""
    found = sql(
        path,
        f"SELECT position {_EVENTS} WHERE streams.name = ? AND version <= ? "
        "AND (types.name <> 'job.purged' OR ?)",
        (stream, version, tombstones),
    )
    return {row[0] for row in found}


def _tombstone(path: Path, stream: str) -> int:
    """Return the version of the newest tombstone of a stream, 0 where there is none."""
    newest = f"SELECT max(version) {_EVENTS} WHERE streams.name = ? AND types.name = 'job.purged'"
    return sql(path, newest, (stream,))[0][0] or 0


def test_a_purge_can_be_forgotten_and_then_the_stream_is_a_new_one(
    opened: Callable[..., EventLog], path: Path
) -> None:
    """The tombstone goes, and with it the stream; who sends to it begins at version 1."""
    log = opened()
    one(log, [event(1, time=5), event(2, "j2")])
    marked(log, marker("job.purged", "j1", 1))
    removed(log)
    done = one(log, Work(lambda t: take_over(t, log.log_id, [], [("job/j1", 2)]))).value
    assert done.events == 1
    assert sql(path, "SELECT count(*) FROM streams WHERE name = 'job/j1'") == [(0,)]
    (again,) = one(log, [event(1, time=5)]).receipts
    assert (again.version, again.duplicate) == (1, False)
    assert log.verify() == []
    assert opened().verify() == []


def test_what_tombstones_say_can_be_taken_over_by_one_event(log: EventLog, path: Path) -> None:
    """They are gone in the transaction of that event, and so is what took over before."""
    for number, subject in enumerate(("j1", "j2", "j3")):
        one(log, [event(number, subject)])
        marked(log, marker("job.purged", subject, 1))
    removed(log)
    day = NewEvent("log.summarised", "day", "/test", "a", b"{}")
    again = NewEvent("log.summarised", "day", "/test", "b", b"{}")
    for told, streams in ((day, ["job/j1"]), (again, ["job/j2", "job/j3"])):
        tombstones = [(stream, 2) for stream in streams]
        one(log, Work(lambda t, e=told, s=tombstones: take_over(t, log.log_id, [e], s)))
        assert log.verify() == []
    types = sql(path, f"SELECT types.name {_EVENTS} ORDER BY position")
    assert [name for (name,) in types] == [
        *["log.truncated"] * 2,
        "log.summarised",
        "log.truncated",
    ]
    assert sql(path, "SELECT count(*) FROM streams WHERE name LIKE 'job/%'") == [(0,)]


def test_a_trim_needs_no_marker(log: EventLog, path: Path) -> None:
    """Old events of housekeeping streams go; the stream's versions go on."""
    for number in range(4):
        one(log, [event(number, "retention", type="maintenance.finished")])
    one(log, Work(lambda t: trim(t, "maintenance/retention", 3)))
    assert removed(log).events == 3
    assert kept(path) == [4, 5]
    (after,) = one(log, [event(9, "retention", type="maintenance.finished")]).receipts
    assert (after.version, after.duplicate) == (5, False)
    assert log.verify() == []
