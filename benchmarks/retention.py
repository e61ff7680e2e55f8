"""Retention beside intake: how fast old jobs go, and what who sends meanwhile feels of it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import orjson

from benchmarks.children import wait_for
from benchmarks.load import Measured, client
from benchmarks.service import Service, serving
from benchmarks.suite import Bench, Figures
from daemon.eventlog.log_file import LogFile
from daemon.lock import LOG_FILE

RATE = 5_000
"""Events a second that come in all the while."""
CLIENTS, BATCH = 16, 10
AT_ONCE = 1_000
POLICIES = [
    {"category": "job", "kind": "old", "status": status, "age": "ended", action: "30d"}
    for status, action in (("succeeded", "archive_after"), ("failed", "purge_after"))
]
"""The jobs of the loads are of other kinds, so they stay."""


def measure(bench: Bench) -> Figures:
    """Purge, then archive, old jobs while events are offered at a steady rate."""
    figures: Figures = {}
    jobs = max(bench.scale.projected // 10, 200)
    for verb, share in (("purge", 1.0), ("archive", 0.1)):
        count = int(jobs * share)
        folder = bench.fresh(f"retention-{verb}")
        settings = {
            "CHRONICLED_RETENTION__APPLY": "false",
            "CHRONICLED_RETENTION__POLICIES": orjson.dumps(POLICIES).decode(),
            "CHRONICLED_RETENTION__ARCHIVE": (folder / "archive").as_uri(),
        }
        with serving(folder / "data", settings) as service:
            figures |= beside(bench, service, verb, count)
            figures |= removed(service, verb)
    return figures


def beside(bench: Bench, service: Service, verb: str, count: int) -> Figures:
    """Offer events alone, then while a plan is applied."""
    add_old(service, "failed" if verb == "purge" else "succeeded", count)
    offered(bench, service, f"{verb}-before")
    service.wait_visible()
    alone = offered(bench, service, f"{verb}-alone")
    service.wait_visible()
    begun = time.perf_counter()
    service.http.post("/api/operations", json={"kind": "retention-apply"}).raise_for_status()
    meanwhile = offered(bench, service, f"{verb}-meanwhile")
    wait_for(lambda: not running(service), "the plan is applied", 0.02)
    seconds = time.perf_counter() - begun
    return {
        f"retention/intake p99 ms, before {verb}": alone.p99_ms,
        f"retention/intake p99 ms, during {verb}": meanwhile.p99_ms,
        f"retention/intake max ms, during {verb}": meanwhile.max_ms,
        f"retention/{verb} jobs/s": count / seconds,
        f"retention/{verb} jobs": float(count),
    }


def removed(service: Service, verb: str) -> Figures:
    """Wait until all rows are removed, and see how large the log is for the events it has."""
    begun = time.perf_counter()
    path = service.data / LOG_FILE

    def pending() -> bool:
        text = service.http.get("/metrics").text
        return "chronicled_removals_pending 0.0" not in text

    before = path.stat().st_size
    wait_for(lambda: not pending(), "the rows are removed", 0.05)
    figures = {
        f"retention/{verb}, rows gone after s": time.perf_counter() - begun,
        f"retention/{verb}, log before MB": before / 1e6,
    }
    log = LogFile(path)
    try:
        with log.pool.connection() as db:
            free, pages = int(db.pragma("freelist_count")), int(db.pragma("page_count"))
    finally:
        log.close()
    return figures | {f"retention/{verb}, free pages of the log": free / max(pages, 1)}


def add_old(service: Service, verb: str, count: int) -> None:
    """Record jobs that ended long ago."""
    for first in range(0, count, AT_ONCE):
        lines = b"\n".join(
            line
            for number in range(first, min(first + AT_ONCE, count))
            for line in old(number, verb)
        )
        headers = {"content-type": "application/x-ndjson"}
        service.http.post("/api/events", content=lines, headers=headers).raise_for_status()


def old(number: int, verb: str) -> Iterator[bytes]:
    """Yield the events of a job."""
    for type_ in ("job.submitted", "job.started", f"job.{verb}"):
        submitted = {"kind": "old", "params": {"text": "x" * 200}}
        data = submitted if type_ == "job.submitted" else {}
        yield orjson.dumps(
            {
                "specversion": "1.0",
                "id": f"{number}/{type_}",
                "source": "/old",
                "type": type_,
                "subject": f"old-{number}",
                "time": "2020-02-04T10:00:00Z",
                "data": data,
            }
        )


def offered(bench: Bench, service: Service, name: str) -> Measured:
    """Send events at the rate that is offered."""
    rate = min(RATE, bench.scale.rate_max)
    events = bench.events(f"retention-{name}", int(rate * bench.scale.lag_seconds))
    options = {"clients": CLIENTS, "batch": BATCH, "rate": rate, "events": events}
    with client(service.port, bench.scratch, **options) as load:
        load.go()
        return load.result()


def running(service: Service) -> bool:
    """Return whether the newest operation has not ended."""
    newest = service.get("/api/operations")["items"][0]
    if newest["state"] == "failed":
        raise RuntimeError(str(newest["error"]))
    return bool(newest["state"] == "running")
