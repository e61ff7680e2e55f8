"""Segments and snapshots of a log from which something is removed, or redacted, as it grows."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw
import orjson
import pytest
from backup_driving import manifest_of
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.backup.applying import Applier, digest_within
from daemon.backup.restore import introduce, open_building
from daemon.backup.segment import Sealed, Source, merge
from daemon.backup.settling import begin_unsettled, tell_missing
from daemon.eventlog.connection import close
from daemon.eventlog.copying import copy_log
from daemon.eventlog.log import EventLog
from daemon.eventlog.log_file import LogFile
from daemon.eventlog.proof import prove_log
from daemon.eventlog.removal import mark, removable_streams, remove_some, take_over, trim
from daemon.eventlog.requests import Append, Work
from daemon.eventlog.transaction import Transaction
from daemon.redaction.redacting import Redaction
from daemon.replay.emit import outgoing_preserved
from daemon.replay.export import export
from daemon.replay.importing import import_history
from daemon.replay.lines import read_batches
from domain.epochs import day_stream
from domain.errors import ChronicledError, HistoryConflict, Invalid
from domain.events import NewEvent
from domain.lives import PURGED

START = 1_767_225_600_000_000
SECRET = "s3cr3t-v4lu3"
END = 2**62
TABLES = {
    "events": "SELECT * FROM events ORDER BY position",
    "runs": "SELECT * FROM removed_runs ORDER BY first",
    "streams": "SELECT * FROM streams WHERE stream_id IN (SELECT stream_id FROM events) ORDER BY 1",
    "keys": "SELECT * FROM removed_keys ORDER BY position",
    "asked": "SELECT stream_id FROM removals",
    # What has no marker is asked for again in time; what has no rows any more is done.
    "pending": "SELECT r.stream_id, r.version FROM removals r JOIN streams s USING (stream_id) "
    "WHERE s.name LIKE 'job/%' AND EXISTS (SELECT 1 FROM events e JOIN types t USING (type_id) "
    "WHERE e.stream_id = r.stream_id AND e.version <= r.version AND t.name <> 'job.purged') "
    "ORDER BY 1",
}
JOBS = st.sampled_from(["a", "b", "c"])
STEPS = st.one_of(
    st.tuples(st.just("append"), st.lists(JOBS, min_size=1, max_size=5)),
    st.tuples(st.just("again"), JOBS),
    st.tuples(st.just("trace"), st.integers(1, 3)),
    st.tuples(st.just("purge"), JOBS),
    st.tuples(st.just("archive"), JOBS),
    st.tuples(st.just("trim"), st.integers(1, 9)),
    st.tuples(st.just("forget"), JOBS),
    st.tuples(st.just("remove"), st.integers(1, 6)),
    st.tuples(st.just("redact"), st.integers(1, 30)),
    st.tuples(st.just("ship"), st.integers(1, 9)),
    st.tuples(st.just("snapshot"), st.just(0)),
)


class Shrinking:
    """A log that grows and shrinks, with what was shipped of it on the way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "log.db"
        self.now, self._number = START, 0
        self.log = EventLog.open(self.path, clock=lambda: self.now, synchronous="OFF")
        self.segments: list[Sealed] = []
        self.snapshots: list[Path] = []

    def do(self, kind: str, what: Any) -> None:
        """Do a step; one that cannot be done is left out."""
        self._number += 1
        self.now += 1_000_000
        getattr(self, f"_{kind}")(what)

    @property
    def shipped(self) -> int:
        """Up to where events were shipped."""
        return self.segments[-1].header.last if self.segments else 0

    def _drive(self, request: Append | Work) -> Any:
        outcomes: list[Any] = []
        self.log.submit(request, outcomes.append)
        self.log.writer.step(self.now)
        if isinstance(outcomes[0], BaseException) and not isinstance(outcomes[0], ChronicledError):
            raise outcomes[0]
        return outcomes[0]

    def _append(self, what: list[str]) -> None:
        data = orjson.dumps({"kind": "k", "params": {"token": SECRET, "number": self._number}})
        self._drive(Append([
            NewEvent("job.submitted", job, "/tests", f"e{self._number}-{n}", data)
            for n, job in enumerate(what)
        ]))  # fmt: skip

    def _again(self, job: str) -> None:
        """Send an event with the id that it always has: after a purge it is a new one."""
        self._drive(Append([NewEvent("job.submitted", job, "/again", job, b'{"kind":"k"}')]))

    def _trace(self, count: int) -> None:
        ids = [f"m{self._number}-{n}" for n in range(count)]
        self._drive(Append([NewEvent("maintenance.started", "t", "/c", id_, b"{}") for id_ in ids]))

    def _purge(self, job: str) -> None:
        self._mark("job.purged", job)

    def _archive(self, job: str) -> None:
        self._mark("job.archived", job)

    def _mark(self, type_: str, job: str) -> None:
        def run(transaction: Transaction) -> None:
            version = transaction.version_of(f"job/{job}")
            data = orjson.dumps({"replaces": version})
            event = NewEvent(type_, job, "/c", f"p{self._number}", data, expected_version=version)
            mark(transaction, event)

        if self._is_there(job):
            self._drive(Work(run))

    def _is_there(self, job: str) -> bool:
        found = self.log.read_stream(f"job/{job}")
        return bool(found) and found[-1].type not in PURGED

    def _trim(self, version: int) -> None:
        def run(transaction: Transaction) -> None:
            newest = transaction.version_of("maintenance/t")
            trim(transaction, "maintenance/t", min(version, newest - 1))

        self._drive(Work(run))

    def _forget(self, job: str) -> None:
        """Take over what the tombstone of a purged job says, when it stands alone."""
        found = self.log.read_stream(f"job/{job}")
        if [each.type for each in found] != ["job.purged"] or self.shipped <= found[0].position:
            return
        subject = day_stream(self.log.log_id, "d").partition("/")[2]
        data = orjson.dumps({"day": "2026-01-01"})
        event = NewEvent("log.summarised", subject, "/c", f"s{self._number}", data)
        told = [(f"job/{job}", found[0].version)]
        self._drive(
            Work(lambda transaction: take_over(transaction, self.log.log_id, [event], told))
        )

    def _remove(self, rows: int) -> None:
        before = self.shipped if self.segments or self.snapshots else END
        self._drive(Work(lambda transaction: remove_some(
            transaction, self.log.log_id, before=before, rows_max=rows,
            streams=removable_streams(transaction.connection, before),
        )))  # fmt: skip

    def _redact(self, position: int) -> None:
        self._drive(Work(Redaction(position, "/data/params/token", "x", id=f"r{self._number}").run))

    def _ship(self, most: int) -> None:
        source = Source(self.path, self.log.log_id)
        digest = self.segments[-1].header.digest_after if self.segments else ""
        while sealed := source.seal(1, self.shipped, events_max=most, digest=digest):
            self.segments.append(sealed)
            digest = sealed.header.digest_after

    def _snapshot(self, _: int) -> None:
        path = self.folder / f"snapshot-{self._number}.db"
        copy_log(self.path, path)
        self.snapshots.append(path)


def grown(folder: Path, steps: Sequence[tuple[str, Any]]) -> Shrinking:
    """Return what came of steps, shipped to its end."""
    shrinking = Shrinking(folder)
    for kind, what in steps:
        shrinking.do(kind, what)
    shrinking.do("append", ["z"])
    shrinking.do("ship", 4)
    shrinking.log.close()
    return shrinking


def restored(
    made: Shrinking, name: str, snapshot: Path | None, parts: Sequence[Sealed], upto: int = END
) -> Path:
    """Return a log that was brought back, as `Restoring` does it."""
    path = made.folder / name
    if snapshot is not None:
        path.write_bytes(snapshot.read_bytes())
    db = open_building(path)
    try:
        introduce(db, manifest_of(log_id=made.log.log_id, created=START))
        applier = Applier(db, made.log.log_id)
        begin_unsettled(db, applier.position)
        for part in parts:
            if part.header.last > applier.position and part.header.first <= upto:
                applier.apply(part.content, "x", None if upto == END else upto)
        applier.settle()
        tell_missing(db, made.log.log_id)
        db.pragma("journal_mode", "wal")
    finally:
        close(db)
    assert prove_log(path, at_rest=True).findings == []
    return path


def tables_of(path: Path) -> dict[str, Any]:
    """Return what a log holds, as far as it has to be the same."""
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
        return {name: db.execute(sql).fetchall() for name, sql in TABLES.items()}


def require_same(path: Path, other: Path) -> None:
    """Fail where two logs do not hold the same."""
    found, wanted = tables_of(path), tables_of(other)
    # A purge that is asked for, and not done yet, takes keys along when it is done.
    asked = {stream_id for each in (found, wanted) for (stream_id,) in each.pop("asked")}
    for each in (found, wanted):
        each["keys"] = [row for row in each["keys"] if row[0] not in asked]
    assert found == wanted


@settings(max_examples=25)
@given(st.lists(STEPS, min_size=4, max_size=24), st.data())
def test_what_comes_back_is_the_log_as_it_is(
    steps: list[tuple[str, Any]], data: st.DataObject
) -> None:
    """From any snapshot or none: what was removed or redacted after it is again."""
    with TemporaryDirectory() as folder:
        made = grown(Path(folder), steps)
        assert prove_log(made.path, at_rest=True).findings == []
        parts = made.segments
        if data.draw(st.booleans()):
            size = data.draw(st.integers(1, 5))
            runs = [parts[at : at + size] for at in range(0, len(parts), size)]
            parts = [merge(run, 1) for run in runs]
        for number, snapshot in enumerate([None, *made.snapshots]):
            path = restored(made, f"restored-{number}.db", snapshot, parts)
            require_same(path, made.path)


@pytest.mark.parametrize("merged", [False, True])
def test_an_event_that_was_sent_again_after_its_purge_is_restored(
    tmp_path: Path, merged: bool
) -> None:
    """Older objects have the purged event, newer ones another with its key: both are no damage.

    A log with such an event could not be restored.
    """
    steps = [
        ("again", "a"), ("append", ["b"]), ("ship", 9), ("snapshot", 0), ("purge", "a"),
        ("append", ["b"]), ("ship", 9), ("remove", 6), ("again", "a"),
    ]  # fmt: skip
    made = grown(tmp_path, steps)
    # The version, the id: the purge has the second version, and the first one is gone.
    assert [row[2] for row in tables_of(made.path)["events"] if row[8] == "a"] == [3]
    parts = [merge(made.segments, 1)] if merged else made.segments
    for number, snapshot in enumerate([None, *made.snapshots]):
        require_same(restored(made, f"restored-{number}.db", snapshot, parts), made.path)


def test_a_log_that_ends_with_removed_events_goes_on_behind_them(tmp_path: Path) -> None:
    """As of the last of them, it went on at the position of the first, and said so twice."""
    made = grown(
        tmp_path, [("append", ["a"]), ("append", ["b", "b"]), ("purge", "b"), ("remove", 6)]
    )
    path = restored(made, "restored.db", None, made.segments, upto=3)
    assert [run[:2] for run in runs_of(path)] == [(2, 3)]
    with closing(EventLog.open(path, synchronous="OFF")) as log:
        log.start()
        assert [each.position for each in log.read(0, 9)] == [1, 4]
        log.append([NewEvent("job.submitted", "c", "/tests", "c", b'{"kind":"k"}')])
    assert prove_log(path, at_rest=True).findings == []
    with closing(apsw.Connection(str(path))) as db:
        db.execute("UPDATE removed_runs SET last = 4")
    found = prove_log(path, at_rest=True).findings
    assert any((each.kind, each.position) == ("removed", 4) for each in found)


@pytest.mark.parametrize("merged", [False, True])
def test_as_of_a_position_that_was_removed_nothing_is_known_of_what_comes_after_it(
    tmp_path: Path, merged: bool
) -> None:
    """An event that was not there was answered as a duplicate, at a place that another one got."""
    made = grown(
        tmp_path, [("append", ["a"]), ("append", ["b", "b"]), ("archive", "b"), ("remove", 6)]
    )
    parts = [merge(made.segments, 1)] if merged else made.segments
    path = restored(made, "restored.db", None, parts, upto=2)
    found = tables_of(path)
    assert [row[0] for row in found["events"]] == [1]
    assert (found["runs"], found["keys"]) == ([], [])
    with closing(EventLog.open(path, synchronous="OFF")) as log:
        log.start()
        event = NewEvent("job.submitted", "b", "/tests", "e2-0", b'{"kind":"k"}')
        (receipt,) = log.append([event]).receipts
    assert (receipt.position, receipt.version, receipt.duplicate) == (2, 1, False)


def test_what_came_redacted_is_told_also_by_who_goes_on_after_a_kill(tmp_path: Path) -> None:
    """Which events those were was known to the process that was killed only, and never told."""
    made = grown(tmp_path, [("append", ["a"]), ("append", ["b"])])
    path = tmp_path / "restored.db"
    with closing(EventLog.open(made.path, synchronous="OFF")) as log:
        log.start()
        log.work(Work(Redaction(1, "/data/params/token", "x").run))
    part = Source(made.path, made.log.log_id).seal(1, 0, events_max=9, upto=2)
    assert part is not None
    for step in ("is killed", "goes on"):
        db = open_building(path)
        try:
            introduce(db, manifest_of(log_id=made.log.log_id, created=START))
            applier = Applier(db, made.log.log_id)
            begin_unsettled(db, applier.position)
            if step == "is killed":
                applier.apply(part.content, "x")
            applier.settle()
            if step == "goes on":
                tell_missing(db, made.log.log_id)
                db.pragma("journal_mode", "wal")
        finally:
            close(db)
    assert prove_log(path, at_rest=True).findings == []


@settings(max_examples=20)
@given(st.lists(STEPS, min_size=4, max_size=24), st.data())
def test_a_log_that_was_shrunk_before_is_shipped_anew(
    steps: list[tuple[str, Any]], data: st.DataObject
) -> None:
    """A place that is new gets segments with gaps, and what comes back is the same log."""
    steps = [step for step in steps if step[0] not in ("ship", "snapshot")]
    with TemporaryDirectory() as folder:
        made = grown(Path(folder), steps)
        path = restored(made, "restored.db", None, made.segments)
        require_same(path, made.path)
        for part in made.segments:
            position = part.header.last
            digest = digest_within(part.content, "x", position)
            assert digest is not None
            assert digest.hex() == part.header.digest_after
        upto = data.draw(st.integers(1, made.segments[-1].header.last))
        earlier = restored(made, "earlier.db", None, made.segments, upto)
        rows = [row for row in tables_of(made.path)["events"] if row[0] <= upto]
        assert tables_of(earlier)["events"][: len(rows)] == rows


@settings(max_examples=20)
@given(st.lists(STEPS, min_size=4, max_size=24))
def test_an_export_of_a_log_with_gaps_gives_the_same_log(steps: list[tuple[str, Any]]) -> None:
    """It says what is missing, and what was redacted; just that is missing in the end."""
    with TemporaryDirectory() as folder:
        made = grown(Path(folder), steps)
        written = io.BytesIO()
        with closing(LogFile(made.path)) as log:
            trailer = export(log, written.write, first=1, last=log.head())
        assert trailer.complete
        assert trailer.removed == sum(last - first + 1 for first, last, _ in runs_of(made.path))
        target = Path(folder) / "imported"
        written.seek(0)
        import_history(read_batches(written), target)
        path = target / "log.db"
        assert prove_log(path, at_rest=True).findings == []
        found, wanted = tables_of(path), tables_of(made.path)
        # Numbers are given anew, and the keys of what was removed are not known any more.
        assert [row[:1] + row[2:3] for row in found["events"]] == [
            row[:1] + row[2:3] for row in wanted["events"]
        ]
        assert [row[-4:] for row in found["events"]] == [row[-4:] for row in wanted["events"]]
        assert found["runs"] == wanted["runs"]
        if trailer.removed:
            with closing(LogFile(made.path)) as log, pytest.raises(HistoryConflict, match="a gap"):
                list(outgoing_preserved(log, range(1, log.head() + 1)))


def runs_of(path: Path) -> list[Any]:
    """Return the stretches without events."""
    runs: list[Any] = tables_of(path)["runs"]
    return runs


def test_an_export_that_lies_about_a_gap_is_refused(tmp_path: Path) -> None:
    """Events cannot be left out, nor changed, without an event of the log that says so."""
    steps = [("append", ["a", "b", "a"]), ("redact", 2), ("purge", "a"), ("remove", 9)]
    made = grown(tmp_path, steps)
    written = io.BytesIO()
    with closing(LogFile(made.path)) as log:
        export(log, written.write, first=1, last=log.head())
    text = written.getvalue()
    assert b'"logremoved":"1-1:' in text
    lines = text.splitlines(keepends=True)
    changed = {
        "another end": text.replace(b'"logremoved":"1-1:', b'"logremoved":"1-2:'),
        "no digest": text.replace(b'"logremoved":"1-1:', b'"logremoved":"x'),
        "no gap": text.replace(b'"logremoved"', b'"other"'),
        "another text": text.replace(b"[redacted]", b"[Redacted]"),
        "a line": b"".join(line for line in lines if b'"id":"e1-1"' not in line),
    }
    for name, each in changed.items():
        source = io.BytesIO(each)
        with pytest.raises(Invalid):
            import_history(read_batches(source), tmp_path / name)
        assert not (tmp_path / name / "log.db").exists()
