"""Events that come prepared, and streams that are looked up together: the log is the same."""

from __future__ import annotations

import pytest
from log_driving import event, one, sql

from daemon.eventlog.transaction import NAME_LENGTH_MAX
from domain.errors import VersionConflict
from domain.prepared import prepare, prepare_all

MIXED = [
    event(1, "a", time=5, extensions={"note": "ä", "correlationid": "c", "n": 1}),
    event(2, "b/ü 'x\"", time=-62_135_596_800_000_000),
    event(3, "a", type="file.observed", class_version=2),
    event(4, "x" * (NAME_LENGTH_MAX + 1)),
    event(1, "a"),
]


def test_prepared_events_are_recorded_like_others(opened, tmp_path) -> None:
    """Rows, digests and receipts are equal, whoever prepared the events."""
    logs = [opened(tmp_path / f"{name}.db") for name in "ab"]
    for log in logs:
        # Digests follow from the id of the log.
        log.writer._known.head = log.writer._known.head._replace(digest=bytes(32))
        log.writer._seen_version = log.writer._connection.data_version()
    answers = [one(logs[0], MIXED), one(logs[1], [prepare(new) for new in MIXED])]
    assert answers[0] == answers[1]
    rows = [sql(log.path, "SELECT * FROM events ORDER BY position") for log in logs]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 4


def test_what_is_prepared_stays_so() -> None:
    """Preparing twice is preparing once; nothing is nothing."""
    ready = prepare_all(MIXED)
    assert prepare_all(ready) is ready
    assert not prepare_all([])


def test_prepared_events_verify(log) -> None:
    """Their digests are those of the chain, and a repeat of either kind is a repeat."""
    one(log, prepare_all(MIXED))
    assert log.verify() == []
    assert [receipt.duplicate for receipt in one(log, MIXED).receipts] == [True] * 5
    assert [receipt.differs for receipt in one(log, prepare_all(MIXED)).receipts] == [False] * 5


def test_a_prepared_event_may_expect_a_version(log) -> None:
    """The check is the same: the request fails as a whole."""
    one(log, prepare_all([event(1), event(2, expected_version=1)]))
    with pytest.raises(VersionConflict) as refused:
        one(log, prepare_all([event(3), event(4, expected_version=1)]))
    assert refused.value.errors[0].index == 1
    assert log.head() == 2


def test_streams_of_one_request_are_known_new_or_forgotten(opened) -> None:
    """Versions go on where they were, whether a stream is in memory, in the file or nowhere."""
    log = opened()
    one(log, [event(1, "old"), event(2, "older"), event(3, "older")])
    log.close()
    log = opened()
    one(log, [event(4, "warm")])
    names = ["new", "older", "warm", "old", "newer", "new", "older"]
    answer = one(log, [event(10 + number, name) for number, name in enumerate(names)])
    assert [receipt.version for receipt in answer.receipts] == [1, 3, 2, 2, 1, 2, 4]
    assert log.verify() == []


def test_streams_of_a_refused_request_are_new_again(log) -> None:
    """What a request that failed had found or made is looked up again by the next."""
    one(log, [event(1, "there")])
    log.writer._known.streams.clear()
    with pytest.raises(VersionConflict):
        one(log, [event(2, "there"), event(3, "new"), event(4, "new", expected_version=7)])
    answer = one(log, [event(3, "new"), event(2, "there"), event(5, "other")])
    assert [receipt.version for receipt in answer.receipts] == [1, 2, 1]
    assert log.verify() == []
