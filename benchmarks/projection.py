"""How fast the views follow: catching up, the lag under a steady load, and building again."""

from __future__ import annotations

import json
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from benchmarks.cache import copy, kept_log
from benchmarks.client import percentile
from benchmarks.levers import collector
from benchmarks.load import client, send
from benchmarks.service import Service, remove_views, serving
from benchmarks.suite import Bench, Figures
from daemon.eventlog.log import EventLog
from daemon.eventlog.log_file import LogFile
from daemon.lock import LOG_FILE, VIEWS_FILE
from daemon.replay.folding import FoldingChildren
from projections.job_history import JobHistory
from projections.jobs import Jobs
from projections.registry import PROJECTIONS
from projections.runner import ProjectionRunner
from projections.seam import Projection
from projections.whole import all_parts

LOOK_SECONDS = 0.02
"""How often the views' position is looked at; a lag is known to this much."""
PACED_CLIENTS, PACED_BATCH = 8, 50
FIRST_EVENTS = 1_000

Observed = tuple[float, int]


def measure(bench: Bench) -> Figures:
    """Measure catching up, lag and rebuild."""
    return catch_up(bench) | lag(bench) | rebuild(bench)


def catch_up(bench: Bench) -> Figures:
    """Let live views fall behind, and time how they come back while nothing comes in."""
    events = bench.events("behind", bench.scale.projected)
    with serving(bench.fresh("behind") / "data") as service:
        begin_live(bench, service)
        with service.projections_stopped():
            send(service.port, bench.scratch, clients=4, events=events, batch=500)
            count = service.head() - service.position()
        cpu, started = service.cpu_seconds(), time.perf_counter()
        service.wait_visible()
        seconds, cpu = time.perf_counter() - started, service.cpu_seconds() - cpu
    return {
        "projections/catch-up events/s": count / seconds,
        "projections/catch-up daemon cpu us/event": cpu / count * 1e6,
    }


def begin_live(bench: Bench, service: Service) -> None:
    """Send a few events, so that the views are there and live."""
    first = bench.events("first", FIRST_EVENTS)
    send(service.port, bench.scratch, events=first, batch=100)
    service.wait_visible()


def lag(bench: Bench) -> Figures:
    """Offer events at a steady rate, and time each from its acknowledgement until it shows."""
    scale = bench.scale
    events = bench.events("paced", int(scale.lag_rate * scale.lag_seconds))
    acks = bench.scratch / "acks.json"
    with serving(bench.fresh("paced") / "data") as service:
        begin_live(bench, service)
        paced = client(
            service.port,
            bench.scratch,
            clients=PACED_CLIENTS,
            batch=PACED_BATCH,
            rate=scale.lag_rate,
            events=events,
            acks=acks,
        )
        with paced as load, watching(service) as seen:
            load.go()
            posted = load.result()
            service.wait_visible()
    lags = lags_of([(at, position) for at, position in json.loads(acks.read_text())], seen)
    return {
        "projections/lag offered events/s": posted.rate,
        "projections/lag p50 ms": percentile(lags, 0.5) * 1000,
        "projections/lag p99 ms": percentile(lags, 0.99) * 1000,
        "projections/lag ack p50 ms": posted.p50_ms,
        "projections/lag ack p99 ms": posted.p99_ms,
    }


@contextmanager
def watching(service: Service) -> Iterator[list[Observed]]:
    """Note all the while, on a thread of its own, at which position the views are."""
    seen: list[Observed] = []
    ended = threading.Event()

    def look() -> None:
        while True:
            last = ended.wait(LOOK_SECONDS)
            position = service.position()
            seen.append((time.perf_counter(), position))
            if last:
                return

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def lags_of(acks: list[tuple[float, int]], seen: list[Observed]) -> list[float]:
    """Return, in rising order, how long after its acknowledgement each position was first seen."""
    times, positions = zip(*seen, strict=True)
    found = []
    for acknowledged, position in acks:
        at = bisect_left(positions, position)
        found.append(max(0.0, times[at] - acknowledged))
    return sorted(found)


def rebuild(bench: Bench) -> Figures:
    """Build views again: in process without a daemon, and as the daemon does beside live ones."""
    kept = kept_log(bench, bench.scale.projected)
    data = copy(kept, bench.fresh("rebuild") / "data")
    figures: Figures = {}
    two = (Jobs(), JobHistory())
    for way, apart in (("", True), (", one process", False)):
        figures |= build_rate(data, two, f"build jobs + job_history{way}", apart=apart)
        figures |= build_rate(data, PROJECTIONS, f"build everything{way}", apart=apart)
    figures |= limits(data)
    with serving(data) as service:
        service.wait_ready()
        cpu, started = service.cpu_seconds(), time.perf_counter()
        service.rebuild()
        seconds, cpu = time.perf_counter() - started, service.cpu_seconds() - cpu
    name = "projections/rebuild everything in the daemon"
    figures[f"{name} events/s"] = kept.events / seconds
    figures[f"{name} daemon cpu us/event"] = cpu / kept.events * 1e6
    return figures


def build_rate(
    data: Path, projections: tuple[Projection, ...], name: str, *, apart: bool
) -> Figures:
    """Build some projections from nothing, in this process or with others that fold."""
    remove_views(data)
    folding = partial(FoldingChildren.start, data / LOG_FILE) if apart else None
    with (
        closing(EventLog.open(data / LOG_FILE)) as log,
        closing(ProjectionRunner(data / VIEWS_FILE, log, projections, folding=folding)) as runner,
    ):
        with collector(frozen=True):
            cpu, started = processor_seconds(), time.perf_counter()
            runner.catch_up()
            seconds = time.perf_counter() - started
        count = log.head()
    # The children's time is known when they have ended.
    cpu = processor_seconds() - cpu
    return {
        f"projections/{name} events/s": count / seconds,
        f"projections/{name} cpu us/event": cpu / count * 1e6,
    }


def processor_seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def limits(data: Path) -> Figures:
    """Time reading a log by whole streams alone, and reading and folding into rows alone."""
    figures: Figures = {}
    with closing(LogFile(data / LOG_FILE)) as log, collector(frozen=True):
        head, last = log.head(), log.last_stream()
        for name, parts in (
            ("reading alone", lambda: log.read_streams(0, last, head)),
            ("reading and folding alone", lambda: all_parts(log, (Jobs(), JobHistory()), head)),
        ):
            started = time.perf_counter()
            for _ in parts():
                pass
            figures[f"projections/{name} events/s"] = head / (time.perf_counter() - started)
    return figures
