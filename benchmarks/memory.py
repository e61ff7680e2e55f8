"""What stays resident: at rest, under load, and while everything is built again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks import children
from benchmarks.cache import kept_log
from benchmarks.children import rest
from benchmarks.load import send
from benchmarks.service import Service, serving
from benchmarks.suite import Bench, Figures

SAMPLE_SECONDS = 0.1
MEGABYTE = 1024 * 1024
LOADS = 3
"""The load lasts this many times as long as others: memory takes time to grow."""


@dataclass
class Peak:
    """The most that was seen of everything."""

    rss: int = 0
    pss: int = 0
    log_wal: int = 0
    views_wal: int = 0

    def look(self, service: Service) -> None:
        """Take one sample."""
        now = children.memory(service.pids())
        self.rss, self.pss = max(self.rss, now.rss), max(self.pss, now.pss)
        for name in ("log", "views"):
            wal = service.data / f"{name}.db-wal"
            size = wal.stat().st_size if wal.exists() else 0
            setattr(self, f"{name}_wal", max(getattr(self, f"{name}_wal"), size))

    def figures(self, when: str) -> Figures:
        """Return what was seen under the name of the moment."""
        return {
            f"memory/{when}: resident (PSS) MB": self.pss / MEGABYTE,
            f"memory/{when}: resident (RSS summed) MB": self.rss / MEGABYTE,
            f"memory/{when}: largest WAL of log.db MB": self.log_wal / MEGABYTE,
            f"memory/{when}: largest WAL of views.db MB": self.views_wal / MEGABYTE,
        }


def measure(bench: Bench) -> Figures:
    """Watch a daemon on the largest log through rest, load and rebuild."""
    scale = bench.scale
    figures: Figures = {}
    count = int(scale.rate_max * scale.seconds * LOADS)
    events = bench.events("memory", count, unseen=True)
    size = scale.logs[-1]
    with serving(kept_log(bench, size).data) as service:
        service.wait_ready()
        with watching(service) as peak:
            rest(scale.seconds)
        figures |= peak.figures(f"at rest, {size:,} events")
        with watching(service) as peak:
            seconds = scale.seconds * LOADS
            send(
                service.port,
                bench.scratch,
                clients=8,
                batch=100,
                events=events,
                seconds=seconds,
            )
            service.wait_visible()
        figures |= peak.figures(f"under load, {size:,} events")
        with watching(service) as peak:
            service.rebuild()
        figures |= peak.figures(f"during rebuild, {size:,} events")
    return figures


@contextmanager
def watching(service: Service) -> Iterator[Peak]:
    """Take samples on a thread of its own."""
    peak, ended = Peak(), threading.Event()

    def look() -> None:
        while True:
            peak.look(service)
            if ended.wait(SAMPLE_SECONDS):
                return

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()
