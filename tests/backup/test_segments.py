"""Segments: a log that was sealed in pieces comes back row by row, and nothing else does."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw
import orjson
import pytest
from backup_driving import manifest_of
from grown_logs import STEPS, Growing, Step, grown, positions_of, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.backup.applying import Applier, digest_within
from daemon.backup.errors import ObjectDamaged
from daemon.backup.lineage import cover
from daemon.backup.names import Range
from daemon.backup.restore import introduce, open_building
from daemon.backup.segment import BYTES_MAX, Sealed, Source, last_recorded, merge, seal, unsealed
from daemon.backup.settling import CAME_REDACTED
from daemon.eventlog.connection import close
from daemon.eventlog.log_file import LogFile
from daemon.eventlog.proof import prove_log
from domain.errors import NewerSchema

LOGS = st.lists(STEPS, min_size=1, max_size=14)
EVENTS = Step("events", [("a", "/s", "i", None), ("b", "/s", "j", {"count": 1})])


class Shipped:
    """Segments of a log, sealed one after the other as it grows."""

    def __init__(self) -> None:
        self.segments: list[Sealed] = []
        self.letters: list[Sealed] = []

    def ship(self, path: Path, events_max: int) -> None:
        """Seal what is new."""
        with closing(LogFile(path)) as log:
            source, epoch = Source(path, log.log_id), log.epoch
        while sealed := source.seal(epoch, self.last, events_max=events_max):
            self.segments.append(sealed)
        after = self.letters[-1].header.last if self.letters else 0
        while sealed := source.seal_letters(epoch, after):
            self.letters.append(sealed)
            after = sealed.header.last

    @property
    def last(self) -> int:
        """Up to where events were sealed."""
        return self.segments[-1].header.last if self.segments else 0


def shipped_log(path: Path, steps: Sequence[Step]) -> Shipped:
    """Grow a log and ship it on the way and at the end."""
    shipped, growing = Shipped(), Growing(path)
    for step in steps:
        if step.kind == "ship":
            shipped.ship(path, step.what)
        else:
            growing.do(step)
    growing.close()
    shipped.ship(path, 3)
    return shipped


@contextmanager
def applier_on(path: Path, source: Path) -> Iterator[Applier]:
    """Return what applies segments of a log to a file."""
    with closing(LogFile(source)) as log:
        meta = log.meta()
    db = open_building(path)
    try:
        introduce(db, manifest_of(log_id=meta["log_id"], created=meta["created"]))
        yield Applier(db, meta["log_id"])
        db.pragma("journal_mode", "wal")
    finally:
        close(db)


def applied(path: Path, source: Path, parts: Sequence[Sealed], upto: int | None = None) -> Path:
    """Apply segments to a file and return its path."""
    with applier_on(path, source) as applier:
        for part in parts:
            applier.apply(part.content, "x", upto)
    return path


def compared(path: Path, upto: int | None = None) -> dict[str, list[Any]]:
    """Return the rows of a log that segments bring back.

    The counter of dead letters apart: a letter that came again may have raised it.
    """
    rows = rows_of(path, upto)
    counters = dict(rows.pop("sqlite_sequence"))
    if upto is None:
        rows["counter"] = [counters.get("events")]
    else:
        rows["log_meta"] = [row for row in rows["log_meta"] if row[0] != "epoch"]
    return rows


def overlapping(source: Path, draw: st.DataObject) -> list[Sealed]:
    """Return some segments of a whole log that begin and end anywhere."""
    with closing(LogFile(source)) as log:
        log_id = log.log_id
    places = st.tuples(st.sampled_from([0, *positions_of(source)]), st.integers(1, 9))
    drawn = draw.draw(st.lists(places, max_size=4))
    found = [Source(source, log_id).seal(1, after, events_max=most) for after, most in drawn]
    return [each for each in found if each is not None]


def merged(parts: Sequence[Sealed], draw: st.DataObject) -> list[Sealed]:
    """Return segments of which some runs were made one."""
    left, result = list(parts), []
    while left:
        count = draw.draw(st.integers(1, len(left)))
        run, left = left[:count], left[count:]
        result.append(merge(run, 1) if count > 1 else run[0])
    return result


def by_place(parts: Sequence[Sealed]) -> list[Sealed]:
    """Return segments as they are applied: by their first position."""
    return sorted(parts, key=lambda each: (each.header.first, each.header.last))


@settings(max_examples=20)
@given(LOGS, st.data())
def test_what_was_sealed_in_pieces_is_the_same_log_again(
    steps: list[Step], draw: st.DataObject
) -> None:
    """Every row of every table comes back, however the log was cut, merged and overlapped."""
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "source.db"), Path(folder, "target.db")
        shipped = shipped_log(source, steps)
        parts = by_place([*merged(shipped.segments, draw), *overlapping(source, draw)])
        Shipped.ship(whole := Shipped(), source, 50)
        applied(target, source, [*parts, *whole.letters])
        there, here = compared(source), compared(target)
        if not shipped.segments:
            # Offsets and tracking travel with events.
            there["follows"] = there["tracking"] = []
        assert_same_but_places(there, here)
        if _ends_with_events(steps):
            assert (here["follows"], here["tracking"]) == (there["follows"], there["tracking"])
        assert prove_log(target).findings == prove_log(source).findings


def _ends_with_events(steps: Sequence[Step]) -> bool:
    """Return whether the last thing that happened to a log were events."""
    done = [step for step in steps if step.kind != "ship"]
    return bool(done) and done[-1].kind in ("events", "epoch")


def assert_same_but_places(there: dict[str, Any], here: dict[str, Any]) -> None:
    """Compare two logs; offsets and tracking may only be behind."""
    for name in there:
        if name in ("follows", "tracking"):
            known = {row[:-2] if name == "follows" else row[:-1]: row for row in there[name]}
            for row in here[name]:
                key = row[:-2] if name == "follows" else row[:-1]
                assert row[len(key)] <= known[key][len(key)]
        else:
            assert here[name] == there[name], name


@settings(max_examples=12)
@given(LOGS, LOGS, st.data())
def test_the_beginning_of_a_log_becomes_the_whole(
    first: list[Step], then: list[Step], draw: st.DataObject
) -> None:
    """A copy of an earlier moment takes what it lacks, also from segments that reach further back.

    How often a dead letter came again is as of the copy.
    """
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "source.db"), Path(folder, "target.db")
        growing = Growing(source)
        for step in first:
            if step.kind != "ship":
                growing.do(step)
        growing.close()
        target.write_bytes(source.read_bytes())
        for step in [*then, EVENTS]:
            if step.kind != "ship":
                growing.do(step)
        growing.close()
        (whole := Shipped()).ship(source, draw.draw(st.integers(1, 9)))
        newest = max(positions_of(target), default=0)
        ranges = [_range(each) for each in whole.segments]
        chosen = cover(ranges, newest, whole.last)
        parts = [each for each in whole.segments if _range(each) in chosen]
        applied(target, source, [*parts, *whole.letters])
        there, here = compared(source), compared(target)
        assert here == there
        assert prove_log(target).findings == prove_log(source).findings


def _range(sealed: Sealed) -> Range:
    return Range(sealed.header.first, sealed.header.last, 1)


@settings(max_examples=15)
@given(LOGS, st.data())
def test_a_log_is_cut_at_any_position(steps: list[Step], draw: st.DataObject) -> None:
    """Up to a position there are the events up to there, their names, and nothing of others."""
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "source.db"), Path(folder, "target.db")
        shipped = shipped_log(source, [*steps, EVENTS])
        upto = draw.draw(st.sampled_from(positions_of(source)))
        chosen = cover([_range(each) for each in shipped.segments], 0, upto)
        parts = [each for each in shipped.segments if _range(each) in chosen]
        applied(target, source, parts, upto)
        there, here = compared(source, upto), compared(target, upto)
        for name in ("events", "streams", "types", "sources"):
            assert here[name] == there[name] == rows_of(target)[name], name
        there["dead_letters"] = here["dead_letters"]
        assert_same_but_places(there, here)
        app = any(step.kind == "library" and not step.what[0] for step in steps)
        assert app or not prove_log(target).findings


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a log with a little of everything."""
    steps = [
        EVENTS,
        Step("library", ("app", [("s", "t", b"\x00\xff")])),
        Step("letters", [b"one", b"two"]),
        Step("follow", ("a", 5)),
        Step("track", ("app", "up", 3)),
        Step("epoch", 1_000_000),
        EVENTS,
        EVENTS,
    ]
    return grown(tmp_path_factory.mktemp("log") / "log.db", steps)


@pytest.fixture(scope="module")
def pieces(log: Path) -> Shipped:
    """Return the log in three segments and an object of dead letters."""
    (shipped := Shipped()).ship(log, 3)
    return shipped


def refused(log: Path, target: Path, before: Sequence[Sealed], content: bytes) -> str:
    """Apply what has to be refused; return why it was. Nothing is changed by it."""
    with applier_on(target, log) as applier:
        for part in before:
            applier.apply(part.content, "x")
        place = applier.position, applier.digest
    rows = rows_of(target)
    with applier_on(target, log) as applier:
        with pytest.raises((ObjectDamaged, NewerSchema)) as refusal:
            applier.apply(content, "an object")
        assert (applier.position, applier.digest) == place
    assert rows_of(target) == rows
    return str(refusal.value)


def test_no_flipped_bit_is_applied(log: Path, pieces: Shipped, tmp_path: Path) -> None:
    """A segment or dead letters with any bit flipped are damage, and change nothing.

    A few bits in the frame of zstandard mean nothing: with those it holds what it held.
    """
    for number, part in enumerate([pieces.segments[0], pieces.letters[0]]):
        target, harmless = tmp_path / f"{number}.db", 0
        before = compared(applied(target, log, []))
        held = unsealed(part.content, "x")
        with applier_on(target, log) as applier:
            bits = len(part.content) * 8
            for bit in itertools.chain(range(0, bits, 41), range(bits - 64, bits)):
                content = bytearray(part.content)
                content[bit // 8] ^= 1 << bit % 8
                try:
                    harmless += unsealed(bytes(content), "x") == held
                except ObjectDamaged:
                    with pytest.raises(ObjectDamaged):
                        applier.apply(bytes(content), "x")
            assert applier.position == 0
        assert compared(target) == before
        assert harmless < 3


@pytest.mark.parametrize("cut", [0, 1, 7, 39, 40, 200, -1])
def test_a_truncated_segment_is_damage(
    log: Path, pieces: Shipped, tmp_path: Path, cut: int
) -> None:
    """A segment that ends too early is not applied."""
    refused(log, tmp_path / "t.db", [], pieces.segments[0].content[:cut])


def test_what_is_of_another_log_is_refused(log: Path, pieces: Shipped, tmp_path: Path) -> None:
    """Segments and dead letters of another log are not applied to this one."""
    other = grown(tmp_path / "other.db", [EVENTS, Step("letters", [b"x"])])
    (shipped := Shipped()).ship(other, 9)
    for number, part in enumerate([*shipped.segments, *shipped.letters]):
        assert "another log" in refused(log, tmp_path / f"{number}.db", [], part.content)


def test_a_hole_and_the_wrong_order_are_refused(log: Path, pieces: Shipped, tmp_path: Path) -> None:
    """A segment is applied where it continues the log, and nowhere else."""
    first, _, third = pieces.segments
    assert "ends at 0" in refused(log, tmp_path / "a.db", [], third.content)
    assert "begins at" in refused(log, tmp_path / "b.db", [first], third.content)


def test_a_log_that_went_another_way_is_refused(log: Path, pieces: Shipped, tmp_path: Path) -> None:
    """Segments with the same id and other events are not applied."""
    other = tmp_path / "other.db"
    other.write_bytes(log.read_bytes())
    with closing(apsw.Connection(str(other))) as db:
        db.execute("UPDATE events SET digest = randomblob(32)")
    (shipped := Shipped()).ship(other, 2)
    ours = pieces.segments
    for number, (before, part) in enumerate(
        [(ours[:1], shipped.segments[0]), (ours[:1], shipped.segments[1]), ([], ours[1])]
    ):
        refused(log, tmp_path / f"{number}.db", before, part.content)


@pytest.mark.parametrize("change", [{"format": 2}, {"schema_version": 99}])
def test_a_newer_segment_is_refused(
    log: Path, pieces: Shipped, tmp_path: Path, change: dict[str, int]
) -> None:
    """What a newer release sealed is not applied, and not called damage."""
    header, database = unsealed(pieces.segments[0].content, "x")
    content = seal(database, header.model_copy(update=change)).content
    assert "this program knows" in refused(log, tmp_path / "t.db", [], content)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM events WHERE position = 2",
        "DELETE FROM streams",
        "UPDATE events SET data = x'00'",
        "UPDATE types SET name = 'other'",
        "DROP TABLE events",
        "DROP TABLE tracking",
    ],
)
def test_a_segment_that_was_made_up_is_refused(
    log: Path, pieces: Shipped, tmp_path: Path, sql: str
) -> None:
    """Right checksums are not enough: the events have to continue the chain."""
    header, database = unsealed(pieces.segments[0].content, "x")
    with closing(apsw.Connection(":memory:")) as db:
        db.deserialize("main", database)
        db.execute(sql)
        content = seal(db.serialize("main"), header).content
    refused(log, tmp_path / "t.db", [], content)
    if "tracking" not in sql:
        with pytest.raises(ObjectDamaged):
            digest_within(content, "x", 1)


def test_what_is_there_already_does_no_harm(log: Path, pieces: Shipped, tmp_path: Path) -> None:
    """Segments that bring nothing new change nothing, not even offsets and tracking."""
    target = applied(tmp_path / "t.db", log, [*pieces.segments, *pieces.letters])
    before = compared(target)
    assert before == compared(log)
    applied(target, log, [*pieces.segments[::-1], *pieces.letters])
    assert compared(target) == before


def test_a_payload_that_is_no_longer_its_hash_travels(log: Path, tmp_path: Path) -> None:
    """A redacted payload comes back with the hash of the one that was recorded, and is noted."""
    source = tmp_path / "source.db"
    source.write_bytes(log.read_bytes())
    with closing(apsw.Connection(str(source))) as db:
        db.execute("UPDATE events SET data = x'7b7d' WHERE position = 2")
    (shipped := Shipped()).ship(source, 3)
    target = applied(tmp_path / "t.db", source, [*shipped.segments, *shipped.letters])
    with closing(apsw.Connection(str(target))) as db:
        noted = db.execute("DELETE FROM log_meta WHERE key = ? RETURNING value", (CAME_REDACTED,))
        assert orjson.loads(noted.get) == {"2": sha256(b"{}").hexdigest()}
    assert compared(target) == compared(source)


def test_digests_and_times_are_found_within_segments(log: Path, pieces: Shipped) -> None:
    """What a segment says of its events is what the log has."""
    digests = {row[0]: row[-1] for row in rows_of(log)["events"]}
    times = {row[0]: row[6] for row in rows_of(log)["events"]}
    for part in pieces.segments:
        first, last = part.header.first, part.header.last
        for position in (first, first + 1, last, last + 1):
            wanted = digests.get(position) if position <= last else None
            assert digest_within(part.content, "x", position) == wanted
        assert last_recorded(part.content, "x", times[last]) == last
        assert last_recorded(part.content, "x", times[1] - 1) is None
        assert part.header.recorded_last == times[last]


def test_large_events_have_segments_of_their_own(tmp_path: Path) -> None:
    """An event beyond the bound of a segment is sealed alone, and comes back."""
    source = grown(tmp_path / "source.db", [EVENTS])
    big = bytes(BYTES_MAX + 1)
    with closing(LogFile(source)) as held:
        log_id = held.log_id
    growing = Growing(source)
    growing.do(Step("library", ("app", [("s", "t", big), ("s", "t", b"x")])))
    growing.do(EVENTS)
    growing.close()
    (shipped := Shipped()).ship(source, 50)
    assert [(each.header.first, each.header.last) for each in shipped.segments] == [
        (1, 2), (3, 3), (4, 6)
    ]  # fmt: skip
    assert all(each.header.log_id == log_id for each in shipped.segments)
    assert compared(applied(tmp_path / "t.db", source, shipped.segments)) == compared(source)


def test_offsets_travel_though_their_segment_does_not_reach_the_head(tmp_path: Path) -> None:
    """What was followed and tracked before the last of many segments is in that last one."""
    source = grown(
        tmp_path / "source.db",
        [Step("follow", ("a", 5)), Step("track", ("app", "up", 3)), *[EVENTS] * 4],
    )
    (shipped := Shipped()).ship(source, 2)
    target = applied(tmp_path / "t.db", source, shipped.segments)
    assert len(shipped.segments) == 4
    assert compared(target) == compared(source)
    assert compared(target)["follows"]
    assert compared(target)["tracking"]


def test_an_empty_log_has_no_segment(tmp_path: Path) -> None:
    """There is nothing to seal, and nothing after the newest event."""
    source = grown(tmp_path / "source.db", [])
    (shipped := Shipped()).ship(source, 9)
    assert (shipped.segments, shipped.letters) == ([], [])
