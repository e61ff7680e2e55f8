"""A real daemon that has a bit of everything, so that ids which exist can be asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from daemon_process import DaemonProcess
from waiting import wait_until

from daemon.demo.samples import SAMPLES

QUEUES = ["images", "annotation"]
ORDERS = ("pause", "resume", "recover", "clear")

_LINES = "application/x-ndjson"
_OPERATION_SECONDS = 60.0
_LONG_AGO = "2020-01-01T00:00:00Z"
_KEPT = b"##gff-version 3\n"
_WORKFLOW = '[[phase]]\ntask = "load:events"\nrule = "cron=@daily"\ntemplate = "?day={yyyy}"\n'
_SETTINGS = """
[retention]
apply = false
archive = "file://{folder}/kept"
files_root = "{folder}/results"

[[retention.policies]]
name = "to-archive"
category = "job"
kind = "kept"
age = "ended"
archive_after = "1d"

[[retention.policies]]
name = "to-purge"
category = "job"
kind = "gone"
age = "ended"
purge_after = "1d"

[backup]
url = "file://{folder}/backup"
segment_seconds = 1

[workflows]
path = "{folder}/workflows"

[[sources]]
name = "spool"
kind = "folder"
path = "{folder}/spool"

[[webhooks]]
name = "nobody"
url = "http://127.0.0.1:9/hook"
attempts = 1
start = "beginning"
"""
"""Nobody listens at the webhook's port, so it is given up."""


@contextmanager
def full_daemon(folder: Path) -> Iterator[DaemonProcess]:
    """Run a daemon below ``folder``, fed with the samples and with what is done to them."""
    for name in ("results", "workflows", "spool", "kept", "backup"):
        (folder / name).mkdir()
    (folder / "workflows" / "daily.toml").write_text(_WORKFLOW)
    (folder / "results" / "kept-1.gff3").write_bytes(_KEPT)
    settings = folder / "chronicled.toml"
    settings.write_text(_SETTINGS.format(folder=folder))
    daemon = DaemonProcess(folder / "data", arguments=("--config", str(settings)))
    try:
        daemon.start().wait_caught_up()
        with daemon.client(unix=True) as client:
            _feed(client)
            _keep_house(client)
        yield daemon
    finally:
        daemon.close()


def _feed(client: httpx.Client) -> None:
    for sample in SAMPLES:
        answer = client.post(
            f"/api/intake/{sample.format}",
            params={"on_error": "deadletter", "follow": sample.name, "start": 0, "end": 1},
            content=sample.path.read_bytes(),
            headers={"content-type": _LINES},
        )
        answer.raise_for_status()
    events = [*_ended("kept-1", "kept"), *_ended("gone-1", "gone"), *_ended("a/b c", "other")]
    answer = client.post("/api/events", json=events)
    answer.raise_for_status()
    client.get("/api/jobs", params={"wait_for": answer.json()["as_of"]}).raise_for_status()


def _ended(job: str, kind: str) -> Iterator[dict[str, Any]]:
    """Yield the events of a job of long ago, with a result."""
    result = {
        "job": job,
        "kind": "GFF3",
        "path": f"{job}.gff3",
        "bytes": len(_KEPT),
        "sha256": hashlib.sha256(_KEPT).hexdigest(),
    }
    for type_, subject, data in (
        ("job.submitted", job, {"kind": kind, "params": {"token": "aside"}}),
        ("job.succeeded", job, {}),
        ("result.recorded", f"{job}/GFF3", result),
    ):
        yield {
            "specversion": "1.0",
            "id": f"{job}-{type_}",
            "source": "/fuzz",
            "type": type_,
            "subject": subject,
            "time": _LONG_AGO,
            "data": data,
        }


def _keep_house(client: httpx.Client) -> None:
    """Archive one job and purge another, take a value out, copy and verify the log."""
    redacted = {"source": "/fuzz", "id": "a/b c-job.submitted", "pointer": "/data/params/token"}
    operate(client, "retention-apply")
    operate(client, "redact", **redacted, why="a test")
    operate(client, "backup")
    operate(client, "measure")
    operate(client, "verify")


def operate(client: httpx.Client, kind: str, **asked: Any) -> dict[str, Any]:
    """Have an operation done, after the one that runs, and return how it ended: well."""

    def begun() -> httpx.Response | None:
        answer = client.post("/api/operations", json={"kind": kind, **asked})
        return None if answer.status_code == httpx.codes.CONFLICT else answer

    started = wait_until(begun, f"{kind} has begun", seconds=_OPERATION_SECONDS)
    assert started is not None
    started.raise_for_status()

    def ended() -> dict[str, Any] | None:
        document: dict[str, Any] = client.get(started.headers["location"]).json()
        return document if document["state"] != "running" else None

    document = wait_until(ended, f"{kind} has ended", seconds=_OPERATION_SECONDS)
    assert document is not None
    assert document["state"] == "succeeded", document
    return document


def known_values(client: httpx.Client) -> dict[str, dict[str, list[Any]]]:
    """Return ids and names that exist, by the operations and the parameters that take them."""

    def found(path: str, name: str) -> list[Any]:
        return [item[name] for item in client.get(path, params={"limit": 20}).json()["items"]]

    jobs = [*found("/api/jobs", "id"), "kept-1", "gone-1", "a/b c"]
    streams = [*(f"job/{job}" for job in jobs), "alert/webhook/nobody", "queue/images"]
    operations = [item["id"] for item in client.get("/api/operations").json()["items"]]
    letters, events = found("/api/deadletters", "id"), found("/api/events", "id")
    alerts = found("/api/alerts", "id")
    tasks = [item["name"] for item in client.get("/api/maintenance").json()["items"]]
    ids = {
        "GET /api/jobs/{id}": jobs,
        "GET /api/jobs/{id}/history": jobs,
        "GET /api/archive/{id}": ["kept-1"],
        "POST /api/archive/{id}/restore": ["kept-1"],
        "GET /api/alerts/{id}": alerts,
        "POST /api/alerts/{id}/acknowledge": alerts,
        "POST /api/alerts/{id}/resolve": alerts,
        "GET /api/tasks/{id}": found("/api/tasks", "id"),
        "GET /api/workflows/{id}": ["daily.toml"],
        "GET /api/workflows/{id}/history": ["daily.toml"],
        "GET /api/deadletters/{id}": letters,
        "POST /api/deadletters/{id}/retry": letters,
        "POST /api/deadletters/{id}/discard": letters,
        "GET /api/operations/{id}": operations,
        "GET /api/operations/{id}/stream": operations,
    }
    names = {
        "GET /api/maintenance/{name}": tasks,
        "POST /api/webhooks/{name}/resume": ["nobody"],
        "GET /api/queues/{name}": QUEUES,
        **{f"POST /api/queues/{{name}}/{verb}": QUEUES for verb in ORDERS},
    }
    cursors = {
        f"GET /api/{name}": client.get(f"/api/{name}", params={"limit": 1}).json()["next"]
        for name in ("jobs", "alerts", "files", "tasks", "events", "queues")
    }
    return {
        **{label: {"path.id": known} for label, known in ids.items()},
        **{label: {"path.name": known} for label, known in names.items()},
        **{label: {"query.cursor": [cursor]} for label, cursor in cursors.items()},
        "GET /api/diff": {"query.stream": streams},
        "GET /api/steps": {"query.stream": streams},
        "GET /api/timeline": {"query.stream": streams, "query.job": jobs},
        "POST /api/events": {"body.id": events, "body.subject": jobs},
    }
