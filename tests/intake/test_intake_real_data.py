"""Real producer files through intake, the log and the fold: exact events, and no doubles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.eventlog.log import EventLog
from daemon.intake.formats import decode_body, decode_lines
from domain.events import NewEvent, RecordedEvent
from domain.job import fold_job, job_view
from domain.limits import Limits

LIMITS = Limits()
LOAD = "3f0c6a52-8d5e-4d6e-9c55-0f2a3a1f7b10"
HOURLY = f"csv2json:hourly:{LOAD}:2026-02-04T10:00:00Z:1"
EVENTS_1 = f"sql-load:events:{LOAD}:2026-02-04T10:05:31Z:1"
EVENTS_2 = f"sql-load:events:{LOAD}:2026-02-04T10:06:02Z:2"
EVENTS_4 = f"sql-load:events:{LOAD}:2026-02-04T10:12:40Z:4"
CHECK = "db-check::77a0f0a8-1c2d-4c0f-b9b4-0d1e9b3f6a22:2026-02-04T07:00:00Z:1"
QUERY = "bigquery:analytics:b1d2f7c4-5a1f-4e0c-8a52-6f0de1c0a9e1:2026-02-04T19:00:00Z:1"
NOP = "nop::e6b7f1b2-0a11-4f77-8d0c-6c4c2a8a9f31:2026-02-04T08:00:00.25Z:1"
PART = "gs://raw/clicks/2026/02/04/06/part-1.json.gz"


@pytest.fixture
def messages(real_data: Path) -> Path:
    """Return the directory of the producer's messages, or skip."""
    return real_data / "flowlord" / "messages"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    """Return a log of its own, running."""
    log = EventLog.open(tmp_path / "log.db", synchronous="OFF")
    log.start()
    yield log
    log.close()


def read(path: Path, name: str) -> list[list[NewEvent]]:
    """Return the events of each line; there are no dead letters in a real file."""
    decoded = decode_lines(name, path.read_bytes(), LIMITS, str(path))
    assert [one.dead_letter for one in decoded if one.dead_letter] == []
    return [list(one.events) for one in decoded]


def feed(log: EventLog, path: Path, name: str) -> int:
    """Append a file line by line; return how many events were new."""
    receipts = [one for events in read(path, name) for one in log.append(events).receipts]
    return sum(not receipt.duplicate for receipt in receipts)


def steps(events: list[list[NewEvent]]) -> list[list[tuple[str, str]]]:
    """Return type and subject of every event, line by line."""
    return [[(event.type, event.subject) for event in line] for line in events]


def jobs(log: EventLog) -> dict[str, dict[str, Any]]:
    """Return every job as it is shown, without its place in the log."""
    streams: dict[str, list[RecordedEvent]] = defaultdict(list)
    for event in log.read(0, 1_000):
        if event.type.startswith("job."):
            streams[event.subject].append(event)
    views = {job: job_view(fold_job(None, events)) for job, events in streams.items()}
    for view in views.values():
        del view["last_position"]
    return views


def test_the_real_todo_messages(messages: Path) -> None:
    """Each task to do is one submission, under the id of its attempt."""
    events = steps(read(messages / "todo.ndjson", "flowlord-task"))
    assert events == [
        [("job.submitted", job)]
        for job in (
            HOURLY,
            "worker:job-meta:b1d2f7c4-5a1f-4e0c-8a52-6f0de1c0a9e1:2026-02-04T02:01:00Z:1",
            "transform:clicks:77a0f0a8-1c2d-4c0f-b9b4-0d1e9b3f6a22:2026-02-04T06:12:46Z:1",
            EVENTS_1,
            EVENTS_2,
            "report::0c9a4e1e-3b6f-4b38-9a36-2f4c7f0b8d55:2026-02-04T15:20:11Z:1",
            "task1:t2:a8e1c8d0-58b1-4f5c-b3d8-0b6b5d2a7f40:2026-06-02T09:00:00Z:1",
        )
    ]


def test_the_real_done_messages(messages: Path) -> None:
    """Each done task is submitted, started and ended; two of them raise an alert."""
    ends = [
        (HOURLY, "job.succeeded", None),
        (EVENTS_1, "job.failed", None),
        (QUERY, "job.succeeded", None),
        (CHECK, "job.failed", "task_alert"),
        (NOP, "job.succeeded", None),
        (EVENTS_4, "job.failed", "retries_exhausted"),
    ]
    assert steps(read(messages / "done.ndjson", "flowlord-task")) == [
        [("job.submitted", job), ("job.started", job), (end, job)]
        + ([("alert.raised", f"{job}:{alert}")] if alert else [])
        for job, end, alert in ends
    ]


@pytest.mark.parametrize("name", ["flowlord-file", "gcs-notification"])
def test_the_real_file_messages(messages: Path, name: str) -> None:
    """Files and object notifications are observed files, by the name of either format."""
    events = read(messages / "files.ndjson", name)
    assert steps(events) == [
        [("file.observed", path)]
        for path in (
            "s3://etl/out/2026/02/04/06/20260204T060000.json.gz",
            PART,
            "gs://raw/clicks/2026/02/04/06/",
            "/data/in/2026-02-04.txt",
            "mc://minio.local:9000/bucket/x.csv",
            PART,
        )
    ]
    assert len({event.id for line in events for event in line}) == 6


def test_the_real_alert_rows_are_no_tasks(messages: Path) -> None:
    """Rows of another table are refused one by one, each with the field that gives it away."""
    decoded = decode_lines(
        "flowlord-task", (messages / "alerts.ndjson").read_bytes(), LIMITS, "alerts.ndjson"
    )
    letters = [one.dead_letter for one in decoded]
    assert [letter and letter.reason for letter in letters] == ["invalid"] * 5
    assert all(letter is not None and "id:" in letter.detail for letter in letters)


@pytest.mark.parametrize("name", ["todo", "done"])
def test_a_file_and_a_body_are_the_same_events(messages: Path, name: str) -> None:
    """By file or by HTTP, as lines or as an array: the same events."""
    raw = (messages / f"{name}.ndjson").read_bytes()
    by_file = [
        event for line in read(messages / f"{name}.ndjson", "flowlord-task") for event in line
    ]
    array = b"[" + b",".join(raw.splitlines()) + b"]"
    assert decode_body("flowlord-task", raw, "application/x-ndjson", LIMITS) == by_file
    assert decode_body("flowlord-task", array, "application/json", LIMITS) == by_file


def test_feeding_again_adds_nothing(log: EventLog, messages: Path) -> None:
    """Every file a second time, in another order and by the other name, is duplicates only."""
    todo, done, files = (messages / f"{name}.ndjson" for name in ("todo", "done", "files"))
    added = [feed(log, todo, "flowlord-task"), feed(log, done, "flowlord-task")]
    assert [*added, feed(log, files, "flowlord-file")] == [7, 18, 6]
    head = log.head()
    for path, name in ((done, "flowlord-task"), (todo, "flowlord-task")):
        assert feed(log, path, name) == 0
    assert feed(log, files, "gcs-notification") == 0
    assert log.head() == head == 31


def test_done_before_todo_gives_the_same_jobs(tmp_path: Path, messages: Path) -> None:
    """Whichever file comes first, the same jobs in the same state, for real ends."""
    found = []
    for order in (("todo", "done"), ("done", "todo")):
        log = EventLog.open(tmp_path / f"{order[0]}.db", synchronous="OFF")
        log.start()
        for name in order:
            feed(log, messages / f"{name}.ndjson", "flowlord-task")
        found.append(jobs(log))
        log.close()
    assert found[0] == found[1]
    assert len(found[0]) == 11
    statuses = {job: found[0][job]["status"] for job in (HOURLY, EVENTS_1, EVENTS_2, EVENTS_4)}
    assert list(statuses.values()) == ["succeeded", "failed", "submitted", "failed"]
    assert (found[0][HOURLY]["queue_seconds"], found[0][HOURLY]["run_seconds"]) == (5, 325)


def test_the_attempts_of_a_chain_share_their_run(log: EventLog, messages: Path) -> None:
    """Run, kind and name find every attempt of a chain; their numbers put them in order."""
    feed(log, messages / "done.ndjson", "flowlord-task")
    feed(log, messages / "todo.ndjson", "flowlord-task")
    chain = [
        view
        for view in jobs(log).values()
        if (view["correlation"], view["kind"], view["name"]) == (LOAD, "sql-load", "events")
    ]
    chain.sort(key=lambda view: view["submitted"])
    assert [view["id"] for view in chain] == [EVENTS_1, EVENTS_2, EVENTS_4]
    assert [view["attempt"] for view in chain] == [1, 2, 4]
