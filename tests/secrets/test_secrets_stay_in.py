"""Secrets that come in by any door are in no log, no answer, no metric, and no file but their own.

What a client sends as the data of an event is recorded as it is; that is what a log is for, and it
proves here that the search finds what there is. What has the shape of a secret in a message of a
producer's format is masked before anything is stored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from daemon_process import DaemonProcess
from intake_lines import DONE, TO_DO
from marked import Marks, basic, said
from receiver import Receiver
from standard_messages import FIRING, OBJECT, START, envelope
from waiting import wait_until

from benchmarks.children import arguments, tree
from daemon.intake.formats import FORMATS

SEED = 17
WAIT_SECONDS = 100.0
pytestmark = pytest.mark.timeout(300)
CONFIGURATION = """
[logging]
level = "debug"

[backup]
url = "{backup}"
segment_seconds = 1

[retention]
archive = "{archive}"

[[webhooks]]
name = "plain"
url = "{url}?token={webhook_query}"
secret = "{webhook_secret}"
start = "beginning"

[[webhooks]]
name = "filed"
url = "http://127.0.0.1:1/hook?token={webhook_refused_query}"
secret_file = "{key}"
start = "beginning"
backoff_seconds = 0.05
attempts = 3

[[sources]]
name = "tasks"
kind = "nats"
format = "flowlord-task"
url = "nats://127.0.0.1:1"
stream = "TASKS"
subject = "tasks"
credentials = "{login}"
"""
CREDENTIAL = """
[[webhooks]]
name = "hidden"
url = "http://127.0.0.1:1/{path}"
secret = "{key}"
attempts = 2
backoff_seconds = 0.05
start = "beginning"
"""
AS_RECORDED = "log.db views.db segments/ snapshots/"
"""Where an event is that was taken, as its sender gave it."""


class Evidence(NamedTuple):
    """What a daemon said and wrote to which every secret was told, by every door.

    ``files`` are the doors whose secret was found in a file, with the names of these.
    """

    marks: Marks
    log: bytes
    answers: list[bytes]
    status: bytes
    commands: list[bytes]
    files: dict[str, set[str]]


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Run a daemon, tell it everything, stop it, and gather what is left."""
    folder, marks = tmp_path_factory.mktemp("secrets"), Marks(SEED)
    with Receiver(lambda number: 500 if number < 3 else 200) as receiver:
        daemon = started(folder, marks, receiver.url.partition("?")[0])
        try:
            with daemon.client() as client:
                answers = list(ask(client, marks))
                wait_until(receiver.taken, "the webhook is told", seconds=WAIT_SECONDS)
                wait_until(
                    lambda: _dead(client) == 2, "the others are given up", seconds=WAIT_SECONDS
                )
                status = b"".join(client.get(path).content for path in STATUS)
            commands = [b" ".join(arguments(pid)) for pid in tree(daemon.pid)]
            daemon.stop()
        finally:
            daemon.close()
    files: dict[str, set[str]] = {}
    for each in (daemon.data, folder / "backup", folder / "archive"):
        for door, names in marks.found_below(each).items() if each.exists() else ():
            files.setdefault(door, set()).update(names)
    return Evidence(marks, daemon.stderr().encode(), answers, status, commands, files)


def started(folder: Path, marks: Marks, url: str) -> DaemonProcess:
    """Start a daemon whose configuration, credentials and environment have secrets."""
    own = folder / "own"
    credentials = own / "credentials"
    credentials.mkdir(parents=True)
    key, login = own / "key", own / "login"
    key.write_text(marks.new("webhook key in a file"))
    login.write_text(f"user:{marks.new('password of a source')}")
    (credentials / "chronicled.secrets.toml").write_text(
        CREDENTIAL.format(
            path=marks.new("path in a credential"), key=marks.new("key in a credential")
        )
    )
    (own / "chronicled.toml").write_text(
        CONFIGURATION.format(
            backup=(folder / "backup").as_uri(),
            archive=(folder / "archive").as_uri(),
            url=url,
            key=key,
            login=login,
            webhook_query=marks.new("query of a webhook"),
            webhook_secret=marks.new("key of a webhook"),
            webhook_refused_query=marks.new("query of a webhook that is down"),
        )
    )
    environment = {
        "CREDENTIALS_DIRECTORY": str(credentials),
        "HTTPS_PROXY": f"http://proxy:{marks.new('password of a proxy')}@127.0.0.1:1",
        "NATS_TOKEN": marks.new("a variable of others"),
    }
    options = ["--config", str(own / "chronicled.toml")]
    return DaemonProcess(folder / "data", arguments=options, environment=environment).start()


STATUS = (
    *("/metrics", "/readyz", "/healthz", "/openapi.json", "/api/metrics", "/api/webhooks"),
    *("/api/sources", "/api/backup", "/api/deadletters", "/api/retention", "/api/size"),
    *("/api/operations", "/api/alerts", "/api/maintenance", "/api/archive", "/api/summary"),
)


def _dead(client: httpx.Client) -> int:
    items = client.get("/api/webhooks").raise_for_status().json()["items"]
    return sum(each["state"] == "dead" for each in items)


def ask(client: httpx.Client, marks: Marks) -> Iterator[bytes]:
    """Send secrets by every door of HTTP; yield the answers, with their headers."""
    for method, path, options in (*headers(marks), *queries(marks), *bodies(marks)):
        answer = client.request(method, path, **options)
        assert answer.status_code != 500, answer.text
        yield repr(answer.headers.multi_items()).encode() + answer.content


Request = tuple[str, str, dict[str, Any]]


def event(**fields: Any) -> dict[str, Any]:
    """Return an event."""
    told = {"specversion": "1.0", "id": "1", "source": "/s", "type": "job.submitted"}
    return {**told, "subject": "a", "data": {"kind": "k"}, **fields}


def headers(marks: Marks) -> Iterator[Request]:
    """Yield requests with a secret in a header: one that is taken, and some that are refused."""
    sent = {
        "authorization": f"Bearer {marks.new('bearer token')}",
        "proxy-authorization": basic("u", marks.new("basic password")),
        "cookie": f"session={marks.new('cookie')}",
        "x-api-key": marks.new("key in a header"),
        "ce-token": marks.new("header in binary mode, of another mode"),
        "referer": f"http://x/?token={marks.new('referer')}",
        "user-agent": f"agent/{marks.new('user agent')}",
    }
    structured = {"content-type": "application/cloudevents+json"}
    yield "POST", "/api/events", {"json": event(), "headers": sent | structured}
    yield "POST", "/api/events", {"content": b"{", "headers": sent | structured}
    yield "POST", "/api/events", {"content": b"{}", "headers": sent}
    yield "GET", "/api/jobs/a", {"headers": sent}
    yield "GET", "/api/none", {"headers": sent}
    yield "GET", "/api/jobs", {"headers": sent | {"host": f"{marks.new('host')}.example"}}
    yield "GET", "/api/jobs", {"headers": sent | {"origin": f"http://{marks.new('origin')}"}}
    media = f"text/{marks.new('content type')}"
    yield "POST", "/api/events", {"content": b"x", "headers": {"content-type": media}}
    yield "GET", "/api/events/stream", {"headers": {"last-event-id": marks.new("last event id")}}


def queries(marks: Marks) -> Iterator[Request]:
    """Yield requests with a secret in a query, as push subscriptions have them."""
    token = marks.new("token in a query")
    for path in ("/api/jobs", "/api/events", "/api/summary", "/metrics", "/api/none", "/docs"):
        yield "GET", path, {"params": {"token": token}}
    body = {"json": envelope(OBJECT, id="1")}
    yield "POST", "/api/intake/pubsub-push", {"params": {"token": token}} | body
    yield "POST", "/api/events", {"params": {"access_token": token}, "json": event(id="2")}
    cursor = marks.new("cursor")
    yield "GET", "/api/jobs", {"params": {"cursor": cursor}}
    long = marks.new("path") + marks.new("path, second half")
    yield "GET", f"/api/jobs/{long}", {}
    yield "POST", f"/api/intake/{long}", {"json": {}}


def bodies(marks: Marks) -> Iterator[Request]:
    """Yield bodies of every format with a secret of a known shape, taken, refused, put aside."""
    recorded = event(id="3", data={"kind": "k", "params": {"note": marks.new("data of an event")}})
    yield "POST", "/api/events", {"json": recorded}
    refused = event(id="4", type="job.none", data={"note": marks.new("data that is refused")})
    yield "POST", "/api/events", {"json": refused}
    for message in messages(marks):
        format_, sent = message
        for body in (sent, {**sent, "zz": 1}, {"zz": sent}):
            for on_error in ("reject", "deadletter"):
                path = f"/api/intake/{format_}"
                yield "POST", path, {"params": {"on_error": on_error}, "json": body}
    torn = json.dumps({"password": marks.new("torn line")})[:-1].encode()
    for format_ in FORMATS:
        options = {"params": {"on_error": "deadletter"}, "content": torn}
        json_type = {"content-type": "application/json"}
        yield "POST", f"/api/intake/{format_}", options | {"headers": json_type}


def messages(marks: Marks) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a message of each producer's format with secrets in it, as they occur there."""
    address = f"postgres://etl:{marks.new('password in a task')}@db/x"
    yield "flowlord-task", TO_DO | {"info": f"{address}?table=ev"}
    words = f"login failed, password: {marks.new('password in a text')}"
    yield "flowlord-task", DONE | {"msg": words}
    yield (
        "flowlord-file",
        {"path": f"https://s/x?sig={marks.new('signature of a file')}", "size": 1},
    )
    yield "gcs-notification", OBJECT | {"metadata": {"token": marks.new("metadata of an object")}}
    facets = {"x": {"_producer": "p", "password": marks.new("password in a facet")}}
    yield "openlineage", START | {"job": {"namespace": "a", "name": "b", "facets": facets}}
    annotations = {"summary": f"token={marks.new('token in an alert')}"}
    alert = FIRING["alerts"][0] | {"annotations": annotations}
    yield "alertmanager", FIRING | {"alerts": [alert]}
    inside = TO_DO | {"info": f"x?api_key={marks.new('key in an envelope')}"}
    yield "pubsub-push", envelope(inside, id="5")
    task = {"image_path": "/a", "created_at": 1.5, "status": "failed"}
    task["error"] = f"Authorization: Bearer {marks.new('token in a queue')}"
    yield "queue-state", {"saved_at": 2.5, "history": [task]}
    secret = marks.new("secret of a job") + "12345678"
    job = {"jobID": "5f0c7a52-9d1e-4c3b-8a60-2b7f4f1c9e01", "secret": secret}
    yield "bakta-job-init", {"request": {"name": "n"}, "response": {"job": job}}
    yield "bakta-job-start", {"request": {"job": job, "config": {}}}
    yield "bakta-job-delete", {"request": job}


REPEATED = {"path", "path, second half"}
"""What was asked for, by its id, is named in the answer that says that it is not there."""
RECORDED = {"data of an event": AS_RECORDED}


def test_the_log_says_no_secret(evidence: Evidence) -> None:
    """Not at debug either, where each request, each webhook and each source is told of."""
    for word in (b'"level": "debug"', b"webhook", b"tasks", b"/api/intake/"):
        assert word in evidence.log
    assert evidence.marks.found_in(evidence.log) == set()


def test_documents_of_status_say_no_secret(evidence: Evidence) -> None:
    """Neither do the metrics: what everybody may see has none of anybody."""
    assert b"chronicled_build_info" in evidence.status
    assert evidence.marks.found_in(evidence.status) == set()


def test_answers_repeat_no_secret(evidence: Evidence) -> None:
    """Not even who sent one is told it: answers are logged by those who ask, and by proxies."""
    found = {
        door: answer[:400]
        for answer in evidence.answers
        for door in evidence.marks.found_in(answer) - REPEATED
    }
    assert not found


def test_no_process_is_started_with_a_secret(evidence: Evidence) -> None:
    """Arguments of processes can be seen by everybody on the machine."""
    assert len(evidence.commands) > 1
    assert evidence.marks.found_in(b"".join(evidence.commands)) == set()


def test_files_hold_only_what_was_recorded(evidence: Evidence) -> None:
    """The data directory, the backup and the archive have the data of events that were taken."""
    assert said(evidence.files, RECORDED) == []
    names = evidence.files["data of an event"]
    assert {"log.db", "views.db"} <= names
    assert any("segments/" in name for name in names)
