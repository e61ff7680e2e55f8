"""What the backup costs and does: shipping, a snapshot beside intake, and coming back from both."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

from benchmarks.cache import Kept, copy, kept_log
from benchmarks.children import arguments, run, wait_for
from benchmarks.load import Measured, client
from benchmarks.memory import watching
from benchmarks.service import Service, serving
from benchmarks.suite import Bench, Figures
from daemon.backup.manifest import require
from daemon.backup.places import open_place
from daemon.backup.restore import Restoring
from daemon.lock import LOG_FILE

RATE = 10_000
"""Events a second that come in, in batches, while a snapshot is taken."""
CLIENTS, BATCH = 8, 100
MEGABYTE = 1_000_000


def measure(bench: Bench) -> Figures:
    """Ship a large log, take a snapshot of it under load, and restore it from a directory."""
    kept = kept_log(bench, bench.scale.backed_up)
    data, place = copy(kept, bench.fresh("backup") / "data"), bench.fresh("place")
    settings = {
        "CHRONICLED_BACKUP__URL": place.as_uri(),
        "CHRONICLED_BACKUP__SNAPSHOT": "off",
        "CHRONICLED_BACKUP__PROVE": "false",
        # A log without checkpoints gets them at the first start: that is measured by ``replay``.
        "CHRONICLED_REPLAY__CHECKPOINTS": "0",
    }
    with serving(data, settings) as service:
        figures = shipping(service, kept, place)
        figures |= beside_a_snapshot(bench, service)
    return figures | restoring(data, place, bench.fresh("restored"))


def shipping(service: Service, kept: Kept, place: Path) -> Figures:
    """Wait until everything that was there at the start is shipped."""
    begun = service.get("/api/backup")["shipped"]
    started = time.perf_counter()
    wait_for(lambda: service.get("/api/backup")["shipped"] >= kept.events, "the shipping", 0.05)
    took = time.perf_counter() - started
    size = sum(path.stat().st_size for path in place.rglob("*.seg.zst"))
    figures = {"backup/segments bytes/event": size / kept.events}
    if begun < kept.events:
        figures["backup/shipping events/s"] = (kept.events - begun) / took
    return figures


def beside_a_snapshot(bench: Bench, service: Service) -> Figures:
    """Offer events at a steady rate without and with a snapshot being taken."""
    service.wait_ready()
    offered(bench, service, lambda: None)
    alone = offered(bench, service, lambda: None)
    with watching(service) as peak:
        begun = time.perf_counter()
        beside = offered(bench, service, lambda: begin(service))
        wait_for(lambda: service.get("/api/backup")["working"] is None, "the snapshot", 0.05)
        took = time.perf_counter() - begun
    (snapshot,) = service.get("/api/backup/snapshots")["items"]
    return {
        "backup/intake p50 ms, alone": alone.p50_ms,
        "backup/intake p50 ms, beside a snapshot": beside.p50_ms,
        "backup/intake p99 ms, alone": alone.p99_ms,
        "backup/intake p99 ms, beside a snapshot": beside.p99_ms,
        "backup/intake beside a snapshot events/s": beside.rate,
        "backup/snapshot s": took,
        "backup/snapshot by log": snapshot["bytes"] / snapshot["raw_bytes"],
        "backup/resident (PSS) MB": peak.pss / MEGABYTE,
        "backup/most resident of its own process (RSS) MB": largest_child(service) / MEGABYTE,
        "backup/largest WAL MB": peak.log_wal / MEGABYTE,
    }


def largest_child(service: Service) -> int:
    """Return the most memory that the backup's own process has had (bytes)."""
    (pid,) = [pid for pid in service.pids() if b"daemon.backup.child" in arguments(pid)]
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def begin(service: Service) -> None:
    """Have a snapshot taken."""
    answer: Any = service.http.post("/api/operations", json={"kind": "backup"})
    answer.raise_for_status()


def offered(bench: Bench, service: Service, meanwhile: Callable[[], None]) -> Measured:
    """Send events at the rate that is to be borne, and do something as they begin to come."""
    scale = bench.scale
    rate = min(RATE, scale.rate_max)
    seconds = scale.lag_seconds * 3
    events = bench.events("backup", int(rate * seconds), unseen=True)
    options = {"clients": CLIENTS, "batch": BATCH, "rate": rate, "events": events}
    with client(service.port, bench.scratch, **options) as load:
        load.go()
        meanwhile()
        return load.result()


def restoring(data: Path, place: Path, target: Path) -> Figures:
    """Restore the log from its directory, beside what copying and checking the file takes.

    The snapshot counts as proved: verifying it is measured by ``replay``.
    """
    found = open_place(place.as_uri(), data=data)
    manifest, _ = require(found.register)
    restored = target / LOG_FILE
    took = _seconds(lambda: Restoring(found.objects, manifest, target, prove=False).run())
    size = restored.stat().st_size
    restored.unlink()
    plain = _seconds(lambda: _copy_and_check(data / LOG_FILE, restored))
    shutil.rmtree(place)
    return {
        "backup/restore MB/s": size / MEGABYTE / took,
        "backup/cp and integrity check MB/s": (data / LOG_FILE).stat().st_size / MEGABYTE / plain,
    }


def _copy_and_check(source: Path, target: Path) -> None:
    run(["cp", source, target])
    with closing(apsw.Connection(str(target))) as db:
        if (said := db.execute("PRAGMA integrity_check").get) != "ok":
            raise RuntimeError(said)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
