"""What an event costs in room and in time, by the size of the log it comes to."""

from __future__ import annotations

from benchmarks.cache import kept_log
from benchmarks.load import send
from benchmarks.service import Service, serving
from benchmarks.suite import Bench, Figures


def measure(bench: Bench) -> Figures:
    """Post the same load to logs of every size, until the views show it."""
    figures: Figures = {}
    logs = bench.scale.logs
    names = [f"growth/log {at}, {count:,} events:" for at, count in enumerate(logs, 1)]
    for name, count in zip(names, logs, strict=True):
        kept = kept_log(bench, count)
        figures[f"{name} log bytes/event"] = kept.log_bytes / count
        figures[f"{name} views bytes/event"] = kept.views_bytes / count
        figures[f"{name} log / structured JSON"] = kept.log_bytes / kept.json_bytes
        with serving(kept.data) as service:
            service.wait_ready()
            rate, cpu = one_load(bench, service)
        figures[f"{name} batches events/s"] = rate
        figures[f"{name} batches daemon cpu us/event"] = cpu
    first, last = (figures[f"{name} batches daemon cpu us/event"] for name in (names[0], names[-1]))
    return figures | {"growth/cost of an event, largest by smallest log": last / first}


def one_load(bench: Bench, service: Service) -> tuple[float, float]:
    """Return the rate of acknowledgements, and the processor time of an event till it shows."""
    count = bench.scale.projected // 4
    events = bench.events("grown", count, unseen=True)
    cpu = service.cpu_seconds()
    seen = send(service.port, bench.scratch, clients=8, batch=100, events=events)
    service.wait_visible()
    return seen.rate, (service.cpu_seconds() - cpu) / count * 1e6
