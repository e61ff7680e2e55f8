"""The OpenAPI document: complete, true to the answers, and pages that need nothing from outside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from api_server import ApiServer, event
from pydantic import TypeAdapter, ValidationError

from daemon.api import backup_shapes, deadletter_shapes, schemas, story_shapes
from daemon.api.operation_shapes import OperationShape
from daemon.api.problems import problem_types
from daemon.api.routes import ROUTES
from domain.catalog import event_types


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Return one server that has a bit of everything."""
    with ApiServer(tmp_path_factory.mktemp("data")) as server:
        server.post(
            event("job.submitted", "a", {"kind": "k", "params": {"n": 1}}, correlationid="run"),
            event("job.started", "a"),
            event("job.failed", "a", {"error": {"class": "x", "message": "m"}}),
            event("job.linked", "a", {"to": "b"}),
            event("alert.raised", "b", {"severity": "error", "labels": {"x": "y"}}),
            event("alert.acknowledged", "b", {"by": "ana"}, actor="ana"),
            event("file.observed", "f", {"path": "f", "size": 3}),
            event("file.matched", "f", {"workflow": "w", "phases": ["p"], "jobs": []}),
        )
        with server.client() as client:
            client.post(
                "/api/intake/flowlord-task?on_error=deadletter",
                content="broken",
                headers={"content-type": "application/x-ndjson"},
            )
        yield server


@pytest.fixture(scope="module")
def document(shared: ApiServer) -> Any:
    """Return the document."""
    with shared.client() as client:
        return client.get("/openapi.json").json()


def operations(document: Any) -> Iterator[tuple[str, Any]]:
    """Yield every operation by its name."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_route_is_in_the_document(shared: ApiServer, document: Any) -> None:
    """Whatever the app serves is described, and nothing else."""
    from daemon.api.app import create_app

    app: Any = create_app(shared.context)
    served = {
        f"{method} {route.path}"
        for route in app._app._app.routes
        for method in route.methods - {"HEAD"}
    }
    assert served == {name for name, _ in operations(document)}
    assert served == {f"{route.method} {route.path}" for route in ROUTES}
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(names) == len(set(names))


def test_every_operation_has_examples_and_refusals(document: Any) -> None:
    """Each says what it does, shows an answer, and how it refuses; parameters are explained."""
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["tags"], name
        answers = {status: r for status, r in operation["responses"].items() if status < "400"}
        assert answers, name
        for response in answers.values():
            for content in response["content"].values():
                assert "example" in content, name
                assert "schema" in content, name
        for status in ("403", "500"):
            content = operation["responses"][status]["content"]["application/problem+json"]
            assert content["examples"], name
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert "example" in content, name
        for parameter in operation["parameters"]:
            assert parameter["schema"], (name, parameter)


def test_every_reference_leads_somewhere(document: Any) -> None:
    """No $ref dangles, and no schema is there for nothing."""
    text = json.dumps(document)
    wanted = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert wanted == set(document["components"]["schemas"])
    assert "HTTPValidationError" not in text


def test_every_event_type_of_clients_is_described(document: Any) -> None:
    """The type is an enumeration, the data one of the payload models."""
    new = document["components"]["schemas"]["NewCloudEvent"]["properties"]
    names = [entry.name for entry in event_types() if entry.client]
    assert new["type"]["enum"] == names
    assert len(new["data"]["anyOf"]) == len(names) + 1


def test_the_examples_fit_their_shapes() -> None:
    """Every example of an answer or a request is valid by the documented shape."""
    for route in ROUTES:
        for content in (*route.answers.values(), *route.bodies):
            example = json.loads(json.dumps(content.example(), default=str))
            TypeAdapter(content.shape).validate_python(example)


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/api/events", schemas.Page[schemas.Event]),
        ("/api/jobs", schemas.Page[schemas.Job]),
        ("/api/jobs/a", schemas.JobDetail),
        ("/api/jobs/a?as_of=2", schemas.JobDetail),
        ("/api/jobs/a/history", schemas.Page[schemas.HistoryEntry]),
        ("/api/jobs/a/history?attempts=all&as_of=3", schemas.Page[schemas.HistoryEntry]),
        ("/api/alerts", schemas.Page[schemas.Alert]),
        ("/api/alerts/b", schemas.AlertDetail),
        ("/api/files", schemas.Page[schemas.File]),
        ("/api/summary", schemas.Summary),
        ("/api/diff?stream=job/a", story_shapes.StreamDiff),
        ("/api/diff?jobs=true", story_shapes.JobsDiff),
        ("/api/steps?stream=alert/b", schemas.Page[story_shapes.StepShape]),
        ("/api/timeline?job=a", story_shapes.TimelineShape),
        ("/api/metrics", schemas.Numbers),
        ("/api/deadletters", schemas.Page[deadletter_shapes.DeadLetter]),
        ("/api/operations", schemas.Page[OperationShape]),
        ("/api/backup", backup_shapes.BackupShape),
        ("/api/backup/snapshots", schemas.Problem),
        ("/api/intake/offsets?follow=x", schemas.Offset),
        ("/healthz", schemas.Health),
        ("/readyz", schemas.Readiness),
        ("/api/jobs/none", schemas.Problem),
        ("/api/jobs?limit=0", schemas.Problem),
    ],
)
def test_real_answers_have_the_documented_shape(shared: ApiServer, path: str, shape: Any) -> None:
    """Exactly the documented fields, of the documented types; lists are not empty by accident."""
    with shared.client() as client:
        answer = client.get(path).json()
    TypeAdapter(shape).validate_json(json.dumps(answer))
    assert answer.get("items") != [] or "operations" in path
    with pytest.raises(ValidationError):
        TypeAdapter(shape).validate_json("{}")


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [value or "" for name, value in attrs if name in ("href", "src", "action")]


@pytest.mark.parametrize("path", ["/docs", "/docs/errors"])
def test_the_pages_work_without_the_outside(shared: ApiServer, path: str) -> None:
    """No script, nothing loaded, every link our own; the policy forbids the rest."""
    with shared.client() as client:
        page = client.get(path)
        links = _Links()
        links.feed(page.text)
        assert all(client.get(link).status_code == 200 for link in links.found)
    assert all(link.startswith("/") for link in links.found)
    assert links.tags.isdisjoint({"script", "link", "img", "iframe"})
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


def test_the_page_of_operations_has_every_one(shared: ApiServer, document: Any) -> None:
    """Each operation of the document is on the page."""
    with shared.client() as client:
        text = client.get("/docs").text
    for name, _ in operations(document):
        assert name in text


def test_the_type_of_a_problem_leads_to_its_code(shared: ApiServer) -> None:
    """Every code has its place on the page that a problem's `type` points at."""
    with shared.client() as client:
        problem = client.get("/api/jobs/none").json()
        page, anchor = problem["type"].split("#")
        text = client.get(page).text
    assert f'id="{anchor}"' in text
    for error in problem_types():
        assert f'id="{error.code}"' in text


def test_two_servers_document_the_same(client: httpx.Client, document: Any) -> None:
    """The document does not depend on the daemon's state."""
    assert client.get("/openapi.json").json() == document
