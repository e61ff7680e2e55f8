"""How fast events come in: clients, transports, with and without projections, small and big log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.cache import kept_log
from benchmarks.load import Measured, calibrate, client, send
from benchmarks.service import Service, serving
from benchmarks.suite import Bench, Figures

WARM_UP = 1_000
PROBES = b"/healthz\n/api/jobs?limit=50\n"
PROBE_RATE = 50


@dataclass(frozen=True, slots=True)
class Kind:
    """One way of sending; ``share`` of the fastest load that can be expected of it."""

    name: str
    clients: int
    batch: int
    share: float
    pipeline: int = 1


KINDS = (
    Kind("sequential", 1, 1, 0.1),
    Kind("singles", 64, 1, 0.6),
    Kind("bulk", 1, 1000, 1.0),
    Kind("batches", 8, 100, 1.0),
)
PIPELINED = Kind("pipelined batches", 8, 100, 1.0, pipeline=4)
BIG_KINDS = (KINDS[1], KINDS[3])


def measure(bench: Bench) -> Figures:
    """Send every kind of load over TCP and Unix socket, and without projections."""
    figures: Figures = {}
    calibration = calibrate(
        bench.scratch, bench.load_events("singles", 0.6), bench.scale.seconds / 2
    )
    figures["intake/client alone, 64 connections, requests/s"] = calibration.rate
    figures["intake/client alone cpu us/request"] = calibration.cpu_us
    with serving(bench.fresh("tcp") / "data") as service:
        figures |= loads(bench, service, service.port, "tcp", (*KINDS, PIPELINED))
        figures |= other_requests(bench, service)
    with serving(bench.fresh("unix") / "data") as service:
        figures |= loads(bench, service, service.socket, "unix")
    still = bench.fresh("still") / "data"
    with serving(still) as service, service.projections_stopped():
        figures |= loads(bench, service, service.port, "without projections", wait=False)
    return figures


def measure_big(bench: Bench) -> Figures:
    """Send singles and batches to the largest log."""
    count = bench.scale.logs[-1]
    with serving(kept_log(bench, count).data) as service:
        service.wait_ready()
        return loads(bench, service, service.port, f"at {count:,}", BIG_KINDS, unseen=True)


def loads(
    bench: Bench,
    service: Service,
    at: str | int,
    place: str,
    kinds: tuple[Kind, ...] = KINDS,
    *,
    wait: bool = True,
    unseen: bool = False,
) -> Figures:
    """Send kinds of load to a daemon one after the other; each begins with nothing behind."""
    figures: Figures = {}
    warm_up = bench.events("warm", WARM_UP, unseen=unseen)
    send(at, bench.scratch, events=warm_up, batch=100)
    for kind in kinds:
        if wait:
            service.wait_visible()
        events = bench.load_events(kind.name, kind.share, unseen=unseen)
        figures |= one_load(bench, service, at, place, kind, events)
    return figures


def one_load(
    bench: Bench, service: Service, at: str | int, place: str, kind: Kind, events: Path
) -> Figures:
    """Send one load; return its rate, latencies and cost."""
    commits, cpu = service.commits(), service.cpu_seconds()
    seen = send(
        at,
        bench.scratch,
        clients=kind.clients,
        batch=kind.batch,
        pipeline=kind.pipeline,
        events=events,
        seconds=bench.scale.seconds,
    )
    cpu, after = service.cpu_seconds() - cpu, service.commits()
    group = (after[1] - commits[1]) / max(1.0, after[0] - commits[0])
    if place == "tcp":
        bench.groups[kind.name] = group
    name = f"intake/{place} {kind.name}"
    return latencies(name, seen) | {
        f"{name} daemon cpu us/event": cpu / seen.events * 1e6,
        f"{name} client cpu us/request": seen.cpu_us,
        f"{name} events a commit": group,
    }


def latencies(name: str, seen: Measured) -> Figures:
    """Return the rate and the latencies of a load under its name."""
    return {
        f"{name} events/s": seen.rate,
        f"{name} p50 ms": seen.p50_ms,
        f"{name} p99 ms": seen.p99_ms,
        f"{name} p99.9 ms": seen.p999_ms,
    }


def other_requests(bench: Bench, service: Service) -> Figures:
    """Ask small questions at a steady pace while batches come in as fast as they can."""
    service.wait_visible()
    paths = bench.scratch / "probes"
    paths.write_bytes(PROBES)
    seconds = bench.scale.seconds
    events = bench.load_events("probed")
    batches = client(
        service.port, bench.scratch, clients=8, batch=100, events=events, seconds=seconds
    )
    probes = client(
        service.port,
        bench.scratch,
        clients=4,
        gets=paths,
        repeat=True,
        rate=PROBE_RATE,
        seconds=seconds,
    )
    with batches as load, probes as probe:
        load.go()
        probe.go()
        seen = probe.result()
        load.result()
    return {
        "intake/other requests during batches p50 ms": seen.p50_ms,
        "intake/other requests during batches p99 ms": seen.p99_ms,
    }
