"""Reading: pages of the log, of a stream, of a filter; moments; digests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from log_driving import START, Clock, event, events, large, one, sql

from daemon.eventlog import reader as readers
from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Append, DeadLetter, EventQuery, Work
from daemon.eventlog.statements import SQL
from daemon.eventlog.transaction import Stored
from domain.events import NewEvent, RecordedEvent

TYPES = ("job.started", "job.progressed", "alert.raised")
SUBJECTS = ("j1", "j2", "a/b")
SOURCES = ("/one", "/two")
EVENTS = 120


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventLog]:
    """Return a log of many kinds of events, some removed, and some of an application's between."""
    clock = Clock()
    path: Path = tmp_path_factory.mktemp("filled") / "log.db"
    log = EventLog.open(path, clock=clock)
    for n in range(EVENTS):
        clock.now += n % 7 * 1000
        new = NewEvent(
            TYPES[n % 3],
            SUBJECTS[n % 5 % 3],
            SOURCES[n % 7 % 2],
            f"e{n}",
            b"{}",
            time=START + (n * 37 % 50) * 1000,
            extensions={"correlationid": f"c{n % 4}"} if n % 3 else None,
        )
        one(log, [new])
        if n % 20 == 0:
            rows = [Stored("x", n, "job.started", b"{}")]
            one(log, Work(lambda transaction, rows=rows: transaction.insert_stored("App", rows)))
    log.close()
    sql(path, "DELETE FROM events WHERE position IN (5, 6, 7, 60)")
    log = EventLog.open(path, clock=clock)
    yield log
    log.close()


def matches(found: RecordedEvent, query: EventQuery) -> bool:
    """Return whether an event is one that a query asks for: the meaning of the filters."""
    conditions = (
        query.stream is None or found.stream == query.stream,
        not query.types or found.type in query.types,
        query.source is None or found.source == query.source,
        query.correlation is None or found.extensions.get("correlationid") == query.correlation,
        query.after is None or found.position > query.after,
        query.before is None or found.position < query.before,
        query.since is None or found.time >= query.since,
        query.until is None or found.time <= query.until,
    )
    return all(conditions)


queries = st.builds(
    EventQuery,
    stream=st.none() | st.sampled_from(["job/j1", "job/a/b", "alert/j2", "job/none"]),
    types=st.lists(st.sampled_from([*TYPES, "job.none"]), max_size=2).map(tuple),
    source=st.none() | st.sampled_from([*SOURCES, "/none"]),
    correlation=st.none() | st.sampled_from(["c0", "c1", "none"]),
    after=st.none() | st.integers(0, EVENTS + 20),
    before=st.none() | st.integers(0, EVENTS + 20),
    since=st.none() | st.integers(START - 1, START + 50_000),
    until=st.none() | st.integers(START - 1, START + 50_000),
    descending=st.booleans(),
)


@given(
    query=queries,
    limit=st.integers(1, 30),
    scan=st.sampled_from([1, 3, 10, 1000]),
    bytes_max=st.sampled_from([1, 7, 10_000]),
)
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_pages_of_a_query_are_the_filtered_log(filled, query, limit, scan, bytes_max) -> None:
    """In both orders, with every filter, page after page gives each match once, in order."""
    expected = [found for found in filled.read(0, 1000) if matches(found, query)]
    if query.descending:
        expected.reverse()
    found: list[RecordedEvent] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "SCAN_POSITIONS", scan)
        page = filled.select(query, limit, bytes_max)
        for _ in range(2 * EVENTS):
            assert len(page.events) <= limit
            assert sum(len(event.data) for event in page.events[:-1]) < bytes_max
            assert page.as_of == filled.head()
            found += page.events
            if page.next_after is None:
                break
            edge = "before" if query.descending else "after"
            page = filled.select(replace(query, **{edge: page.next_after}), limit, bytes_max)
        else:
            pytest.fail("the pages do not end")
    assert found == expected


@pytest.mark.parametrize("value", ['r"un', "r\\", "läuft \U0001f600", "run", "ru", ""])
def test_a_correlation_is_that_very_text(tmp_path, value) -> None:
    """Neither a part of it, nor what looks like it in another extension, is the correlation id."""
    log = EventLog.open(tmp_path / "log.db")
    one(log, [
        NewEvent("job.started", f"j{n}", "/s", "e", b"{}", extensions=extensions)
        for n, extensions in enumerate([
            {"actor": "a", "correlationid": value},
            {"correlationid": f"{value}x"},
            {"actor": f'"correlationid":"{value}"'},
            {"causationid": value},
        ])
    ])  # fmt: skip
    page = log.select(EventQuery(correlation=value), 10)
    assert [event.subject for event in page.events] == ["j0"]
    log.close()


@given(moment=st.integers(START - 2000, START + EVENTS * 7000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_moment_means_what_the_log_knew_then(filled, moment) -> None:
    """The position at a moment is that of the last event recorded until then."""
    at = filled.position_at(moment)
    for found in filled.read(0, 1000):
        assert (found.recordedtime <= moment) == (found.position <= at)


def test_a_page_looks_at_a_bounded_stretch(filled, monkeypatch) -> None:
    """A filter that nothing matches does not read the whole log for one page."""
    monkeypatch.setattr(readers, "SCAN_POSITIONS", 50)
    page = filled.select(EventQuery(source="/none"), 10)
    assert (page.events, page.next_after) == ([], 50)
    page = filled.select(EventQuery(source="/none", descending=True), 10)
    assert (page.events, page.next_after) == ([], filled.head() - 49)


def test_reading_goes_on_after_a_position(filled) -> None:
    """Pages of any size give the same events; those of applications are not among them."""
    whole = filled.read(0, 1000)
    assert len(whole) == EVENTS - 4
    pieces: list[RecordedEvent] = []
    while page := filled.read(pieces[-1].position if pieces else 0, 7):
        pieces += page
    assert pieces == whole


def test_a_stream_is_read_by_version_and_up_to_a_position(filled) -> None:
    """The events of one stream in order, after a version, as of a position, in pages."""
    whole = [e for e in filled.read(0, 1000) if e.stream == "job/j1"]
    assert filled.read_stream("job/j1") == whole
    middle = whole[len(whole) // 2]
    until = filled.read_stream("job/j1", upto=middle.position)
    assert until == whole[: len(until)]
    assert until[-1] == middle
    after = filled.read_stream("job/j1", after_version=middle.version, limit=3)
    assert after == whole[len(until) : len(until) + 3]
    assert filled.read_stream("job/none") == []


def test_large_events_make_short_pages(log) -> None:
    """No page holds more than its bytes and one event; page by page nothing is left out."""
    for number in range(1, 41):
        one(log, [large(number, 250_000)])
    read = pages(lambda last: log.read(last, 100))
    stream = pages(lambda last: log.read_stream("job/j1", after_version=last, limit=100))
    assert read == stream
    assert [len(page) for page in read] == [34, 6]
    assert [event.position for page in read for event in page] == list(range(1, 41))


def pages(read: Callable[[int], list[RecordedEvent]]) -> list[list[RecordedEvent]]:
    """Return the pages up to the first empty one."""
    found: list[list[RecordedEvent]] = []
    while page := read(found[-1][-1].version if found else 0):
        found.append(page)
    return found


def test_large_dead_letters_make_short_pages(log) -> None:
    """So many as fit are listed at once, and the rest after them."""
    letters = [DeadLetter("x", b"%d" % n + b"z" * 262_144, "bad", "", "") for n in range(40)]
    one(log, Append((), letters))
    first = log.list_dead_letters(0, 100)
    rest = log.list_dead_letters(first[-1].id, 100)
    assert (len(first), len(rest), log.list_dead_letters(rest[-1].id, 100)) == (32, 8, [])


def test_an_empty_log_reads_empty(log) -> None:
    """No events, no pages, no moment, no digest."""
    assert log.read(0, 10) == []
    assert log.select(EventQuery(), 10).next_after is None
    assert log.select(EventQuery(descending=True), 10).events == []
    assert (log.position_at(START), log.digest_at(0), log.head()) == (0, None, 0)


def test_the_digest_at_a_position_is_that_of_the_event_before_a_gap(filled) -> None:
    """A position whose event was removed, or lies beyond the head, has the digest before it."""
    assert filled.digest_at(6) == filled.digest_at(4) != filled.digest_at(8)
    assert filled.digest_at(10**9) == filled.digest_at(filled.head())


def test_a_reader_sees_one_state_of_the_log(running) -> None:
    """What is committed while a snapshot is held is not in it."""
    running.append(events(1, 3))
    count = "SELECT count(*) FROM events"
    with running.reading().snapshot() as db:
        before = db.execute(count).get
        running.append([event(9)])
        assert db.execute(count).get == before == 3
    with running.reading().snapshot() as db:
        assert db.execute(count).get == 4


def test_plans_of_the_hot_reads(log) -> None:
    """Pages go by position, streams by their index; nothing is sorted."""
    wanted = {
        "events_after": "SEARCH e USING INTEGER PRIMARY KEY (rowid>?)",
        "events_of_stream": "SEARCH e USING INDEX events_by_stream",
        "find_key": "SEARCH events USING INDEX events_by_key",
        "find_stream": "SEARCH e USING COVERING INDEX events_by_stream",
        "recorded_at": "SEARCH events USING INTEGER PRIMARY KEY",
    }
    for name, step in wanted.items():
        parameters = (0,) * SQL[name].count("?")
        plan = "\n".join(
            row[3] for row in sql(log.path, f"EXPLAIN QUERY PLAN {SQL[name]}", parameters)
        )
        assert step in plan, plan
        assert "TEMP B-TREE" not in plan, plan
