"""Workflow files over HTTP: as they are, as they were, what starts what and when."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest
from api_server import ApiServer

from daemon.workflows.workflow_file import read_workflow
from domain.events import NewEvent

HOURLY = b"""
[[phase]]
task = "csv2json:hourly"
rule = "cron=0 30 * * * *&offset=-4h"
template = "gs://raw/{HOUR_SLUG}/in.csv"
[[phase]]
task = "sql-load:events"
dependsOn = "csv2json"
template = "{meta:file}"
[[phase]]
task = "report"
dependsOn = "nobody:else"
template = "?day={yyyy}"
"""
PLAIN = b"""
[[phase]]
task = "csv2json:hourly"
rule = "cron=@daily"
template = "?day={yyyy}-{mm}-{dd}"
"""
TIME = 1_770_185_566_000_000
LOADS: list[tuple[str, str, bytes | None]] = [
    ("workflow.loaded", "etl/hourly.toml", PLAIN),
    ("workflow.loaded", "plain.toml", PLAIN),
    ("workflow.loaded", "etl/hourly.toml", HOURLY),
    ("workflow.loaded", "gone.toml", PLAIN),
    ("workflow.removed", "gone.toml", None),
]


@pytest.fixture
def loaded(server: ApiServer) -> ApiServer:
    """Return a server whose log has loads of three files, of which one was removed."""
    for kind, path, content in LOADS:
        record(server, kind, path, content)
    return server


def record(server: ApiServer, kind: str, path: str, content: bytes | None) -> None:
    """Append what the daemon records about a file."""
    said = {} if content is None else read_workflow(content).document()
    name = f"{kind} {path} {said.get('sha256')}"
    event = NewEvent(kind, path, "/chronicled/workflows", name, orjson.dumps(said), TIME)
    server.log.append([event])


def items(client: httpx.Client, query: str = "") -> Any:
    """Return the files of the list, as of the head of the log."""
    answer = client.get(f"/api/workflows?wait_for={len(LOADS)}&timeout=20&{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


@pytest.mark.parametrize(
    ("query", "paths"),
    [
        ("", ["etl/hourly.toml", "gone.toml", "plain.toml"]),
        ("state=removed", ["gone.toml"]),
        ("issues=true", ["etl/hourly.toml"]),
        ("issues=false&state=loaded", ["plain.toml"]),
        ("q=o", ["etl/hourly.toml", "gone.toml", "plain.toml"]),
        ("q=etl/", ["etl/hourly.toml"]),
        ("limit=1", ["etl/hourly.toml"]),
    ],
)
def test_the_list_and_its_filters(loaded: ApiServer, query: str, paths: list[str]) -> None:
    """Files by path; what a filter leaves."""
    with loaded.client() as client:
        assert [item["path"] for item in items(client, query)] == paths


def test_a_file_shows_what_starts_what(loaded: ApiServer) -> None:
    """Edges lead from every job of a topic; a parent that is not in the file is marked."""
    with loaded.client() as client:
        items(client)
        shown = client.get("/api/workflows/etl%2Fhourly.toml").json()
    assert shown["sha256"] == read_workflow(HOURLY).sha256
    assert (shown["versions"], shown["position"], shown["state"]) == (2, 3, "loaded")
    assert "unknown_depends_on" in [issue["code"] for issue in shown["issues"]]
    nodes = [(node["phase"], node["trigger"], node["missing"]) for node in shown["graph"]["nodes"]]
    assert nodes == [
        ("csv2json:hourly", "cron", False),
        ("sql-load:events", "parent", False),
        ("report", "parent", False),
        ("nobody:else", None, True),
    ]
    assert shown["graph"]["edges"] == [
        {"from": 0, "to": 1, "parent": "csv2json"},
        {"from": None, "to": 2, "parent": "nobody:else"},
    ]


def test_the_next_runs_are_those_after_now(servers: Any) -> None:
    """In UTC, with the hour that a run is for: the clock of the daemon says what comes next."""
    server = servers(clock=lambda: 1_770_186_600_000_000)  # 2026-02-04T06:30:00Z
    record(server, "workflow.loaded", "a.toml", HOURLY)
    with server.client() as client:
        (due,) = client.get("/api/workflows/a.toml?wait_for=1&timeout=20").json()["next"]
    assert (due["phase"], due["index"], due["offset"]) == ("csv2json:hourly", 0, "-4h")
    assert due["runs"][:2] == [
        {"time": "2026-02-04T07:30:00Z", "hour": "2026-02-04T03"},
        {"time": "2026-02-04T08:30:00Z", "hour": "2026-02-04T04"},
    ]


def test_older_versions_can_be_asked_for(loaded: ApiServer) -> None:
    """As of a position the file as it was then; its history has each version."""
    with loaded.client() as client:
        items(client)
        then = client.get("/api/workflows/etl/hourly.toml?as_of=2&timeout=20").json()
        assert (then["sha256"], then["versions"]) == (read_workflow(PLAIN).sha256, 1)
        assert len(then["next"]) == 1
        history = client.get("/api/workflows/etl/hourly.toml/history").json()["items"]
        assert [each["position"] for each in history] == [3, 1]
        gone = client.get("/api/workflows/gone.toml").json()
        assert (gone["state"], gone["next"], gone["phases"]) == ("removed", [], [])
        states = client.get("/api/workflows/gone.toml/history").json()["items"]
        assert [each["state"] for each in states] == ["removed", "loaded"]
        for path in ("none.toml", "none.toml/history"):
            assert client.get(f"/api/workflows/{path}").status_code == 404
