"""How long the past takes: moments, their lists and jobs, and building again beside intake."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from random import Random
from statistics import median
from urllib.parse import quote

import httpx

from benchmarks.cache import copy, kept_log
from benchmarks.children import PYTHON, run, wait_for
from benchmarks.client import percentile
from benchmarks.load import Measured, client
from benchmarks.projection import begin_live
from benchmarks.service import Service, serving
from benchmarks.suite import Bench, Figures
from daemon.eventlog.log_file import LogFile
from daemon.eventlog.proof import prove_log
from daemon.lock import LOG_FILE
from daemon.replay.checkpoints import FOLDER, Checkpoints
from daemon.replay.limits import Bounds

MOMENTS = 6
"""How many moments are asked for, at random positions."""
CLIENTS, BATCH = 8, 100
REBUILD_RATE = 20_000
"""Events a second that come in while everything is built again."""


def measure(bench: Bench) -> Figures:
    """Measure moments at rest, as the daemon answers them, and a rebuild beside intake."""
    kept = kept_log(bench, bench.scale.logs[min(1, len(bench.scale.logs) - 1)])
    data = copy(kept, bench.fresh("replay") / "data")
    positions = Random(bench.seed).sample(range(1, kept.events), MOMENTS)
    figures = at_rest(bench, data, kept.events, positions)
    shutil.rmtree(data / FOLDER)
    figures |= answers(data, kept.events, positions)
    figures |= proof(data, kept.events)
    figures |= files(bench, data, kept.events)
    return figures | rebuild_beside(bench)


def at_rest(bench: Bench, data: Path, events: int, positions: list[int]) -> Figures:
    """Replay into files: the whole log first, which leaves checkpoints, then other moments."""
    target = bench.scratch / "moment.db"

    def seconds_to(position: int) -> float:
        target.unlink(missing_ok=True)
        return seconds_of("replay", "--until", str(position), "--into", target, "--data", data)

    first = seconds_to(events)
    later = [seconds_to(position) for position in positions]
    size = sum(path.stat().st_size for path in (data / FOLDER).rglob("*.zst"))
    return {
        "replay/first, of everything s": first,
        "replay/first, of everything events/s": events / first,
        "replay/other moments, median s": median(later),
        "replay/other moments, worst s": max(later),
        "replay/size of the checkpoints by that of the log": size
        / (data / LOG_FILE).stat().st_size,
    }


def answers(data: Path, events: int, positions: list[int]) -> Figures:
    """Ask a daemon for lists and jobs of the past, once its checkpoints are made."""
    with serving(data) as service:
        service.wait_ready()
        settled(service, events)
        cold, warm, single = [], [], []
        for position in positions:
            cold.append(timed(service, "/api/jobs", as_of=position, timeout=30))
            jobs = service.get("/api/jobs", as_of=position)["items"]
            warm += [timed(service, "/api/jobs", as_of=position) for _ in range(10)]
            warm += [timed(service, "/api/summary", as_of=position) for _ in range(3)]
            for job in jobs[:20]:
                path = f"/api/jobs/{quote(job['id'], safe='')}"
                single.append(timed(service, path, as_of=position))
                single.append(timed(service, f"{path}/history", as_of=position))
    return {
        "replay/list as of, cold, median s": median(cold),
        "replay/list as of, cold, worst s": max(cold),
        "replay/list as of, warm, p99 ms": percentile(sorted(warm), 0.99) * 1000,
        "replay/one job as of, p99 ms": percentile(sorted(single), 0.99) * 1000,
    }


def proof(data: Path, events: int) -> Figures:
    """Verify a directory at rest: the log alone, everything by the command, and quickly."""
    started = time.perf_counter()
    if findings := prove_log(data / LOG_FILE).findings:
        raise RuntimeError(str(findings))
    alone = time.perf_counter() - started
    return {
        "replay/verify, log alone events/s": events / alone,
        "replay/verify, all events/s": events / seconds_of("verify", "--data", data),
        "replay/verify --quick s": seconds_of("verify", "--quick", "--data", data),
    }


def files(bench: Bench, data: Path, events: int) -> Figures:
    """Export a log into a file, and import that into an empty directory."""
    file, target = bench.scratch / "history.ndjson.zst", bench.fresh("imported") / "data"
    exported = seconds_of("events", "export", file, "--force", "--data", data)
    imported = seconds_of("events", "import", file, "--data", target)
    return {
        "replay/export events/s": events / exported,
        "replay/import events/s": events / imported,
        "replay/export by log": file.stat().st_size / (data / LOG_FILE).stat().st_size,
    }


def seconds_of(*command: str | Path) -> float:
    """Run a command to its end, and return how long it takes."""
    started = time.perf_counter()
    run([PYTHON, "-m", "daemon", *command])
    return time.perf_counter() - started


def settled(service: Service, events: int) -> None:
    """Wait until the daemon has made the checkpoints it wants."""
    with closing(LogFile(service.data / LOG_FILE)) as log:
        checkpoints = Checkpoints(service.data, log, Bounds())
        wait_for(lambda: checkpoints.gap(events) is None, "the checkpoints", 0.5)


def timed(service: Service, path: str, **parameters: object) -> float:
    """Return how long an answer takes (seconds)."""
    started = time.perf_counter()
    service.get(path, **parameters)
    return time.perf_counter() - started


def rebuild_beside(bench: Bench) -> Figures:
    """Offer events at a steady rate, without and with a rebuild of everything and readers."""
    seconds = bench.scale.lag_seconds
    name = "replay/intake p99 ms"
    with serving(bench.fresh("beside") / "data") as service:
        begin_live(bench, service)
        offered(bench, service, "before")
        alone = offered(bench, service, "alone")
        with reading(service) as reads:
            service.http.post("/api/operations", json={"kind": "rebuild"}).raise_for_status()
            beside = offered(bench, service, "beside")
    return {
        f"{name}, alone": alone.p99_ms,
        f"{name}, beside a rebuild": beside.p99_ms,
        "replay/intake alone events/s": alone.rate,
        "replay/intake beside a rebuild events/s": beside.rate,
        "replay/reads beside a rebuild": float(next(reads["good"])),
        "replay/reads beside a rebuild that failed": float(next(reads["bad"])),
        "replay/seconds of each": seconds,
    }


def offered(bench: Bench, service: Service, name: str) -> Measured:
    """Send events at the rate that is to be borne."""
    scale = bench.scale
    rate = min(REBUILD_RATE, scale.rate_max)
    events = bench.events(f"beside-{name}", int(rate * scale.lag_seconds))
    options = {"clients": CLIENTS, "batch": BATCH, "rate": rate, "events": events}
    with client(service.port, bench.scratch, **options) as load:
        load.go()
        return load.result()


@contextmanager
def reading(service: Service) -> Iterator[dict[str, count[int]]]:
    """Read lists all the while, on a thread of its own; count what went well and what did not."""
    counts = {"good": count(), "bad": count()}
    ended = threading.Event()
    transport = httpx.HTTPTransport(uds=service.socket)

    def read() -> None:
        with httpx.Client(transport=transport, base_url="http://localhost", timeout=60) as http:
            while not ended.wait(0.02):
                good = False
                with suppress(httpx.HTTPError):
                    good = http.get("/api/jobs", params={"limit": 10}).status_code == 200
                next(counts["good" if good else "bad"])

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield counts
    finally:
        ended.set()
        thread.join()
