"""The field's own programs deliver: OpenLineage's client, Alertmanager, the SDK of CloudEvents."""

from __future__ import annotations

import json
import socket
import subprocess
from base64 import b64encode
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import ApiServer
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from daemon_process import DaemonProcess
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import (
    InputDataset,
    Job,
    OutputDataset,
    Run,
    RunEvent,
    RunState,
)
from openlineage.client.facet_v2 import error_message_run, nominal_time_run, parent_run
from openlineage.client.uuid import generate_new_uuid
from waiting import wait_until

from daemon.eventlog.requests import Work

PUSHED = "/api/intake/pubsub-push?inner=flowlord-task"
TASK = {"type": "load", "job": "events", "id": "1", "created": "2026-02-04T10:00:00Z"}
DONE = {
    **TASK,
    "result": "complete",
    "started": "2026-02-04T10:00:05Z",
    "ended": "2026-02-04T10:05:00Z",
}


def lineage(daemon: DaemonProcess, parent: str, state: RunState, run: str, **facets: Any) -> None:
    """Send one event of a run with the official client, as it is without any options."""
    above = parent_run.ParentRunFacet(
        run=parent_run.Run(runId=parent), job=parent_run.Job(namespace="etl", name="hourly")
    )
    nominal = nominal_time_run.NominalTimeRunFacet("2026-02-04T06:00:00Z")
    with closing(
        OpenLineageClient(config={"transport": {"type": "http", "url": daemon.url}})
    ) as client:
        client.emit(
            RunEvent(
                eventType=state,
                eventTime=datetime.now(UTC).isoformat(),
                run=Run(run, {"parent": above, "nominalTime": nominal, **facets}),
                job=Job("etl", "hourly.load"),
                inputs=[InputDataset("gs://raw", "in.json")],
                outputs=[OutputDataset("gs://json", "out.json")],
                producer="https://example.org/etl",
            )
        )


def test_the_client_of_openlineage_delivers(
    daemon: DaemonProcess,
) -> None:
    """Its default path and options: a run that succeeds, and one that fails with its reason."""
    parent, good, bad = (str(generate_new_uuid()) for _ in range(3))
    for state in (RunState.START, RunState.RUNNING, RunState.OTHER, RunState.COMPLETE):
        lineage(daemon, parent, state, good)
    why = error_message_run.ErrorMessageRunFacet("KeyError: 'day'", "python", "Traceback…")
    lineage(daemon, parent, RunState.START, bad)
    lineage(daemon, parent, RunState.FAIL, bad, errorMessage=why)
    with daemon.client() as client:
        head = client.get("/api/events").json()["as_of"]
        jobs = client.get(f"/api/jobs?parent={parent}&wait_for={head}").json()["items"]
        shown = {job["id"]: job for job in jobs}
        assert shown[good]["status"] == "succeeded"
        assert shown[good]["name"] == "etl/hourly.load"
        assert shown[good]["params"] == {"nominal_start": "2026-02-04T06:00:00Z"}
        assert shown[good]["result"] == {"outputs": ["gs://json/out.json"]}
        assert shown[bad]["status"] == "failed"
        assert shown[bad]["error"]["class"] == "KeyError"
        [file] = client.get(f"/api/files?wait_for={head}").json()["items"]
        assert file["path"] == "gs://json/out.json"
        [read] = client.get("/api/events?type=file.processed").json()["items"]
        assert (read["subject"], read["data"]["job"]) == ("gs://raw/in.json", good)


def test_lineage_is_a_way_in_like_the_others(client: httpx.Client) -> None:
    """A static event is kept; a bad one is refused, or put aside where that is asked for."""
    dataset = {"eventTime": "2026-02-04T06:00:00Z", "dataset": {"namespace": "n", "name": "d"}}
    assert client.post("/api/v1/lineage", json=dataset).status_code == 201
    assert client.post("/api/intake/openlineage", json=dataset).status_code == 200
    bad = {"eventType": "START"}
    assert client.post("/api/v1/lineage", json=bad).status_code == 422
    aside = client.post("/api/v1/lineage?on_error=deadletter", json=bad)
    assert (aside.status_code, aside.json()["dead_letters"]) == (200, 1)


def free_port() -> int:
    """Return a port of the loopback interface that is free at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def alertmanager(daemon: DaemonProcess, tmp_path: Path, needs: Callable[..., None]) -> Any:
    """Return a client of a running Alertmanager that notifies the daemon at once."""
    needs("prometheus-alertmanager")
    config = tmp_path / "alertmanager.yml"
    config.write_text(
        json.dumps(
            {
                "route": {
                    "receiver": "chronicled",
                    "group_by": ["alertname"],
                    "group_wait": "0s",
                    "group_interval": "1s",
                    "repeat_interval": "1s",
                },
                "receivers": [
                    {
                        "name": "chronicled",
                        "webhook_configs": [{"url": f"{daemon.url}/api/intake/alertmanager"}],
                    }
                ],
            }
        )
    )
    address = f"127.0.0.1:{free_port()}"
    with (tmp_path / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus-alertmanager",
                f"--config.file={config}",
                f"--storage.path={tmp_path / 'alertmanager'}",
                f"--web.listen-address={address}",
                "--cluster.listen-address=",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        with httpx.Client(base_url=f"http://{address}") as client:
            wait_until(lambda: _is_ready(client), "Alertmanager is ready")
            yield client
    finally:
        process.kill()
        process.wait()


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_alertmanager_delivers(daemon: DaemonProcess, alertmanager: httpx.Client) -> None:
    """A firing alert is open, its repeats add nothing, then it is resolved."""
    start = datetime.now(UTC)
    alert = {
        "labels": {"alertname": "DiskFull", "severity": "critical", "instance": "node-3"},
        "annotations": {"summary": "Disk full"},
        "startsAt": start.isoformat(),
        "endsAt": (start + timedelta(hours=1)).isoformat(),
    }

    def shown() -> Any:
        with daemon.client() as client:
            [*alerts] = client.get("/api/alerts").json()["items"]
        return alerts[0] if alerts else {}

    def duplicates() -> bool:
        with daemon.client() as client:
            lines = client.get("/metrics").text.splitlines()
        found = [line for line in lines if line.startswith("chronicled_events_duplicate_total")]
        return any(float(line.split()[-1]) > 0 for line in found)

    daemon.wait_caught_up()
    alertmanager.post("/api/v2/alerts", json=[alert]).raise_for_status()
    wait_until(lambda: shown().get("state") == "open", "the alert is open")
    assert (shown()["severity"], shown()["title"]) == ("critical", "Disk full")
    wait_until(duplicates, "the notification was repeated")
    assert (shown()["count"], shown()["events"]) == (1, 1)
    over = {**alert, "endsAt": datetime.now(UTC).isoformat()}
    alertmanager.post("/api/v2/alerts", json=[over]).raise_for_status()
    wait_until(lambda: shown().get("state") == "resolved", "the alert is resolved")
    assert (shown()["count"], shown()["events"]) == (1, 2)


@pytest.mark.parametrize("make", [to_structured_event, to_binary_event])
def test_the_sdk_delivers_events_of_the_object_store(
    client: httpx.Client, make: Callable[..., Any]
) -> None:
    """Finalized, then deleted, in either mode: one file, which is removed; again: nothing."""
    for _ in range(2):
        for happened in ("finalized", "deleted"):
            attributes = {
                "specversion": "1.0",
                "id": f"7-{happened}",
                "source": "//storage.googleapis.com/projects/_/buckets/raw",
                "type": f"google.cloud.storage.object.v1.{happened}",
                "subject": "objects/clicks/café 1.json",
                "time": datetime(2026, 2, 4, 9, tzinfo=UTC),
                "datacontenttype": "application/json",
            }
            data = {
                "bucket": "raw",
                "name": "clicks/café 1.json",
                "generation": "1770185565933407",
                "size": "12",
                "timeCreated": "2026-02-04T06:12:45.997Z",
            }
            message = make(CloudEvent(attributes=attributes, data=data))
            response = client.post(
                "/api/intake/gcs-notification", content=message.body, headers=message.headers
            )
            assert response.status_code in (200, 201), response.text
    events = client.get("/api/events").json()
    assert [event["type"] for event in events["items"]] == ["file.observed", "file.removed"]
    assert {event["subject"] for event in events["items"]} == {"gs://raw/clicks/café 1.json"}
    assert response.status_code == 200


def envelope(message: Any, id: str = "1") -> dict[str, Any]:  # noqa: A002
    """Return the push envelope of a message."""
    raw = message if isinstance(message, bytes) else json.dumps(message).encode()
    inside = {
        "data": b64encode(raw).decode(),
        "messageId": id,
        "publishTime": "2026-02-04T06:12:46Z",
    }
    return {"message": inside, "subscription": "projects/demo/subscriptions/tasks"}


def test_a_pushed_message_is_recorded_once(client: httpx.Client) -> None:
    """The id of the message is its identity: again it adds nothing, even as something else."""
    first = client.post(PUSHED, json=envelope(DONE))
    assert (first.status_code, len(first.json()["events"])) == (201, 3)
    for url, message in (
        (PUSHED, DONE),
        (PUSHED, {**DONE, "id": "other"}),
        (f"{PUSHED}&source=/elsewhere", DONE),
    ):
        again = client.post(url, json=envelope(message))
        assert again.status_code == 200
    assert client.get("/api/events").json()["as_of"] == 3
    # The same said by another message has the same identity by nature.
    other = client.post(PUSHED, json=envelope(DONE, "2"))
    assert other.status_code == 200
    assert client.post(PUSHED, json=envelope({**DONE, "id": "x"}, "3")).status_code == 201


def test_a_pushed_message_that_cannot_be_read_is_acknowledged(client: httpx.Client) -> None:
    """It is a dead letter, once; what can be read by then is recorded all the same."""
    for message in (envelope(b"junk", "4"), {"message": 5}, [1]):
        response = client.post(PUSHED, json=message)
        assert (response.status_code, response.json()["dead_letters"]) == (200, 1)
    assert client.post(PUSHED, json=envelope(b"junk", "4")).status_code == 200
    letters = client.get("/api/deadletters").json()["items"]
    assert [letter["count"] for letter in letters] == [2, 1, 1]
    assert client.post(PUSHED, json=envelope(DONE, "4")).status_code == 201
    refused = client.post(f"{PUSHED}&on_error=reject", json=envelope(b"junk"))
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid")


def test_a_message_comes_without_its_envelope_too(client: httpx.Client) -> None:
    """Unwrapped delivery: the body as it was published, the rest as headers."""
    headers = {
        "x-goog-pubsub-message-id": "1",
        "x-goog-pubsub-publish-time": "2026-02-04T06:12:46Z",
        "x-goog-pubsub-subscription-name": "projects/demo/subscriptions/tasks",
    }
    first = client.post(PUSHED, content=json.dumps(DONE), headers=headers)
    assert (first.status_code, len(first.json()["events"])) == (201, 3)
    assert client.post(PUSHED, json=envelope({**DONE, "id": "y"})).status_code == 200


def test_a_push_that_meets_a_full_disk_is_not_acknowledged(server: ApiServer) -> None:
    """What the log does not take is refused, so that it is sent again, and then recorded."""

    def pragma(text: str) -> Any:
        work = Work(lambda transaction: transaction.connection.execute(f"PRAGMA {text}").get)
        return server.log.work(work)

    with server.client() as client:
        client.post(PUSHED, json=envelope({**DONE, "id": "first"}, "0"))
        pragma(f"max_page_count={pragma('page_count')}")
        big = {**DONE, "msg": "x" * 200_000}
        for message in (big, b"junk" * 50_000):
            response = client.post(PUSHED, json=envelope(message))
            assert (response.status_code, response.json()["code"]) == (507, "disk_full")
        pragma("max_page_count=1000000")
        assert client.post(PUSHED, json=envelope(big)).status_code == 201
