"""Messages of the field's standards, as their programs send them; the values are our own."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Final

import orjson
from bakta_samples import BAKTA_SAMPLES

RUN: Final = "0194cf2b-6a30-7c1e-9d64-3d1f1a0c8e52"
ROOT: Final = "0194cf2b-6000-7aaa-8bbb-000000000001"
PARENT: Final = "0194cf2b-6100-7aaa-8bbb-000000000002"
PRODUCER: Final = "https://example.org/etl/1.0"


def run_event(type_: str | None, time: str, **fields: Any) -> dict[str, Any]:
    """Return an OpenLineage event of one run; a field given as None is left out."""
    event = {
        "eventType": type_,
        "eventTime": time,
        "run": {
            "runId": RUN,
            "facets": {
                "nominalTime": {
                    "_producer": PRODUCER,
                    "nominalStartTime": "2026-02-04T06:00:00Z",
                    "nominalEndTime": "2026-02-04T07:00:00Z",
                },
                "parent": {
                    "run": {"runId": PARENT},
                    "job": {"namespace": "etl", "name": "hourly"},
                    "root": {"run": {"runId": ROOT}, "job": {"namespace": "etl", "name": "day"}},
                },
                "processing_engine": {"name": "spark", "version": "3.5.1"},
            },
        },
        "job": {"namespace": "etl", "name": "hourly.load_events", "facets": {}},
        "inputs": [{"namespace": "gs://raw", "name": "clicks/part-1.json.gz"}],
        "outputs": [
            {
                "namespace": "postgres://db:5432",
                "name": "etl.public.events",
                "outputFacets": {"outputStatistics": {"rowCount": 120, "size": 4096}},
            }
        ],
        "producer": PRODUCER,
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        **fields,
    }
    return {name: value for name, value in event.items() if value is not None}


START: Final = run_event("START", "2026-02-04T06:12:46.250Z")
RUNNING: Final = run_event("RUNNING", "2026-02-04T06:14:00Z")
OTHER: Final = run_event("OTHER", "2026-02-04T06:14:30Z")
COMPLETE: Final = run_event("COMPLETE", "2026-02-04T06:17:46+00:00")
LINEAGE: Final = [START, RUNNING, OTHER, COMPLETE]

LABELS: Final = {"alertname": "DiskFull", "severity": "page", "instance": "node-3"}


def notification(
    status: str, start: str, end: str = "0001-01-01T00:00:00Z", **fields: Any
) -> dict[str, Any]:
    """Return an Alertmanager notification of one alert."""
    return {
        "receiver": "chronicled",
        "status": status,
        "alerts": [
            {
                "status": status,
                "labels": LABELS,
                "annotations": {"summary": "Disk full", "description": "2 % left on node-3"},
                "startsAt": start,
                "endsAt": end,
                "generatorURL": "http://prometheus:9090/graph?g0.expr=up",
                "fingerprint": "c2b7a94f0d1e8a35",
                **fields,
            }
        ],
        "groupLabels": {"alertname": "DiskFull"},
        "commonLabels": LABELS,
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "version": "4",
        "groupKey": '{}:{alertname="DiskFull"}',
        "truncatedAlerts": 0,
    }


FIRING: Final = notification("firing", "2026-02-04T06:00:00Z")
RESOLVED: Final = notification("resolved", "2026-02-04T06:00:00Z", "2026-02-04T06:30:00Z")
AGAIN: Final = notification("firing", "2026-02-04T08:00:00Z")

OBJECT: Final = {
    "kind": "storage#object",
    "id": "raw/clicks/part-1.json.gz/1770185565933407",
    "name": "clicks/part-1.json.gz",
    "bucket": "raw",
    "generation": "1770185565933407",
    "metageneration": "1",
    "timeCreated": "2026-02-04T06:12:45.997Z",
    "size": "14725896",
    "md5Hash": "XUFAKrxLKna5cZ2REBfFkg==",
}
ATTRIBUTES: Final = {
    "notificationConfig": "projects/_/buckets/raw/notificationConfigs/3",
    "eventType": "OBJECT_FINALIZE",
    "payloadFormat": "JSON_API_V1",
    "bucketId": "raw",
    "objectId": "clicks/part-1.json.gz",
    "objectGeneration": "1770185565933407",
    "eventTime": "2026-02-04T06:12:46.000100Z",
}


def envelope(
    data: object = b"",
    attributes: dict[str, str] | None = None,
    id: str | None = "9041230984123",  # noqa: A002 - it is what the message has
    **fields: Any,
) -> dict[str, Any]:
    """Return the envelope of a Pub/Sub push delivery."""
    raw = data if isinstance(data, bytes) else orjson.dumps(data)
    message = {
        "data": b64encode(raw).decode(),
        "attributes": attributes or {},
        "messageId": id,
        "message_id": id,
        "publishTime": "2026-02-04T06:12:46.123Z",
        "publish_time": "2026-02-04T06:12:46.123Z",
        **fields,
    }
    return {"message": message, "subscription": "projects/demo/subscriptions/objects"}


def storage_event(happened: str = "finalized", **data: Any) -> dict[str, Any]:
    """Return a CloudEvent of the object store in structured mode."""
    fields: dict[str, Any] = {**OBJECT, **data}
    return {
        "specversion": "1.0",
        "id": "1096434104173400",
        "source": "//storage.googleapis.com/projects/_/buckets/raw",
        "type": f"google.cloud.storage.object.v1.{happened}",
        "subject": f"objects/{OBJECT['name']}",
        "time": "2026-02-04T09:00:00.5Z",
        "datacontenttype": "application/json",
        "data": {name: value for name, value in fields.items() if value is not None},
    }


SAMPLES: Final[dict[str, list[dict[str, Any]]]] = {
    "openlineage": LINEAGE,
    "alertmanager": [FIRING, RESOLVED, AGAIN],
    "pubsub-push": [
        envelope(OBJECT, ATTRIBUTES),
        envelope(OBJECT, {**ATTRIBUTES, "eventType": "OBJECT_DELETE"}, "9041230984124"),
    ],
    "gcs-notification": [OBJECT, storage_event(), storage_event("deleted")],
    **BAKTA_SAMPLES,
}
"""For each format messages that belong together, in the order in which they happened."""
