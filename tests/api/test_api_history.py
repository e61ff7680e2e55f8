"""``POST /api/history``: an empty log becomes another one's copy, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from api_server import ApiServer, event

from daemon.eventlog.log_file import LogFile
from daemon.replay.export import log_rows, row_line
from domain.events import NewEvent

LINES = {"content-type": "application/x-ndjson"}


def lines_of(directory: Path) -> list[bytes]:
    """Return the history of a directory as lines."""
    log = LogFile(directory / "log.db")
    lines = [row_line(row, {}) for row in log_rows(log, 0, log.head())]
    log.close()
    return lines


def rows_of(directory: Path) -> list[Any]:
    """Return the rows of a log without their digests."""
    log = LogFile(directory / "log.db")
    rows = [(*row[:13], row[14]) for row in log_rows(log, 0, log.head())]
    log.close()
    return rows


@pytest.fixture
def history(tmp_path: Path) -> list[bytes]:
    """Return a history of six events, one of them the daemon's own, as lines."""
    source = tmp_path / "source"
    source.mkdir()
    with ApiServer(source) as server:
        server.post(event("job.submitted", "a/b", {"kind": "k"}, correlationid="Ü", count=3))
        server.log.append([NewEvent("log.restored", "log", "/own", "1", b'{"epoch":2}')])
        server.post(event("job.started", "a/b", time="2020-01-01T00:00:00Z"))
        server.post(event("job.failed", "a/b"), event("alert.raised", "x", {"severity": "error"}))
        server.post(event("job.succeeded", "a/b"))
    return lines_of(source)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return an empty directory."""
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def send(server: ApiServer, lines: Sequence[bytes]) -> httpx.Response:
    """Send lines of history."""
    with server.client() as client:
        return client.post("/api/history", content=b"\n".join(lines), headers=LINES)


def told(response: httpx.Response, status: int, code: str) -> str:
    """Check a refusal and return its detail."""
    assert response.status_code == status, response.text
    assert response.json()["code"] == code, response.text
    return str(response.json()["detail"])


def test_history_keeps_its_places_and_times(
    history: list[bytes], target: Path, tmp_path: Path
) -> None:
    """All columns but the digest are the same, the log has an id of its own, and verifies."""
    with ApiServer(target) as server:
        first = send(server, history[:2])
        assert first.status_code == 201
        assert [each["position"] for each in first.json()["events"]] == [1, 2]
        assert send(server, history[2:]).json()["as_of"] == 6
        assert rows_of(target) == rows_of(tmp_path / "source")
        assert server.log.verify() == []
        assert server.runner.wait_for(6, 20)
        with server.client() as client:
            job = client.get("/api/jobs/a/b").json()
            assert (job["status"], job["last_position"]) == ("succeeded", 6)
    assert b"".join(lines_of(target)) != b"".join(history)


def test_a_batch_that_is_there_already_is_a_duplicate(history: list[bytes], target: Path) -> None:
    """Who lost the answer sends again, also in other batches; a restart changes nothing."""
    with ApiServer(target) as server:
        assert send(server, history[:4]).status_code == 201
    with ApiServer(target) as server:
        again = send(server, history[:4])
        assert again.status_code == 200
        assert {each["duplicate"] for each in again.json()["events"]} == {True}
        mixed = send(server, history[2:])
        assert mixed.status_code == 201
        receipts = mixed.json()["events"]
        assert [each["duplicate"] for each in receipts] == [True, True, False, False]
        server.post(event("job.submitted", "new"))
        assert send(server, history[2:]).status_code == 200
        assert server.log.head() == 7
        assert server.log.verify() == []


def test_a_log_with_events_of_its_own_takes_none(history: list[bytes], target: Path) -> None:
    """Neither before nor after: the first ordinary event ends it for ever."""
    with ApiServer(target) as server:
        send(server, history[:3])
        server.post(event("job.submitted", "new"))
        detail = told(send(server, history[3:]), 409, "history_conflict")
        assert detail == "The log has events of its own, from position 4 on."
        assert server.log.head() == 4


def test_history_goes_on_where_it_ended(history: list[bytes], target: Path) -> None:
    """A gap is refused, as is another event at a position that is taken."""
    with ApiServer(target) as server:
        detail = told(send(server, history[1:]), 409, "history_conflict")
        assert detail == "The history goes on with position 1, not with 2."
        send(server, history[:3])
        told(send(server, history[4:]), 409, "history_conflict")
        other = history[2].replace(b'"time":"2020', b'"time":"2021')
        detail = told(send(server, [other]), 409, "history_conflict")
        assert detail == "The log has another event at position 3."
        assert server.log.head() == 3


FAULTS = {
    "JSON": (b'"data"', b"data", 400, "undecodable"),
    "type": (b"job.started", b"job.teleported", 501, "newer_event"),
    "field": (b'"data":{', b'"data":{"planet":1', 422, "unknown_field"),
    "version": (b'"version":2', b'"version":3', 422, "invalid"),
    "position": (b'"position":3', b'"position":4', 422, "invalid"),
    "future": (b'"recordedtime":"20', b'"recordedtime":"90', 422, "invalid"),
    "past": (b'"recordedtime":"20', b'"recordedtime":"10', 422, "invalid"),
    "time": (b'"time":"2020', b'"time":"x', 422, "invalid"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_batch_is_all_or_nothing(history: list[bytes], target: Path, name: str) -> None:
    """One bad line, and nothing of the batch is recorded; a fault names its line."""
    before, after, status, code = FAULTS[name]
    bad = history[2].replace(before, after)
    assert bad != history[2]
    with ApiServer(target) as server:
        response = send(server, [*history[:2], bad])
        told(response, status, code)
        if status == 422 and name != "future":
            assert response.json()["errors"][0]["index"] == 2
        assert server.log.head() == 0
        assert send(server, history).status_code == 201


def test_only_lines_are_history(target: Path, history: list[bytes]) -> None:
    """Another content type is refused, as are too many lines; no line is no history."""
    with ApiServer(target) as server, server.client() as client:
        as_json = client.post("/api/history", json=json.loads(history[0]))
        told(as_json, 415, "unsupported_media_type")
        told(send(server, [history[0]] * 10_001), 413, "too_large")
        assert send(server, []).json() == {"events": [], "as_of": 0}


def test_events_of_newer_releases_are_told_on_every_way(target: Path) -> None:
    """A listing shows them raw; a job of the past says 501; the daemon is degraded, and goes on."""
    with ApiServer(target) as server, server.client() as client:
        server.post(event("job.submitted", "a", {"name": "n"}))
        server.log.append([
            NewEvent("job.teleported", "a", "/newer", "1", b'{"planet":"Mars"}'),
            NewEvent("job.started", "b", "/newer", "2", b"{}", class_version=4),
        ])  # fmt: skip
        accepted = client.post("/api/events", json=event("job.submitted", "c"))
        assert accepted.status_code == 201
        server.runner.wait_for(10, 0)
        told(client.get("/api/jobs/a?as_of=2"), 501, "newer_event")
        told(client.get("/api/jobs/a/history?as_of=4"), 501, "newer_event")
        assert client.get("/api/jobs/a?as_of=1").json()["name"] == "n"
        listed = client.get("/api/events").json()["items"]
        assert [each["type"] for each in listed][1] == "job.teleported"
        assert listed[1]["data"] == {"planet": "Mars"}
        assert listed[2]["classversion"] == 4


def test_an_extension_cannot_take_the_name_of_a_place(target: Path) -> None:
    """What an exported line adds is not recorded where the line is posted as an event."""
    with ApiServer(target) as server:
        server.post(event("job.submitted", "a", logdigest="00", classversion=1, position=9))
        with server.client() as client:
            (found,) = client.get("/api/events").json()["items"]
        assert not {"logdigest", "classversion"} & set(found)
        assert orjson.loads(orjson.dumps(found))["position"] == 1
