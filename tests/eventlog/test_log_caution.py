"""Repeats: whether the writer looks for them first or takes events for new, the log is the same."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from log_driving import Clock, drive, event, events, one, sql

from daemon.eventlog import writer as writers
from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Append, DeadLetter, Done, Work
from domain.errors import VersionConflict

new_events = st.builds(
    lambda number, subject, expected, data: event(
        number, subject, expected_version=expected, data=data
    ),
    st.integers(0, 12),
    st.sampled_from(["a", "b"]),
    st.none() | st.integers(0, 4),
    st.sampled_from([b"{}", b'{"x":1}']),
)
batches = st.lists(new_events, min_size=1, max_size=4)


def work(batch) -> Work:
    """Return work that appends a batch and answers with what it was told at once."""
    return Work(lambda transaction: tuple(transaction.append(Append(batch)).receipts))


requests = batches | batches | st.builds(work, batches)
groups = st.lists(st.lists(requests, min_size=1, max_size=5), min_size=1, max_size=6)


def told(outcome) -> object:
    """Return what an outcome says, comparable."""
    if isinstance(outcome, BaseException):
        return type(outcome), [(fault.index, fault.detail) for fault in outcome.errors]
    return outcome


def rows(log: EventLog) -> list[object]:
    """Return everything a log holds, the digests left out: each log has an id of its own."""
    columns = "position, stream_id, version, type_id, time, source_id, id, event_key, data"
    return [
        sql(log.path, f"SELECT {columns} FROM events ORDER BY position"),
        *(sql(log.path, f"SELECT * FROM {table} ORDER BY 1") for table in ("streams", "types")),
    ]


@settings(max_examples=100, deadline=None)
@given(groups=groups)
def test_looking_first_and_not_looking_come_to_the_same(groups) -> None:
    """Any mix of new events, repeats and expected versions: same answers, same rows."""
    found = []
    for groups_of_care in (0, 1_000_000):
        with TemporaryDirectory() as place:
            log = EventLog.open(Path(place) / "log.db", clock=Clock(), synchronous="OFF")
            outcomes = []
            for group in groups:
                log.writer._careful_groups = groups_of_care
                outcomes.append([told(outcome) for outcome in drive(log, *group)])
            assert log.verify() == []
            found.append((outcomes, rows(log)))
            log.close()
    assert found[0] == found[1]


def test_a_repeat_that_was_not_looked_for_spoils_nothing(log) -> None:
    """Everything of its commit is told the truth, work that was done on the way included."""
    one(log, events(1, 3))
    assert log.writer._careful_groups == 0
    first, second, third, last = drive(
        log,
        [event(4)],
        [event(2), event(5)],
        Work(lambda transaction: transaction.append(Append([event(5)])).receipts[0].position),
        [event(6, expected_version=5)],
    )
    assert [(r.position, r.duplicate) for r in first.receipts + second.receipts] == [
        (4, False), (2, True), (5, False),
    ]  # fmt: skip
    assert third == Done(5)
    assert last.receipts[0].version == 6
    assert log.verify() == []


def test_a_repeat_before_an_expected_version_makes_no_conflict(log) -> None:
    """A repeat does not move its stream, so what follows it finds the version it expects."""
    one(log, events(1, 3))
    appended = one(log, [event(3), event(4, expected_version=3)])
    assert [(r.version, r.duplicate) for r in appended.receipts] == [(3, True), (4, False)]
    (outcome,) = drive(log, [event(3), event(5, expected_version=3)])
    assert isinstance(outcome, VersionConflict)


def test_the_writer_expects_more_repeats_after_one_and_then_no_more(log, monkeypatch) -> None:
    """Who sends again sends much again; after a while without repeats nobody pays for looking."""
    monkeypatch.setattr(writers, "CAREFUL_GROUPS", 2)
    one(log, [event(1)])
    expecting = []
    for number in (1, 2, 1, 3, 4, 5):
        one(log, [event(number)])
        expecting.append(log.writer._careful_groups)
    assert expecting == [2, 1, 2, 1, 0, 0]


@given(
    requests=st.lists(
        st.lists(st.tuples(st.integers(1, 12), st.sampled_from(["a", "b"])), max_size=4),
        min_size=1,
        max_size=6,
    ),
    careful=st.integers(0, 1),
)
@settings(max_examples=100, deadline=None)
def test_requests_done_together_are_answered_as_if_alone(requests, careful) -> None:
    """Repeats within and across requests, and empty ones: the same receipts, heads and rows."""
    outcomes, rows = [], []
    for beside in ([], [DeadLetter("f", b"x", "r", "d", "o")]):
        log = EventLog.open(":memory:", clock=Clock())
        one(log, [event(1, "a"), event(2, "b")])
        log.writer._careful_groups = careful
        # Where one has something beside its events, each of the group is done by itself.
        group = [Append([event(n, subject) for n, subject in each]) for each in requests]
        outcomes.append(drive(log, *group, Append([], beside))[: len(group)])
        rows.append(log.read(0, 100))
        assert log.verify() == []
        log.close()
    assert outcomes[0] == outcomes[1]
    assert rows[0] == rows[1]
