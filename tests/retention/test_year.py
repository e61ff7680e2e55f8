"""A year of work with all policies on, killed again and again: what is left is what has to be.

The size of the year is set by the environment: ``CHRONICLED_YEAR_DAYS``, ``CHRONICLED_YEAR_JOBS``
(an hour), ``CHRONICLED_YEAR_PROGRESS`` (at the most that many events of a job's progress),
``CHRONICLED_YEAR_KILLS`` and ``CHRONICLED_YEAR_SEED``. 365 days of 5 jobs an hour with up to 40
events of progress are a million events. ``CHRONICLED_YEAR_DATA`` names the directory of a year that
has happened, to be looked at again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import apsw
import orjson
import pytest
from year import DAY, START, Due, Year

from daemon.archive.reading import ArchiveReader
from daemon.archive.shelf import Shelf
from daemon.backup.places import open_place
from daemon.eventlog.log import EventLog
from domain.timestamps import parse_timestamp
from projections.runner import ProjectionRunner
from projections.views import Views

DAYS = int(os.environ.get("CHRONICLED_YEAR_DAYS", "100"))
JOBS = int(os.environ.get("CHRONICLED_YEAR_JOBS", "1"))
KILLS = int(os.environ.get("CHRONICLED_YEAR_KILLS", "12"))
SEED = int(os.environ.get("CHRONICLED_YEAR_SEED", "7"))
REMEMBERED_DAYS = 60
PROCESS = Path(__file__).with_name("year_process.py")
TIMEOUT = 600 + 2 * DAYS * JOBS

pytestmark = pytest.mark.timeout(TIMEOUT)


def live(data: Path) -> None:
    """Let the year happen, killed at random moments."""
    random = Random(SEED)
    command = [sys.executable, str(PROCESS), str(data), str(SEED), str(DAYS), str(JOBS)]
    kills = sorted(random.randint(0, DAYS - 1) for _ in range(KILLS))
    for day in [*kills, None]:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if day is not None and line.startswith("day ") and int(line.split()[1]) >= day:
                    # Somewhere in the next day: its hours, or its housekeeping.
                    event = random.choice(["at once", "in its commits"])
                    if event == "in its commits":
                        wait_for_growth(data, random.randint(1, 60) * 4096)
                    process.send_signal(signal.SIGKILL)
                    break
            process.wait()
            if day is None:
                assert process.returncode == 0


def wait_for_growth(data: Path, size: int) -> None:
    """Wait until the write-ahead log of the log has moved so far, or been begun anew."""
    path = data / "log.db-wal"
    start = path.stat().st_size if path.exists() else 0
    for _ in range(20_000):
        now = path.stat().st_size if path.exists() else 0
        if now < start or now >= start + size:
            return


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory in which the year has happened, or that of an earlier one."""
    if earlier := os.environ.get("CHRONICLED_YEAR_DATA"):
        return Path(earlier)
    data = tmp_path_factory.mktemp("year") / "data"
    live(data)
    return data


def rows(data: Path, sql: str) -> list[Any]:
    """Return the rows of a question to the log's file."""
    with closing(apsw.Connection(str(data / "log.db"), flags=apsw.SQLITE_OPEN_READONLY)) as db:
        return db.execute(sql).fetchall()


_MARKERS = (
    "SELECT s.name, t.name, e.recordedtime FROM events e JOIN streams s USING (stream_id) "
    "JOIN types t USING (type_id) WHERE t.name IN "
    "('job.archived', 'job.purged', 'alert.purged', 'file.purged')"
)


def told(data: Path) -> dict[tuple[str, str], int]:
    """Return on which day each stream was archived or purged, as the log says."""
    return {
        (stream, type_.partition(".")[2]): (recorded - START) // DAY
        for stream, type_, recorded in rows(data, _MARKERS)
    }


def expected(due: Due, action: str) -> int | None:
    """Return the day of a marker that has to be in the log at the end; None where none is."""
    if action == "archived":
        return due.archived if due.purged is None else None
    if due.purged is None or due.purged + REMEMBERED_DAYS <= DAYS:
        return None
    return due.purged


def test_everything_went_on_the_day_it_was_due_and_nothing_else(data: Path) -> None:
    """Each archive and purge is in the log with its day, and every other stream is untouched."""
    markers = told(data)
    wanted = {
        (due.stream, action): day
        for due in Year(SEED, DAYS, JOBS).due(DAYS)
        for action in ("archived", "purged")
        if (day := expected(due, action)) is not None
    }
    assert markers == wanted
    left = {stream for (stream,) in rows(data, _LEFT)}
    year = Year(SEED, DAYS, JOBS)
    kept = {due.stream for due in year.due(DAYS) if due.archived is None and due.purged is None}
    assert kept
    assert left >= kept
    assert left - kept == {stream for stream, _ in wanted}


_LEFT = (
    "SELECT DISTINCT s.name FROM events e JOIN streams s USING (stream_id) "
    "WHERE s.name GLOB 'job/*' OR s.name GLOB 'alert/*' OR s.name GLOB 'file/*'"
)


def test_what_is_kept_has_all_its_events(data: Path) -> None:
    """Of what neither was archived nor purged every event that was sent is there, once."""
    year = Year(SEED, DAYS, JOBS)
    sent: dict[str, int] = {}
    for hour in range(DAYS * 24 + 1):
        for event in year.events(hour):
            sent[event.stream] = sent.get(event.stream, 0) + 1
    counted = dict(
        rows(
            data,
            "SELECT s.name, count(*) FROM events e JOIN streams s USING (stream_id) "
            "WHERE e.source_id = (SELECT source_id FROM sources WHERE name = '/year') "
            "GROUP BY s.name",
        )
    )
    kept = {due.stream for due in year.due(DAYS) if due.archived is None and due.purged is None}
    assert {stream: counted.get(stream) for stream in kept} == {each: sent[each] for each in kept}
    assert set(counted) == kept


def test_the_log_and_the_views_are_proved(data: Path) -> None:
    """Chain, gaps, keys and structure hold, and the views are those of a replay from zero."""
    command = [sys.executable, "-m", "daemon", "verify", "--data", str(data), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert orjson.loads(done.stdout)["ok"] is True


def archived(data: Path) -> Iterator[tuple[ArchiveReader, Any]]:
    """Yield the reader of the archive and each marker."""
    with closing(EventLog.open(data / "log.db")) as log:
        place = open_place((data.parent / "archive").as_uri(), data=data)
        reader = ArchiveReader(log, Shelf(place.objects, data))
        for stream, type_, _ in rows(data, _MARKERS):
            if type_ == "job.archived":
                yield reader, reader.marker(stream)


def test_the_archive_can_be_read_and_holds_no_more(data: Path) -> None:
    """Each archived job has its events there, and nothing of a purged one is left."""
    year = Year(SEED, DAYS, JOBS)
    sent: dict[str, list[str]] = {}
    for hour in range(DAYS * 24 + 1):
        for event in year.events(hour):
            sent.setdefault(event.stream, []).append(event.id)
    objects = set()
    for reader, marker in archived(data):
        events = reader.events(marker)
        assert sorted(each.id for each in events) == sorted(sent[events[0].stream])
        objects |= marker.objects
    assert objects
    archive = data.parent / "archive"
    stored = {str(path.relative_to(archive)) for path in archive.rglob("*") if path.is_file()}
    assert len([each for each in stored if "/." not in f"/{each}"]) == len(objects)


def test_the_counts_of_every_day_survive(data: Path) -> None:
    """What was purged, also long ago, is counted for the day it was submitted."""
    year = Year(SEED, DAYS, JOBS)
    submitted: dict[str, int] = {}
    for hour in range(DAYS * 24):
        day = (START + hour * 3_600_000_000) // DAY
        for event in year.events(hour):
            if event.type == "job.submitted":
                submitted[str(day)] = submitted.get(str(day), 0) + 1
    with closing(Views(data / "views.db")) as views:
        days = [
            day
            for first in range(0, DAYS, 300)
            for day in views.summary(START + first * DAY, START + min(first + 300, DAYS) * DAY)[
                "days"
            ]
        ]
    shown = {
        str(parse_timestamp(f"{each['date']}T00:00:00Z") // DAY): each["jobs"] for each in days
    }
    assert shown == submitted


def test_the_size_is_that_of_what_is_kept(data: Path) -> None:
    """The log takes at most a fifth more than its rows would in a file of their own."""
    fresh = data.parent / "fresh.db"
    with closing(apsw.Connection(str(data / "log.db"))) as db:
        db.execute("VACUUM INTO ?", (str(fresh),))
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    slack = 1 << 20
    assert (data / "log.db").stat().st_size <= 1.2 * fresh.stat().st_size + slack
    # Of the rows, what tells of removals is a small part.
    sizes = dict(
        rows(
            data,
            "SELECT t.name = 'log.truncated', sum(length(e.data) + 200) FROM events e "
            "JOIN types t USING (type_id) GROUP BY 1",
        )
    )
    assert sizes.get(1, 0) <= 0.2 * sizes[0] + slack


def test_twice_does_nothing_the_second_time(data: Path) -> None:
    """The last run again: nothing is due, and the head of the log stays where it is."""
    before = rows(data, "SELECT max(position) FROM events")
    command = [sys.executable, str(PROCESS), str(data), str(SEED), str(DAYS), str(JOBS)]
    subprocess.run(command, check=True, timeout=TIMEOUT, stdout=subprocess.PIPE)
    assert rows(data, "SELECT max(position) FROM events") == before


def test_a_rebuild_from_zero_is_the_same(data: Path) -> None:
    """The views are built again from what is left, by whole streams too."""
    with closing(EventLog.open(data / "log.db")) as log:
        runner = ProjectionRunner(data.parent / "rebuilt.db", log, bulk_events=1)
        runner.catch_up()
        runner.close()
        with (
            closing(Views(data.parent / "rebuilt.db")) as again,
            closing(Views(data / "views.db")) as views,
        ):
            assert again.summary(None, None, None) == views.summary(None, None, None)
