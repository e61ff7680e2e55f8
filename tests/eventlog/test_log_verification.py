"""Verification finds whatever was done to the rows behind the log's back."""

from __future__ import annotations

from contextlib import closing
from hashlib import sha256
from pathlib import Path

import apsw
import pytest
from log_driving import event, events, one, sql

from daemon.eventlog import chain, findings, structure, verify
from daemon.eventlog.proof import prove_log
from daemon.eventlog.requests import Finding, Work
from daemon.eventlog.transaction import Stored
from domain.errors import LogDamaged

SWAP = """
    UPDATE events SET ({0}) = (
        SELECT {0} FROM events AS o WHERE o.position = 7 - events.position
    ) WHERE position IN (3, 4)
"""
ROW = "type_id, class_version, time, recordedtime, source_id, id, extensions, data, payload_hash"


@pytest.fixture
def closed(opened, path) -> Path:
    """Return the file of a closed log: two streams of the daemon's, one of an application's."""
    log = opened()
    filled = [
        event(n, f"j{n % 2}", extensions={"actor": "a"}, time=n, type=f"job.{'ab'[n % 2]}")
        for n in range(1, 9)
    ]
    one(log, filled)
    rows = [Stored("s", n, "topic", b"state") for n in (0, 1)]
    one(log, Work(lambda transaction: transaction.insert_stored("App", rows)))
    one(log, [event(20, "other", type="alert.raised")])
    assert log.verify() == []
    log.verify_tail()
    log.close()
    return path


TAMPERING = {
    "position": "UPDATE events SET position = 99 WHERE position = 11",
    "stream": "UPDATE events SET stream_id = 3, version = 7 WHERE position = 3",
    "version": "UPDATE events SET version = 7 WHERE position = 3",
    "type": "UPDATE events SET type_id = 3 - type_id WHERE position = 3",
    "unknown type": "UPDATE events SET type_id = 77 WHERE position = 3",
    "unknown stream": "UPDATE events SET stream_id = 77 WHERE position = 3",
    "class version": "UPDATE events SET class_version = 2 WHERE position = 3",
    "time": "UPDATE events SET time = time + 1 WHERE position = 3",
    "recorded time": "UPDATE events SET recordedtime = recordedtime + 1 WHERE position = 3",
    "source": "UPDATE events SET source_id = NULL WHERE position = 3",
    "id": "UPDATE events SET id = 'e4000' WHERE position = 3",
    "no id": "UPDATE events SET id = NULL, event_key = NULL WHERE position = 3",
    "key": "UPDATE events SET event_key = x'00112233445566778899aabbccddeeff' WHERE position = 3",
    "no key": "UPDATE events SET event_key = NULL WHERE position = 3",
    "key of an application's": "UPDATE events SET event_key = x'00' WHERE position = 9",
    "extensions": "UPDATE events SET extensions = NULL WHERE position = 3",
    "data": "UPDATE events SET data = CAST('{\"number\":4}' AS BLOB) WHERE position = 3",
    "state of an application's": "UPDATE events SET data = x'00' WHERE position = 9",
    "payload hash": "UPDATE events SET payload_hash = zeroblob(32) WHERE position = 3",
    "digest": "UPDATE events SET digest = zeroblob(32) WHERE position = 3",
    "last digest": "UPDATE events SET digest = zeroblob(32) WHERE position = 11",
    "first row gone": "DELETE FROM events WHERE position = 1",
    "middle row gone": "DELETE FROM events WHERE position = 5",
    "last row gone": "DELETE FROM events WHERE position = 11",
    "all rows gone": "DELETE FROM events",
    "payloads swapped": SWAP.format("data, payload_hash"),
    "rows swapped": SWAP.format(ROW),
    "rows swapped with their digests": SWAP.format(ROW + ", digest"),
    "stream renamed": "UPDATE streams SET name = 'job/other' WHERE name = 'job/j1'",
    "stream given to another": "UPDATE streams SET application = 'B' WHERE application = 'App'",
    "type renamed": "UPDATE types SET name = 'job.c' WHERE name = 'job.a'",
    "source renamed": "UPDATE sources SET name = '/other'",
    "log renamed": "UPDATE log_meta SET value = 'other' WHERE key = 'log_id'",
}


ELSEWHERE = {
    "position": 11, "last digest": 11, "first row gone": 1, "middle row gone": 5,
    "last row gone": 11, "all rows gone": 1, "stream given to another": 9, "type renamed": 2,
    "source renamed": 1, "log renamed": 1, "key of an application's": 9,
    "state of an application's": 9, "stream renamed": 1,
}  # fmt: skip
"""Where what is not done to position 3 is found first."""


@pytest.mark.parametrize("what", TAMPERING)
def test_tampering_is_located(closed: Path, opened, what: str) -> None:
    """The first finding that has a position names the first event that is not as it was."""
    sql(closed, TAMPERING[what])
    places = [finding.position for finding in opened().verify() if finding.position is not None]
    assert places[0] == ELSEWHERE.get(what, 3)


@pytest.mark.parametrize("statement", TAMPERING.values(), ids=TAMPERING.keys())
def test_tampering_is_found(closed: Path, opened, statement: str) -> None:
    """Whatever is changed, removed, swapped or renamed: the verification says so."""
    sql(closed, statement)
    findings = opened().verify()
    assert findings
    assert all(finding.kind and finding.detail for finding in findings)


def test_a_finding_names_the_position(closed: Path, opened) -> None:
    """One changed payload is one finding, at its place; what follows is not blamed for it."""
    sql(closed, "UPDATE events SET data = x'7b7d' WHERE position = 3")
    assert opened().verify() == [
        Finding("payload", "the payload is not what was recorded", 3),
    ]


def test_a_rewritten_row_breaks_the_chain_where_it_stands(closed: Path, opened) -> None:
    """A row that was rewritten with its own hashes recomputed still does not fit its digest."""
    new = b'{"number":4}'
    sql(
        closed,
        "UPDATE events SET data = ?1, payload_hash = ?2 WHERE position = 3",
        (new, sha256(new).digest()),
    )
    assert [(f.kind, f.position) for f in opened().verify()] == [("chain", 3)]


def test_the_end_is_missed_when_it_is_gone(closed: Path, opened) -> None:
    """Rows missing at the end are found by the counter of positions, gaps by their neighbours."""
    sql(closed, "DELETE FROM events WHERE position IN (4, 5, 10, 11)")
    found = [(f.kind, f.position) for f in opened().verify()]
    assert ("gap", 4) in found
    assert ("missing", 10) in found


def test_a_damaged_tail_is_refused_at_the_start(closed: Path, opened) -> None:
    """The newest events are verified before anything is appended after them."""
    sql(closed, "UPDATE events SET time = time + 1 WHERE position = 11")
    log = opened()
    with pytest.raises(LogDamaged, match="chain at position 11"):
        log.verify_tail()


def test_the_tail_starts_from_the_digest_before_it(opened, monkeypatch) -> None:
    """Verifying from a position on looks at what comes after it, and at nothing before."""
    log = opened()
    one(log, events(1, 30))
    sql(log.path, "UPDATE events SET time = time + 1 WHERE position = 10")
    assert log.verify(after=10) == []
    assert [f.position for f in log.verify(after=9)] == [10]
    monkeypatch.setattr("daemon.eventlog.log.TAIL_EVENTS", 20)
    log.verify_tail()
    monkeypatch.setattr("daemon.eventlog.log.TAIL_EVENTS", 21)
    with pytest.raises(LogDamaged):
        log.verify_tail()


def test_a_recorded_time_that_goes_back_is_found(log, clock) -> None:
    """A log written by a program that let the time go back verifies in its chain only."""
    one(log, [event(1)])
    known = log.writer._known
    known.head = known.head._replace(recordedtime=0)
    clock.now -= 1
    one(log, [event(2)])
    assert [(f.kind, f.position) for f in log.verify()] == [("time", 2)]


def test_a_long_log_is_verified_in_pages_with_its_progress(opened, monkeypatch) -> None:
    """Progress rises to the number of events, whatever the size of a page."""
    monkeypatch.setattr(verify, "_PAGE", 7)
    log = opened()
    one(log, events(1, 30))
    seen: list[tuple[int, int]] = []
    assert log.verify(progress=lambda done, total: seen.append((done, total))) == []
    assert seen == [(7, 30), (14, 30), (21, 30), (28, 30), (30, 30)]


def test_findings_are_bounded(opened, monkeypatch) -> None:
    """A log that is wrong everywhere does not fill the memory with findings."""
    monkeypatch.setattr(findings, "FINDINGS_MAX", 5)
    log = opened()
    one(log, events(1, 30))
    sql(log.path, "UPDATE events SET data = x'7b7d' WHERE position % 3 = 0")
    with log.reading().connection() as db:
        found = verify.verify_rows(db, log.log_id)
    assert [each.position for each in found] == [3, 6, 9, 12, 15, None]
    assert found[-1].detail == "5 more findings are not listed"
    sql(log.path, "UPDATE events SET data = x'7b7d'")
    with log.reading().connection() as db:
        (only,) = verify.verify_rows(db, log.log_id)
    assert (only.position, "to position 30" in only.detail) == (1, True)


def test_a_hole_in_a_stream_is_found(opened) -> None:
    """Versions of a stream count from its floor without holes, also where the chain is right."""
    log = opened()
    one(log, events(1, 3))
    writer = log.writer._connection
    writer.execute("UPDATE events SET version = 9 WHERE version = 3")
    with log.reading().connection() as db:
        (finding,) = structure.verify_structure(db)
    assert finding.kind == "version"
    assert "job/j1" in finding.detail


def test_a_broken_page_is_found(closed: Path, opened) -> None:
    """Damage below the rows, in the pages of the file, is found too."""
    (page,) = sql(closed, "SELECT rootpage FROM sqlite_schema WHERE name = 'events_by_key'")[0]
    content = bytearray(closed.read_bytes())
    content[(page - 1) * 4096 : (page - 1) * 4096 + 200] = b"\xff" * 200
    closed.write_bytes(content)
    assert {finding.kind for finding in opened().verify()} == {"key", "structure"}


def test_nothing_can_shift_from_one_field_to_the_next() -> None:
    """Fields of other lengths that read alike one after another have other hashes."""
    hashes = {
        chain.row_hash(1, a, s, 1, t, 1, 1, 1, o, i, e, b"")
        for a, s, t, o, i, e in (
            ("", "job/1", "t", "s", "i", "e"),
            ("j", "ob/1", "t", "s", "i", "e"),
            ("", "job/1t", "", "s", "i", "e"),
            ("", "job/1", "ts", "", "i", "e"),
            ("", "job/1", "t", "si", "", "e"),
            ("", "job/1", "t", "s", "ie", ""),
        )
    }
    assert len(hashes) == 6


def test_the_chain_starts_with_the_log() -> None:
    """The first digest depends on the log's id: one log's rows are not another's."""
    assert chain.genesis("a") != chain.genesis("b")


def test_the_schema_is_strict(closed: Path) -> None:
    """SQLite itself refuses a value of another type in a column."""
    with pytest.raises(apsw.ConstraintError):
        sql(closed, "UPDATE events SET time = 'yesterday' WHERE position = 1")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO sqlite_sequence (name, seq) VALUES ('events', 1)",
        "PRAGMA writable_schema=1; UPDATE sqlite_schema SET sql = replace(sql, 'STRICT', '') "
        "WHERE name = 'streams'; PRAGMA writable_schema=RESET; "
        "UPDATE streams SET floor = x'07' WHERE stream_id = 1",
    ],
    ids=["two counters", "a floor that is no number"],
)
def test_values_of_any_kind_are_findings(closed: Path, statement: str) -> None:
    """What damage makes of a counter or a number is told of, and never a traceback."""
    with closing(apsw.Connection(str(closed))) as db:
        db.execute(statement)
    found = prove_log(closed).findings
    assert found
    assert all(finding.detail for finding in found)


def test_the_proof_ends_where_the_log_ended_when_it_began(
    opened, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that is faster than the proof does not take it along for ever."""
    monkeypatch.setattr(verify, "_PAGE", 5)
    log = opened()
    one(log, [event(n, "j") for n in range(20)])
    more = iter(range(100, 10_000))
    proofs: list[int] = []

    def write(position: int, _total: int) -> None:
        proofs.append(position)
        assert len(proofs) < 100
        one(log, [event(next(more), "j") for _ in range(10)])

    assert log.verify(progress=write) == []
    assert proofs[-1] == 20
    assert log.head() == 60
