"""A measure: what it finds is so, it costs little, and it is kept."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import apsw
import pytest
from sizes import DAY, START, Clock, event, size_settings

from daemon.eventlog.log import EventLog
from daemon.size import measure as measure_module
from daemon.size import trees
from daemon.size.board import SizeBoard
from daemon.size.figures import FILE, SAMPLES_MAX, Database, Measured, read_measured
from daemon.size.measure import Files, Measurement, room_by_name
from daemon.size.task import SizeTask
from daemon.size.trees import map_pages
from domain.errors import LogDamaged, NotReady
from projections.runner import ProjectionRunner


def board_of(log: EventLog, clock: Clock) -> SizeBoard:
    """Return the board of a log's directory."""
    path = Path(log.path)
    return SizeBoard(Files(path, path.with_name("views.db")), size_settings(), clock)


def sql(log: EventLog, statement: str) -> list[Any]:
    """Run a statement on the log's file beside the log."""
    connection = apsw.Connection(log.path)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def fill(log: EventLog, count: int, first: int = 0, **fields: Any) -> None:
    """Append events to streams of their own."""
    for at in range(first, first + count, 1000):
        log.append([event(n, **fields) for n in range(at, min(at + 1000, first + count))])


def of_tables(database: Database) -> int:
    """Return what the pages take that belong to tables."""
    pages = (database.used + database.free) // 4096
    return database.used - map_pages(pages, 4096) * 4096


def table(database: Database, name: str) -> Any:
    """Return what was found of a table."""
    return next(each for each in database.tables if each.name == name)


def test_rows_and_bytes_are_those_of_the_pages(log: EventLog, clock: Clock) -> None:
    """Every page that holds something belongs to one table, and every row is counted."""
    fill(log, 3000)
    fill(log, 200, first=3000, type_="alert.raised", size=9000)
    database = board_of(log, clock).measure().databases["log"]
    for each in database.tables:
        [[rows]] = sql(log, f"SELECT count(*) FROM {each.name}")
        assert each.rows == rows, each.name
        assert not each.estimated
    assert sum(each.bytes for each in database.tables) == of_tables(database)
    indexes = "name IN ('events_by_stream', 'events_by_key')"
    [[index]] = sql(log, f"SELECT sum(pgsize) FROM dbstat WHERE aggregate = TRUE AND {indexes}")
    assert table(database, "events").index_bytes == index
    assert database.tables[0].name == "events"


def test_a_large_table_is_reckoned_from_a_part(log: EventLog, clock: Clock) -> None:
    """Close to what it takes, told to be reckoned, and together exactly what is used."""
    fill(log, 20_000)
    path = Path(log.path)
    files = Files(path, path.with_name("views.db"))
    exact = board_of(log, clock).measure().databases["log"]
    work = Measurement(files, clock(), None, lambda *_: None, lambda _: None, pages_max=50)
    found = work.run(lambda: 0).databases["log"]
    for name in ("events", "streams"):
        near = table(exact, name).bytes
        assert table(found, name).estimated
        assert table(found, name).rows == 20_000
        assert table(found, name).bytes == pytest.approx(near, rel=0.15)
    assert sum(each.bytes for each in found.tables) == pytest.approx(of_tables(found), abs=10)


def test_without_dbstat_everything_is_reckoned(
    log: EventLog, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An SQLite that cannot look at pages: the bytes go by the rows, and it is said so."""
    fill(log, 2000)
    monkeypatch.setattr(trees, "HAS_DBSTAT", False)
    measured = board_of(log, clock).measure()
    assert measured.estimated
    database = measured.databases["log"]
    assert table(database, "events").rows == 2000
    assert sum(each.bytes for each in database.tables) == pytest.approx(
        of_tables(database), abs=100
    )


def test_categories_have_what_was_stored_of_their_events(log: EventLog, clock: Clock) -> None:
    """Each event is of one category, with its payload, digests and attributes."""
    fill(log, 30)
    fill(log, 10, first=30, type_="job.started")
    fill(log, 5, first=40, type_="alert.raised", size=1000)
    found = {each.name: each for each in board_of(log, clock).measure().categories}
    assert {name: each.events for name, each in found.items()} == {"job": 40, "alert": 5}
    [[payload]] = sql(log, "SELECT sum(length(data)) FROM events WHERE stream_id > 40")
    # Two digests of 32 bytes, the key of 16, and the id.
    assert found["alert"].bytes == payload + 5 * (32 + 32 + 16 + len("e40"))


def grow(log: EventLog, clock: Clock, days: int, each_day: int) -> None:
    """Append some events on each of some days."""
    number = 0
    for _ in range(days):
        fill(log, each_day, first=number)
        number += each_day
        clock.now += DAY


def test_growth_is_what_was_recorded_per_day(log: EventLog, clock: Clock) -> None:
    """Over one, seven and thirty days, or as long as there is a log."""
    grow(log, clock, days=10, each_day=50)
    clock.now -= DAY // 2
    growth = {each.days: each for each in board_of(log, clock).measure().growth}
    assert growth[1].events == 50
    assert growth[7].events == 50
    assert growth[30].events == pytest.approx(500 / 9.5)
    per_event = growth[7].bytes / growth[7].events
    assert growth[1].bytes == pytest.approx(50 * per_event, rel=0.05)


def test_growth_counts_what_is_gone_again(log: EventLog, clock: Clock) -> None:
    """Positions are never used again, so that events which were removed are known of."""
    grow(log, clock, days=5, each_day=40)
    clock.now -= DAY // 2
    whole = board_of(log, clock).measure().growth
    connection = apsw.Connection(log.path)
    connection.execute("DELETE FROM events WHERE position > 45 AND position % 2 = 0")
    connection.close()
    left = board_of(log, clock).measure().growth
    for before, after in zip(whole, left, strict=True):
        assert after.events == pytest.approx(before.events, rel=0.03)
        assert after.bytes == pytest.approx(before.bytes, rel=0.03)


def test_an_empty_log_has_no_growth(log: EventLog, clock: Clock) -> None:
    """Nothing was recorded, and nothing is divided by it."""
    measured = board_of(log, clock).measure()
    assert (measured.head, measured.since, measured.categories) == (0, None, ())
    assert [each.events for each in measured.growth] == [0, 0, 0]
    assert board_of(log, clock).rates() is None


def test_no_slice_holds_the_write_ahead_log(log: EventLog, clock: Clock) -> None:
    """Between two slices the write-ahead log can be emptied: no read transaction is open."""
    fill(log, 2000)
    emptied: list[tuple[int, int]] = []
    beside = apsw.Connection(log.path)
    beside.execute("SELECT count(*) FROM events").fetchall()

    def rest(_: float) -> None:
        emptied.append(beside.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE))

    path = Path(log.path)
    Measurement(Files(path, path), clock(), None, lambda *_: None, rest).run(lambda: 0)
    beside.close()
    assert len(emptied) > 10
    assert set(emptied) == {(0, 0)}


def test_slices_fit_the_time(log: EventLog, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk gets smaller slices, down to a least one; all events are counted."""
    fill(log, 7000)
    time = iter(range(10_000))
    monkeypatch.setattr(measure_module.time, "monotonic", lambda: float(next(time)))
    told: list[int] = []
    path = Path(log.path)
    work = Measurement(
        Files(path, path), clock(), None, lambda done, _: told.append(done), lambda _: None
    )
    assert sum(each.events for each in work.run(lambda: 0).categories) == 7000
    assert told[:4] == [5000, 5500, 6000, 6500]


def test_the_views_are_measured_beside_the_log(log: EventLog, clock: Clock) -> None:
    """Where there are views their tables are told of, too."""
    board = board_of(log, clock)
    fill(log, 50)
    assert set(board.measure().databases) == {"log"}
    runner = ProjectionRunner(board.files.views, log)
    runner.catch_up()
    views = board.measure().databases["views"]
    assert table(views, "jobs").rows == 50
    assert sum(each.bytes for each in views.tables) == of_tables(views)
    runner.close()


def test_a_measure_is_kept(log: EventLog, clock: Clock) -> None:
    """Who opens the directory later has the last one; nobody else may read it."""
    fill(log, 10)
    measured = board_of(log, clock).measure()
    assert board_of(log, clock).measured == measured
    path = Path(log.path).with_name(FILE)
    assert path.stat().st_mode & 0o777 == 0o600
    assert not list(path.parent.glob("*.part"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"time": "yesterday"}'])
def test_a_broken_file_is_no_measure(log: EventLog, clock: Clock, text: str) -> None:
    """It is as if there was none, and the next measure takes its place."""
    path = Path(log.path).with_name(FILE)
    path.write_text(text)
    assert read_measured(path.parent) is None
    board = board_of(log, clock)
    assert board.measured is None
    assert board.measure() == read_measured(path.parent)


def test_one_sample_a_day_is_kept(log: EventLog, clock: Clock) -> None:
    """Of several measures of a day the last counts; the oldest days are forgotten."""
    board = board_of(log, clock)
    for _ in range(3 * (SAMPLES_MAX + 5)):
        clock.now += DAY // 3
        board.measure()
    measured = board.measured
    assert measured is not None
    days = [round((clock.now - each.time) / DAY, 1) for each in measured.samples]
    assert len(days) == SAMPLES_MAX
    assert days[-1] == 0
    gaps = {round(a - b, 1) for a, b in pairwise(days[:-1])}
    assert gaps == {1.0}


def test_a_stop_ends_a_measure_early(log: EventLog, clock: Clock) -> None:
    """Nothing is kept of it, and the one before is there still."""
    fill(log, 10)
    board = board_of(log, clock)
    board.stop()
    with pytest.raises(NotReady, match="stops"):
        board.measure()
    assert board.measured is None


def test_one_measure_is_made_at_a_time(log: EventLog, clock: Clock) -> None:
    """A second one is refused while the first is at work, and made after it."""
    fill(log, 10)
    board = board_of(log, clock)
    refused: list[str] = []

    def again(*_: int) -> None:
        with pytest.raises(NotReady, match="already") as caught:
            board.measure()
        refused.append(str(caught.value))

    board.measure(again)
    assert refused
    assert isinstance(board.measure(), Measured)


def test_a_damaged_log_is_said(log: EventLog, clock: Clock, tmp_path: Path) -> None:
    """What SQLite cannot read is our error, not its own."""
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database at all" * 1000)
    board = SizeBoard(Files(broken, broken), size_settings(), clock)
    with pytest.raises(LogDamaged):
        board.measure()


def test_the_task_says_what_it_did(log: EventLog, clock: Clock) -> None:
    """As every task of the housekeeping: counts, and a sentence."""
    fill(log, 10)
    board = board_of(log, clock)
    outcome = SizeTask(board).run(START)
    assert outcome.counts["events"] == 10
    assert outcome.message is not None
    assert outcome.message.startswith("the databases hold ")
    assert board.measured is not None


def test_folders_count_with_all_that_is_in_them(tmp_path: Path) -> None:
    """By the first name below the data directory; links count for themselves."""
    (tmp_path / "replay" / "deep").mkdir(parents=True)
    (tmp_path / "replay" / "deep" / "a").write_bytes(b"x" * 5)
    (tmp_path / "replay" / "b").write_bytes(b"x" * 7)
    (tmp_path / "log.db").write_bytes(b"x" * 3)
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    found = room_by_name(tmp_path)
    folders = sum(p.lstat().st_size for p in [tmp_path / "replay" / "deep"])
    assert found["replay"] == 12 + folders
    assert found["log.db"] == 3
