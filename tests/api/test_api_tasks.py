"""The tasks of flowlord over HTTP."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from api_server import ApiServer

LINES: list[dict[str, str]] = [
    {
        "type": "csv2json",
        "job": "hourly",
        "info": "gs://raw/2026/02/04/06/in.csv",
        "created": "2026-02-04T10:00:00Z",
        "id": "r1",
        "meta": "cron=2026-02-04T06&file=gs://o.json&job=hourly&workflow=etl/hourly.toml",
        "result": "complete",
        "msg": "wrote 9",
        "started": "2026-02-04T10:00:05Z",
        "ended": "2026-02-04T10:05:30Z",
    },
    {
        "type": "sql-load",
        "job": "events",
        "info": "gs://o.json?day=2026-02-03",
        "created": "2026-02-04T10:05:31Z",
        "id": "r1",
        "meta": "workflow=etl/hourly.toml&job=events",
        "result": "error",
        "msg": "refused",
        "started": "2026-02-04T10:05:32Z",
        "ended": "2026-02-04T10:06:02Z",
    },
    {
        "type": "sql-load",
        "info": "",
        "created": "2026-02-05T00:00:00Z",
        "id": "r2",
        "meta": "retry=1&workflow=etl%2Fhourly.toml",
    },
]


@pytest.fixture
def told(client: httpx.Client) -> httpx.Client:
    """Return a client of a server that got the messages, each from a source of its own choice."""
    body = "\n".join(map(json.dumps, LINES))
    headers = {"content-type": "application/x-ndjson"}
    path = "/api/intake/flowlord-task?source=/elsewhere"
    assert client.post(path, content=body, headers=headers).status_code == 201
    return client


def tasks(client: httpx.Client, query: str = "") -> Any:
    """Return the tasks of the first page, as of the head of the log."""
    head = client.get("/api/events?limit=1").json()["as_of"]
    answer = client.get(f"/api/tasks?wait_for={head}&timeout=20&{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def test_a_task_comes_back_as_it_was_sent(told: httpx.Client) -> None:
    """Each field of the message, and what is worked out of it."""
    newest, failed, done = tasks(told)
    for item, line in ((newest, LINES[2]), (failed, LINES[1]), (done, LINES[0])):
        assert {name: item[name] for name in line} == line
    assert (newest["result"], newest["task_time"], newest["attempt"]) == ("", None, 2)
    assert done["task_time"] == "2026-02-04T06:00:00Z"
    assert failed["task_time"] == "2026-02-03T00:00:00Z"
    assert (done["queue_seconds"], done["task_seconds"]) == (5.0, 325.0)
    assert told.get(f"/api/jobs/{done['job_id']}").json()["status"] == "succeeded"


@pytest.mark.parametrize(
    ("query", "runs"),
    [
        ("type=sql-load", ["r2", "r1"]),
        ("job=events", ["r1"]),
        ("id=r2", ["r2"]),
        ("result=running", ["r2"]),
        ("result=error,running", ["r2", "r1"]),
        ("date=2026-02-05", ["r2"]),
        ("date=2026-02-04", ["r1", "r1"]),
        ("date=2026-02-04&since=2026-02-04T10:05:00Z", ["r1"]),
        ("date=2026-02-04&until=2026-02-04T10:05:00Z&result=complete", ["r1"]),
        ("limit=1", ["r2"]),
    ],
)
def test_filters(told: httpx.Client, query: str, runs: list[str]) -> None:
    """What a filter leaves."""
    assert [item["id"] for item in tasks(told, query)] == runs


@pytest.mark.parametrize("query", ["date=yesterday", "result=great", "kind=x", "day=2026-02-04"])
def test_a_filter_that_means_nothing_is_refused(client: httpx.Client, query: str) -> None:
    """A value or a name that is not known does not answer with everything."""
    assert client.get(f"/api/tasks?{query}").status_code == 422


def test_a_run_is_shown_as_flowlord_shows_it(told: httpx.Client) -> None:
    """Its messages in order, the last time that anything of it happened, whether it has results."""
    tasks(told)
    answer = told.get("/api/tasks/r1").json()
    assert answer["Events"] == LINES[:2]
    assert (answer["LastUpdate"], answer["Completed"]) == ("2026-02-04T10:06:02Z", True)
    assert told.get("/api/tasks/r2").json()["Completed"] is False
    assert told.get("/api/tasks/none").status_code == 404


def test_pages_and_the_past(told: httpx.Client) -> None:
    """A list goes on where the page before ended, and can be asked for as it was."""
    tasks(told)
    first = told.get("/api/tasks?limit=2").json()
    second = told.get(f"/api/tasks?limit=2&cursor={first['next']}").json()
    assert [item["result"] for item in second["items"]] == ["complete"]
    assert second["next"] is None
    then = told.get("/api/tasks?as_of=3&timeout=20").json()
    assert [item["type"] for item in then["items"]] == ["csv2json"]
    assert told.get("/api/tasks/r2?as_of=3&timeout=20").status_code == 404


def test_jobs_of_others_are_no_tasks(server: ApiServer, client: httpx.Client) -> None:
    """A job that came as an event of its own is not listed."""
    event = {"specversion": "1.0", "id": "1", "source": "/x", "type": "job.submitted"}
    event |= {"subject": "a", "data": {"kind": "load", "phase": "load"}}  # type: ignore[dict-item]
    assert client.post("/api/events", json=event).status_code == 201
    assert tasks(client) == []
