"""A day of a model goes through a daemon that is killed; what it answers is what the model knows.

The day is larger with ``CHRONICLED_MODEL_RUNS`` (runs an hour; 12 make about 1,200 messages),
and there are more of them with ``CHRONICLED_MODEL_SEEDS``. What is done comes by a followed file
where the seed is even.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from daemon_process import DaemonProcess
from model_day import HOUR, HOURS, PHASES, Attempt, ModelDay, workflow_files
from waiting import wait_until

RUNS = int(os.environ.get("CHRONICLED_MODEL_RUNS", "12"))
SEEDS = int(os.environ.get("CHRONICLED_MODEL_SEEDS", "2"))
FORMATS = {"files": "flowlord-file"}
BATCH = 25
OVERDUE, CHILD_MISSING = "overdue", "child_missing"
LAST_LINE = "the last line is no message"
FOLLOWED = """
[[sources]]
name = "done"
kind = "file"
format = "flowlord-task"
path = "{path}"
"""
Batches = list[tuple[str, list[dict[str, Any]]]]


@pytest.fixture(params=range(1, SEEDS + 1), ids=lambda seed: f"seed-{seed}")
def day(request: pytest.FixtureRequest) -> ModelDay:
    """Return a day of the model."""
    this_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return ModelDay(request.param, this_hour - (HOURS + 1) * HOUR, RUNS)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    """Return a daemon that has the workflow files of the model."""
    for path, text in workflow_files().items():
        file = tmp_path / "workflows" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    environment = {
        "CHRONICLED_WORKFLOWS__PATH": str(tmp_path / "workflows"),
        "CHRONICLED_WORKFLOWS__OVERDUE": "1s",
        "CHRONICLED_WORKFLOWS__CHILD_SECONDS": "2",
    }
    config = tmp_path / "chronicled.toml"
    config.write_text(FOLLOWED.format(path=done_file(tmp_path)))
    daemon = DaemonProcess(
        tmp_path / "data", environment=environment, arguments=["--config", str(config)]
    )
    with closing(daemon.start()) as daemon:
        yield daemon


def done_file(directory: Path) -> Path:
    """Return the file that the daemon follows."""
    return directory / "done.log"


def batches(messages: Iterable[tuple[str, dict[str, Any]]]) -> Batches:
    """Return messages in batches of neighbours of one format."""
    found: Batches = []
    for topic, fields in messages:
        name = FORMATS.get(topic, "flowlord-task")
        if found and found[-1][0] == name and len(found[-1][1]) < BATCH:
            found[-1][1].append(fields)
        else:
            found.append((name, [fields]))
    return found


def send(daemon: DaemonProcess, sent: Batches) -> int:
    """Send batches, each until it is acknowledged; return the last position."""
    position = 0
    headers = {"content-type": "application/x-ndjson"}
    with daemon.client() as client:
        for name, messages in sent:
            body = "\n".join(map(json.dumps, messages))
            answer = client.post(f"/api/intake/{name}", content=body, headers=headers)
            assert answer.status_code in (200, 201), answer.text
            position = max(position, answer.json()["as_of"])
    return position


def send_and_kill(daemon: DaemonProcess, day: ModelDay, followed: Path | None) -> int:
    """Send the day; kill the daemon in the middle, and send again what it may not have got.

    Where a file is followed it is rotated while the daemon is away. The last message is sent when
    all others are there, and comes back once everything before it was looked at.
    """
    messages = day.delivered()
    lines: list[str] = []
    if followed is not None:
        lines = [json.dumps(fields) for topic, fields in messages if topic == "done"]
        messages = [message for message in messages if message[0] != "done"]
    sent = batches(messages)
    middle = len(sent) // 2
    if followed is not None:
        followed.write_text("".join(f"{line}\n" for line in lines[: len(lines) // 2]))
        wait_until(lambda: has_read(daemon), "the file is being read")
    send(daemon, sent[:middle])
    daemon.kill()
    if followed is not None:
        followed.rename(followed.with_name(f"{followed.name}.1"))
        rest = [*lines[len(lines) // 2 :], LAST_LINE]
        followed.write_text("".join(f"{line}\n" for line in rest))
    daemon.start()
    send(daemon, sent[max(middle - 10, 0) :])
    if followed is not None:
        wait_until(lambda: dead_letters(daemon), "the file is read to its end")
        assert dead_letters(daemon) == [LAST_LINE]
    send(daemon, batches([day.last()]))
    return wait_until(lambda: looked_at(daemon, day), "everything was looked at", seconds=60)


def has_read(daemon: DaemonProcess) -> bool:
    """Return whether anything was read from the followed file."""
    with daemon.client() as client:
        [source] = client.get("/api/sources").json()["items"]
        return bool(source["messages"])


def dead_letters(daemon: DaemonProcess) -> list[str]:
    """Return what could not be read."""
    with daemon.client() as client:
        return [letter["raw"] for letter in client.get("/api/deadletters").json()["items"]]


def looked_at(daemon: DaemonProcess, day: ModelDay) -> int:
    """Return the place in the log where the last message's match is recorded, 0 before that."""
    asked = {"type": "file.matched", "stream": f"file/{day.last_path}"}
    with daemon.client() as client:
        items = client.get("/api/events", params=asked).json()["items"]
    return items[-1]["position"] if items else 0


def everything(
    client: httpx.Client, path: str, position: int, **filters: str
) -> list[dict[str, Any]]:
    """Return the items of all pages of a list."""
    params: dict[str, Any] = {**filters, "limit": 500, "wait_for": position, "timeout": 30}
    items: list[dict[str, Any]] = []
    while True:
        answer = client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        items += answer.json()["items"]
        if answer.json()["next"] is None:
            return items
        params["cursor"] = answer.json()["next"]


def test_a_day_is_known_as_the_model_knows_it(
    daemon: DaemonProcess, day: ModelDay, tmp_path: Path
) -> None:
    """Trees, attempts, tasks, matches, alerts and counts; sent again, the day adds nothing."""
    position = send_and_kill(daemon, day, None if day.seed % 2 else done_file(tmp_path))
    with daemon.client() as client:
        check_jobs(client, day, position)
        check_tasks(client, day, position)
        check_files(client, day, position)
        check_followers(client, day)
        check_alerts(client, day, position)
        summary = client.get(f"/api/summary?wait_for={position}&timeout=30").json()
        assert summary["jobs"]["by_kind"] == day.counts()
    recorded = input_events(daemon)
    send(daemon, batches(day.delivered()))
    assert input_events(daemon) == recorded


def input_events(daemon: DaemonProcess) -> list[str]:
    """Return the ids of the events that came from outside."""
    with daemon.client() as client:
        events = all_events(client)
        return [event["id"] for event in events if not event["source"].startswith("/chronicled/")]


def all_events(client: httpx.Client, **filters: str) -> list[dict[str, Any]]:
    """Return the events of all pages."""
    found: list[dict[str, Any]] = []
    params: dict[str, Any] = {**filters, "limit": 1000}
    while True:
        page = client.get("/api/events", params=params).json()
        found += page["items"]
        if page["next"] is None:
            return found
        params["cursor"] = page["next"]


def check_jobs(client: httpx.Client, day: ModelDay, position: int) -> None:
    """Compare each attempt, and the whole history of the chains."""
    jobs = {job["id"]: job for job in everything(client, "/api/jobs", position)}
    assert {name: shown_job(job) for name, job in jobs.items()} == {
        each.job_id: known_job(each) for each in day.attempts
    }
    for chain in list(day.chains())[:10]:
        path = f"/api/jobs/{chain[0].job_id}/history?attempts=all&wait_for={position}&timeout=30"
        entries = client.get(path).json()["items"]
        ids = list(dict.fromkeys(entry["job"] for entry in entries))
        assert ids == [attempt.job_id for attempt in chain]


def shown_job(job: dict[str, Any]) -> tuple[Any, ...]:
    """Return what is compared of a job."""
    names = ("status", "kind", "name", "correlation", "attempt", "workflow", "phase", "parent")
    return tuple(job[name] for name in names)


def known_job(each: Attempt) -> tuple[Any, ...]:
    """Return what the model knows of it."""
    phase = each.phase
    name, parent = phase.job or None, each.parent.job_id if each.parent else None
    said = (each.status, phase.topic, name, each.run, each.number, phase.workflow, phase.name)
    return (*said, parent)


def check_tasks(client: httpx.Client, day: ModelDay, position: int) -> None:
    """Compare the tasks in the shape of the messages, and the filters by result."""
    shown = {task["job_id"]: task for task in everything(client, "/api/tasks", position)}
    assert set(shown) == {each.job_id for each in day.attempts}
    for each in day.attempts:
        task = shown[each.job_id]
        known = (each.result, each.info, *(time or None for time in each.times), each.number)
        assert (
            *(task[name] for name in ("result", "info", "started", "ended", "attempt")),
        ) == known
        if not each.exhausted:
            assert task["meta"] == each.meta
    for result in ("complete", "error", "warn", "alert", "running"):
        found = everything(client, "/api/tasks", position, result=result)
        word = "" if result == "running" else result
        expected = {each.job_id for each in day.attempts if each.result == word}
        assert {task["job_id"] for task in found} == expected


def check_files(client: httpx.Client, day: ModelDay, position: int) -> None:
    """Compare what was matched, by which phases, and what was started; or why nothing was."""
    items = everything(client, "/api/files", position)
    shown = {item["path"]: shown_file(item) for item in items}
    known = {
        path: (bool(started), {each.job_id for each in started})
        for path, started in day.files.items()
    }
    known[day.last_path] = (False, set())
    assert len(items) == len(known)
    assert shown == known


def shown_file(item: dict[str, Any]) -> tuple[bool, set[str]]:
    """Return whether a file is matched and by what was started, where it says all it has to."""
    [phase] = [phase for phase in PHASES if phase.files]
    for match in item["matches"]:
        if item["matched"]:
            assert (match["workflow"], match["phases"]) == (phase.workflow, [phase.name])
        else:
            assert "no pattern matches" in match["reason"]
            assert phase.files in match["reason"]
    assert item["matches"]
    return item["matched"], {job for match in item["matches"] for job in match["jobs"]}


def check_followers(client: httpx.Client, day: ModelDay) -> None:
    """Compare which phases were to follow each attempt, and which were not and why."""
    events = all_events(client, type="job.continued")
    shown = {
        event["subject"]: {each["phase"]: each for each in event["data"]["phases"]}
        for event in events
    }
    assert len(events) == len(shown)
    assert {
        job: {name: each["outcome"] for name, each in phases.items()}
        for job, phases in shown.items()
    } == {each.job_id: outcomes(each.follows) for each in day.attempts if each.follows is not None}
    unmet = [each for phases in shown.values() for each in phases.values() if "missing" in each]
    assert unmet
    assert all(each["missing"] == ["file"] for each in unmet)


def outcomes(follows: dict[str, str]) -> dict[str, str]:
    """Return what is to be said of phases before it is known which of them come."""
    expected = {"started": "expected", "missing": "expected"}
    return {phase: expected.get(outcome, outcome) for phase, outcome in follows.items()}


def check_alerts(client: httpx.Client, day: ModelDay, position: int) -> None:
    """Compare the alerts of results and of retries, and what is open because nothing was heard."""
    alerts = everything(client, "/api/alerts", position)
    told = {
        (a["kind"], a["job"]) for a in alerts if a["kind"] in ("retries_exhausted", "task_alert")
    }
    assert told == day.alerts()
    unheard = {each.job_id for each in day.attempts if not each.result}
    known = {OVERDUE: unheard, CHILD_MISSING: day.incomplete()}

    def shown() -> dict[str, set[str]]:
        return {kind: open_alerts(client, kind, position) for kind in known}

    wait_until(lambda: shown() == known, "what is not heard of, and what did not follow, is known")


def open_alerts(client: httpx.Client, kind: str, position: int) -> set[str]:
    """Return the jobs with an open alert of a kind."""
    found = everything(client, "/api/alerts", position)
    return {a["job"] for a in found if a["kind"] == kind and a["state"] == "open"}
