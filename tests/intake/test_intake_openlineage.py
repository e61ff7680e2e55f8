"""OpenLineage: runs as jobs, datasets as files, facets as far as known, and the raw event."""

from __future__ import annotations

from contextlib import closing
from itertools import permutations
from pathlib import Path
from typing import Any

import orjson
import pytest
from intake_lines import LIMITS, decode, keys, payload, types
from standard_messages import COMPLETE, LINEAGE, OTHER, PARENT, ROOT, RUN, RUNNING, START, run_event

from daemon.eventlog.log import EventLog
from daemon.eventlog.removal import mark
from daemon.eventlog.requests import Work
from daemon.eventlog.truncation import Bound, Truncation
from daemon.intake.formats import decode_body, find_format
from daemon.intake.openlineage import FILES_MAX
from daemon.intake.recording import body_request, line_request, read_lines
from domain.errors import Invalid
from domain.events import NewEvent
from domain.job import fold_job, job_view
from domain.timestamps import parse_timestamp

OUTPUT = "postgres://db:5432/etl.public.events"
INPUT = "gs://raw/clicks/part-1.json.gz"


def told(event: dict[str, Any]) -> list[NewEvent]:
    """Return the events of one OpenLineage event."""
    return decode("openlineage", **event)


def test_a_start_is_a_job_with_all_that_is_known_of_it() -> None:
    """Name, parent, root, engine, nominal times and inputs; the raw event beside the start."""
    submitted, started = told(START)
    assert (submitted.type, started.type) == ("job.submitted", "job.started")
    assert submitted.subject == started.subject == RUN
    assert submitted.source == "/openlineage"
    assert started.time == parse_timestamp("2026-02-04T06:12:46.25Z")
    assert submitted.extensions == {"correlationid": ROOT}
    assert payload(submitted) == {
        "kind": "openlineage",
        "name": "etl/hourly.load_events",
        "parent": PARENT,
        "params": {
            "nominal_start": "2026-02-04T06:00:00Z",
            "nominal_end": "2026-02-04T07:00:00Z",
            "engine": {"name": "spark", "version": "3.5.1"},
        },
        "input": [INPUT],
        "native_status": "START",
    }
    assert payload(started)["extra"] == {"raw": START}


def test_what_comes_between_is_noted() -> None:
    """RUNNING, OTHER and a type of tomorrow say nothing of the status, and are kept."""
    for event in (
        RUNNING,
        OTHER,
        START | {"eventType": "PAUSED"},
        run_event(None, "2026-02-04T06:00:00Z"),
    ):
        (noted,) = told(event)
        assert (noted.type, payload(noted)) == ("job.progressed", {"extra": {"raw": event}})


def test_a_complete_run_has_its_files() -> None:
    """Inputs were processed by it, outputs are seen and recorded as its results."""
    events = told(COMPLETE)
    assert types(events) == [
        *("job.submitted", "job.succeeded", "file.processed", "file.observed", "result.recorded")
    ]
    assert [event.subject for event in events[2:]] == [INPUT, OUTPUT, f"{RUN}/{OUTPUT}"]
    assert payload(events[1])["result"] == {"outputs": [OUTPUT]}
    assert payload(events[2]) == {"outcome": "read", "job": RUN}
    assert payload(events[3]) == {"path": OUTPUT, "size": 4096, "linecnt": 120}
    assert payload(events[4]) == {"job": RUN, "kind": "dataset", "path": OUTPUT, "bytes": 4096}


@pytest.mark.parametrize(
    ("facet", "error"),
    [
        (
            {"message": "ValueError: no rows", "programmingLanguage": "python"},
            {"class": "ValueError", "message": "ValueError: no rows"},
        ),
        (
            {"message": "failed", "stackTrace": "Traceback\n  File x\npkg.TimeoutError: 5 s"},
            {
                "class": "TimeoutError",
                "message": "failed",
                "log": "Traceback\n  File x\npkg.TimeoutError: 5 s",
            },
        ),
        (
            {"message": "boom", "stackTrace": "org.x.SparkException: boom\n\tat org.x.Y(Y.scala)"},
            {
                "class": "SparkException",
                "message": "boom",
                "log": "org.x.SparkException: boom\n\tat org.x.Y(Y.scala)",
            },
        ),
        ({"message": "out of disk"}, {"message": "out of disk"}),
        ("no facet", None),
    ],
)
def test_a_failure_says_why(facet: Any, error: Any) -> None:
    """The error facet is the job's error; its class is where the languages write it."""
    run = {"runId": RUN, "facets": {"errorMessage": facet}}
    submitted, failed = told(run_event("FAIL", "2026-02-04T06:20:00Z", run=run))
    assert (submitted.type, failed.type) == ("job.submitted", "job.failed")
    assert payload(failed).get("error") == error
    _, cancelled = told(run_event("abort", "2026-02-04T06:20:00Z", run=run))
    assert (cancelled.type, payload(cancelled)["native_status"]) == ("job.cancelled", "ABORT")


def test_what_is_of_no_run_is_kept() -> None:
    """Dataset and job events become files; a dropped dataset is removed."""
    dataset = {"namespace": "file", "name": "/data/a.csv", "facets": {}}
    static = {"eventTime": "2026-02-04T06:00:00Z", "producer": "x", "dataset": dataset}
    (event,) = told(static)
    assert (event.type, event.subject) == ("file.observed", "/data/a.csv")
    assert payload(event)["extra"] == {"raw": static}
    gone = {"lifecycleStateChange": {"lifecycleStateChange": "DROP"}}
    (event,) = told(static | {"dataset": dataset | {"facets": gone}})
    assert (event.type, payload(event)["outcome"]) == ("file.removed", "dropped")
    job = {"eventTime": "2026-02-04T06:00:00Z", "job": {"namespace": "etl", "name": "load"}}
    (event,) = told(job)
    assert (event.type, event.subject) == ("file.observed", "openlineage:etl/load")
    (dropped,) = [
        one
        for one in told(COMPLETE | {"outputs": [dataset | {"facets": gone}]})
        if one.subject == "/data/a.csv"
    ]
    assert (dropped.type, payload(dropped)["job"]) == ("file.removed", RUN)


def test_facets_of_another_shape_are_no_reason_to_refuse() -> None:
    """Whatever a facet or a dataset is, the run is recorded and the raw event kept."""
    run = {"runId": RUN, "facets": {"parent": [], "nominalTime": 5, "processing_engine": None}}
    job = {"namespace": 7, "name": "load", "facets": {"ownership": {"owners": ["x"]}}}
    odd = [5, {}, {"namespace": "a", "name": ""}, {"name": "a\u0000b"}, {"name": "n" * 5000}]
    event = run_event("COMPLETE", "2026-02-04T06:20:00Z", run=run, job=job, inputs=odd, outputs={})
    submitted, succeeded, *_ = told(event)
    assert payload(submitted)["name"] == "load"
    assert submitted.extensions == {"correlationid": RUN}
    assert payload(succeeded)["extra"] == {"raw": event}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"run": {}}, "/run/runId"),
        ({"run": {"runId": 5}}, "/run/runId"),
        ({"run": None}, "/run"),
        ({"run": None, "eventType": None, "job": None}, "/run"),
        ({"eventTime": None}, "/eventTime"),
        ({"eventTime": 5}, "/eventTime"),
        ({"eventType": 5}, "/eventType"),
    ],
)
def test_what_the_standard_requires_is_required(change: dict[str, Any], pointer: str) -> None:
    """Without the run's id or the time of the event nothing can be said."""
    with pytest.raises(Invalid) as caught:
        told(START | change)
    assert caught.value.errors[0].pointer == pointer


def test_an_event_is_bounded() -> None:
    """Many datasets become so many files; a huge event keeps its place and not its text."""
    many = [{"namespace": "gs://b", "name": f"n{number}"} for number in range(500)]
    assert len(told(COMPLETE | {"inputs": many, "outputs": many})) == 2 + 3 * FILES_MAX
    huge = START | {"producer": "x" * LIMITS.event_bytes}
    extra = payload(told(huge)[1])["extra"]
    assert extra["raw_bytes"] > LIMITS.event_bytes
    trace = {"message": "m" * 300_000, "stackTrace": "t" * 300_000}
    run = {"runId": RUN, "facets": {"errorMessage": trace}}
    assert told(run_event("FAIL", "2026-02-04T06:20:00Z", run=run))[1].type == "job.failed"


def test_no_secret_enters_the_events() -> None:
    """A password in the address of a dataset or in a facet is masked, in the raw event too."""
    secret = "hunter2"
    dataset = {"namespace": f"postgres://etl:{secret}@db:5432", "name": "t"}
    event = COMPLETE | {"inputs": [dataset], "outputs": [dataset], "apiKey": secret}
    assert secret not in repr(told(event))
    assert "postgres://etl:***@db:5432/t" in repr(told(event))


def test_ids_stay_what_they_are() -> None:
    """The ids are part of the compatibility promise; another spelling of a time is the same."""
    assert [event.id for event in told(START)] == [
        "77bbbf469064e5d21d6a380c29f66478",
        "46251c8e08509e1aa4daec9472c20969",
    ]
    same = START | {"eventTime": "2026-02-04T07:12:46.25+01:00", "producer": "other"}
    assert keys(told(same)) == keys(told(START))
    assert not set(keys(told(RUNNING))) & set(keys(told(OTHER)))


@pytest.mark.parametrize("order", list(permutations(LINEAGE)), ids=lambda order: "")
def test_the_order_does_not_matter(tmp_path: Path, order: tuple[dict[str, Any], ...]) -> None:
    """In whatever order the events come, each twice: one and the same job."""
    chosen = find_format("openlineage")
    with closing(EventLog.open(tmp_path / "log.db")) as log:
        log.start()
        heads = set()
        for _ in range(2):
            for event in order:
                lines = read_lines(chosen, orjson.dumps(event), LIMITS, "test")
                work = line_request(chosen, lines, "test", None, 0)
                assert isinstance(work, Work)
                head = log.work(work).head
            heads.add(head)
        events = log.read_stream(f"job/{RUN}", limit=100)
    assert len(heads) == 1
    job = job_view(fold_job(None, events))
    assert job["submitted"] == job["started"] == "2026-02-04T06:12:46.250000Z"
    assert (job["status"], job["ended"]) == ("succeeded", "2026-02-04T06:17:46Z")
    assert (job["name"], job["parent"]) == ("etl/hourly.load_events", PARENT)
    assert (job["correlation"], job["result"]) == (ROOT, {"outputs": [OUTPUT]})


def test_a_run_whose_start_is_not_known_has_its_name(tmp_path: Path) -> None:
    """The end alone is enough; in one batch with the start nothing is submitted twice."""
    chosen = find_format("openlineage")
    with closing(EventLog.open(tmp_path / "log.db")) as log:
        log.start()
        both = orjson.dumps(START) + b"\n" + orjson.dumps(COMPLETE)
        for body, types_ in (
            (orjson.dumps(COMPLETE), ["job.submitted", "job.succeeded"]),
            (both.replace(RUN.encode(), b"2"), ["job.submitted", "job.started", "job.succeeded"]),
        ):
            events = decode_body(chosen, body, "application/x-ndjson", LIMITS)
            work = body_request(chosen, events)
            assert isinstance(work, Work)
            log.work(work)
            run = orjson.loads(body.splitlines()[0])["run"]["runId"]
            recorded = log.read_stream(f"job/{run}", limit=100)
            assert [event.type for event in recorded] == types_


def test_an_end_that_comes_again_leaves_an_archived_run_alone(tmp_path: Path) -> None:
    """Its submission is not in the log any more; the event that stands for it is."""
    chosen = find_format("openlineage")
    with closing(EventLog.open(tmp_path / "log.db")) as log:
        log.start()

        def send(event: dict[str, Any]) -> int:
            events = decode_body(chosen, orjson.dumps(event), "application/json", LIMITS)
            work = body_request(chosen, events)
            assert isinstance(work, Work)
            return int(log.work(work).head)

        send(START)
        send(COMPLETE)
        archived = NewEvent(
            "job.archived", RUN, "/test", "m", b'{"replaces":3}', expected_version=3
        )
        log.work(Work(lambda transaction: mark(transaction, archived)))
        Truncation(log, lambda: Bound(log.head() + 1)).run_dry()
        head = log.head()
        assert [event.type for event in log.read_stream(f"job/{RUN}")] == ["job.archived"]
        assert send(COMPLETE) == head
