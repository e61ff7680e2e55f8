"""How long until the daemon takes requests: from its exec to READY, by the size of the log."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.cache import kept_log
from benchmarks.children import PYTHON, rest, run
from benchmarks.load import client
from benchmarks.service import Service, serving
from benchmarks.suite import Bench, Figures


def measure(bench: Bench) -> Figures:
    """Start on an empty directory and on larger logs, after a clean stop and after a kill."""
    figures = {"start/imports alone s": imports_seconds()}
    for count in (0, *bench.scale.logs[1:]):
        data = bench.fresh("start") / "data" if count == 0 else kept_log(bench, count).data
        with serving(data) as service:
            service.wait_ready()
        with serving(data) as service:
            figures[f"start/{count:,} events, after a stop s"] = service.ready_seconds
            service.wait_ready()
            kill_under_load(bench, service)
        figures[f"start/{count:,} events, after a kill s"] = seconds_to_ready(data)
    return figures


def imports_seconds() -> float:
    """Return how long the interpreter takes to load what a start needs."""
    started = time.perf_counter()
    run([PYTHON, "-c", "import daemon.cli.main, daemon.service"])
    return time.perf_counter() - started


def kill_under_load(bench: Bench, service: Service) -> None:
    """Kill a daemon with all its processes while batches come in."""
    seconds = bench.scale.seconds
    events = bench.load_events("killed", 0.5, unseen=True)
    with client(service.port, bench.scratch, clients=8, batch=100, events=events) as load:
        load.go()
        rest(seconds / 2)
        service.kill()


def seconds_to_ready(data: Path) -> float:
    """Start once, and let the views catch up, so that the next start finds them as this one."""
    with serving(data) as service:
        service.wait_ready()
        return service.ready_seconds
