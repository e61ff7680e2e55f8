"""What fuzzing by the OpenAPI document found: answers, or the document, were not right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import httpx
import jsonschema_rs
import pytest
from api_server import ApiServer, event
from pydantic import TypeAdapter
from sse_client import received

from daemon.api import event_shapes, schemas
from daemon.api.routes import ROUTES
from domain.catalog import event_types
from domain.cloudevents import example_event

WITHOUT_PARAMETERS = (
    *("POST /api/events", "POST /api/history", "GET /api/metrics", "GET /api/sources"),
    *("GET /api/operations", "GET /api/maintenance", "GET /api/webhooks", "GET /api/backup"),
    *("GET /api/backup/snapshots", "GET /api/retention/policies", "GET /api/size", "GET /metrics"),
    *("GET /healthz", "GET /readyz", "GET /openapi.json", "GET /docs", "GET /docs/errors"),
    *("GET /api/deadletters/1", "POST /api/alerts/a/resolve", "POST /api/queues/q/pause"),
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Return one server with an alert."""
    with ApiServer(tmp_path_factory.mktemp("data")) as server:
        server.post(event("alert.raised", "a", {"severity": "error"}))
        yield server


@pytest.fixture(scope="module")
def document(shared: ApiServer) -> Any:
    """Return the OpenAPI document."""
    with shared.client() as client:
        return client.get("/openapi.json").json()


@pytest.mark.parametrize("operation", WITHOUT_PARAMETERS)
def test_a_parameter_of_a_route_that_has_none_was_ignored(
    shared: ApiServer, operation: str
) -> None:
    """It is refused as everywhere, and named."""
    method, path = operation.split()
    with shared.client() as client:
        answer = client.request(method, f"{path}?kind=load")
    [fault] = answer.json()["errors"]
    assert (answer.status_code, fault["parameter"]) == (422, "kind")
    assert fault["code"] == "unknown_parameter"
    assert "this route has none" in fault["detail"]


@pytest.mark.parametrize("method", ["POST", "OPTIONS"])
def test_the_offsets_of_followed_files_were_taken_for_a_format(
    shared: ApiServer, method: str
) -> None:
    """The path is that of one route; what it allows is told, and nothing else is answered."""
    with shared.client() as client:
        answer = client.request(method, "/api/intake/offsets")
        assert client.request(method, "/api/intake/offsets2").headers.get("allow") in (
            None,
            "OPTIONS, POST",
        )
    assert answer.status_code == {"POST": 405, "OPTIONS": 204}[method]
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    "request_bytes",
    [b"nonsense\r\n\r\n", b"GET /api/jobs?q=" + b"x" * 70_000 + b" HTTP/1.1\r\nhost: h\r\n\r\n"],
    ids=["no HTTP", "a target that is too long"],
)
def test_what_is_no_http_was_refused_with_plain_text(
    shared: ApiServer, request_bytes: bytes
) -> None:
    """It is refused with a problem like everything else, and the connection ends."""
    head, _, body = shared.raw(request_bytes).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    TypeAdapter(schemas.Problem).validate_json(body)
    assert json.loads(body)["code"] == "bad_request"


@pytest.mark.parametrize("text", ["-999999999w", "-674434855h7s", "1970-01-01"])
@pytest.mark.parametrize("path", ["/api/workflows", "/api/jobs", "/api/summary"])
def test_a_time_before_the_year_1_was_a_fault_of_ours(
    shared: ApiServer, path: str, text: str
) -> None:
    """So long ago the log knew nothing."""
    with shared.client() as client:
        answer = client.get(path, params={"as_of": text})
    assert (answer.status_code, answer.json()["as_of"]) == (200, 0)


def test_a_content_type_of_no_tokens_was_taken_for_json(shared: ApiServer) -> None:
    """A media type is made of tokens; anything else is refused."""
    sent = event("alert.notified", "a")
    with shared.client() as client:
        for type_ in ("application/json", "text/x.y+JSON; charset=utf-8"):
            answer = client.post("/api/events", json=sent | {"datacontenttype": type_})
            assert answer.status_code in (200, 201)
        for type_ in ("é/json", "a b/json", "application/\u0001+json", "application/json\n"):
            answer = client.post("/api/events", json=sent | {"datacontenttype": type_})
            [fault] = answer.json()["errors"]
            assert (answer.status_code, fault["pointer"]) == (422, "/datacontenttype")


@pytest.mark.parametrize("text", ["0", "1770185565", "2026-02-04T00:00:00"])
def test_a_number_of_seconds_was_taken_for_a_date(shared: ApiServer, text: str) -> None:
    """A date is written out; anything else is refused."""
    with shared.client() as client:
        answer = client.get("/api/tasks", params={"date": text})
        assert client.get("/api/tasks", params={"date": "2026-02-04"}).status_code == 200
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "date")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/api/operations", {"kind": "verify", "quick": 1}, "/quick"),
        ("/api/operations", {"kind": "verify", "quick": "yes"}, "/quick"),
        ("/api/operations", {"kind": "retention-apply", "limit": "5"}, "/limit"),
        ("/api/retention/preview", {"archive": 0}, "/archive"),
    ],
)
def test_a_number_was_taken_for_a_boolean(
    shared: ApiServer, path: str, body: dict[str, Any], field: str
) -> None:
    """A field of a body has the type that is described: JSON has words for true and false."""
    with shared.client(unix=True) as client:
        answer = client.post(path, json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, field)


@pytest.mark.parametrize("path", ["/api/alerts/a/acknowledge", "/api/queues/q/pause"])
@pytest.mark.parametrize("field", ["by", "id"])
def test_a_name_that_no_event_may_have_was_refused_in_the_wrong_place(
    shared: ApiServer, path: str, field: str
) -> None:
    """What the body says is refused there, not in an event that the client knows nothing of."""
    with shared.client() as client:
        answer = client.post(path, json={field: "a\u0099"})
    [fault] = answer.json()["errors"]
    assert (answer.status_code, fault["pointer"]) == (422, f"/{field}")


def test_statuses_that_were_answered_were_not_described(document: Any) -> None:
    """Any request may be no HTTP, or have a parameter too many; any body may be too large."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            described = set(operation["responses"])
            assert {"400", "422"} <= described, (method, path)
            if "requestBody" in operation:
                assert {"413", "415"} <= described, (method, path)
    assert "409" in document["paths"]["/api/events"]["get"]["responses"]


def test_the_document_paired_no_type_with_its_data(document: Any) -> None:
    """Its schema takes an example of each type, and none with what the type has no field for."""
    components = {"components": document["components"]}
    schema = {"$ref": "#/components/schemas/NewCloudEvent", **components}
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    for entry in event_types():
        example = example_event(entry.name)
        assert validator.is_valid(example) == entry.client, entry.name
        assert not validator.is_valid({**example, "data": {"no_such_field": 1}}), entry.name
    linked = example_event("job.linked")
    assert not validator.is_valid({**linked, "data": None})
    assert validator.is_valid({**example_event("job.lost"), "data": None, "other": 3})
    assert not validator.is_valid({**linked, "UPPER": "x"})
    assert not validator.is_valid({**linked, "actor": "a\u0085"})


def test_the_events_of_streams_were_described_as_text(shared: ApiServer, document: Any) -> None:
    """Each has the described fields, and so have the examples."""
    with shared.client() as client, client.stream("GET", "/api/events/stream?after=0") as answer:
        [first] = islice(received(answer), 1)
    shown = {"event": first.kind, "id": first.id, "data": first.data}
    TypeAdapter(event_shapes.StreamedEvent).validate_json(json.dumps(shown))
    for path in ("/api/events/stream", "/api/operations/{id}/stream"):
        content = document["paths"][path]["get"]["responses"]["200"]["content"]
        assert json.loads(content["text/event-stream"]["example"]["data"])


def test_empty_lists_and_points_were_said_to_be_right(
    shared: ApiServer, document: Any, client: httpx.Client
) -> None:
    """The document says of no parameter that it may be empty, where that is refused."""
    for route in ROUTES:
        for parameter in document["paths"][route.path][route.method.lower()]["parameters"]:
            schema = parameter["schema"]
            empty = {"array": [], "string": ""}.get(schema.get("type", ""))
            options = {"components": document["components"], **schema}
            if parameter["in"] != "query" or empty is None:
                continue
            assert not jsonschema_rs.is_valid(options, empty), (route.path, parameter["name"])
    point = next(
        parameter["schema"]
        for parameter in document["paths"]["/api/jobs"]["get"]["parameters"]
        if parameter["name"] == "as_of"
    )
    for text in ("", "-", "-2", "tomorrow", "-1s2h"):
        assert not jsonschema_rs.is_valid(point, text, validate_formats=True), text
        assert client.get("/api/jobs", params={"as_of": text}).status_code == 422
    for text in (3, "-2h", "-1w2d", "2026-02-04", "2026-02-04T06:12:46Z"):
        assert jsonschema_rs.is_valid(point, text, validate_formats=True), text
