"""Epochs: a log goes on beyond what it may have lost, and its proof accepts that and no more."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import apsw
import orjson
import pytest
from epoch_log import GAP, resume
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from log_driving import Clock, event, events, one, sql

from daemon.eventlog import verify
from daemon.eventlog.epochs import begin_epoch
from daemon.eventlog.log import EventLog
from daemon.eventlog.proof import prove_log
from domain.epochs import LostStretch, lost_at, lost_before, require_reached
from domain.errors import BeyondHead, Conflict, LogDamaged

FEW = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_an_epoch_begins_beyond_what_may_have_been_used(opened, path: Path, clock: Clock) -> None:
    """Its event stands after the reserved positions and says what is lost; the chain goes on."""
    log = opened()
    one(log, events(1, 5))
    position = resume(path, gap=100, reported_head=7, now=clock.now + 5)
    assert position == 106
    again = opened()
    assert again.epoch == 2
    assert again.head() == 106
    (begun,) = again.read(5, 10)
    assert (begun.position, begun.stream, begun.version) == (106, f"log/{log.log_id}", 1)
    assert (begun.source, begun.recordedtime) == ("/chronicled", clock.now + 5)
    assert begun.payload == {
        "epoch": 2,
        "location": "file:///backup",
        "complete_to": 5,
        "reported_head": 7,
        "reason": "a test",
    }
    assert again.lost_stretches() == (LostStretch(5, 106, 2),)
    assert again.verify() == []


def test_an_epoch_may_begin_in_a_log_without_events(opened, path: Path) -> None:
    """Where nothing was saved all positions up to the epoch are lost, from the first on."""
    log_id = opened().log_id
    assert resume(path, gap=50) == 51
    log = opened()
    assert log.lost_stretches() == (LostStretch(0, 51, 2),)
    one(log, events(1, 3))
    assert [each.position for each in log.read(0, 10)] == [51, 52, 53, 54]
    assert log.verify() == []
    log.verify_tail()
    assert log.log_id == log_id
    log.close()
    assert prove_log(path, quick=True).findings == []


def test_an_epoch_without_a_gap_loses_nothing(opened, path: Path) -> None:
    """A log that resumes after its very head has no stretch that is lost."""
    one(opened(), events(1, 3))
    assert resume(path, gap=0) == 4
    log = opened()
    assert log.lost_stretches() == (LostStretch(3, 4, 2),)
    assert log.lost_stretches()[0].length == 0
    assert (log.epoch, log.verify()) == (2, [])
    log.close()
    assert prove_log(path, quick=True).findings == []


def test_a_log_that_is_open_sees_a_new_epoch(opened, path: Path) -> None:
    """What is remembered of the lost stretches is read again when the log began another epoch."""
    log = opened()
    one(log, events(1, 3))
    assert log.lost_stretches() == ()
    resume(path, gap=10)
    one(log, events(4, 2))
    resume(path, gap=20)
    assert log.lost_stretches() == (LostStretch(3, 14, 2), LostStretch(16, 37, 3))
    assert log.verify() == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"resume_after": 2}, "has used 3"),
        ({"resume_after": 2**63 - 1}, "cannot resume"),
        ({"epoch": 1}, "is in epoch 1"),
    ],
)
def test_what_cannot_begin_changes_nothing(opened, path: Path, wrong: Any, told: str) -> None:
    """An epoch that is not newer, or over positions that were used, is refused."""
    log = opened()
    one(log, events(1, 3))
    with pytest.raises(Conflict, match=told):
        resume(path, **wrong)
    assert (opened().epoch, log.head(), log.verify()) == (1, 3, [])


def test_another_log_gets_no_epoch(opened, path: Path) -> None:
    """The id has to be that of the file."""
    opened()
    with closing(apsw.Connection(str(path))) as db, pytest.raises(Conflict, match="not other"):
        begin_epoch(
            db, "other", epoch=2, resume_after=9, reported_head=0, location="", reason="", now=1
        )


def test_the_callers_transaction_holds_all_of_it(opened, path: Path) -> None:
    """What the caller takes back is gone, with the counter of positions and the epoch."""
    log = opened()
    one(log, events(1, 3))
    with closing(apsw.Connection(str(path))) as db:
        db.execute("BEGIN IMMEDIATE")
        begin_epoch(
            db, log.log_id, epoch=2, resume_after=9, reported_head=9, location="", reason="", now=1
        )
        assert db.execute("SELECT max(position) FROM events").get == 10
        db.execute("ROLLBACK")
    again = opened()
    assert (again.epoch, again.head(), again.verify()) == (1, 3, [])


KILLED = """
import os, signal, sys
import apsw
from daemon.eventlog.epochs import begin_epoch
db = apsw.Connection(sys.argv[1])
left = int(sys.argv[3])
def step(cursor, statement, bindings):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return True
db.exec_trace = step
begin_epoch(db, sys.argv[2], epoch=2, resume_after=100, reported_head=50,
            location="", reason="", now=1)
"""


def test_a_kill_leaves_nothing_of_it_or_all_of_it(opened, path: Path) -> None:
    """Killed before any of its statements the log is as it was; after the last all is there."""
    log = opened()
    one(log, events(1, 3))
    log.close()
    for statements in range(60):
        command = [sys.executable, "-c", KILLED, str(path), log.log_id, str(statements)]
        ended = subprocess.run(command, check=False)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL
        again = opened()
        assert (again.epoch, again.head(), again.verify()) == (1, 3, [])
        again.close()
    assert statements > 8
    again = opened()
    assert (again.epoch, again.head(), again.verify()) == (2, 101, [])


# -- proof ------------------------------------------------------------------------------------


RUNS = st.lists(
    st.one_of(
        st.tuples(st.just("events"), st.integers(1, 12)),
        st.tuples(st.just("epoch"), st.sampled_from([0, 1, 5, 40, GAP])),
    ),
    min_size=1,
    max_size=8,
)


def written(path: Path, runs: list[tuple[str, int]]) -> list[LostStretch]:
    """Write a log of runs of events and epochs; return what its epochs left empty."""
    lost, number, epoch = [], 0, 1
    log = EventLog.open(path, clock=Clock())
    for what, count in runs:
        head = log.head()
        if what == "events":
            one(log, events(number, count, f"j{number % 3}"))
            number += count
            continue
        log.close()
        position, epoch = resume(path, gap=count), epoch + 1
        lost.append(LostStretch(head, position, epoch))
        log = EventLog.open(path, clock=Clock())
    assert log.lost_stretches() == tuple(lost)
    log.verify_tail()
    log.close()
    return lost


@FEW
@given(RUNS, st.integers(2, 7))
def test_declared_gaps_are_no_findings(runs: list[tuple[str, int]], page: int) -> None:
    """Whatever the runs of events and epochs, full and quick proof have nothing to say."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "_PAGE", page)
        path = Path(folder) / "log.db"
        written(path, runs)
        proof = prove_log(path)
        assert proof.findings == []
        assert prove_log(path, quick=True).findings == []
        with closing(apsw.Connection(str(path))) as db:
            assert proof.events == db.execute("SELECT count(*) FROM events").get
            assert proof.position == (db.execute("SELECT max(position) FROM events").get or 0)


@FEW
@given(RUNS, st.integers(2, 7), st.data())
def test_any_other_run_that_is_gone_is_a_finding(
    runs: list[tuple[str, int]], page: int, data: st.DataObject
) -> None:
    """Rows removed anywhere, beside a declared gap too, are missed where they were."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "_PAGE", page)
        path = Path(folder) / "log.db"
        written(path, [("events", 2), *runs])
        present = [row[0] for row in sql(path, "SELECT position FROM events ORDER BY position")]
        first = data.draw(st.integers(0, len(present) - 1))
        last = data.draw(st.integers(first, len(present) - 1))
        gone = present[first : last + 1]
        sql(path, "DELETE FROM events WHERE position BETWEEN ? AND ?", (gone[0], gone[-1]))
        places = {each.position for each in prove_log(path).findings}
        # Where a whole epoch went with its event, what is missing begins with the gap before it.
        before = present[first - 1] if first else 0
        assert places & {gone[0], before + 1}


def restored(opened: Any, path: Path, *, gap: int = 10, after: int = 4) -> int:
    """Return the position at which an epoch begins in a log with events before and after it."""
    one(opened(), events(1, 5))
    position = resume(path, gap=gap)
    log = opened()
    one(log, events(10, after))
    assert log.verify() == []
    log.close()
    return position


FORGED = {
    "complete_to is moved on": {"complete_to": 6},
    "complete_to is moved back": {"complete_to": 4},
    "complete_to is gone": {"complete_to": None},
    "complete_to is a text": {"complete_to": "5"},
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
def test_a_forged_declaration_is_a_finding(opened, path: Path, change: dict[str, Any]) -> None:
    """An event whose payload says another end of what is complete declares no gap."""
    position = restored(opened, path)
    (data,) = sql(path, "SELECT data FROM events WHERE position = ?", (position,))[0]
    forged = orjson.dumps({**orjson.loads(data), **change})
    sql(path, "UPDATE events SET data = ? WHERE position = ?", (forged, position))
    found = {(each.kind, each.position) for each in prove_log(path).findings}
    assert ("gap", 6) in found
    assert ("payload", position) in found
    assert not any(place > position for _, place in found if place)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE events SET position = 17 WHERE position = 16",
        "UPDATE events SET type_id = (SELECT min(type_id) FROM types) WHERE position = 16",
        "UPDATE events SET stream_id = 77 WHERE position = 16",
        "UPDATE events SET stream_id = 1, version = 6 WHERE position = 16",
        "UPDATE events SET digest = zeroblob(32) WHERE position = 16",
        "UPDATE streams SET name = 'log/other' WHERE name LIKE 'log/%'",
        "UPDATE types SET name = 'log.redacted' WHERE name = 'log.restored'",
        "DELETE FROM events WHERE position = 16",
        "UPDATE log_meta SET value = 1 WHERE key = 'epoch'",
    ],
)
def test_a_gap_before_anything_else_is_a_finding(opened, path: Path, change: str) -> None:
    """Only the event that began the epoch, where it stands, accounts for what is empty."""
    assert restored(opened, path, after=0) == 16
    sql(path, change)
    assert prove_log(path).findings


def test_a_declaration_of_what_is_there_is_a_finding(opened, path: Path) -> None:
    """An event that says less is complete than stands before it would hide good events."""
    log = opened()
    data = b'{"complete_to":2,"epoch":1}'
    one(log, [*events(1, 5), event(6, log.log_id, type="log.restored", data=data)])
    assert [(each.kind, each.position) for each in log.verify()] == [("epoch", 6)]
    assert log.lost_stretches() == ()


def test_rows_that_went_with_the_tail_are_told_exactly(opened, path: Path) -> None:
    """Where the last rows before a gap are gone, they are the finding, and not the gap."""
    restored(opened, path, gap=GAP)
    sql(path, "DELETE FROM events WHERE position IN (4, 5)")
    (gap, counted) = prove_log(path, quick=True).findings, prove_log(path).findings
    assert any(each.detail == "positions 4 to 5 are missing" for each in counted)
    assert any(each.kind == "counters" for each in gap)


def test_the_tail_is_verified_across_an_epoch(opened, path: Path, monkeypatch) -> None:
    """The start verifies what came since the epoch, and begins at the digest before the gap."""
    restored(opened, path, gap=GAP)
    opened().verify_tail()
    monkeypatch.setattr("daemon.eventlog.log.TAIL_EVENTS", GAP + 7)
    opened().verify_tail()
    sql(path, "UPDATE events SET digest = zeroblob(32) WHERE position = 5")
    with pytest.raises(LogDamaged):
        opened().verify_tail()


# -- which positions are lost -----------------------------------------------------------------


class Reached(NamedTuple):
    """A log, as far as it is asked which positions it has."""

    newest: int
    stretches: list[LostStretch]

    def head(self) -> int:
        """Return the newest position."""
        return self.newest

    def lost_stretches(self) -> list[LostStretch]:
        """Return what its epochs left empty."""
        return self.stretches


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=5))
def test_a_position_is_lost_strictly_inside_a_stretch(runs: list[tuple[int, int]]) -> None:
    """The last complete position and the epoch's own event count; what is between does not."""
    stretches, head = [], 0
    lost: set[int] = set()
    for kept, gap in runs:
        head += kept
        stretches.append(LostStretch(head, head + gap + 1, len(stretches) + 2))
        lost |= set(range(head + 1, head + gap + 1))
        head += gap + 1
    for position in range(head + 3):
        assert (lost_at(position, stretches) is not None) == (position in lost)
        assert lost_before(position, stretches) == len([each for each in lost if each <= position])
        if position in lost or position > head:
            with pytest.raises(BeyondHead):
                require_reached(Reached(head, stretches), position)
        else:
            require_reached(Reached(head, stretches), position)
