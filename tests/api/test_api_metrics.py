"""Metrics: what is counted, names and labels, promtool, and a real Prometheus."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import prometheus_client
import pytest
from api_server import ApiServer, event
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from waiting import wait_until

from daemon.metrics import RATE_SECONDS, SECONDS, Histogram, Metrics, Rates

PROMISED = {
    "events_appended_total": {"category", "source_kind"},
    "events_duplicate_total": set(),
    "events_rejected_total": {"reason"},
    "dead_letters_total": {"format"},
    "append_duration_seconds": set(),
    "commit_events": set(),
    "writer_queue_events": set(),
    "writer_queue_capacity_events": set(),
    "log_position": set(),
    "log_writable": set(),
    "projection_position": {"projection"},
    "projection_last_processed_timestamp_seconds": {"projection"},
    "projection_failed": {"projection"},
    "projection_build_position": {"projection"},
    "replay_size_bytes": set(),
    "database_size_bytes": {"database"},
    "wal_size_bytes": {"database"},
    "disk_free_bytes": set(),
    "disk_low": set(),
    "disk_line_bytes": {"line"},
    "disk_reserve_bytes": set(),
    "intake_refused": set(),
    "intake_refusals_total": set(),
    "snapshot_last_success_timestamp_seconds": set(),
    "snapshot_last_proved_timestamp_seconds": set(),
    "snapshot_failures_total": {"step"},
    "snapshots_missed": set(),
    "backup_configured": set(),
    "backup_shipping": set(),
    "backup_position": set(),
    "backup_lag_events": set(),
    "backup_lag_seconds": set(),
    "backup_last_success_timestamp_seconds": set(),
    "backup_stored_bytes_total": {"kind"},
    "jobs": {"status"},
    "http_request_duration_seconds": {"route", "method", "status"},
    "build_info": {"version", "python", "sqlite"},
}
"""Every metric by its name, and the labels it has."""

LINES = {"content-type": "application/x-ndjson"}


@pytest.fixture
def busy(server: ApiServer) -> ApiServer:
    """Return a server that has met a bit of everything."""
    sent = event("job.submitted", "a")
    server.post(sent, event("alert.raised", "b"), event("job.started", "a"))
    server.post(sent)
    with server.client() as client:
        client.post("/api/events", json=[{}, {}])
        client.post("/api/events", content=b"x", headers={"content-type": "text/plain"})
        path = "/api/intake/flowlord-file?on_error=deadletter"
        client.post(path, content='{"path":"f"}\nbroken\nbroken too', headers=LINES)
        for target in ("/api/jobs/a", "/api/jobs/a%2Fb/history", "/api/jobs/none", "/none/such"):
            client.get(target)
        client.request("PROPFIND", "/api/jobs")
    return server


def scrape(server: ApiServer, accept: str = "text/plain") -> str:
    """Return what a scraper gets."""
    with server.client() as client:
        response = client.get("/metrics", headers={"accept": accept})
    assert response.status_code == 200
    return response.text


def test_every_promised_metric_is_there_with_its_labels(busy: ApiServer) -> None:
    """Exactly the promised families, and on each sample exactly the promised labels."""
    text = scrape(busy)
    families = set(re.findall(r"(?m)^# TYPE chronicled_(\w+) ", text))
    assert families == set(PROMISED)
    for name, labels in re.findall(r"(?m)^chronicled_(\w+?)(?:{(.*)})? \S+$", text):
        family = next(one for one in (name, re.sub("_(bucket|sum|count)$", "", name))
                      if one in PROMISED)  # fmt: skip
        found = set(re.findall(r'(\w+)="', labels)) - {"le"}
        assert found == PROMISED[family], name


def test_the_counts_are_right(busy: ApiServer) -> None:
    """Appended by category and format, duplicates, faults by code, dead letters, requests."""
    text = scrape(busy)
    for line in (
        'chronicled_events_appended_total{category="job",source_kind="cloudevents"} 2.0',
        'chronicled_events_appended_total{category="alert",source_kind="cloudevents"} 1.0',
        'chronicled_events_appended_total{category="file",source_kind="flowlord-file"} 1.0',
        "chronicled_events_duplicate_total 1.0",
        'chronicled_events_rejected_total{reason="unsupported_media_type"} 1.0',
        'chronicled_dead_letters_total{format="flowlord-file"} 2.0',
        "chronicled_log_position 4.0",
        'chronicled_jobs{status="running"} 1.0',
        "chronicled_append_duration_seconds_count 3.0",
        "chronicled_commit_events_sum 4.0",
        "chronicled_writer_queue_capacity_events 50000.0",
    ):
        assert line in text.splitlines(), line
    assert re.search(r'chronicled_events_rejected_total{reason="invalid"} [1-9]', text)


def test_labels_are_routes_never_paths_or_ids(busy: ApiServer) -> None:
    """Requests are counted by route template; what is no route or method of ours is one label."""
    pattern = r"chronicled_http_request_duration_seconds_count{(.*)} (\S+)"
    counted = re.findall(pattern, scrape(busy))
    found = {labels: float(count) for labels, count in counted}
    assert found['method="GET",route="/api/jobs/{id}",status="200"'] == 1
    assert found['method="GET",route="/api/jobs/{id}",status="404"'] == 1
    assert found['method="GET",route="/api/jobs/{id}/history",status="404"'] == 1
    assert found['method="GET",route="unmatched",status="404"'] == 1
    assert found['method="other",route="/api/jobs",status="405"'] == 1
    assert found['method="POST",route="/api/events",status="201"'] == 1
    assert found['method="POST",route="/api/intake/{format}",status="201"'] == 1


def test_openmetrics_is_given_to_who_accepts_it(busy: ApiServer) -> None:
    """The content type follows Accept; OpenMetrics ends with its end mark."""
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    with busy.client() as client:
        response = client.get("/metrics", headers={"accept": accept})
        assert response.headers["content-type"].startswith("application/openmetrics-text")
        assert response.text.endswith("# EOF\n")
        plain = client.get("/metrics")
        assert plain.headers["content-type"].startswith("text/plain")


@pytest.mark.needs("promtool")
def test_promtool_has_nothing_to_complain_about(busy: ApiServer) -> None:
    """The linter of Prometheus accepts every metric without a remark."""
    run = subprocess.run(
        ["promtool", "check", "metrics"],
        input=scrape(busy),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


@pytest.mark.needs("prometheus")
def test_a_real_prometheus_scrapes_it(busy: ApiServer, tmp_path: Path) -> None:
    """The target is up, and what Prometheus stores are our numbers."""
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [
            {
                "job_name": "chronicled",
                "static_configs": [{"targets": [f"127.0.0.1:{busy.address[1]}"]}],
            }
        ],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        "prometheus",
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/tsdb",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (tmp_path / "prometheus.log").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            up = wait_until(lambda: _value(client, "up"), "the target is up", seconds=30)
            assert up == "1"
            position = wait_until(lambda: _value(client, "chronicled_log_position"), "scraped")
            assert position == "4"
    finally:
        process.terminate()
        process.wait(20)


def _value(client: httpx.Client, query: str) -> str | None:
    try:
        answer = client.get("/api/v1/query", params={"query": query}).json()
    except (httpx.TransportError, json.JSONDecodeError):
        return None
    result: list[Any] = answer.get("data", {}).get("result", [])
    value = result[0]["value"][1] if result else "0"
    return None if value == "0" else str(value)


def test_two_daemons_in_one_process_do_not_share_counts(
    servers: Callable[..., ApiServer],
) -> None:
    """Each has a registry of its own."""
    first, second = servers(), servers()
    first.post(event("job.submitted", "a"))
    assert "chronicled_log_position 1.0" in scrape(first)
    assert "chronicled_log_position 0.0" in scrape(second)
    assert "events_appended_total{" not in scrape(second)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 100)), max_size=30))
def test_rates_are_of_the_last_seconds(steps: list[tuple[int, int]]) -> None:
    """The rate over a span is what was added within it, divided by it."""
    now = 1_000
    rates = Rates(lambda: now * 1_000_000)
    added: list[tuple[int, int]] = []
    for pause, events in steps:
        now += pause
        rates.add(events)
        added.append((now, events))
    for seconds in (1, 60, RATE_SECONDS):
        expected = sum(events for when, events in added if when > now - seconds) / seconds
        assert rates.per_second(seconds) == expected


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from([0.0, *SECONDS]) | st.floats(0, 20)),
        max_size=50,
    )
)
def test_a_histogram_shows_what_the_library_would(observed: list[tuple[str, float]]) -> None:
    """The exposition is the same, byte for byte, in both formats."""
    name, text = "x_seconds", "How long."
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    kept = Histogram(name, text, SECONDS, ("way",))
    ours.register(kept)
    known = prometheus_client.Histogram(name, text, ("way",), buckets=SECONDS, registry=theirs)
    for way, seconds in observed:
        kept.series(way).observe(seconds)
        known.labels(way).observe(seconds)
    for accept in ("text/plain", "application/openmetrics-text;version=1.0.0"):
        encode, _ = choose_encoder(accept)
        assert encode(ours) == encode(theirs)


def test_a_registry_can_be_made_without_a_daemon() -> None:
    """Metrics alone can be exposed: counters are there from the start."""
    text, _ = Metrics(lambda: 0).exposition("")
    assert b"chronicled_events_duplicate_total 0.0" in text
