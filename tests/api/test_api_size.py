"""Sizes over HTTP, and what is refused and what is not while the disk has too little room."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import ApiServer, event
from pydantic import TypeAdapter
from waiting import wait_until

from daemon.api import size_shapes
from daemon.eventlog.log_file import LogFile
from daemon.replay.export import log_rows, row_line
from daemon.settings import SizeSettings

REASON = "The disk has 3 MB left, and below 268 MB no events are taken."
JSON = {"content-type": "application/json"}
LINES = {"content-type": "application/x-ndjson"}
PLAIN = {"content-type": "application/cloudevents+json"}


def ask(client: httpx.Client) -> Any:
    """Return the answer about sizes; it has the documented shape."""
    answer = client.get("/api/size")
    assert answer.status_code == 200
    TypeAdapter(size_shapes.SizeShape).validate_json(answer.content)
    return answer.json()


def measure(server: ApiServer) -> Any:
    """Measure, and return how the operation ended."""
    with server.client(unix=True) as client:
        operation = client.post("/api/operations", json={"kind": "measure"}).json()
        address = f"/api/operations/{operation['id']}"

        def ended() -> Any:
            document = client.get(address).json()
            return document if document["state"] != "running" else None

        return wait_until(ended, "the operation has ended")


def test_files_and_disk_are_those_of_now(server: ApiServer, client: httpx.Client) -> None:
    """Without a measure, too: what was not measured is null, and what is unknown is not never."""
    before = ask(client)
    assert before["measured"] is None
    assert before["disk"]["state"] in ("ok", "low", "refusing")
    assert {each["what"] for each in before["forecast"]} == {"disk_warn", "disk_refuse"}
    assert before["data"]["bytes"] == sum(before["data"]["files"].values())
    server.post(*[event("job.submitted", f"j{n}", data={"kind": "k" * 900}) for n in range(200)])
    assert ask(client)["data"]["files"]["log.db-wal"] > before["data"]["files"]["log.db-wal"]


def test_a_measure_is_an_operation(server: ApiServer, client: httpx.Client) -> None:
    """It says what tables and categories take; the next answers have it."""
    server.post(*[event("job.submitted", f"j{number}") for number in range(20)])
    client.get("/api/jobs?wait_for=20")
    operation = measure(server)
    assert operation["state"] == "succeeded", operation
    measured = ask(client)["measured"]
    assert measured["time"] == operation["result"]["measured"]
    assert (measured["position"], measured["estimated"]) == (20, False)
    assert [(each["name"], each["events"]) for each in measured["categories"]] == [("job", 20)]
    assert set(measured["databases"]) == {"log", "views"}
    assert [each["days"] for each in measured["growth"]] == [1, 7, 30]


def test_lines_that_are_set_are_forecast(servers: Callable[..., ApiServer]) -> None:
    """Each of them, and one that is passed is reached now."""
    size = SizeSettings.model_validate({"log_bytes": 1, "data_bytes": 1 << 50})
    with servers(size=size).client() as client:
        forecast = {each["what"]: each for each in ask(client)["forecast"]}
    assert forecast["log_bytes"]["days"] == 0
    assert forecast["data_bytes"]["days"] is None
    assert forecast["data_bytes"]["line"] == 1 << 50


def shut(server: ApiServer) -> None:
    """Have the disk too little room for events."""
    server.context.gate.reason = REASON


WAYS = {
    "one event": ("/api/events", PLAIN, event("job.submitted", "x")),
    "a batch": (
        "/api/events",
        {"content-type": "application/cloudevents-batch+json"},
        [event("job.submitted", "x")],
    ),
    "lines": ("/api/events", LINES, event("job.submitted", "x")),
    "chunked": ("/api/events", {**PLAIN, "expect": ""}, event("job.submitted", "x")),
    "a format": ("/api/intake/cloudevents", JSON, event("job.submitted", "x")),
    "dead letters": ("/api/intake/cloudevents?on_error=deadletter", JSON, {"no": "event"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_is_refused_in_time(way: str, server: ApiServer) -> None:
    """507, with the reason and what helps; nothing is recorded, and later it is taken."""
    path, headers, body = WAYS[way]
    content = json.dumps(body)
    shut(server)
    with server.client() as client:
        answer = client.post(path, content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
        assert answer.json()["detail"] == REASON
        assert "chronicled size" in answer.json()["hint"]
        assert int(answer.headers["retry-after"]) > 0
        assert server.log.head() == 0
        assert server.log.dead_letter_counts() == {}
        server.context.gate.reason = None
        assert client.post(path, content=content, headers=headers).status_code in (200, 201)


def test_history_is_refused_too(servers: Callable[..., ApiServer]) -> None:
    """An import fills the disk as well as anything else."""
    other, server = servers(), servers()
    other.post(event("job.submitted", "x"))
    file = LogFile(Path(other.log.path))
    lines = b"\n".join(row_line(row, {}) for row in log_rows(file, 0, 1))
    file.close()
    shut(server)
    with server.client() as client:
        answer = client.post("/api/history", content=lines, headers=LINES)
        assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
        server.context.gate.reason = None
        assert client.post("/api/history", content=lines, headers=LINES).status_code == 201


def test_decisions_are_recorded_below_the_line(server: ApiServer, client: httpx.Client) -> None:
    """They are few, and the way out of it may need them; questions are answered as ever."""
    server.post(event("alert.raised", "a", data={"severity": "warning"}))
    client.get("/api/alerts?wait_for=1")
    shut(server)
    answer = client.post("/api/alerts/a/acknowledge", json={"by": "mara"})
    assert answer.status_code == 201
    assert client.get("/api/alerts?wait_for=2&timeout=20").json()["items"][0]["state"] == (
        "acknowledged"
    )


def test_readiness_and_metrics_say_that_events_are_refused(
    server: ApiServer, client: httpx.Client
) -> None:
    """503 with the code and the reason, as when the log itself cannot be written."""
    wait_until(lambda: client.get("/readyz").status_code == 200, "it is ready")
    ready = client.get("/readyz").json()
    assert ready["disk"]["total"] > ready["disk"]["free"] > 0
    shut(server)
    client.post("/api/events", json=event("job.submitted", "x"))
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "failed")
    log = answer.json()["log"]
    assert (log["ok"], log["code"], log["error"]) == (False, "disk_full", REASON)
    metrics = client.get("/metrics").text
    assert "chronicled_log_writable 0.0" in metrics
    assert "chronicled_intake_refused 1.0" in metrics
    assert "chronicled_intake_refusals_total 1.0" in metrics
    assert 'chronicled_events_rejected_total{reason="disk_full"} 1.0' in metrics


def test_metrics_have_what_was_measured(server: ApiServer, client: httpx.Client) -> None:
    """What tables and categories take, from the first measure on."""
    assert "chronicled_table_size_bytes" not in client.get("/metrics").text
    server.post(event("job.submitted", "x"))
    measure(server)
    metrics = client.get("/metrics").text
    assert 'chronicled_table_size_bytes{database="log",table="events"}' in metrics
    assert 'chronicled_category_events{category="job"} 1.0' in metrics
    assert "chronicled_size_measured_timestamp_seconds" in metrics
