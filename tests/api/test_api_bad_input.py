"""Bad input over real HTTP: each case with its status, code and place, and nothing recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import apsw
import pytest
from api_server import ApiServer, event
from waiting import wait_until

from daemon.eventlog.requests import Append, WriterBounds
from domain.cloudevents import from_structured
from domain.limits import Limits

LIMITS = Limits()


@dataclass(frozen=True)
class Case:
    """One bad request and what it is answered."""

    name: str
    content: bytes | str
    status: int
    code: str
    places: tuple[tuple[int | None, str], ...] = ()
    """Index and pointer of each fault."""
    says: str = ""
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})

    def __str__(self) -> str:
        return self.name


def one(**changes: Any) -> str:
    """Return a valid event with some attributes changed; None leaves one out."""
    changed = {**event("job.submitted", "a", {"kind": "x"}), **changes}
    return json.dumps({name: value for name, value in changed.items() if value is not None})


def batch(*events: str) -> str:
    """Return a batch of events that are JSON already."""
    return f"[{','.join(events)}]"


def of_type(content_type: str) -> dict[str, str]:
    """Return the header."""
    return {"content-type": content_type}


GOOD = one()
NDJSON = of_type("application/x-ndjson")
CASES = [
    Case("not JSON", '{"specversion":', 400, "undecodable"),
    Case("not UTF-8", b'{"id":"\xff"}', 400, "undecodable"),
    Case("a lone surrogate", one(id="\ud800"), 400, "undecodable"),
    Case("empty", b"", 400, "undecodable"),
    Case("one bad line", f"{GOOD}\nnope\n{GOOD}", 400, "undecodable", ((1, ""),), "", NDJSON),
    Case("no content type", GOOD, 415, "unsupported_media_type", headers={}),
    Case("wrong type", GOOD, 415, "unsupported_media_type", headers=of_type("text/plain")),
    Case(
        "wrong charset",
        GOOD,
        415,
        "unsupported_media_type",
        headers=of_type("application/json; charset=latin-1"),
    ),
    Case(
        "compressed",
        GOOD,
        415,
        "unsupported_media_type",
        headers={**of_type("application/json"), "content-encoding": "gzip"},
    ),
    Case("no id", one(id=None), 422, "invalid", ((None, "/id"),)),
    Case("no source", one(source=None), 422, "invalid", ((None, "/source"),)),
    Case("no subject", one(subject=None), 422, "invalid", ((None, "/subject"),)),
    Case("no type", one(type=None), 422, "invalid", ((None, "/type"),)),
    Case("wrong specversion", one(specversion="0.3"), 422, "invalid", ((None, "/specversion"),)),
    Case(
        "unknown type",
        one(type="job.finished"),
        422,
        "unknown_type",
        ((None, "/type"),),
        "job.",
    ),
    Case(
        "misspelt type",
        one(type="job.submited"),
        422,
        "unknown_type",
        ((None, "/type"),),
        "did you mean 'job.submitted'?",
    ),
    Case(
        "unknown field",
        one(data={"knid": "x"}),
        422,
        "unknown_field",
        ((None, "/data/knid"),),
        "did you mean 'kind'?",
    ),
    Case("reserved type", one(type="job.archived"), 422, "reserved_type", ((None, "/type"),)),
    Case("bad time", one(time="yesterday"), 422, "invalid", ((None, "/time"),)),
    Case("no offset", one(time="2026-02-04T06:12:46"), 422, "invalid", ((None, "/time"),)),
    Case(
        "wrong field type",
        one(data={"priority": "high"}),
        422,
        "invalid",
        ((None, "/data/priority"),),
    ),
    Case("data not an object", one(data=[1]), 422, "invalid", ((None, "/data"),)),
    Case("long subject", one(subject="é" * 2_049), 422, "invalid", ((None, "/subject"),)),
    Case("large event", one(data={"params": {"x": "y" * LIMITS.event_bytes}}), 413, "too_large"),
    Case("10,001 events", batch(*[GOOD] * 10_001), 413, "too_large"),
    Case(
        "one bad event in a batch",
        batch(GOOD, one(), one(data={"kind": 3}), one()),
        422,
        "invalid",
        ((2, "/data/kind"),),
    ),
    Case(
        "several bad events in a batch",
        batch(one(id=None), GOOD, one(time="x", type="job.x")),
        422,
        "invalid",
        ((0, "/id"), (2, "/type"), (2, "/time")),
    ),
    Case(
        "a batch that is no array",
        GOOD,
        422,
        "invalid",
        headers=of_type("application/cloudevents-batch+json"),
    ),
    Case(
        "binary without a subject",
        "{}",
        422,
        "invalid",
        ((None, "/subject"),),
        headers={
            **of_type("application/json"),
            "ce-specversion": "1.0",
            "ce-id": "1",
            "ce-source": "/x",
            "ce-type": "job.started",
        },
    ),
    Case(
        "binary of another type",
        "hello",
        415,
        "unsupported_media_type",
        headers={**of_type("text/plain"), "ce-specversion": "1.0", "ce-id": "1"},
    ),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return one server for all cases: none of them leaves anything behind."""
    with ApiServer(tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_input_is_refused_as_a_whole(shared: ApiServer, case: Case) -> None:
    """Status, code and the place of every fault are told; nothing at all is recorded."""
    with shared.client() as client:
        content = (
            case.content.encode("utf-8", "surrogatepass")
            if isinstance(case.content, str)
            else case.content
        )
        response = client.post("/api/events", content=content, headers=case.headers)
        assert client.get("/api/events").json() == {"items": [], "next": None, "as_of": 0}
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (response.status_code, problem["status"]) == (case.status, case.status), problem
    assert problem["code"] == case.code, problem
    assert problem["type"] == f"/docs/errors#{case.code}"
    assert problem["title"]
    assert problem["hint"]
    assert case.says in problem["detail"]
    found = [(fault.get("index"), fault["pointer"]) for fault in problem["errors"]]
    if case.places:
        assert sorted(found, key=str) == sorted(case.places, key=str)


def test_a_version_conflict_is_409_and_names_the_event(servers: Callable[..., ApiServer]) -> None:
    """The expected version is not the stream's: 409; nothing of the batch is recorded."""
    server = servers()
    server.post(event("job.submitted", "a"))
    refused = [
        event("job.submitted", "b", expectedversion=0),
        event("job.started", "a", expectedversion=0),
    ]
    with server.client() as client:
        response = client.post("/api/events", json=refused)
        assert (response.status_code, response.json()["code"]) == (409, "version_conflict")
        [fault] = response.json()["errors"]
        assert (fault["index"], fault["pointer"]) == (1, "/expectedversion")
        assert client.get("/api/events").json()["as_of"] == 1
        refused[1]["expectedversion"] = 1
        assert client.post("/api/events", json=refused).status_code == 201


def test_a_body_over_the_limit_is_refused_before_it_is_sent(server: ApiServer) -> None:
    """With a Content-Length over the limit the answer comes without a byte of the body."""
    answer = server.raw(
        b"POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 16777217\r\n\r\n"
    )
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in head.lower()
    assert json.loads(body)["code"] == "too_large"


def test_a_body_of_unknown_length_is_counted_while_it_comes(
    servers: Callable[..., ApiServer],
) -> None:
    """Without Content-Length the answer comes once the limit is passed, not at the end."""
    server = servers(limits=Limits(batch_bytes=4096))
    answer = server.raw(
        b"POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
        + b"800\r\n"
        + b" " * 2048
        + b"\r\n"
        + b"801\r\n"
        + b" " * 2049
        + b"\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_client_that_sends_on_still_gets_the_answer(server: ApiServer) -> None:
    """A client that writes its whole oversize body reads the 413 all the same."""
    with server.client() as client:
        response = client.post(
            "/api/events",
            content=b" " * 17_000_000,
            headers={"content-type": "application/json"},
        )
    assert response.status_code == 413


def test_a_full_queue_is_503_with_retry_after(servers: Callable[..., ApiServer]) -> None:
    """While the writer stands still, what its queue does not hold is refused, and later taken."""
    server = servers(writing=False, bounds=WriterBounds(queue_events=2))
    two = _append(event("job.submitted", "a"), event("job.submitted", "b"))
    server.log.submit(two, lambda _: None)
    with server.client() as client:
        response = client.post("/api/events", json=event("job.submitted", "c"))
        assert (response.status_code, response.json()["code"]) == (503, "queue_full")
        assert int(response.headers["retry-after"]) >= 1
        assert server.log.writer.step(0) is None
        server.log.start()
        assert client.post("/api/events", json=event("job.submitted", "c")).status_code == 201


def _append(*events: Any) -> Any:
    return Append([from_structured(one, LIMITS) for one in events])


def test_a_full_disk_is_507_until_there_is_room(servers: Callable[..., ApiServer]) -> None:
    """SQLite's own "disk full": 507 and nothing recorded; with room again the same goes in."""
    server = servers()
    server.post(event("job.submitted", "a"))
    pages = _pragma(server, "page_count")
    _pragma(server, f"max_page_count={pages}")
    large = event("job.submitted", "b", {"params": {"x": "y" * 200_000}})
    with server.client() as client:
        response = client.post("/api/events", json=large)
        assert (response.status_code, response.json()["code"]) == (507, "disk_full")
        assert response.headers["retry-after"] == "5"
        assert client.get("/api/events").json()["as_of"] == 1
        _pragma(server, "max_page_count=1000000")
        assert client.post("/api/events", json=large).status_code == 201


def test_a_disk_that_refuses_is_503_and_not_ready(servers: Callable[..., ApiServer]) -> None:
    """A file that cannot be written: 503 with Retry-After, /readyz failed, until it can again."""
    server = servers()
    server.post(event("job.submitted", "a"))
    _pragma(server, "query_only=1")
    with server.client() as client:
        response = client.post("/api/events", json=event("job.submitted", "b"))
        assert (response.status_code, response.json()["code"]) == (503, "storage_failed")
        assert int(response.headers["retry-after"]) >= 1
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "failed")
        assert ready.json()["log"]["code"] == "storage_failed"
        assert client.get("/healthz").status_code == 200
        assert client.get("/api/jobs/a").status_code == 200
        _pragma(server, "query_only=0")
        wait_until(lambda: client.get("/readyz").status_code == 200, "ready again")
        assert client.post("/api/events", json=event("job.submitted", "b")).status_code == 201


def _pragma(server: ApiServer, pragma: str) -> Any:
    """Run a pragma on the writer's own connection, when the writer does not use it."""

    def run() -> tuple[Any] | None:
        with suppress(apsw.ThreadingViolationError, apsw.BusyError):
            return (server.log.writer._connection.execute(f"PRAGMA {pragma}").get,)
        return None

    return wait_until(run, pragma)[0]


READS = [
    ("/api/jobs?limit=0", 422, "invalid", "limit"),
    ("/api/jobs?limit=1001", 422, "invalid", "limit"),
    ("/api/jobs?limit=x", 422, "invalid", "limit"),
    ("/api/jobs?since=yesterday", 422, "invalid", "since"),
    ("/api/jobs?until=2026-02-30T00:00:00Z", 422, "invalid", "until"),
    ("/api/jobs?status=done", 422, "invalid", "status"),
    ("/api/jobs?status=", 422, "invalid", "status"),
    ("/api/jobs?sort=name", 422, "invalid", "sort"),
    ("/api/jobs?stauts=failed", 422, "unknown_parameter", "stauts"),
    ("/api/jobs?wait_for=-1", 422, "invalid", "wait_for"),
    ("/api/jobs?wait_for=0&timeout=31", 422, "invalid", "timeout"),
    ("/api/jobs/x?as_of=noon", 422, "invalid", "as_of"),
    ("/api/jobs/x/history?attempts=some", 422, "invalid", "attempts"),
    ("/api/events?type=job.finished", 422, "invalid", "type"),
    ("/api/events?order=up", 422, "invalid", "order"),
    ("/api/events?after=-1", 422, "invalid", "after"),
    ("/api/events?page=2", 422, "unknown_parameter", "page"),
    ("/api/alerts?state=closed", 422, "invalid", "state"),
    ("/api/files?matched=perhaps", 422, "invalid", "matched"),
    ("/api/summary?days=3", 422, "unknown_parameter", "days"),
    ("/api/deadletters?limit=-5", 422, "invalid", "limit"),
    ("/api/intake/offsets", 422, "missing", "follow"),
]


@pytest.mark.parametrize(("path", "status", "code", "parameter"), READS)
def test_bad_parameters_are_named(
    shared: ApiServer, path: str, status: int, code: str, parameter: str
) -> None:
    """A parameter that is unknown or unusable is refused, by name, as problem details."""
    with shared.client() as client:
        response = client.get(path)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    [fault] = response.json()["errors"]
    assert (fault["parameter"], fault["code"]) == (parameter, code)
    assert response.json()["code"] == "invalid"


def test_a_misspelt_parameter_is_answered_with_the_nearest(shared: ApiServer) -> None:
    """The detail asks "did you mean"."""
    with shared.client() as client:
        detail = client.get("/api/jobs?stauts=failed").json()["detail"]
    assert "did you mean 'status'?" in detail


@pytest.mark.parametrize(
    "path",
    ["/api/jobs/none", "/api/jobs/none/history", "/api/alerts/none", "/api/operations/none", "/x"],
)
def test_what_is_not_there_is_404(shared: ApiServer, path: str) -> None:
    """Unknown things and unknown routes are problems with the code not_found."""
    with shared.client() as client:
        response = client.get(path)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/events", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/api/jobs", "GET, HEAD, OPTIONS"),
        ("GET", "/api/alerts/x/resolve", "OPTIONS, POST"),
        ("PUT", "/api/jobs/a%2Fb/history", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_wrong_method_is_405_with_the_allowed_ones(
    shared: ApiServer, method: str, path: str, allowed: str
) -> None:
    """405 names every method of the path, whichever routes share it; OPTIONS says the same."""
    with shared.client() as client:
        response = client.request(method, path)
        assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
        assert response.headers["allow"] == allowed
        options = client.request("OPTIONS", path)
    assert (options.status_code, options.headers["allow"]) == (204, allowed)
    assert "access-control-allow-origin" not in options.headers


def test_a_fault_of_ours_shows_nothing_of_its_insides(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception nobody foresaw is 500 with the code internal; the log has the traceback."""

    def explode(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(server.views, "job", explode)
    with server.client() as client:
        response = client.get("/api/jobs/x")
        assert client.get("/healthz").status_code == 200
    assert (response.status_code, response.json()["code"]) == (500, "internal")
    assert "secret" not in response.text
    assert "secret detail" in caplog.text
